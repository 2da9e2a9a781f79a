"""Names of many files in one word, as shells and WebDataset write them: ``{0000..0099}`` and ``{a,b}``."""

import itertools
import re
from collections.abc import Iterator, Sequence

from leadpp.errors import DataError

MOST_WORDS = 1_000_000
"""How many names one word may stand for."""

_INNERMOST = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})(?:\.\.(-?\d{1,18}))?")


def expand_braces(word: str) -> list[str]:
    """Return the names that a word stands for, in its order.

    >>> expand_braces("{train,test}-{08..10}.tar")[:4]
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'test-08.tar']

    Args:
        word: Ranges of numbers ``{0000..0099}`` (with as many digits as they are written with, up or down, and a third
            number for a step) and lists ``{a,b}``, one inside another if need be.

    Raises:
        DataError: A brace is not closed, holds neither a range nor a list, or stands for too many names.
    """
    found = _INNERMOST.search(word)
    if found is None:
        if "{" in word or "}" in word:
            raise DataError(f"{word}: a brace stands alone; expected names such as shards/{{0000..0099}}.tar")
        return [word]
    words: list[str] = []
    for choice in _choices(found.group(1), word):
        words += expand_braces(word[: found.start()] + choice + word[found.end() :])
        if len(words) > MOST_WORDS:
            raise DataError(f"{word}: stands for more than {MOST_WORDS:,} names")
    return words


def _choices(inner: str, word: str) -> Iterator[str] | Sequence[str]:
    ends = _RANGE.fullmatch(inner)
    if ends is None:
        if "," not in inner:
            raise DataError(f"{word}: {{{inner}}} is neither a range such as {{0000..0099}} nor a list such as {{a,b}}")
        return inner.split(",")
    first, last, step = int(ends[1]), int(ends[2]), abs(int(ends[3] or 1)) or 1
    numbers = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    padded = any(re.match(r"-?0\d", end) for end in (ends[1], ends[2]))
    width = max(len(ends[1]), len(ends[2])) if padded else 0
    return (f"{number:0{width}d}" for number in itertools.islice(numbers, MOST_WORDS + 1))
