"""The stage that has a language model list the classes, where nobody knows their names."""

import asyncio
import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from leadpp.config.tree import Config
from leadpp.engine.runtime import Progress, SilentProgress, pick_device
from leadpp.errors import BudgetError, ConfigError, TextError, WeightsError
from leadpp.io.artifacts import file_digest, read_json, write_json, write_text
from leadpp.io.journal import Journal, read_journal
from leadpp.models.teacher import load_teachers
from leadpp.text.chat import Chat, prompt_tokens
from leadpp.text.llm import find_key, open_chat
from leadpp.text.meter import Meter
from leadpp.text.prompts import ProposePrompt, read_propose_prompt
from leadpp.text.proposals import Closeness, Roll, general_names, read_proposals

KIND: Final = "proposals"
LEAST_COSINE: Final = 0.985
"""Cosine of two names' sentences from which on they are one (docs/decisions/0047)."""
BARREN_ROUNDS: Final = 3
"""Rounds without a new name after which the model is taken to know no more."""
MOST_A_ROUND: Final = 50
"""Names asked for at once; models begin to repeat themselves in longer lists."""
LEAST_A_ROUND: Final = 10
"""Names asked for where fewer are missing, because most of them will be known."""
MOST_KNOWN: Final = 400
"""Names, the newest, that the model is told of; it need not know all, because what it repeats is dropped."""
BUDGET: Final = "budget"
_TOKENS_A_NAME: Final = 6
"""For estimates."""


