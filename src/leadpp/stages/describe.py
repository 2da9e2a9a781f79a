"""The stage that turns class names into descriptions: by a language model or, where none is named, by a template.

Each description is on disk as soon as it is accepted, in a journal beside the table (``TABLE.journal.jsonl``): the
command can be stopped anywhere and, run again, asks only for what is missing. The table is written from the journal
whenever the command ends, however it ends.
"""

import asyncio
import datetime
import hashlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadpp.config.language import LLMConfig
from leadpp.config.tree import Config
from leadpp.data.index import INDEX_NAME, read_index
from leadpp.data.sources.folder import read_folder
from leadpp.data.sources.shards import names_shards, read_shards
from leadpp.engine.runtime import Progress, SilentProgress
from leadpp.errors import LLMError, TextError
from leadpp.io.artifacts import file_digest, write_text
from leadpp.io.cells import table_text
from leadpp.text.address import checked_address
from leadpp.text.chat import Chat, prompt_tokens
from leadpp.text.describing import Draft, Wanted, write_description
from leadpp.text.descriptions import read_descriptions
from leadpp.text.encoding import fill_template
from leadpp.text.ledger import Author, Entry, Ledger, check_ledger, read_entries
from leadpp.text.llm import Meter, find_key, open_chat
from leadpp.text.names import check_distinct, read_names
from leadpp.text.prompts import DescribePrompt, read_describe_prompt
from leadpp.text.provenance import OWN, TEMPLATE
from leadpp.text.replies import check_description

_MOST_UNANSWERED = 5
"""So many requests in a row without a usable answer are the server's fault, not theirs."""
_TOKENS_A_WORD = 1.35
"""Of English, by the tokenizers of today."""
_LISTED = 5
_DIGEST_BYTES = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """Where names or finished descriptions are; exactly one of the three."""

    names: Path | None = None
    """A list of names, one a line."""
    data: Path | None = None
    """A prepared folder, or one with class folders."""
    descriptions: Path | None = None
    """Descriptions of one's own, which are checked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """What is to be in the table, and who writes it."""

    wanted: tuple[tuple[str, int], ...]
    """Class and number of each description, in the table's order."""
    author: Author
    ready: Mapping[tuple[str, int], str] | None = None
    """Texts that need no language model; None where one is asked."""

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return tuple(dict.fromkeys(name for name, _ in self.wanted))


