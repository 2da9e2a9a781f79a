import csv
import io
import itertools

import pytest

from leadpp.io.cells import CellError, inert, original, plain, read_rows, table_text

LIVE = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What OWASP lists as the beginnings of cells that spreadsheets run."""


def test_no_cell_is_live_and_every_cell_comes_back() -> None:
    for letters in itertools.chain(*(itertools.product(["'", "a", " ", *LIVE], repeat=size) for size in range(4))):
        text = "".join(letters)
        assert not inert(text).lstrip(" \t\r").startswith(LIVE[:4])
        assert not inert(text).startswith(LIVE)
        assert original(inert(text)) == text


def test_ordinary_words_are_left_alone() -> None:
    for text in ("", "A wing.", "'tis grey", "a=b", "''", " a wing"):
        assert inert(text) == original(text) == text


def test_a_table_is_csv() -> None:
    rows = [("Kea, or =", '=HYPERLINK("http://x")'), ("two\nlines", "")]
    read = list(csv.reader(io.StringIO(table_text(("name", "text"), rows), newline="")))
    assert read == [["name", "text"], ["Kea, or =", '\'=HYPERLINK("http://x")'], ["two\nlines", ""]]


def test_a_carriage_return_in_a_plain_cell_ends_no_row() -> None:
    text = table_text(["x", "y"], [[plain("\r=1"), plain(0.5)]])
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["x", "y"], ["'\n=1", "0.5000"]]


def test_rows_of_any_length_are_read_with_their_last_lines() -> None:
    long = "a" * 300_000
    limit = csv.field_size_limit()
    assert read_rows(f'x;y\n\n ; \n"{long}\n;";2\n', delimiter=";") == [(1, ["x", "y"]), (5, [f"{long}\n;", "2"])]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(("words", "line"), [('a,b\nc,"d', 2), ('a,"b" c\n', 1)])
def test_torn_quotes_are_an_error_at_their_line(words: str, line: int) -> None:
    limit = csv.field_size_limit()
    with pytest.raises(CellError) as caught:
        read_rows(words)
    assert caught.value.line == line
    assert csv.field_size_limit() == limit
