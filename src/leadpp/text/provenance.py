"""Where each description comes from, beside it in the table: a language model, a template, or a file of one's own."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from leadpp.errors import TextError
from leadpp.io.cells import CellError, original, read_rows, table_text
from leadpp.text.descriptions import HEADER, delimiter_of
from leadpp.text.names import read_words

TEMPLATE, OWN = "template", "own"
"""What stands for a model where none was asked."""
_COLUMNS = ("model", "prompt", "date", "seed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a description comes from, as the columns of a table have it."""

    model: str
    """The language model, or :data:`TEMPLATE` or :data:`OWN`."""
    prompt: str = ""
    """Twelve hexadecimal digits over the prompt's template and its settings, or what stands for them."""
    date: str = ""
    """Year, month and day, by universal time."""
    seed: str = ""
    """Sent along with the request; empty where nobody was asked, or the server did not take it."""


def described_text(rows: Iterable[tuple[str, str, Origin]]) -> str:
    """Return a CSV of class names, descriptions and their origins, which ``read_descriptions`` reads too."""
    return table_text([*HEADER, *_COLUMNS], ((name, text, *astuple(origin)) for name, text, origin in rows))


def read_provenance(path: Path) -> str:
    """Say in words where the descriptions of a file come from; empty if the file does not tell.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "descriptions.csv"
    ...     origin = Origin(model="small", prompt="0123456789ab", date="2026-01-31", seed="1")
    ...     _ = path.write_text(described_text([("wren", "A small bird.", origin)]))
    ...     read_provenance(path)
    'written by small (prompt 0123456789ab, 2026-01-31)'
    """
    origins = _read_origins(path)
    said = [
        words
        for model, words in (
            (TEMPLATE, "names in a template, written by no language model"),
            (OWN, "one's own, checked by leadpp describe"),
        )
        if any(origin.model == model for origin in origins)
    ]
    days: dict[tuple[str, str], list[str]] = {}
    for origin in origins:
        if origin.model not in (TEMPLATE, OWN):
            days.setdefault((origin.model, origin.prompt), []).append(origin.date)
    written = [f"{model} (prompt {prompt}, {_span(dates)})" for (model, prompt), dates in days.items()]
    return "; ".join([*said, *([f"written by {' and '.join(written)}"] if written else [])])


def _span(dates: list[str]) -> str:
    first, last = min(dates), max(dates)
    return first if first == last else f"{first} to {last}"


def _read_origins(path: Path) -> list[Origin]:
    """Return the different origins of a table in the order in which they occur; none where it has no such columns."""
    if path.suffix.lower() == ".json":
        return []
    try:
        words = read_words(path)
        (_, titles), *rows = read_rows(words, delimiter=delimiter_of(words)) or [(1, [])]
    except (TextError, CellError):
        return []
    if not {*HEADER, *_COLUMNS} <= set(titles):
        return []
    cells = [dict(zip(titles, map(original, row), strict=False)) for _, row in rows]
    origins = [Origin(**{name: own.get(name, "") for name in _COLUMNS}) for own in cells]
    return [origin for origin in dict.fromkeys(origins) if origin.model]
