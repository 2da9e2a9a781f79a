import csv
import io
import itertools

from leadpp.io.cells import inert, original, plain, table_text

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
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["x", "y"], ["\n=1", "0.5000"]]
