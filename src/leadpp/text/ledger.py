"""Descriptions as they are accepted, and the table that is made of them.

A ledger is a journal beside the table. It knows who wrote each description, so that those of another model, prompt or
seed are not mixed in silence, and what the table looked like when it was written, so that changes by hand are not lost.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from leadpp.errors import ArtifactError, TextError
from leadpp.io.artifacts import file_digest, write_text, writing
from leadpp.io.journal import Journal, read_journal
from leadpp.text.provenance import Origin, described_text

_HEADER = {"kind": "descriptions-journal", "schema": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Author:
    """What decides a description, besides the name of its class."""

    model: str
    """The language model, or what stands for it where none is asked."""
    prompt: str
    """Digest of what is asked."""
    seed: int | None = None
    temperature: float | None = None

    def __str__(self) -> str:
        more = {"prompt": self.prompt, "seed": self.seed, "temperature": self.temperature}
        shown = ", ".join(f"{name} {value}" for name, value in more.items() if value is not None)
        return f"{self.model} ({shown})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An accepted description."""

    name: str
    """The class."""
    number: int
    """Which of several descriptions of the class, from 0."""
    text: str
    author: Author
    date: str
    tokens_in: int = 0
    tokens_out: int = 0
    attempts: int = 0
    left_out: tuple[str, ...] = ()
    """Settings of the author, such as ``seed``, that the server did not take, so that they had no part in it."""

    def record(self) -> dict[str, Any]:
        """Return what the journal keeps."""
        return dataclasses.asdict(self)

    def row(self) -> tuple[str, str, Origin]:
        """Return what the table shows."""
        seed = "" if self.author.seed is None or "seed" in self.left_out else str(self.author.seed)
        return (
            self.name,
            self.text,
            Origin(model=self.author.model, prompt=self.author.prompt, date=self.date, seed=seed),
        )


