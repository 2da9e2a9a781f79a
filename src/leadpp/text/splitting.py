"""Dividing texts so that a tower reads every piece whole: at ends of sentences, else of words, else anywhere."""

import re
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class TokenCounter(Protocol):
    """A text tower that can say how much of a text it reads; one that cannot is taken to read all of it."""

    context_tokens: int
    """The most tokens it reads, marks of start and end included; 77 for CLIP."""

    def count_tokens(self, text: str) -> int:
        """Return the tokens of the whole text, marks of start and end included."""
        ...


def fits(text: str, counter: TokenCounter) -> bool:
    """Tell whether the tower reads the text to its end."""
    return counter.count_tokens(text.strip()) <= counter.context_tokens


def split_text(text: str, *, counter: TokenCounter) -> list[str]:
    """Divide a text into pieces that the tower reads whole: at ends of sentences, else of words, else anywhere.

    Pieces are filled from the left; put together again without regard to spaces they are the text.

    Returns:
        At least one piece; the text itself if it fits.
    """
    return [piece.strip() for piece in _pack(text, _DIVISIONS, counter)]


def split_sentences(text: str, *, counter: TokenCounter) -> list[str]:
    """Divide a text into its sentences, and one that the tower does not read whole at ends of words.

    Returns:
        At least one; joined as they are, with the spaces behind each, they are the text.
    """
    return [part for sentence in sentences(text) for part in _pack(sentence, _DIVISIONS[1:], counter)]


def sentences(text: str) -> list[str]:
    """Divide a text at ends of sentences and clauses, each with the spaces behind it.

    >>> sentences("Small; brown. Sings!")
    ['Small; ', 'brown. ', 'Sings!']
    """
    return re.findall(r".+?(?:[.!?;:]+[\"')\]]*\s+|[。！？；]+|$)", text, flags=re.DOTALL)  # noqa: RUF001 - CJK stops


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*", text)


_DIVISIONS: tuple[Callable[[str], list[str]], ...] = (sentences, _words, list)


def _pack(text: str, divisions: Sequence[Callable[[str], list[str]]], counter: TokenCounter) -> list[str]:
    """Fill pieces with units of the coarsest division; a unit that fits nowhere is divided more finely."""
    if fits(text, counter) or not divisions:
        return [text]
    pieces: list[str] = []
    for unit in divisions[0](text):
        if pieces and fits(pieces[-1] + unit, counter):
            pieces[-1] += unit
        else:
            pieces += _pack(unit, divisions[1:], counter)
    return pieces