def propose(
    *,
    out: Path,
    count: int,
    config: Config,
    least_cosine: float = LEAST_COSINE,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Have names listed until there are ``count`` different ones, and write them, one a line.

    The model is asked in rounds, and told what is there already. Each reply is on disk, in ``names.rounds.jsonl`` for
    ``names.txt``, before the next is asked for; the same command goes on from there, and a larger count tops up. Names
    that are the same by letters and digits but for article and plural, or that the teacher's text tower can hardly tell
    apart, are taken once. Beside the names, ``names.json`` says how they came to be.

    Args:
        out: The text file to write.
        count: How many names, at least 2.
        config: Settings; ``llm.domain`` says of what.
        least_cosine: From which cosine on two names are one; above 1 they are compared by letters alone, and no teacher
            is loaded.
        progress: Told of each round.

    Returns:
        JSON-ready: ``names`` there are of ``count``, why it ``stopped`` ("complete" or "nothing new"), how many
        ``rounds`` there were and names ``dropped``, ``tokens_in`` and ``tokens_out`` of all rounds, ``cost`` of this
        command, and the files ``out`` and ``provenance``.

    Raises:
        ConfigError: No model, no domain, or a count that is too small.
        TextError: A bad template, no name at all, or ``out`` holds what this command did not write.
        LLMError: The model cannot be asked, and what it answered before is kept; or the budget is used up, and the
            names that there are were written.
        ArtifactError: The disk refused, or another process is at work on it.
    """
    progress = progress or SilentProgress()
    _check(out, count, config)
    prompt = _prompt(config)
    before = _check_untouched(out)
    key = find_key(config.llm.key_path)
    closeness, compared = _closeness(config, least_cosine, progress)
    meter = Meter(**config.llm.prices)
    with _opened(_journal_path(out)) as journal:
        roll = _replay(journal, prompt=prompt, config=config, closeness=closeness)
        stopped = asyncio.run(
            _ask(roll, journal, count=count, prompt=prompt, config=config, key=key, meter=meter, progress=progress)
        )
        names = roll.names[:count]
        if not names and stopped == BUDGET:
            raise BudgetError("the budget is used up before the first name; raise llm.budget, or lower llm.max_tokens")
        if not names:
            raise TextError(_nothing_words(journal))
        facts = {
            **_asked(prompt, config),
            "count": count,
            "names": len(names),
            "stopped": stopped,
            "template": config.text.templates[0],
            "compared": compared,
            "rounds": [
                {name: value for name, value in record.items() if name != "text"} | found
                for record, found in zip(journal.records[1:], roll.rounds, strict=True)
            ],
            "dropped": [{"round": number, **asdict(one)} for number, one in roll.dropped],
            "general": general_names(names),
        }
    _write(out, names, facts, before=before)
    _tell(facts, progress)
    if stopped == BUDGET:
        raise BudgetError(f"the budget is used up: {out} has {len(names)} names of {count}; raise llm.budget to go on")
    return _results(out, facts, meter)


def estimate(*, out: Path, count: int, config: Config) -> dict[str, Any]:
    """Say what :func:`propose` would ask, without asking or writing anything.

    Returns:
        JSON-ready: the ``messages`` of the next round, how many ``names`` there are of ``count``, and an estimate of
        ``rounds``, ``tokens_in``, ``tokens_out`` and ``cost`` if every name is new.

    Raises:
        ConfigError: No model, no domain, or a count that is too small.
        TextError: A bad template, or ``out`` holds what this command did not write.
    """
    _check(out, count, config)
    prompt = _prompt(config)
    _check_untouched(out)
    roll = Roll(None)
    for record in _rounds(read_journal(_journal_path(out)), prompt=prompt, config=config, where=_journal_path(out)):
        roll.add(read_proposals(record["text"], complete=record["complete"]))
    known = min(len(roll.names), count)
    messages = prompt.messages(_round_size(count - known, 0), known=roll.names[-MOST_KNOWN:])
    rounds = tokens_in = tokens_out = 0
    there = known
    while there < count:
        asked = _round_size(count - there, 0)
        tokens_in += prompt_tokens(prompt.messages(asked)) + _TOKENS_A_NAME * min(there, MOST_KNOWN)
        tokens_out += _TOKENS_A_NAME * asked
        rounds, there = rounds + 1, there + asked
    cost = Meter(**config.llm.prices).cost_of(tokens_in, tokens_out)
    return {
        "names": known,
        "count": count,
        "rounds": rounds,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "cost": round(cost, 6),
        "messages": messages,
    }


async def _ask(
    roll: Roll,
    journal: Journal,
    *,
    count: int,
    prompt: ProposePrompt,
    config: Config,
    key: str,
    meter: Meter,
    progress: Progress,
) -> str:
    """Ask round after round; return why it stopped."""
    roll.barren = 0  # whoever gives the command again wants it tried again
    if len(roll.names) >= count:
        progress.note(f"{len(roll.names)} names are there already; nobody is asked")
        return "complete"
    async with open_chat(**config.llm.connection, key=key, seed=config.seed, meter=meter, notify=progress.note) as chat:
        while len(roll.names) < count and roll.barren < BARREN_ROUNDS:
            try:
                await _ask_once(roll, journal, chat, missing=count - len(roll.names), prompt=prompt, config=config)
            except BudgetError as error:
                progress.note(f"stopped: {error}")
                return BUDGET
            found = roll.rounds[-1]
            progress.note(
                f"round {len(roll.rounds)}: {found['read']} names read, {found['new']} new; "
                f"{min(len(roll.names), count)} of {count}; {meter.words()}"
            )
    return "complete" if len(roll.names) >= count else "nothing new"


async def _ask_once(
    roll: Roll, journal: Journal, chat: Chat, *, missing: int, prompt: ProposePrompt, config: Config
) -> None:
    """Ask for names, keep the reply, and only then look at it."""
    asked = _round_size(missing, roll.barren)
    reply = await chat.ask(prompt.messages(asked, known=roll.names[-MOST_KNOWN:]), max_tokens=config.llm.max_tokens)
    if not journal.records:
        journal.append({"kind": KIND, "schema": 1, **_asked(prompt, config)})
    journal.append(
        {
            "asked": asked,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": config.seed,
            "temperature": config.llm.temperature,
            "left_out": list(reply.left_out),
            "tokens_in": reply.tokens_in,
            "tokens_out": reply.tokens_out,
            "complete": reply.complete,
            "text": reply.text,
        }
    )
    roll.add(read_proposals(reply.text, complete=reply.complete))


def _round_size(missing: int, barren: int) -> int:
    """How many names to ask for: a little more after each barren round, for else the same question brings the same."""
    return min(MOST_A_ROUND, max(LEAST_A_ROUND, missing)) + LEAST_A_ROUND * barren


def _check(out: Path, count: int, config: Config) -> None:
    if not config.llm.model:
        raise ConfigError(
            "no language model is named; give --llm.model NAME, and --llm.base-url for a server of your own"
        )
    if not config.llm.domain.strip():
        raise ConfigError('nothing to list; say of what, such as --domain "birds of North America"')
    if count < 2:
        raise ConfigError(f"--count must be at least 2, got {count}")
    if out.suffix.lower() in (".json", ".jsonl") or out.is_dir():
        raise ConfigError(f"{out}: expected a text file to write names to; choose another --out, such as names.txt")


def _prompt(config: Config) -> ProposePrompt:
    return read_propose_prompt(Path(config.llm.prompt) if config.llm.prompt else None, domain=config.llm.domain)


def _closeness(config: Config, least_cosine: float, progress: Progress) -> tuple[Closeness | None, dict[str, Any]]:
    """Load the teacher, the first of several, to compare names with; without its weights letters have to do."""
    if least_cosine > 1:
        return None, {"by": "letters"}
    settings = config.teacher
    try:
        teacher = load_teachers(
            models=settings.models[:1],
            model=settings.model,
            pretrained=settings.pretrained,
            factory=settings.factory,
            normalization=settings.normalization,
        )[0]
    except WeightsError as error:
        progress.note(f"names are compared by letters alone, because the teacher cannot be had: {error}")
        return None, {"by": "letters", "because": str(error)}
    teacher.to(pick_device(config.train.device))
    closeness = Closeness(teacher, template=config.text.templates[0], least_cosine=least_cosine)
    return closeness, {"by": "meaning", "teacher": teacher.name, "least_cosine": least_cosine}


def _asked(prompt: ProposePrompt, config: Config) -> dict[str, Any]:
    """What every round of one file has in common."""
    return {"domain": prompt.settings["domain"], "model": config.llm.model, "prompt": prompt.digest}


def _rounds(
    records: list[dict[str, Any]], *, prompt: ProposePrompt, config: Config, where: Path
) -> list[dict[str, Any]]:
    """Return the records of rounds, if they are those of this question."""
    if not records:
        return []
    head, *rounds = records
    if head.get("kind") != KIND:
        raise TextError(f"{where}: expected rounds of `leadpp propose`, found something else; choose another --out")
    asked = _asked(prompt, config)
    odd = next((name for name, value in asked.items() if head.get(name) != value), None)
    if odd is not None:
        raise TextError(
            f"{where}: its rounds were asked with the {odd} {head.get(odd)!r}, not {asked[odd]!r}; choose another "
            "--out, or remove it to begin anew"
        )
    return rounds


def _replay(journal: Journal, *, prompt: ProposePrompt, config: Config, closeness: Closeness | None) -> Roll:
    """Read all replies that are there once more, by the rules and settings of today."""
    roll = Roll(closeness)
    for record in _rounds(journal.records, prompt=prompt, config=config, where=journal.path):
        roll.add(read_proposals(record["text"], complete=record["complete"]))
    return roll


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Journal]:
    """Open a journal; leave no empty one behind."""
    with Journal(path) as journal:
        try:
            yield journal
        finally:
            if not journal.records:
                path.unlink(missing_ok=True)


def _journal_path(out: Path) -> Path:
    return out.with_name(f"{out.stem}.rounds.jsonl")


def _provenance_path(out: Path) -> Path:
    return out.with_name(f"{out.stem}.json")


def _check_untouched(out: Path) -> str:
    """Return the digest of the names that are there, empty for none; refuse to replace what was not written here."""
    if not out.exists():
        return ""
    if not _provenance_path(out).exists():
        raise TextError(f"{out}: there already, and not proposed by a language model; choose another --out")
    digest = file_digest(out)
    if digest not in read_json(_provenance_path(out), kind=KIND)["written"]:
        raise TextError(f"{out}: changed since it was written; choose another --out, or move it away to have it again")
    return digest


def _write(out: Path, names: list[str], facts: Mapping[str, Any], *, before: str) -> None:
    """Write the provenance first, with the digests of both files of names that a crash might leave beside it."""
    text = "".join(f"{name}\n" for name in names)
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    write_json(_provenance_path(out), {**facts, "written": sorted({digest, before} - {""})}, kind=KIND)
    write_text(out, text)


def _tell(facts: Mapping[str, Any], progress: Progress) -> None:
    if facts["stopped"] == "nothing new":
        progress.note(
            f"the model brought nothing new in {BARREN_ROUNDS} rounds: {facts['names']} names of {facts['count']}; run "
            "the same command to try again, or ask another model or for a wider domain"
        )
    if facts["general"]:
        general, special = next(iter(facts["general"].items()))
        progress.note(
            f"{len(facts['general'])} names may be groups of others, such as {general!r} beside {special!r}; they stay"
        )


def _nothing_words(journal: Journal) -> str:
    last = journal.records[-1].get("text", "") if len(journal.records) > 1 else ""
    said = f"; its last answer begins {' '.join(last.split())[:80]!r}" if last.strip() else ""
    return f"{journal.path}: the model named nothing{said}; ask another model, or edit the prompt (--llm.prompt)"


def _results(out: Path, facts: Mapping[str, Any], meter: Meter) -> dict[str, Any]:
    return {
        "out": str(out),
        "names": facts["names"],
        "count": facts["count"],
        "stopped": facts["stopped"],
        "rounds": len(facts["rounds"]),
        "dropped": len(facts["dropped"]),
        "tokens_in": sum(one["tokens_in"] for one in facts["rounds"]),
        "tokens_out": sum(one["tokens_out"] for one in facts["rounds"]),
        "cost": round(meter.cost, 6),
        "provenance": str(_provenance_path(out)),
    }
