"""Descriptions: what can be seen on each class, in words, one text or several, from CSV or JSON and to CSV."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leadpp.errors import TextError
from leadpp.io.artifacts import write_text
from leadpp.io.cells import CellError, original, read_rows, table_text
from leadpp.text.names import check_distinct, check_names, is_text, name_key, read_words

HEADER = ("class name", "description")
_NAME_TITLES = frozenset({"classname", "class", "classes", "name", "names", "label", "category", "species"})
_TEXT_TITLES = frozenset({"description", "descriptions", "text", "texts", "caption", "prompt"})
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_FIRST_CELL = re.compile(r'(?:"(?:[^"]|"")*"|[^",;\t\n]*)([,;\t])')

_JSON_NAMES = ("class", "name")
_JSON_TEXTS = ("text", "description")


def _say_nothing(message: str) -> None:
    del message


def read_descriptions(path: Path, *, notify: Callable[[str], None] = _say_nothing) -> dict[str, tuple[str, ...]]:
    """Read the descriptions of each class, in the file's order.

    A ``.json`` file is an object of ``{class: text}``, ``{class: {"text": text, ...}}`` or ``{class: [text, ...]}``, or
    a list of objects ``{"class": class, "text": text, ...}``; ``description`` does for ``text``, ``name`` for
    ``class``. Anything else is CSV with the class name and the description in the first two columns, or wherever a
    header says they are. A header is optional. Further columns are left out if the header has a place for them, and
    must be empty if not: the reference has a file with a third column that has no title and holds a second text in two
    of its 200 rows.

    Rows and items under one name, in the same spelling, are several descriptions of that class, wherever they stand.

    Args:
        path: A ``.json`` or CSV file.
        notify: Told of texts that are left out because their column has no title, and of a table without a header.

    Returns:
        At least one text for each class; classes in the order of their first texts.

    Raises:
        TextError: Missing, malformed, empty, a description that is empty or stands twice under one class, one name in
            two spellings, a key that occurs twice, a header that names only one of both columns or one of them twice.
    """
    words = read_words(path)
    pairs = _json_pairs(path, words) if path.suffix.lower() == ".json" else _csv_pairs(path, words, notify)
    if not pairs:
        raise TextError(f"{path}: expected at least one description a class, found none")
    places: dict[str, dict[str, str]] = {}  # of each text of each class
    for where, name, text in pairs:
        if not is_text(name + text) or "\0" in text:
            raise TextError(f"{path}, {where}: {name!r} or its description holds a zero or half a letter; remove it")
        if not text:
            raise TextError(f"{path}, {where}: the description of {name!r} is empty; write one or remove the class")
        known = places.setdefault(name, {})
        if text in known:
            raise TextError(f"{path}, {where}: {name!r} has the same description at {known[text]}; remove one of them")
        known[text] = where
    check_names(list(places), what=f"{path}: classes")
    return {name: tuple(known) for name, known in places.items()}


def write_descriptions(path: Path, descriptions: Mapping[str, tuple[str, ...]]) -> None:
    """Write a CSV of ``class name,description``, one row a text, that :func:`read_descriptions` reads back.

    Newlines inside are written as single ones. Cells that a spreadsheet would take for a formula have an apostrophe in
    front, which reading takes away.

    Args:
        path: The file to write.
        descriptions: The texts of each class.

    Raises:
        ArtifactError: The disk refused.
    """
    rows = ((_same_newlines(name), _same_newlines(text)) for name, texts in descriptions.items() for text in texts)
    write_text(path, table_text(HEADER, rows))


def _same_newlines(text: str) -> str:
    """A bare carriage return would end the row for readers, and the writer does not quote it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


_Pair = tuple[str, str, str]  # where it stands, class name, description


def _csv_pairs(path: Path, words: str, notify: Callable[[str], None]) -> list[_Pair]:
    delimiter = delimiter_of(words)
    try:
        rows = read_rows(words, delimiter=delimiter)
    except CellError as error:
        raise TextError(
            f"{path}, line {error.line}: not valid CSV ({error}); put double quotes round each description"
        ) from error
    if rows and rows[0][1][0].lower() == "sep=":  # a line by which spreadsheets are told the delimiter
        rows = rows[1:]
    if not rows:
        return []
    layout = _layout(f"{path}, line {rows[0][0]}", rows[0][1])
    if not layout.header_rows:
        _check_delimiter(path, words, delimiter)
        notify(f"{path}: the first line is no header ({','.join(HEADER)}), so {rows[0][1][0]!r} is taken for a class")
    rows = rows[layout.header_rows :]
    for line, row in rows:
        _check_row(f"{path}, line {line}", row, layout)
    untitled = [row[layout.name].strip() for _, row in rows if layout.spare(row)]
    if untitled:
        notify(f"{path}: {len(untitled)} texts in a column without a title are left out, first of {untitled[0]!r}")
    return [(f"line {line}", _words_of(row[layout.name]), _words_of(row[layout.text])) for line, row in rows]


def _words_of(cell: str) -> str:
    return original(cell.strip()).strip()


def delimiter_of(words: str) -> str:
    """Return what ends the first cell of a CSV: a semicolon from spreadsheets that write decimals with a comma."""
    first = _FIRST_CELL.match(words.lstrip(" \n"))
    return first[1] if first else ","


def _check_delimiter(path: Path, words: str, delimiter: str) -> None:
    """Refuse a table without a header that another delimiter divides as well, into equally many cells in every row."""
    for other, called in _DELIMITERS.items():
        if other != delimiter and _divides(words, other):
            raise TextError(
                f"{path}: divided by {_DELIMITERS[delimiter]} or by {called}? Both are possible; put a header with the "
                f"right one first, such as {delimiter.join(HEADER)!r}"
            )


