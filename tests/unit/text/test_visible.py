import pytest

from leadpp.text.visible import UNSEEN, VISIBLE, plain_words, unseen_words, visible_words


def test_the_two_lists_share_no_word() -> None:
    assert not VISIBLE & UNSEEN


def test_listed_words_are_written_as_texts_are_read() -> None:
    for word in VISIBLE | UNSEEN:
        assert plain_words(word) == [word]


@pytest.mark.parametrize(
    ("word", "listed"),
    [
        ("spots", "spot"),
        ("spotted", "spot"),
        ("striped", "stripe"),
        ("larger", "large"),
        ("bluish", "blue"),
        ("reddish", "red"),
        ("coppery", "copper"),
        ("patches", "patch"),
        ("tapering", "taper"),
        ("leaves", "leaves"),
    ],
)
def test_endings_do_not_hide_a_word(word: str, listed: str) -> None:
    assert visible_words([word]) == {listed}


@pytest.mark.parametrize("word", ["finish", "many", "party", "wins", "is", "bred", "redder-than", "thing", ""])
def test_other_words_are_not_taken_for_visible_ones(word: str) -> None:
    assert visible_words([word]) == set()


def test_one_word_in_several_forms_counts_once() -> None:
    assert visible_words(plain_words("Red, reddish, spotted spots with a spot; it nests.")) == {"red", "spot"}
    assert unseen_words(plain_words("It nests. A nest, nesting; red.")) == {"nest"}
