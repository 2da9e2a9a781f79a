"""Classes whose words are too much alike: which pairs of prototypes a teacher cannot tell apart, and how to say so.

The rule is in :func:`leadpp.functional.likeness.odds_between`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from leadpp.functional.likeness import SAME_COSINE, closest_pairs, odds_between, pairs_closer_than, resolvable_cosine
from leadpp.text.prototypes import Prototypes

_NAMED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two classes and how much alike their prototypes are."""

    first: str
    second: str
    cosine: float
    """From -1 to 1."""
    odds: float
    """Of the first against the second, to one, for a picture that lies at the first's prototype."""


def nearest_pairs(prototypes: Prototypes, count: int, *, temperature: float) -> list[Pair]:
    """Return the ``count`` pairs that are most alike, or all if there are fewer; the most alike first."""
    return _pairs(prototypes, *closest_pairs(prototypes.vectors, count), temperature=temperature)


def same_pairs(prototypes: Prototypes, *, temperature: float) -> list[Pair]:
    """Return the pairs that are practically the same, whatever the temperature, the most alike first."""
    return _pairs(prototypes, *pairs_closer_than(prototypes.vectors, SAME_COSINE), temperature=temperature)


def indistinct_pairs(prototypes: Prototypes, *, temperature: float) -> list[Pair]:
    """Return the pairs that the teacher cannot tell apart at a temperature, the most alike first."""
    found = pairs_closer_than(prototypes.vectors, resolvable_cosine(temperature))
    return _pairs(prototypes, *found, temperature=temperature)


def tell_of_pairs(pairs: Sequence[Pair], *, model: str, temperature: float) -> str:
    """Say, for a note, that a teacher cannot tell some pairs apart, at least one, and what to do.

    Args:
        pairs: The most alike first; some are named.
        model: The teacher; empty where it is unknown.
        temperature: At which it is asked.
    """
    shown = [f"{pair.first!r} and {pair.second!r} (cosine {pair.cosine:.4f})" for pair in pairs[:_NAMED]]
    more = f" and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
    count = "1 pair of classes is" if len(pairs) == 1 else f"{len(pairs)} pairs of classes are"
    return (
        f"{count} closer than {model or 'the teacher'} can tell apart at temperature {temperature:g}: "
        f"{', '.join(shown)}{more}; say in their texts what sets them apart, or make them one class "
        "(`leadpp prototypes inspect` shows all)"
    )


def _pairs(prototypes: Prototypes, places: Tensor, cosines: Tensor, *, temperature: float) -> list[Pair]:
    labels = prototypes.labels
    return [
        Pair(
            first=labels[first],
            second=labels[second],
            cosine=cosine,
            odds=odds_between(cosine, temperature=temperature),
        )
        for (first, second), cosine in zip(places.tolist(), cosines.tolist(), strict=True)
    ]
