"""Names in braces, beside what a shell makes of them."""

import subprocess

import pytest

from leadpp.data.braces import MOST_WORDS, expand_braces
from leadpp.errors import DataError


@pytest.mark.parametrize(
    "word",
    [
        "shards/{0000..0011}.tar",
        "{9..11}.tar",
        "{09..11}.tar",
        "{11..9}.tar",
        "{-2..2}",
        "{0..10..3}-{b,a}",
        "{train,val/x}-{00..01}.tar",
        "a{b,c{1..2}d}e",
        "{,old-}x",
        "plain.tar",
        "{1..1}",
        "{3..1..2}",
    ],
)
def test_a_shell_says_the_same(word: str) -> None:
    said = subprocess.run(["bash", "-c", f"printf '%s\\n' {word}"], capture_output=True, text=True, check=True).stdout
    assert expand_braces(word) == said.splitlines()


@pytest.mark.parametrize("word", ["{0..3", "0..3}.tar", "{x}.tar", "{}.tar", "{a..c}", "{1..99999999999999999999}"])
def test_mistakes(word: str) -> None:
    with pytest.raises(DataError, match=r"brace|range"):
        expand_braces(word)


@pytest.mark.parametrize("word", [f"{{0..{10**17}}}", "{0..999}{0..999}{0..9}"])
def test_too_many(word: str) -> None:
    with pytest.raises(DataError, match=f"more than {MOST_WORDS:,} names"):
        expand_braces(word)
