"""Names of many files in one word, as shells and WebDataset write them: ``{0000..0099}`` and ``{a,b}``."""

import re
from collections.abc import Iterator

from leadpp.errors import DataError

MOST_WORDS = 1_000_000
"""How many names one word may stand for."""

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
    before, brace, rest = word.partition("{")
    if not brace:
        if "}" in word:
            raise _alone(word)
        return [word]
    inner, after = _closed(rest, word)
    ends = expand_braces(after)
    words: list[str] = []
    for choice in _choices(inner, word):
        words += [before + choice + end for end in ends]
        if len(words) > MOST_WORDS:
            raise DataError(
                f"{word}: stands for more than {MOST_WORDS:,} names; put more photographs into fewer archives"
            )
    return words


def _closed(rest: str, word: str) -> tuple[str, str]:
    """Divide what follows an open brace at the one that closes it."""
    depth = 1
    for place, letter in enumerate(rest):
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return rest[:place], rest[place + 1 :]
    raise _alone(word)


def _choices(inner: str, word: str) -> Iterator[str]:
    ends = _RANGE.fullmatch(inner)
    if ends is not None:
        yield from _numbers(ends[1], ends[2], int(ends[3] or 1))
        return
    choices = _divided(inner)
    if len(choices) == 1:
        raise DataError(f"{word}: {{{inner}}} is neither a range such as {{0000..0099}} nor a list such as {{a,b}}")
    for choice in choices:
        yield from expand_braces(choice)


def _divided(inner: str) -> list[str]:
    """Divide a list at the commas that are in no other braces."""
    choices, depth = [""], 0
    for letter in inner:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            choices.append("")
        else:
            choices[-1] += letter
    return choices


def _numbers(first: str, last: str, step: int) -> Iterator[str]:
    low, high, by = int(first), int(last), abs(step) or 1
    numbers = range(low, high + 1, by) if low <= high else range(low, high - 1, -by)
    padded = any(re.match(r"-?0\d", end) for end in (first, last))
    width = max(len(first), len(last)) if padded else 0
    return (f"{number:0{width}d}" for number in numbers)


def _alone(word: str) -> DataError:
    return DataError(f"{word}: a brace stands alone; expected names such as shards/{{0000..0099}}.tar")
