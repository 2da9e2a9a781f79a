"""A thin client of any OpenAI-compatible chat endpoint: careful with money, with keys and with busy servers."""

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leadpp.errors import LLMError, UnansweredError
from leadpp.functional.randomness import derive_seed
from leadpp.text.answers import PassingError, RefusedError
from leadpp.text.chat import Chat, Message, Reply, guess_tokens, most_prompt_tokens, prompt_tokens
from leadpp.text.meter import Claim, Meter
from leadpp.text.names import read_words
from leadpp.text.pace import Pace

if TYPE_CHECKING:
    from leadpp.text.answers import Completion
    from leadpp.text.endpoint import Endpoint

__all__ = ["Chat", "Message", "Meter", "Reply", "find_key", "open_chat"]

_LONGEST_BACKOFF_S = 60.0
LONGEST_WAIT_S = 600.0
"""A server that wants to be left alone for longer is left for good, and a request that it has put off for as long."""


def _say_nothing(message: str) -> None:
    del message


def find_key(key_file: Path | None) -> str:
    """Return the key to a server: what a file holds, or else ``OPENAI_API_KEY`` of the environment; empty for none.

    Raises:
        LLMError: The file holds no key, or what is there cannot be one; the message does not show it.
        TextError: The file cannot be read.
    """
    source = "OPENAI_API_KEY" if key_file is None else str(key_file)
    key = (os.environ.get("OPENAI_API_KEY", "") if key_file is None else read_words(key_file)).strip()
    if key_file is not None and not key:
        raise LLMError(f"{source}: expected a key, found nothing; write the key into the file")
    if not all("!" <= letter <= "~" for letter in key):
        raise LLMError(f"{source}: expected a key in one word of plain letters, digits and signs, found something else")
    return key


@contextlib.asynccontextmanager
async def open_chat(
    *,
    base_url: str,
    model: str,
    key: str = "",
    temperature: float | None = None,
    seed: int = 0,
    concurrency: int = 8,
    timeout_s: float = 120.0,
    retries: int = 5,
    backoff_s: float = 1.0,
    meter: Meter | None = None,
    notify: Callable[[str], None] = _say_nothing,
) -> AsyncIterator[Chat]:
    """Open a language model behind an endpoint, and close the connections at the end.

    Args:
        base_url: Address of the server without ``/chat/completions``; it usually ends in ``/v1``.
        model: Name of the model, as the server knows it.
        key: Sent to this address alone; see :func:`find_key`.
        temperature: How freely words are drawn; None leaves it to the server.
        seed: Sent along, and decides how waiting times are drawn.
        concurrency: Requests at once.
        timeout_s: Seconds after which an answer is no longer waited for.
        retries: How often a request is sent again that failed in a way that may pass. That the server is crowded (429,
            503) is no failure: it is asked more slowly, and each request again for up to ten minutes.
        backoff_s: About how long to wait before the first retry; twice as long before each further one.
        meter: Counts tokens and cost and holds the budget; others may share it.
        notify: Told in a line what a person may want to know.

    Raises:
        LLMError: No such address, or no HTTP client is installed.
    """
    try:
        from leadpp.text.endpoint import Endpoint
    except ModuleNotFoundError as error:
        raise LLMError(
            f"talking to a language model needs {error.name}; install it with pip install 'leadpp[llm]'"
        ) from error
    async with Endpoint(base_url, key=key, timeout_s=timeout_s) as endpoint:
        if endpoint.shows_key:
            notify(f"the key goes to {endpoint.where} unencrypted; anybody on the way can read it")
        yield PatientChat(
            endpoint,
            settings={"model": model} | ({} if temperature is None else {"temperature": temperature}),
            seed=seed,
            limit=asyncio.Semaphore(concurrency),
            retries=retries,
            backoff_s=backoff_s,
            meter=meter or Meter(),
            notify=notify,
        )