def _divides(words: str, delimiter: str) -> bool:
    try:
        rows = read_rows(words, delimiter=delimiter)
    except CellError:
        return False
    cut = any(cell.count('"') % 2 for _, row in rows for cell in row)  # a cell in quotes that was cut in two
    return not cut and len(rows[0][1]) > 1 and len({len(row) for _, row in rows}) == 1


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """Which columns hold what; ``titled`` are all with a title, ``width`` is how many the header has."""

    name: int = 0
    text: int = 1
    titled: frozenset[int] = frozenset({0, 1})
    width: int = 2
    header_rows: int = 0

    def spare(self, row: Sequence[str]) -> list[str]:
        """Cells with something in them that no title speaks of."""
        return [cell for column, cell in enumerate(row) if column not in self.titled and cell.strip()]


def _layout(where: str, first: Sequence[str]) -> _Layout:
    titles = [name_key(cell) for cell in first]
    name = _column(where, first, titles, _NAME_TITLES, best=HEADER[0])
    text = _column(where, first, titles, _TEXT_TITLES, best=HEADER[1])
    if name is None and text is None:
        return _Layout()
    if name is None or text is None:
        wanted = _NAME_TITLES if name is None else _TEXT_TITLES
        raise TextError(
            f"{where}: expected a column {HEADER[0 if name is None else 1]!r} (or {', '.join(sorted(wanted))}) in the "
            f"header, found {', '.join(repr(cell[:40]) for cell in first)}; rename one, or put a header before it"
        )
    titled = frozenset(column for column, title in enumerate(titles) if title)
    return _Layout(name=name, text=text, titled=titled, width=len(titles), header_rows=1)


def _column(where: str, first: Sequence[str], titles: Sequence[str], known: frozenset[str], *, best: str) -> int | None:
    """Return the column with one of the known titles; with several, the one whose title is the best."""
    found = [column for column, title in enumerate(titles) if title in known]
    chosen = [column for column in found if titles[column] == name_key(best)] or found
    if len(chosen) > 1:
        one, other = (first[column] for column in chosen[:2])
        raise TextError(f"{where}: both {one!r} and {other!r} could be the column {best!r}; rename one of them")
    return chosen[0] if chosen else None


def _check_row(where: str, row: Sequence[str], layout: _Layout) -> None:
    # A description with bare commas runs on into further cells: beyond the header, or after a space.
    if any(cell.strip() for cell in row[layout.width :]) or any(cell[0].isspace() for cell in layout.spare(row)):
        raise TextError(
            f"{where}: expected a class name and a description, found {len(row)} columns; "
            "put double quotes round a description that contains commas"
        )
    if len(row) <= max(layout.name, layout.text):
        raise TextError(f"{where}: expected `class name,description`, found {len(row)} column: {row[0][:40]!r}")
    if not row[layout.name].strip():
        raise TextError(f"{where}: a description without a class name; write the name in front of it")


def _json_pairs(path: Path, words: str) -> list[_Pair]:
    try:
        content = json.loads(words, object_pairs_hook=_refuse_twins)
    except _TwinError as error:
        raise TextError(f"{path}: the key {error.args[0]!r} occurs twice; keep one of the two") from error
    except (ValueError, RecursionError) as error:
        raise TextError(f"{path}: not valid JSON ({error}); expected an object of {{class: text}}") from error
    if isinstance(content, list):
        return [_json_item(f"{path}, item {place}", place, item) for place, item in enumerate(content, start=1)]
    if not isinstance(content, dict):
        raise TextError(f"{path}: expected an object of {{class: text}}, found a {type(content).__name__}")
    check_distinct([name.strip() for name in content], what=f"{path}: keys")
    return [pair for name, value in content.items() for pair in _json_entry(path, name, value)]


def _json_entry(path: Path, key: str, value: object) -> list[_Pair]:
    if not isinstance(value, list):
        return [(f"key {key!r}", key.strip(), _json_text(f"{path}, key {key!r}", value))]
    if not value:
        raise TextError(f"{path}, key {key!r}: expected at least one text, found an empty list; remove the class")
    places = [f"key {key!r}, text {number}" for number in range(1, len(value) + 1)]
    return [
        (place, key.strip(), _json_text(f"{path}, {place}", text)) for place, text in zip(places, value, strict=True)
    ]


def _json_item(where: str, place: int, item: object) -> _Pair:
    if not isinstance(item, Mapping):
        raise TextError(f'{where}: expected an object {{"class": name, "text": text}}, found a {type(item).__name__}')
    name = _json_value(where, item, _JSON_NAMES)
    if not name:
        raise TextError(f"{where}: a description without a class name; write the name beside it")
    return f"item {place}", name, _json_value(where, item, _JSON_TEXTS)


class _TwinError(Exception):
    """A key that occurs twice in one JSON object; the parser alone would keep the last in silence."""


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise _TwinError(key)
        content[key] = value
    return content


def _json_text(where: str, value: object) -> str:
    if isinstance(value, Mapping):
        return _json_value(where, value, _JSON_TEXTS)
    if not isinstance(value, str):
        raise TextError(f'{where}: expected a text or {{"text": text}}, found a {type(value).__name__}')
    return value.strip()


def _json_value(where: str, item: Mapping[str, object], keys: Sequence[str]) -> str:
    """Return the words under the first of the keys that is there."""
    key = next((key for key in keys if key in item), None)
    if key is None:
        wanted, found = " or ".join(map(repr, keys)), ", ".join(map(repr, item)) or "none"
        raise TextError(f"{where}: expected a key {wanted}, found {found}; add it")
    value = item[key]
    if not isinstance(value, str):
        raise TextError(f"{where}: expected words under {key!r}, found a {type(value).__name__}")
    return value.strip()
