"""Cells of tables that people open in a spreadsheet, which runs a text that begins as a formula does."""

import re

_LIVE = re.compile(r"'*[\s\x00-\x1f\u200b\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""What a spreadsheet would run, or would if a guard were taken off: a formula's first sign, in either width, behind
nothing but blanks that the spreadsheet may drop."""


def guard_cell(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula; other texts stay as they are.

    A text that already looks guarded gets one more, so that :func:`unguard_cell` gives back every text exactly.

    >>> guard_cell("=1+1"), guard_cell("-tailed"), guard_cell("'=1+1"), guard_cell("Clark's 'Nutcracker'")
    ("'=1+1", "'-tailed", "''=1+1", "Clark's 'Nutcracker'")
    """
    return f"'{text}" if _LIVE.match(text) else text


def unguard_cell(cell: str) -> str:
    """Take the apostrophe off that :func:`guard_cell` put there; any other cell stays as it is.

    A table that somebody else wrote may hold live cells; they are data and stay so.

    >>> unguard_cell("'=1+1"), unguard_cell("=1+1"), unguard_cell("'tis small")
    ('=1+1', '=1+1', "'tis small")
    """
    return cell[1:] if cell.startswith("'") and _LIVE.match(cell) else cell