class PatientChat:
    """A :class:`~leadpp.text.chat.Chat` that tries again, waits when it is told to, and keeps to a budget."""

    def __init__(
        self,
        endpoint: "Endpoint",
        *,
        settings: Mapping[str, object],
        seed: int,
        limit: asyncio.Semaphore,
        retries: int,
        backoff_s: float,
        meter: Meter,
        notify: Callable[[str], None],
    ) -> None:
        self._endpoint, self._limit, self._meter, self._notify = endpoint, limit, meter, notify
        self._settings, self._seed = {**settings, "seed": seed}, seed
        self._wished = tuple(self._settings)
        self._length_name = "max_tokens"
        self._retries, self._backoff_s = retries, backoff_s
        self._numbers = itertools.count()
        self._pace = Pace(first_gap_s=backoff_s)
        self._heard = self._guessed = self._slowed = False

    async def ask(self, messages: Sequence[Message], *, max_tokens: int) -> Reply:
        """Send a conversation and return what comes next in it; see :meth:`~leadpp.text.chat.Chat.ask`."""
        number, turns, attempt, crowded_s = next(self._numbers), itertools.count(), 0, 0.0
        async with self._limit:
            while True:
                sent_s = await self._pace.turn()
                try:
                    reply = await self._adapting(messages, max_tokens)
                except PassingError as error:
                    draw = derive_seed(self._seed, "backoff", number, next(turns)) / 2**63
                    if error.crowded:
                        crowded_s = crowded_s or sent_s
                        self._make_room(error, draw=draw, sent_s=sent_s, crowded_s=crowded_s)
                    else:
                        await self._wait(error, draw=draw, attempt=attempt)
                        attempt += 1
                else:
                    self._pace.quicken()
                    return reply

    def _make_room(self, error: PassingError, *, draw: float, sent_s: float, crowded_s: float) -> None:
        """Have all requests wait, because the server is crowded; give this one up if that has gone on for too long.

        It is no failure of the request, so that it does not count as one of its retries.

        Args:
            error: What the server said.
            draw: From 0 to 1, so that not all come again at the same moment.
            sent_s: When the request was sent, by the monotonic clock.
            crowded_s: When it was sent for the first time of which the server said so.
        """
        _check_patience(error)
        if time.monotonic() - crowded_s + (error.wait_s or 0.0) > LONGEST_WAIT_S:
            raise UnansweredError(f"{error.words}, for {time.monotonic() - crowded_s:,.0f} s")
        self._pace.slow_down(sent_s=sent_s, wait_s=error.wait_s, draw=draw)
        if not self._slowed:
            self._slowed = True
            self._notify(f"{error.words}; it is asked more slowly")

    async def _wait(self, error: PassingError, *, draw: float, attempt: int) -> None:
        """Wait before the next attempt; give up if it is time to.

        Args:
            error: What happened.
            draw: From 0 to 1, so that not all come again at the same moment.
            attempt: How many attempts there were before.
        """
        if error.unreachable and not self._heard:
            raise LLMError(f"{error.words}; is the server running, and is the base URL right (--llm.base-url)?")
        _check_patience(error)
        if attempt == self._retries:
            again = f", {attempt + 1} times" if attempt else ""
            raise UnansweredError(f"{error.words}{again}")
        backoff = min(_LONGEST_BACKOFF_S, self._backoff_s * 2**attempt)
        await asyncio.sleep(
            backoff * (0.5 + draw / 2) if error.wait_s is None else error.wait_s + self._backoff_s * draw / 10
        )

    async def _adapting(self, messages: Sequence[Message], max_tokens: int) -> Reply:
        """Ask once; leave out or rename a setting that the server does not know, and ask again."""
        while True:
            terms = self._terms(max_tokens)
            try:
                return await self._ask_once(messages, max_tokens, terms)
            except RefusedError as error:
                outdated = terms != self._terms(max_tokens)  # another request has learnt of it meanwhile
                if not outdated and not self._adapt(str(error)):
                    raise

    def _terms(self, max_tokens: int) -> dict[str, object]:
        """Return what is sent beside the conversation, as far as the server is known to take it."""
        return {**self._settings, self._length_name: max_tokens}

    def _adapt(self, words: str) -> bool:
        """Change what the server complains of in a request; return whether there was something to change."""
        if "max_completion_tokens" in words and self._length_name == "max_tokens":
            self._length_name = "max_completion_tokens"
            return True
        odd = [name for name in ("temperature", "seed") if name in self._settings and name in words]
        for name in odd:
            del self._settings[name]
            self._notify(f"the server does not take a {name}; it is left out")
        return bool(odd)

    async def _ask_once(self, messages: Sequence[Message], max_tokens: int, terms: Mapping[str, object]) -> Reply:
        body = {**terms, "messages": list(messages), "stream": False}
        async with self._meter.claiming(most_prompt_tokens(messages), max_tokens) as claim:
            try:
                completion = await self._endpoint.complete(body)
            except (PassingError, LLMError) as error:
                if not (isinstance(error, PassingError) and error.taken_on):
                    claim.settle(0, 0)
                self._heard |= not (isinstance(error, PassingError) and error.unreachable)
                raise
            self._heard = True
            left_out = tuple(name for name in self._wished if name not in terms)
            reply = _settled(completion, messages, claim, left_out=left_out)
        if reply.estimated and not self._guessed:
            self._guessed = True
            self._notify("the server does not count tokens; their number is an estimate")
        return reply


def _check_patience(error: PassingError) -> None:
    """Raise an LLMError where the server wants to be left alone for too long."""
    if (error.wait_s or 0.0) > LONGEST_WAIT_S:
        raise LLMError(f"{error.words} and wants to be left alone for {error.wait_s:,.0f} s; try again then")


def _settled(
    completion: "Completion", messages: Sequence[Message], claim: Claim, *, left_out: tuple[str, ...]
) -> Reply:
    """Count what an answer took, or estimate it if the server does not say."""
    counted = completion.tokens_in is not None and completion.tokens_out is not None
    tokens_in = prompt_tokens(messages) if completion.tokens_in is None else completion.tokens_in
    tokens_out = guess_tokens(completion.text) if completion.tokens_out is None else completion.tokens_out
    claim.settle(tokens_in, tokens_out)
    return Reply(
        text=completion.text,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        estimated=not counted,
        complete=completion.complete,
        left_out=left_out,
    )
