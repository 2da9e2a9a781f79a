"""What a terminal is told."""

import unicodedata

import pytest

from leadpp.io.words import plain_line


@pytest.mark.parametrize("text", ["", "plain", "Zitronenfalter – ♂", "東京 – 12 %", "'quotes' \\ and <tags>"])
def test_words_stay_as_they_are(text: str) -> None:
    assert plain_line(text) == text


@pytest.mark.parametrize("letter", ["\n", "\r", "\t", "\x00", "\x1b", "\x7f", "\x9b", "\u202e", "\u2028", "\udcff"])
def test_what_does_something_is_shown(letter: str) -> None:
    shown = plain_line(f"a{letter}b")
    assert shown == "a" + ascii(letter)[1:-1] + "b"
    assert not {unicodedata.category(one) for one in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
