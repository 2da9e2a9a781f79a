"""Tables for people and their spreadsheets: CSV that no program takes for a formula."""

import csv
import io
from collections.abc import Iterable, Sequence

_LIVE = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write rows as CSV, numbers with four decimals, and words so that a spreadsheet shows them as they are.

    Args:
        header: Titles of the columns.
        rows: Cells of each row: words, numbers, truth values (``yes`` and ``no``), or None for an empty cell.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def inert(text: str) -> str:
    """Put an apostrophe before words that a spreadsheet would run as a formula.

    >>> inert("=HYPERLINK(1)"), inert("-1.jpg"), inert("a=b")
    ("'=HYPERLINK(1)", "'-1.jpg", 'a=b')
    """
    return f"'{text}" if text.startswith(_LIVE) else text


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    # Readers disagree on whether a carriage return ends a row; a newline within quotes does not, to all of them.
    return inert(value).replace("\r", "\n") if isinstance(value, str) else str(value)
