"""Asking a language model that sees for the names of clusters, many at once; one that fails has its reason."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from leadpp.config.tree import Config
from leadpp.engine.runtime import Progress
from leadpp.errors import UnansweredError
from leadpp.text.chat import Chat
from leadpp.text.christening import Christening, ask_name
from leadpp.text.llm import find_key, open_chat
from leadpp.text.meter import Meter


@dataclass(frozen=True, kw_only=True)
class Stranger:
    """One cluster as a language model is shown it."""

    pictures: Sequence[str]
    """``data:`` addresses of JPEG pictures."""
    near: Sequence[str]
    """Names that come nearest, the nearest first."""


async def ask_names(
    strangers: Sequence[Stranger],
    *,
    known: Sequence[str],
    config: Config,
    progress: Progress,
    answered: Callable[[int, dict[str, Any]], None],
) -> None:
    """Have a name proposed for each cluster.

    Args:
        strangers: The clusters.
        known: Names that are in the list already.
        config: Settings; those of ``llm`` and ``seed`` are used.
        progress: Who is told how far it is.
        answered: Given the place of a cluster as soon as its answer is there, and ``proposed`` (empty where there is
            no name), ``known`` (whether it is in the list) and ``reason``; what came before an error has been given.

    Raises:
        LLMError: The model cannot be reached or used, or the budget is used up.
    """

    async def ask(chat: Chat, place: int) -> None:
        answered(place, _told(await _ask_one(chat, strangers[place], known=known, config=config)))

    llm = config.llm
    meter = Meter(**llm.prices)
    async with open_chat(
        **llm.connection, key=find_key(llm.key_path), seed=config.seed, meter=meter, notify=progress.note
    ) as chat:
        total = len(strangers)
        rows = progress.track(range(total), total=total, what="asking", unit="clusters", describe=meter.words)
        next(rows, None)  # shows the bar; each further step counts one cluster
        tasks = [asyncio.create_task(ask(chat, place)) for place in range(total)]
        try:
            for task in asyncio.as_completed(tasks):
                await task
                next(rows, None)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _ask_one(chat: Chat, stranger: Stranger, *, known: Sequence[str], config: Config) -> Christening:
    llm = config.llm
    try:
        return await ask_name(
            chat,
            stranger.pictures,
            domain=llm.domain,
            known=known,
            near=stranger.near,
            attempts=llm.attempts,
            max_tokens=llm.max_tokens,
        )
    except UnansweredError as error:
        return Christening(name="", reason=str(error))


def _told(found: Christening) -> dict[str, Any]:
    told = dataclasses.asdict(found)
    return {"proposed": told["name"], "known": told["known"], "reason": told["reason"]}