def describe(
    out: Path,
    *,
    words: Words,
    config: Config,
    fresh: bool = False,
    keep: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a table of descriptions: class name, description, model, prompt, date, seed.

    With ``llm.model`` a language model is asked; what it says is checked, and asked for again with the reason where it
    cannot be used. Without one, names become sentences by ``text.template``, a row for each of its sentences.
    Descriptions of one's own are checked and copied, with a note of where they come from.

    Args:
        out: The table, a ``.csv``. One that is there already is gone on with.
        words: Names or descriptions.
        config: Settings; those of ``llm``, ``text.template`` and ``seed`` are used.
        fresh: Set aside what is there, and begin anew.
        keep: Keep what another model, prompt or seed wrote, and ask for the rest.
        progress: Who is told how far it is.

    Returns:
        ``out``, ``classes``, ``descriptions``, ``source`` (who wrote them), and of a language model also ``asked``
        (descriptions that were asked for), ``tokens_in``, ``tokens_out`` and ``cost``; of one's own, ``odd``: how many
        are not what a language model's would have to be.

    Raises:
        TextError: Names or descriptions that cannot be used, or a table that is not to be overwritten.
        LLMError: The language model cannot be reached or used, the budget is used up, or it had no usable description
            of some classes; whatever is finished is kept.
        ArtifactError: Another process is at work on the table, or the disk refused.
    """
    progress = progress or SilentProgress()
    plan = _plan(words, config)
    with Ledger(out) as ledger:
        for path in ledger.set_aside() if fresh else []:
            progress.note(f"what was there before is in {path}")
        ledger.check(plan.author, keep=keep)
        done = {"out": str(out), "classes": len(plan.names), "descriptions": len(plan.wanted)}
        if plan.ready is not None:
            return done | _write_ready(plan, plan.ready, ledger, config=config, progress=progress)
        return done | _write_asked(plan, ledger, config=config, progress=progress)


def preview(out: Path, *, words: Words, config: Config, fresh: bool = False, keep: bool = False) -> dict[str, Any]:
    """Show what :func:`describe` would ask, and estimate what that takes; nothing is sent or written.

    Args:
        out: As of :func:`describe`, and so are the others.
        words: Names or descriptions.
        config: Settings.
        fresh: Whether what is there would be set aside.
        keep: Whether what others wrote would be kept.

    Returns:
        ``descriptions`` that would be asked for, their ``prompts`` (class and messages), an estimate of ``tokens_in``,
        ``tokens_out`` and ``cost`` if every first reply can be used, and ``cost_if_repeated`` if each is as long as it
        may be and none but the last can be; requests that are sent again because they failed are not counted.

    Raises:
        TextError: Names or descriptions that cannot be used, or a table that would be refused.
        ArtifactError: The journal of the table is damaged.
    """
    plan, prompt, llm = _plan(words, config), _prompt(config.llm), config.llm
    there = read_entries(out)
    if fresh:
        there = {}
    else:
        check_ledger(out, plan.author, keep=keep)
    missing = [place for place in plan.wanted if place not in there] if plan.author.model != OWN else []
    asked = [(name, number, prompt.messages(name, number=number)) for name, number in missing]
    reply = round((llm.min_words + llm.max_words) / 2 * _TOKENS_A_WORD)
    tokens_in = sum(prompt_tokens(messages) + number * reply for _, number, messages in asked)
    most_out = llm.max_tokens * len(asked)
    most_in = llm.attempts * tokens_in + (llm.attempts - 1) * most_out  # a bad reply is shown when it is asked again
    meter = Meter(**llm.prices)
    return {
        "descriptions": len(asked),
        "model": llm.model,
        "base_url": llm.base_url,
        "prompt": prompt.digest,
        "tokens_in": tokens_in,
        "tokens_out": reply * len(asked),
        "cost": meter.cost_of(tokens_in, reply * len(asked)),
        "cost_if_repeated": meter.cost_of(most_in, llm.attempts * most_out),
        "prompts": [{"class": name, "number": number, "messages": messages} for name, number, messages in asked],
    }


def class_names(data: Path) -> tuple[str, ...]:
    """Return the class names of a folder, without opening a photograph.

    Raises:
        DataError: It holds no photographs.
        TextError: It has no classes.
    """
    index = data / INDEX_NAME
    if names_shards(data):
        classes = read_shards(data).classes
    else:
        classes = (read_index(index) if index.is_file() else read_folder(data)).classes
    if not classes:
        found = "have no classes" if names_shards(data) else "are not in class folders"
        raise TextError(f"{data}: its photographs {found}, so there are no names; give --names")
    check_distinct(classes, what=f"{data}: classes")
    return classes


def _plan(words: Words, config: Config) -> _Plan:
    if words.descriptions is not None:
        texts = read_descriptions(words.descriptions)
        ready = {(name, number): text for name, own in texts.items() for number, text in enumerate(own)}
        digest = file_digest(words.descriptions)[: 2 * _DIGEST_BYTES]
        return _Plan(wanted=tuple(ready), author=Author(model=OWN, prompt=digest), ready=ready)
    names = read_names(words.names) if words.names is not None else class_names(_given(words.data))
    if not config.llm.model:
        templates = config.text.templates
        digest = hashlib.blake2b("\n".join(templates).encode(), digest_size=_DIGEST_BYTES).hexdigest()
        ready = {(name, number): fill_template(one, name) for name in names for number, one in enumerate(templates)}
        return _Plan(wanted=tuple(ready), author=Author(model=TEMPLATE, prompt=digest), ready=ready)
    checked_address(config.llm.base_url)  # before anything shows it
    author = Author(
        model=config.llm.model,
        prompt=_prompt(config.llm).digest,
        seed=config.seed,
        temperature=config.llm.connection["temperature"],
    )
    return _Plan(wanted=tuple((name, n) for name in names for n in range(config.llm.per_class)), author=author)


def _given(data: Path | None) -> Path:
    if data is None:
        raise TextError("there are no names to describe; give --names, --data or --descriptions")
    return data


def _prompt(llm: LLMConfig) -> DescribePrompt:
    path = Path(llm.prompt) if llm.prompt else None
    return read_describe_prompt(
        path, domain=llm.domain, parts=llm.parts, min_words=llm.min_words, max_words=llm.max_words
    )


def _write_ready(
    plan: _Plan, ready: Mapping[tuple[str, int], str], ledger: Ledger, *, config: Config, progress: Progress
) -> dict[str, Any]:
    """Write a table for which nobody needs to be asked."""
    date = _today()
    ledger.accept(
        Entry(name=name, number=number, text=ready[name, number], author=plan.author, date=date)
        for name, number in plan.wanted
        if (name, number) not in ledger
    )
    ledger.write_table(plan.wanted)
    if plan.author.model == TEMPLATE:
        progress.note(
            f"no language model is named (llm.model), so the descriptions are names in the template "
            f"{config.text.template!r}"
        )
        return {"source": TEMPLATE}
    odd = _odd(ready, plan.names, config.llm)
    if odd:
        (name, _), reason = odd[0]
        progress.note(
            f"{len(odd)} of the {len(ready)} descriptions are not what a language model's would have to be; first that "
            f"of {name!r}: {reason}"
        )
    return {"source": OWN, "odd": len(odd)}


def _odd(
    texts: Mapping[tuple[str, int], str], names: Sequence[str], llm: LLMConfig
) -> list[tuple[tuple[str, int], str]]:
    """Find the descriptions that would be asked for again, each with the reason."""
    verdicts = {
        place: check_description(
            text, name=place[0], others=names, min_words=llm.min_words, max_words=llm.max_words
        )[1]
        for place, text in texts.items()
    }  # fmt: skip
    return [(place, reason) for place, reason in verdicts.items() if reason]


def _write_asked(plan: _Plan, ledger: Ledger, *, config: Config, progress: Progress) -> dict[str, Any]:
    """Ask for what is missing, and write the table whatever comes of it."""
    llm, meter = config.llm, Meter(**config.llm.prices)
    missing = [place for place in plan.wanted if place not in ledger]
    desk = _Desk(plan, ledger, llm)
    if others := ledger.others(plan.wanted):
        progress.note(f"{others} descriptions of other names or numbers stay in the journal, and are not in the table")
    if missing:
        progress.note(f"{len(missing)} of {len(plan.wanted)} descriptions to ask for: {llm.model} at {llm.base_url}")
    else:
        progress.note(f"all {len(plan.wanted)} descriptions are there already; nobody is asked")
    try:
        if missing:
            asyncio.run(_ask(desk, missing, seed=config.seed, meter=meter, progress=progress))
    except LLMError as error:
        raise type(error)(f"{error}{_go_on(ledger, plan)}") from error
    finally:
        ledger.write_table(plan.wanted)
        desk.list_refused()
    if missing:
        progress.note(f"it took {meter.words()}")
    _tell_of_twins(plan, ledger, progress)
    desk.check()
    cost = {"cost": meter.cost} if llm.price_in or llm.price_out else {}
    took = {"asked": desk.asked, "tokens_in": meter.tokens_in, "tokens_out": meter.tokens_out}
    return {"source": str(plan.author), **took, **cost}


def _tell_of_twins(plan: _Plan, ledger: Ledger, progress: Progress) -> None:
    """Note if two classes are described in the same words, which makes their prototypes the same."""
    owners: dict[str, str] = {}
    for name in plan.names:
        for text in ledger.texts(name):
            if owners.setdefault(text, name) != name:
                progress.note(
                    f"{owners[text]!r} and {name!r} have the same description, so that nothing tells them apart"
                )
                return


def _go_on(ledger: Ledger, plan: _Plan) -> str:
    done = sum(place in ledger for place in plan.wanted)
    if not done:
        return ""
    return (
        f"; {done} of {len(plan.wanted)} descriptions are done and kept in {ledger.out}: run the same command to go on"
    )


async def _ask(
    desk: "_Desk", missing: Sequence[tuple[str, int]], *, seed: int, meter: Meter, progress: Progress
) -> None:
    """Have the missing descriptions written, many at once."""
    llm = desk.llm
    async with open_chat(
        **llm.connection, key=find_key(llm.key_path), seed=seed, meter=meter, notify=progress.note
    ) as chat:
        total = len(missing)
        rows = progress.track(range(total), total=total, what="describe", unit="rows", describe=meter.words)
        next(rows)  # shows the bar; each further step counts one row
        tasks = [
            asyncio.create_task(desk.write_class(chat, name)) for name in dict.fromkeys(name for name, _ in missing)
        ]
        try:
            for task in asyncio.as_completed(tasks):
                for _ in range(await task):
                    next(rows, None)
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if isinstance(rows, Generator):
                rows.close()  # so that the bar is gone before anything else is said


class _Desk:
    """Has the descriptions of one class after another written, and keeps what comes of it.

    Attributes:
        asked: How many descriptions were asked for.
    """

    def __init__(self, plan: _Plan, ledger: Ledger, llm: LLMConfig) -> None:
        self.llm, self.asked = llm, 0
        self._plan, self._ledger = plan, ledger
        self._names, self._prompt = plan.names, _prompt(llm)
        self._wanted = Wanted(
            min_words=llm.min_words, max_words=llm.max_words, max_tokens=llm.max_tokens, attempts=llm.attempts
        )
        self._refused: dict[str, Draft] = {}
        self._rejected = ledger.out.with_name(f"{ledger.out.name}.rejected.csv")
        self._unanswered = 0

    async def write_class(self, chat: Chat, name: str) -> int:
        """Write the missing descriptions of a class, each other than those before; return how many were missing.

        Raises:
            UnansweredError: One request after another had no answer.
        """
        earlier = self._ledger.texts(name)
        begin = len(earlier)
        for number in range(begin, self.llm.per_class):
            draft = await self._draft(chat, name, number, earlier)
            if not draft.text:
                self._refused[name] = draft
                if draft.unanswered and self._unanswered >= _MOST_UNANSWERED:
                    raise draft.unanswered
                break
            self._ledger.accept([self._entry(name, number, draft)])
            earlier.append(draft.text)
        return self.llm.per_class - begin

    def list_refused(self) -> None:
        """List the classes without a usable description in a file; it is removed where there are none."""
        if not self._refused:
            self._rejected.unlink(missing_ok=True)
            return
        rows = [(name, str(draft.attempts), draft.reason, draft.reply) for name, draft in self._in_order()]
        write_text(self._rejected, table_text(("class name", "attempts", "reason", "reply"), rows))

    def check(self) -> None:
        """Say which classes have no usable description.

        Raises:
            LLMError: There are some.
        """
        refused = self._in_order()
        if not refused:
            return
        shown = ", ".join(f"{name!r} ({draft.reason})" for name, draft in refused[:_LISTED])
        more = f" and {len(refused) - _LISTED} more" if len(refused) > _LISTED else ""
        raise LLMError(
            f"{len(refused)} of {len(self._names)} classes lack a usable description: {shown}{more}; {self._rejected} "
            f"lists them{_go_on(self._ledger, self._plan)}"
        )

    def _in_order(self) -> list[tuple[str, Draft]]:
        return [(name, self._refused[name]) for name in self._names if name in self._refused]

    async def _draft(self, chat: Chat, name: str, number: int, earlier: Sequence[str]) -> Draft:
        self.asked += 1
        draft = await write_description(
            chat, self._prompt, name=name, number=number, earlier=earlier, others=self._names, wanted=self._wanted
        )
        self._unanswered = self._unanswered + 1 if draft.unanswered else 0
        return draft

    def _entry(self, name: str, number: int, draft: Draft) -> Entry:
        return Entry(
            name=name,
            number=number,
            text=draft.text,
            author=self._plan.author,
            date=_today(),
            tokens_in=draft.tokens_in,
            tokens_out=draft.tokens_out,
            attempts=draft.attempts,
            left_out=draft.left_out,
        )


def _today() -> str:
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()