class Ledger:
    """The accepted descriptions of one table, for one process at a time."""

    def __init__(self, out: Path) -> None:
        """Open the ledger of a table, new or to go on with.

        Raises:
            TextError: The table is not to be a ``.csv``.
            ArtifactError: Another process is at work on it, its journal is damaged, or the disk refused.
        """
        _check_suffix(out)
        self.out = out
        self._journal = Journal(journal_path(out))
        try:
            self._entries = entries_of(self._journal.path, self._journal.records)
        except BaseException:
            self._journal.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the journal."""
        self._journal.__exit__()

    def set_aside(self) -> list[Path]:
        """Rename table and journal, if there are any, and begin anew; return where they are now."""
        moved = []
        if self.out.exists():
            moved.append(_free(self.out))
            with writing(self.out):
                self.out.rename(moved[-1])
        if self._journal.records:
            moved.append(_free(self._journal.path))
            with writing(moved[-1]):
                moved[-1].write_bytes(self._journal.path.read_bytes())
            self._journal.clear()
            self._entries = {}
        return moved

    def check(self, author: Author, *, keep: bool) -> None:
        """Refuse what :func:`check_ledger` refuses.

        Raises:
            TextError: The table is not to be overwritten, or would be of several authors.
        """
        _check(self.out, self._journal.records, self._entries, author, keep=keep)

    def __contains__(self, place: tuple[str, int]) -> bool:
        """Tell whether a description, by class and number, is there."""
        return place in self._entries

    def texts(self, name: str) -> list[str]:
        """Return the accepted descriptions of a class in their order."""
        numbers = itertools.takewhile(lambda number: (name, number) in self._entries, itertools.count())
        return [self._entries[name, number].text for number in numbers]

    def others(self, wanted: Sequence[tuple[str, int]]) -> int:
        """Count the descriptions that are there and not wanted."""
        return len(self._entries.keys() - set(wanted))

    def accept(self, entries: Iterable[Entry]) -> None:
        """Add descriptions; when this returns, they are on disk.

        Raises:
            ArtifactError: The disk refused.
        """
        new = list(entries)
        begin = [] if self._journal.records else [_HEADER]
        self._journal.extend([*begin, *(entry.record() for entry in new)])
        self._entries |= {(entry.name, entry.number): entry for entry in new}

    def write_table(self, wanted: Sequence[tuple[str, int]]) -> int:
        """Write those of the wanted descriptions that there are, in the order given; return how many.

        Nothing is written where there are none, or where the table is as it should be.

        Raises:
            ArtifactError: The disk refused.
        """
        entries = read_entries(self.out)  # a signal may have come between the disk and what is known here
        rows = [entries[place].row() for place in wanted if place in entries]
        text = described_text(rows)
        digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        if rows and not (self.out.exists() and file_digest(self.out) == digest):
            self._journal.extend([{"table": digest}])  # before the table is there, so that it is known for ours
            write_text(self.out, text)
        return len(rows)


def journal_path(out: Path) -> Path:
    """Return where the journal of a table is."""
    return out.with_name(f"{out.name}.journal.jsonl")


def read_entries(out: Path) -> dict[tuple[str, int], Entry]:
    """Read the accepted descriptions of a table by class and number, and leave its journal alone.

    Raises:
        TextError: The table is not to be a ``.csv``.
        ArtifactError: The journal is damaged.
    """
    _check_suffix(out)
    path = journal_path(out)
    return entries_of(path, read_journal(path))


def check_ledger(out: Path, author: Author, *, keep: bool) -> None:
    """Refuse to overwrite what is not the ledger's, and to mix what several authors wrote unless that is wanted.

    Args:
        out: The table; it and its journal are left alone.
        author: Who is to write what is missing.
        keep: Whether what others wrote may stay.

    Raises:
        TextError: One of the two, with what can be done.
        ArtifactError: The journal is damaged.
    """
    records = read_journal(journal_path(out))
    _check(out, records, entries_of(journal_path(out), records), author, keep=keep)


def _check(
    out: Path,
    records: Sequence[dict[str, Any]],
    entries: Mapping[tuple[str, int], Entry],
    author: Author,
    *,
    keep: bool,
) -> None:
    ours = {record["table"] for record in records if "table" in record}
    if out.exists() and file_digest(out) not in ours:
        raise TextError(
            f"{out}: this file is there already, and not as leadpp describe left it; give another --out, or "
            f"--fresh, which renames it to {_free(out).name}"
        )
    others = [entry.author for entry in entries.values() if entry.author != author]
    if others and not keep:
        raise TextError(
            f"{out}: {len(others)} of its {len(entries)} descriptions are by {others[0]}, and now "
            f"{author} is asked for; --keep keeps them and asks for the rest, --fresh sets them aside"
        )


def entries_of(path: Path, records: Sequence[dict[str, Any]]) -> dict[tuple[str, int], Entry]:
    """Take the accepted descriptions out of the records of a journal.

    Raises:
        ArtifactError: It is no journal of descriptions, or of another version.
    """
    if records and records[0] != _HEADER:
        raise ArtifactError(f"{path}: expected a journal of leadpp describe, of schema 1; move it away")
    entries = {}
    for number, record in enumerate(records[1:], start=2):
        if "table" in record:
            continue
        try:
            left_out = tuple(record.get("left_out", ()))
            entry = Entry(**record | {"author": Author(**record["author"]), "left_out": left_out})
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"{path}, line {number}: damaged; remove this line, and run again") from error
        entries[entry.name, entry.number] = entry
    return entries


def _check_suffix(out: Path) -> None:
    if out.suffix.lower() != ".csv":
        raise TextError(f"{out}: expected a path that ends in .csv for the table of descriptions")


def _free(path: Path) -> Path:
    """Return a path beside another at which there is nothing yet."""
    names = (f"{path.name}.old{number or ''}" for number in itertools.count())
    return next(other for other in (path.with_name(name) for name in names) if not other.exists())
