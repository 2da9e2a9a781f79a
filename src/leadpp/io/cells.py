"""Cells of CSV files that no spreadsheet takes for a formula, and that are read back as they were."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

_FORMULA = re.compile("'*(?:[\\t\\r\\n]|[\\s\\x00-\\x1f\u200b\ufeff]*[=+\\-@\uff1d\uff0b\uff0d\uff20])")
"""What a spreadsheet may run, in full width too and behind blanks that it drops, with or without marks before it."""


def inert(text: str) -> str:
    """Put an apostrophe, the spreadsheets' own mark of plain text, before what begins like a formula.

    >>> inert("=1+1"), inert("a wing = a wing"), inert("'tis grey")
    ("'=1+1", 'a wing = a wing', "'tis grey")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def original(cell: str) -> str:
    """Return the text of a cell that :func:`inert` wrote.

    >>> original("'=1+1"), original("''=1+1"), original("'tis grey")
    ('=1+1', "'=1+1", "'tis grey")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def read_rows(words: str, *, delimiter: str = ",") -> list[tuple[int, list[str]]]:
    """Divide a table into rows of cells, of any length; rows without any words are left out.

    Args:
        words: The whole text of the table, with lines ended by a single newline.
        delimiter: What stands between two cells.

    Returns:
        Each row with the number of the line on which it ends.

    Raises:
        CellError: Quotes are not closed, or something stands behind closing ones.
    """
    reader = csv.reader(io.StringIO(words, newline=""), delimiter=delimiter, strict=True)
    usual = csv.field_size_limit(len(words) + 1)  # the module would refuse cells of 131,072 letters
    try:
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise CellError(reader.line_num, str(error)) from error
    finally:
        csv.field_size_limit(usual)


class CellError(Exception):
    """A table that cannot be divided into cells, and the line on which that shows."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def table_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a CSV of inert cells under titles."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([inert(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def plain(value: str | float | bool | None) -> str:
    """Write a value as a cell for people: numbers with four decimals, ``yes`` and ``no``, nothing for None.

    Carriage returns within words, of which readers disagree whether they end a row, become newlines.

    >>> plain(0.25), plain(True), plain(None), plain(7), plain("a wren")
    ('0.2500', 'yes', '', '7', 'a wren')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    return str(value).replace("\r", "\n")
