import pytest

from leadpp.text.splitting import split_sentences, split_text
from tests.unit.text.letter_tower import LetterTower


@pytest.mark.parametrize(
    ("text", "limit", "pieces"),
    [
        ("aaa bbb.", 8, ["aaa bbb."]),
        ("aaa. bbb! ccc? ddd.", 8, ["aaa. bbb!", "ccc? ddd."]),
        ("aaa. bbbb bbbb. ccc", 9, ["aaa.", "bbbb", "bbbb. ccc"]),
        ("aa bb cc dd ee.", 6, ["aa bb", "cc dd", "ee."]),
        ("abcdefghij", 6, ["abcd", "efgh", "ij"]),
        ("aa abcdefg bb", 6, ["aa", "abcd", "efg", "bb"]),
        ("「鶴です。鷺です。」", 5, ["「鶴です。", "鷺です。」"]),
        ("e.g. a. b", 5, ["e.g. a.", "b"]),
    ],
    ids=["fits", "sentences", "words", "one sentence", "no spaces", "a long word", "no spaces but stops", "short"],
)
def test_texts_divide_at_the_coarsest_end_that_fits(text: str, limit: int, pieces: list[str]) -> None:
    assert split_text(text, counter=LetterTower(limit)) == pieces


@pytest.mark.parametrize("limit", [3, 4, 7, 11, 30])
def test_every_piece_fits_and_no_letter_is_lost(limit: int) -> None:
    text = "The wren, small and brown; tail up. Sings loudly!\n\nIncomprehensibilities abound: eats (mostly) spiders. "
    tower = LetterTower(limit)
    pieces = split_text(text, counter=tower)
    assert all(0 < tower.count_tokens(piece) <= limit for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_a_letter_that_does_not_fit_is_left_to_the_tower() -> None:
    assert split_text("ab", counter=LetterTower(2)) == ["a", "b"]


def test_sentences_keep_what_is_between_them_and_one_that_is_too_long_is_divided() -> None:
    text = "Aa bb. Cc;  dd\n\nee ff gg hh! I."
    assert split_sentences(text, counter=LetterTower(100)) == ["Aa bb. ", "Cc;  ", "dd\n\nee ff gg hh! ", "I."]
    parts = split_sentences(text, counter=LetterTower(8))
    assert parts == ["Aa bb. ", "Cc;  ", "dd\n\nee ff ", "gg hh! ", "I."]
    assert "".join(parts) == text
