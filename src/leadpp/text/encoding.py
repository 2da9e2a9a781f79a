"""From words to vectors: sentences for bare names, pieces of long texts, one unit vector a text, and one a class.

Shape letters: N texts, C classes, D embedding.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from leadpp.errors import TextError
from leadpp.text.names import without_numbering
from leadpp.text.prototypes import unit_rows

BATCH = 32
"""Pieces that are encoded in one call."""


class TextEncoder(Protocol):
    """A text tower."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return one vector a text, shape (N, D)."""
        ...


@runtime_checkable
class TokenCounter(Protocol):
    """A text tower that can say how much of a text it reads; one that cannot is taken to read all of it."""

    context_tokens: int
    """The most tokens it reads, marks of start and end included; 77 for CLIP."""

    def count_tokens(self, text: str) -> int:
        """Return the tokens of the whole text, marks of start and end included."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodedTexts:
    """Vectors, and what it took to make them."""

    vectors: Tensor
    """Unit rows, float32, on the CPU, shape (N, D)."""
    pieces: int
    """How many pieces were encoded; N if no text was split."""
    long_texts: int
    """How many texts are longer than the tower reads."""
    longest_tokens: int | None
    """Tokens of the longest text, or None if the tower does not count."""


def fill_template(template: str, name: str) -> str:
    """Put a class name into a sentence, without its numbering and with spaces for underscores.

    >>> fill_template("a photo of a {}.", "001.Black_footed_Albatross")
    'a photo of a Black footed Albatross.'
    """
    return template.replace("{}", " ".join(without_numbering(name).replace("_", " ").split()))


def encode_texts(
    texts: Sequence[str],
    *,
    encoder: TextEncoder,
    long_text: Literal["split", "cut"] = "split",
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> EncodedTexts:
    """Encode each text as one unit vector.

    With ``split`` a text longer than the tower reads becomes several pieces; its vector is the mean of their unit
    vectors, each weighted by the tokens in it, so that every word counts the same wherever the text was divided. With
    ``cut`` the tower drops what it does not read, as the reference does.

    Args:
        texts: At least one.
        encoder: Says how much it reads if it is a :class:`TokenCounter`.
        long_text: What to do with texts that are too long.
        track: Wraps the starts of the batches, to show progress.

    Raises:
        TextError: The tower answers with the wrong number of vectors, or with one that is no direction.
    """
    counter = encoder if isinstance(encoder, TokenCounter) else None
    lengths = [counter.count_tokens(text) for text in texts] if counter else []
    long_texts = sum(length > counter.context_tokens for length in lengths) if counter else 0
    marks = counter.count_tokens("") if counter else 0
    pieces: list[str] = []
    weights: list[float] = []
    owners: list[int] = []
    for position, text in enumerate(texts):
        parts = split_text(text, counter=counter) if counter and long_text == "split" else [text]
        pieces += parts
        owners += [position] * len(parts)
        weights += [counter.count_tokens(part) - marks for part in parts] if counter and len(parts) > 1 else [1.0]
    vectors = torch.cat([_encode_batch(pieces[at : at + BATCH], encoder) for at in track(range(0, len(pieces), BATCH))])
    sums = torch.zeros(len(texts), vectors.shape[1], dtype=torch.float64)
    sums.index_add_(0, torch.tensor(owners), vectors.double() * torch.tensor(weights, dtype=torch.float64)[:, None])
    return EncodedTexts(
        vectors=unit_rows(sums), pieces=len(pieces), long_texts=long_texts, longest_tokens=max(lengths, default=None)
    )


def average_texts(vectors: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the unit mean of the unit vectors of each class's texts: an ensemble of prompts, as of CLIP and CuPL.

    Every text of a class counts the same, however long it is; where a class has one text, its vector stays as it is.

    Args:
        vectors: Unit rows, float32, the texts of one class after those of another, shape (N, D).
        counts: How many texts each of the C classes has, at least 1; N together.

    Returns:
        Unit rows, float32, shape (C, D).

    Raises:
        TextError: The vectors of a class cancel out, so that their mean is no direction.
    """
    sizes = torch.tensor(counts)
    owners = torch.arange(len(counts)).repeat_interleave(sizes)
    sums = torch.zeros(len(counts), vectors.shape[1], dtype=torch.float64).index_add_(0, owners, vectors.double())
    firsts = vectors[sizes.cumsum(dim=0) - sizes]
    # dividing a unit vector by its length once more might move its last bit
    return torch.where(sizes[:, None] == 1, firsts, unit_rows(sums))


def split_text(text: str, *, counter: TokenCounter) -> list[str]:
    """Divide a text into pieces that the tower reads whole: at ends of sentences, else of words, else anywhere.

    Pieces are filled from the left; put together again without regard to spaces they are the text.

    Returns:
        At least one piece; the text itself if it fits.
    """
    return [piece.strip() for piece in _pack(text, _DIVISIONS, lambda part: _fits(part, counter))]


def _sentences(text: str) -> list[str]:
    return re.findall(r".+?(?:[.!?;:]+[\"')\]]*\s+|[。！？；]+|$)", text, flags=re.DOTALL)  # noqa: RUF001 - CJK stops


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*", text)


_DIVISIONS: tuple[Callable[[str], list[str]], ...] = (_sentences, _words, list)


def _fits(part: str, counter: TokenCounter) -> bool:
    return counter.count_tokens(part.strip()) <= counter.context_tokens


def _pack(text: str, divisions: Sequence[Callable[[str], list[str]]], fits: Callable[[str], bool]) -> list[str]:
    """Fill pieces with units of the coarsest division; a unit that fits nowhere is divided more finely."""
    if fits(text) or not divisions:
        return [text]
    pieces: list[str] = []
    for unit in divisions[0](text):
        if pieces and fits(pieces[-1] + unit):
            pieces[-1] += unit
        else:
            pieces += _pack(unit, divisions[1:], fits)
    return pieces


def _encode_batch(texts: Sequence[str], encoder: TextEncoder) -> Tensor:
    vectors = encoder.encode_texts(texts)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise TextError(
            f"the text tower must return one vector a text, ({len(texts)}, D), but returned {tuple(vectors.shape)}"
        )
    return unit_rows(vectors)
