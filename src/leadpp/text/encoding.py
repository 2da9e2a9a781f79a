"""From words to vectors: sentences for bare names, long texts, one unit vector a text, and one a class.

Shape letters: N texts, C classes, D embedding.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from leadpp.errors import TextError
from leadpp.text.names import without_numbering
from leadpp.text.prototypes import unit_rows
from leadpp.text.splitting import TokenCounter, split_text
from leadpp.text.summary import summarize

BATCH = 32
"""Pieces that are encoded in one call."""
LongText = Literal["split", "truncate", "summary"]
"""What is done with a text that is longer than the tower reads."""
Track = Callable[[Sequence[int]], Iterable[int]]
"""Wraps the starts of the batches, to show progress."""


class TextEncoder(Protocol):
    """A text tower."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return one vector a text, shape (N, D)."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodedTexts:
    """Vectors, and what it took to make them."""

    vectors: Tensor
    """Unit rows, float32, on the CPU, shape (N, D)."""
    pieces: int
    """In how many pieces the texts were read; N if no text was split."""
    long_texts: int
    """How many texts are longer than the tower reads."""
    longest_tokens: int | None
    """Tokens of the longest text, or None if the tower does not count."""
    shortened: tuple[str, ...] | None = None
    """All N texts as the tower was given them, where a summary took the place of any; else None."""


def fill_template(template: str, name: str) -> str:
    """Put a class name into a sentence, without its numbering and with spaces for underscores.

    >>> fill_template("a photo of a {}.", "001.Black_footed_Albatross")
    'a photo of a Black footed Albatross.'
    """
    return template.replace("{}", " ".join(without_numbering(name).replace("_", " ").split()))


def encode_texts(
    texts: Sequence[str], *, encoder: TextEncoder, long_text: LongText = "split", track: Track = iter
) -> EncodedTexts:
    """Encode each text as one unit vector.

    With ``split`` a text longer than the tower reads becomes several pieces; its vector is the mean of their unit
    vectors, each weighted by the tokens in it, so that every word counts the same wherever the text was divided. With
    ``summary`` it is shortened to sentences that fit together and are most like that mean (see
    :func:`~leadpp.text.summary.choose_sentences`), and these are read in one go. With ``truncate`` the tower drops what
    it does not read, as the reference does.

    Args:
        texts: At least one.
        encoder: Says how much it reads if it is a :class:`TokenCounter`.
        long_text: What to do with texts that are too long.
        track: Wraps the starts of the batches, to show progress.

    Raises:
        TextError: The tower answers with the wrong number of vectors, or with one that is no direction.
    """
    counter = encoder if isinstance(encoder, TokenCounter) else None
    if counter is None:
        rows = _encode_pieces(texts, encoder=encoder, track=track)
        return EncodedTexts(vectors=rows, pieces=len(texts), long_texts=0, longest_tokens=None)
    lengths = [counter.count_tokens(text) for text in texts]
    long_places = [place for place, length in enumerate(lengths) if length > counter.context_tokens]
    shortened = None
    if long_text == "summary" and long_places:
        summaries = _summaries([texts[place] for place in long_places], encoder, counter, track)
        instead = dict(zip(long_places, summaries, strict=True))
        texts = shortened = tuple(instead.get(place, text) for place, text in enumerate(texts))
    parts = [split_text(text, counter=counter) if long_text == "split" else [text] for text in texts]
    return EncodedTexts(
        vectors=_mean_of_pieces(parts, encoder=encoder, counter=counter, track=track),
        pieces=sum(map(len, parts)),
        long_texts=len(long_places),
        longest_tokens=max(lengths),
        shortened=shortened,
    )


def _summaries(texts: Sequence[str], encoder: TextEncoder, counter: TokenCounter, track: Track) -> list[str]:
    parts = [split_text(text, counter=counter) for text in texts]
    wholes = _mean_of_pieces(parts, encoder=encoder, counter=counter, track=track)
    return summarize(
        texts, wholes, counter=counter, encode=lambda rows: _encode_pieces(rows, encoder=encoder, track=track)
    )


def _mean_of_pieces(
    parts: Sequence[Sequence[str]], *, encoder: TextEncoder, counter: TokenCounter, track: Track
) -> Tensor:
    """Return the unit mean of the pieces of each text, weighted by their tokens without marks."""
    marks = counter.count_tokens("")
    weights = [float(counter.count_tokens(part) - marks) if len(own) > 1 else 1.0 for own in parts for part in own]
    owners = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(own) for own in parts]))
    vectors = _encode_pieces([part for own in parts for part in own], encoder=encoder, track=track)
    sums = torch.zeros(len(parts), vectors.shape[1], dtype=torch.float64)
    sums.index_add_(0, owners, vectors.double() * torch.tensor(weights, dtype=torch.float64)[:, None])
    return unit_rows(sums)


def _encode_pieces(pieces: Sequence[str], *, encoder: TextEncoder, track: Track) -> Tensor:
    return torch.cat([_encode_batch(pieces[at : at + BATCH], encoder) for at in track(range(0, len(pieces), BATCH))])


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


def mix_vectors(first: Tensor, second: Tensor, *, share: float) -> Tensor:
    """Return the unit mean of two sets of unit vectors, (1 - share) of the first and share of the second.

    Args:
        first: Unit rows, float32, shape (C, D).
        second: Unit rows of the same classes, shape (C, D).
        share: From 0 to 1.

    Returns:
        Unit rows, float32, shape (C, D); at 0 the first, at 1 the second, to the last bit.

    Raises:
        TextError: The vectors of a class cancel out.
    """
    if share in (0, 1):
        return second if share else first
    return unit_rows((1 - share) * first.double() + share * second.double())


def _encode_batch(texts: Sequence[str], encoder: TextEncoder) -> Tensor:
    vectors = encoder.encode_texts(texts)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise TextError(
            f"the text tower must return one vector a text, ({len(texts)}, D), but returned {tuple(vectors.shape)}"
        )
    return unit_rows(vectors)
