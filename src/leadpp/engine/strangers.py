"""Strangers: clusters of photographs for which no name fits, told by how much of its answers any one name gets.

Shape letters: `N` photographs, `V` names, `K` clusters.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from leadpp.engine.neighbours import unit_rows

LEAST = 3
"""Smaller clusters are not judged: two photographs are alike by chance."""
_TIMES = 1.5
_TENTH = 10


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fits:
    """How well the names fit K clusters."""

    fit: Tensor
    """Largest mean probability that one name has over the photographs of each cluster, float64, (K,)."""
    ranking: Tensor
    """Names of each cluster by that mean, the best first, (K, V)."""
    sizes: Tensor
    """Photographs in each, (K,)."""
    limit: float
    """A fit below it is none."""

    @property
    def strange(self) -> Tensor:
        """Numbers of the clusters for which no name fits, the least fitting first."""
        found = ((self.fit < self.limit) & (self.sizes >= LEAST)).nonzero()[:, 0]
        return found[self.fit[found].argsort(stable=True)]


def cluster_count(asked: int, *, names: int, photographs: int) -> int:
    """Return how many clusters to make: as asked, or half as many again as names, with ten photographs each.

    >>> cluster_count(0, names=40, photographs=2000), cluster_count(0, names=40, photographs=100)
    (60, 10)
    """
    return min(asked or max(2, min(math.ceil(_TIMES * names), photographs // _TENTH)), photographs)


def fit_names(probs: Tensor, assignments: Tensor, *, clusters: int, below: float) -> Fits:
    """Tell how well the best name of each cluster fits it, beside how well best names usually do.

    A cluster of one kind that has a name is called by it, and surely; one of a kind without a name is called by
    several, or unsurely. Both lower the mean probability of its best name. That is compared with the median over
    clusters: a weak vocabulary lowers them all, and makes none strange.

    Args:
        probs: Of each name for each photograph, shape (N, V).
        assignments: Cluster of each photograph, from 0, shape (N,).
        clusters: K.
        below: Share of the median fit below which a name does not fit.
    """
    sums = probs.new_zeros(clusters, probs.shape[1], dtype=torch.float64).index_add_(0, assignments, probs.double())
    sizes = assignments.bincount(minlength=clusters)
    means = sums / sizes.clamp(min=1)[:, None]
    ranked = means.sort(dim=1, descending=True, stable=True)
    fit, judged = ranked.values[:, 0], sizes >= LEAST
    usual = float(fit[judged].quantile(0.5)) if judged.any() else 0.0
    return Fits(fit=fit, ranking=ranked.indices, sizes=sizes, limit=below * usual)


def most_typical(features: Tensor, places: Tensor) -> list[int]:
    """Put the members of a cluster in the order of their cosine with its mean direction, the nearest first.

    Args:
        features: Of all photographs, shape (N, F).
        places: Of the members, (M,).

    Returns:
        The places in that order.
    """
    rows = unit_rows(features[places])
    order = (rows @ rows.mean(dim=0)).argsort(descending=True, stable=True)
    found: list[int] = places[order].tolist()
    return found
