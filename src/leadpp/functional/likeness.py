"""How alike prototypes are, which of them a teacher cannot tell apart, and which no photograph is near.

Shape letters: C classes, D embedding, N photographs.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from leadpp.functional.consensus import balance_offsets

SAME_COSINE = 0.999
"""Prototypes at least this alike are practically the same. Rounding to half precision moves such a cosine by less than
1e-5; in the reference's four files one pair is so close (0.9999, two descriptions that share nearly all words), and no
other is above 0.9972."""
LEAST_ODDS = 2.0
"""A teacher tells two classes apart if a picture at the one prototype has at least these odds against the other."""
_BLOCK = 1024
_MOST_ORDERED = 500
"""Rows up to which the branches of the tree are also turned so that neighbours are most alike, which takes N^3."""
_BALANCE_ROUNDS = 50


def odds_between(cosine: float, *, temperature: float) -> float:
    """Return the odds of one class against another for a picture that lies at the one's prototype.

    In a softmax over cosines divided by the temperature, the picture p_i has the logits 1 / temperature for class i and
    cosine / temperature for class j, hence the odds exp((1 - cosine) / temperature): what the words of i can bring by
    themselves. A real picture gets more only where it happens to differ along p_i - p_j.

    Args:
        cosine: Of the two prototypes.
        temperature: Divides the cosines; above 0.

    Returns:
        From 1 (the same prototype) upwards; infinite beyond what a number holds.

    >>> round(odds_between(0.98, temperature=0.01), 2)
    7.39
    """
    exponent = max(0.0, 1 - cosine) / temperature
    return math.exp(exponent) if exponent < 700 else math.inf


def resolvable_cosine(temperature: float, *, odds: float = LEAST_ODDS) -> float:
    """Return the cosine of two prototypes above which the odds between them are less than ``odds`` to one.

    Args:
        temperature: Divides the cosines; above 0.
        odds: Above 1.

    >>> round(resolvable_cosine(0.01), 4)
    0.9931
    """
    return 1 - temperature * math.log(odds)


def pairs_closer_than(vectors: Tensor, cosine: float) -> tuple[Tensor, Tensor]:
    """Find all pairs of rows that are more alike than a cosine.

    Args:
        vectors: Unit rows, shape (C, D).
        cosine: From -1 to 1.

    Returns:
        The pairs, the lower row first, shape (P, 2), and their cosines, shape (P,); the most alike first.
    """
    pairs, cosines = [], []
    for start, block in _blocks(vectors):
        found = torch.nonzero(block > cosine)
        cosines.append(block[found[:, 0], found[:, 1]])
        pairs.append(found + torch.tensor([start, 0], device=found.device))
    return _most_alike_first(pairs, cosines)


def closest_pairs(vectors: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Find the ``count`` most alike pairs of rows, or all pairs if there are fewer; as :func:`pairs_closer_than`."""
    pairs, cosines = [], []
    for start, block in _blocks(vectors):
        values, flat = block.flatten().topk(min(count, block.numel()))
        kept = torch.stack([start + flat // len(vectors), flat % len(vectors)], dim=1)
        pairs.append(kept[values > -math.inf])
        cosines.append(values[values > -math.inf])
    pairs_found, cosines_found = _most_alike_first(pairs, cosines)
    return pairs_found[:count], cosines_found[:count]


def similarity_order(vectors: Tensor) -> Tensor:
    """Order rows so that alike ones stand together: the leaves of average linkage by cosine, families side by side.

    Args:
        vectors: Unit rows, shape (C, D).

    Returns:
        Places of the rows, shape (C,).
    """
    if len(vectors) < 3:
        return torch.arange(len(vectors))
    from scipy.cluster.hierarchy import leaves_list, linkage  # slow to import, and wanted for a picture only

    gaps = (1 - vectors.double() @ vectors.double().T).clamp(min=0).cpu()
    above = torch.triu_indices(len(vectors), len(vectors), offset=1)
    tree = linkage(gaps[above[0], above[1]].numpy(), method="average", optimal_ordering=len(vectors) <= _MOST_ORDERED)
    return torch.from_numpy(leaves_list(tree).astype("int64"))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Coverage:
    """How photographs spread over the prototypes, one value a class, each of shape (C,)."""

    nearest: Tensor
    """How many photographs have it as their nearest prototype."""
    nearest_balanced: Tensor
    """The same once the teacher's preference for some prototypes over all photographs is evened out."""
    share: Tensor
    """Mean probability over the photographs, times C: 1 is an even share."""
    closest: Tensor
    """The largest cosine with any photograph."""


def coverage(features: Tensor, vectors: Tensor, *, temperature: float, chunk: int = 8192) -> Coverage:
    """Tell which prototypes photographs are near.

    A zero-shot teacher has favourites, so that a class may be nearest to none of its own photographs. Evened out, all
    classes have the same mean probability (see :func:`~leadpp.functional.consensus.balance_offsets`); a class that is
    first for no photograph even then is hardly in them.

    Args:
        features: Unit rows of N photographs in the space of the prototypes, shape (N, D).
        vectors: Unit rows, shape (C, D).
        temperature: Divides the cosines; above 0.
        chunk: Photographs whose logits are held at a time.
    """
    count = len(vectors)
    offsets = balance_offsets(features, vectors, temperature=temperature, rounds=_BALANCE_ROUNDS, chunk=chunk)
    nearest, balanced = torch.zeros(count, dtype=torch.long), torch.zeros(count, dtype=torch.long)
    mass, closest = torch.zeros(count, dtype=torch.float64), torch.full((count,), -1.0)
    for rows in torch.split(features, chunk):
        cosines = rows @ vectors.T
        logits = cosines / temperature
        nearest += cosines.argmax(dim=1).bincount(minlength=count)
        balanced += (logits - offsets).argmax(dim=1).bincount(minlength=count)
        mass += logits.double().softmax(dim=1).sum(dim=0)
        closest = closest.maximum(cosines.max(dim=0).values)
    return Coverage(nearest=nearest, nearest_balanced=balanced, share=mass * count / len(features), closest=closest)


def _blocks(vectors: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield cosines of blocks of rows with all rows, minus infinity for a row itself and those before it."""
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK] @ vectors.T
        earlier = torch.ones_like(block, dtype=torch.bool).tril(diagonal=start)
        yield start, block.masked_fill(earlier, -math.inf)


def _most_alike_first(pairs: list[Tensor], cosines: list[Tensor]) -> tuple[Tensor, Tensor]:
    values = torch.cat(cosines)
    order = values.argsort(descending=True, stable=True)
    return torch.cat(pairs)[order], values[order].clamp(max=1)
