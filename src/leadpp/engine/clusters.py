"""k-means and spherical k-means, and how well clusters agree with classes.

Memory grows with N x clusters for a block of items, never with N x N.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from leadpp.errors import DataError
from leadpp.functional.metrics import hungarian_accuracy

_BLOCK = 8192


@dataclass(frozen=True, kw_only=True, slots=True)
class Clustering:
    """A partition of items."""

    assignments: Tensor
    """Cluster number of each item, from 0, shape (N,)."""
    centres: Tensor
    """One row a cluster, shape (clusters, F)."""
    inertia: float
    """Sum of squared distances of the items to their centres."""


def kmeans(
    features: Tensor,
    *,
    clusters: int,
    generator: torch.Generator,
    spherical: bool = False,
    restarts: int = 5,
    iterations: int = 100,
) -> Clustering:
    """Partition items by k-means (Lloyd 1982) from greedy k-means++ seeds (Arthur and Vassilvitskii 2007).

    Args:
        features: Shape (N, F). With ``spherical`` rows are brought to unit length and so are centres, which maximises
            the sum of cosines (Dhillon and Modha 2001).
        clusters: How many, from 1 to N.
        generator: On the CPU; decides the seeds.
        spherical: Compare directions instead of points.
        restarts: Independent starts; the smallest inertia is kept, the first of equals.
        iterations: Most moves of the centres in a start; it ends sooner when no item changes its cluster.

    Returns:
        The best partition; with fewer distinct items than clusters, some clusters hold no item.

    Raises:
        DataError: Fewer items than clusters.
    """
    if not 1 <= clusters <= len(features):
        raise DataError(f"cannot make {clusters} clusters of {len(features)} items; ask for 1 to {len(features)}")
    points = features.float()
    offset = points.new_zeros(points.shape[1])
    if spherical:
        points = normalize(points, dim=1)
    else:
        offset = points.mean(dim=0)  # distances near the origin lose fewer digits
        points = points - offset
    starts = (_seeds(points, clusters=clusters, generator=generator) for _ in range(restarts))
    best = min(
        (refine(points, start, spherical=spherical, iterations=iterations) for start in starts),
        key=lambda found: found.inertia,
    )
    return Clustering(assignments=best.assignments, centres=best.centres + offset, inertia=best.inertia)


def refine(points: Tensor, centres: Tensor, *, spherical: bool = False, iterations: int = 100) -> Clustering:
    """Move centres to the means of their items, and items to their nearest centres, until nothing changes.

    A centre that lost all its items is put on the item farthest from its own centre.

    Args:
        points: Shape (N, F), unit rows if ``spherical``.
        centres: Where to start, shape (clusters, F).
        spherical: Keep centres at unit length.
        iterations: Most moves.

    Returns:
        The partition.
    """
    assignments, distances = _assign(points, centres)
    for _ in range(iterations):
        centres = _move(points, assignments, distances, clusters=len(centres), spherical=spherical)
        before = assignments
        assignments, distances = _assign(points, centres)
        if torch.equal(assignments, before):
            break
    inertia = (points - centres[assignments]).square().sum(dim=1).cpu().double().sum().item()
    return Clustering(assignments=assignments, centres=centres, inertia=inertia)


def cluster_figures(assignments: Tensor, labels: Tensor) -> dict[str, float]:
    """Hold a partition against the classes.

    Args:
        assignments: Cluster numbers from 0, shape (N,).
        labels: Class numbers, shape (N,).

    Returns:
        ``cluster_accuracy`` under the best one-to-one naming, ``nmi`` (normalised by the arithmetic mean of the
        entropies), both from 0 to 1, and ``ari``, 1 for the same partition and 0 on average for a random one.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score  # a second, which only this needs

    found, truth = assignments.cpu(), labels.cpu()
    return {
        "cluster_accuracy": hungarian_accuracy(found, truth),
        "nmi": float(normalized_mutual_info_score(truth.numpy(), found.numpy())),
        "ari": float(adjusted_rand_score(truth.numpy(), found.numpy())),
    }


def _seeds(points: Tensor, *, clusters: int, generator: torch.Generator) -> Tensor:
    """Greedy k-means++: of some candidates drawn by squared distance, keep the one that lowers the inertia most."""
    trials = 2 + int(math.log(clusters))
    chosen = [int(torch.randint(len(points), (), generator=generator))]
    nearest = _squared_distances(points, points[chosen])[:, 0]
    for _ in range(clusters - 1):
        nearest[chosen] = 0.0
        weights = nearest.cpu()
        if not weights.any():
            weights = torch.ones_like(weights)  # fewer distinct items than clusters
        candidates = weights.multinomial(trials, replacement=True, generator=generator).to(points.device)
        lowered = _squared_distances(points, points[candidates]).minimum(nearest[:, None])
        best = int(lowered.sum(dim=0).argmin())
        chosen.append(int(candidates[best]))
        nearest = lowered[:, best]
    return points[chosen]


def _move(points: Tensor, assignments: Tensor, distances: Tensor, *, clusters: int, spherical: bool) -> Tensor:
    counts = assignments.bincount(minlength=clusters)
    sums = points.new_zeros(clusters, points.shape[1]).index_add_(0, assignments, points)
    centres = sums / counts.clamp(min=1)[:, None]
    empty = (counts == 0).nonzero()[:, 0]
    centres[empty] = points[distances.topk(len(empty)).indices]
    return normalize(centres, dim=1) if spherical else centres


def _assign(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest centre of each item, the lower number of equals, and the squared distance to it."""
    nearest = [_squared_distances(block, centres).min(dim=1) for block in torch.split(points, _BLOCK)]
    return torch.cat([found.indices for found in nearest]), torch.cat([found.values for found in nearest])


def _squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    squares = points.square().sum(dim=1)[:, None] + centres.square().sum(dim=1)
    return torch.addmm(squares, points, centres.T, alpha=-2).clamp_(min=0)
