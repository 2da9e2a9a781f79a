"""k-means and spherical k-means, all restarts at once, and how well clusters agree with classes.

The centres of all restarts are compared with an item in one matrix product. Besides a copy of the features and some
numbers an item and restart, memory is bounded by a block of items, whatever N and the number of clusters.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from leadpp.errors import DataError
from leadpp.functional.metrics import hungarian_accuracy

_BLOCK_SCORES = 1 << 23
_BLOCK_ITEMS = 4096


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
    starts = _seeds(points, clusters=clusters, restarts=restarts, generator=generator)
    found = refine_all(points, starts, spherical=spherical, iterations=iterations)
    best = min(found, key=lambda clustering: clustering.inertia)
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
    return refine_all(points, centres[None], spherical=spherical, iterations=iterations)[0]


def refine_all(
    points: Tensor, starts: Tensor, *, spherical: bool = False, iterations: int = 100
) -> tuple[Clustering, ...]:
    """Do :func:`refine` from several starts at once; one that has come to rest costs no more.

    Args:
        points: Shape (N, F), unit rows if ``spherical``.
        starts: Shape (S, clusters, F).
        spherical: Keep centres at unit length.
        iterations: Most moves of each.

    Returns:
        The partition that each start leads to.
    """
    squares = points.square().sum(dim=1)
    centres = starts.clone()
    assignments, distances = _assign(points, squares, centres)
    moving = torch.arange(len(starts), device=points.device)
    for _ in range(iterations):
        centres[moving] = _move(
            points, assignments[moving], distances[moving], clusters=centres.shape[1], spherical=spherical
        )
        before = assignments[moving]
        assignments[moving], distances[moving] = _assign(points, squares, centres[moving])
        moving = moving[(assignments[moving] != before).any(dim=1)]
        if len(moving) == 0:
            break
    return tuple(
        Clustering(assignments=of_start, centres=found, inertia=_inertia(points, found, of_start))
        for of_start, found in zip(assignments, centres, strict=True)
    )


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


def _seeds(points: Tensor, *, clusters: int, restarts: int, generator: torch.Generator) -> Tensor:
    """Greedy k-means++: of some candidates drawn by squared distance, keep the one that lowers the inertia most.

    Returns:
        Seeds of each restart, (restarts, clusters, F).
    """
    trials = 2 + int(math.log(clusters))
    squares = points.square().sum(dim=1)
    chosen = torch.randint(len(points), (restarts, 1), generator=generator).to(points.device)
    nearest = _squared_distances(points, squares, chosen[:, 0])
    for _ in range(clusters - 1):
        nearest.scatter_(1, chosen, 0.0)
        weights = nearest.cpu()
        weights[~weights.any(dim=1)] = 1.0  # fewer distinct items than clusters
        candidates = weights.multinomial(trials, replacement=True, generator=generator).to(points.device)
        lowered = _squared_distances(points, squares, candidates.flatten()).view(restarts, trials, -1)
        best = torch.minimum(lowered, nearest[:, None], out=lowered).sum(dim=2).argmin(dim=1, keepdim=True)
        chosen = torch.cat([chosen, candidates.gather(1, best)], dim=1)
        nearest = lowered.take_along_dim(best[:, :, None], dim=1)[:, 0]
    return points[chosen]


def _squared_distances(points: Tensor, squares: Tensor, items: Tensor) -> Tensor:
    """Squared distances of some items to all, (items, N)."""
    products = torch.addmm(squares, points[items], points.T, alpha=-2)
    return products.add_(squares[items, None]).clamp_(min=0)


def _move(points: Tensor, assignments: Tensor, distances: Tensor, *, clusters: int, spherical: bool) -> Tensor:
    """Put the centres of each start on the means of their items; (S, N), (S, N) -> (S, clusters, F)."""
    starts = len(assignments)
    own = assignments + clusters * torch.arange(starts, device=points.device)[:, None]
    counts = own.flatten().bincount(minlength=starts * clusters)
    sums = points.new_zeros(starts * clusters, points.shape[1])
    for rows in own:
        sums.index_add_(0, rows, points)
    centres = sums.div_(counts.clamp(min=1)[:, None]).view(starts, clusters, -1)
    empty = (counts == 0).view(starts, clusters)
    for start in empty.any(dim=1).nonzero()[:, 0].tolist():
        without = empty[start].nonzero()[:, 0]
        centres[start, without] = points[distances[start].topk(len(without)).indices]
    return normalize(centres, dim=2) if spherical else centres


def _assign(points: Tensor, squares: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest centre of each item, the lower number of equals, and the squared distance to it, each (S, N)."""
    starts, clusters, width = centres.shape
    flat = centres.view(-1, width)
    lengths = flat.square().sum(dim=1)
    indices, values = [], []
    for block in torch.split(points, max(1, _BLOCK_SCORES // len(flat))):
        scores = torch.addmm(lengths, block, flat.T, alpha=-2).view(-1, starts, clusters)
        nearest = scores.min(dim=2)
        indices.append(nearest.indices.T)
        values.append(nearest.values.T)
    return torch.cat(indices, dim=1), torch.cat(values, dim=1).add_(squares).clamp_(min=0)


def _inertia(points: Tensor, centres: Tensor, assignments: Tensor) -> float:
    blocks = zip(torch.split(points, _BLOCK_ITEMS), torch.split(assignments, _BLOCK_ITEMS), strict=True)
    sums = [(block - centres[own]).square().sum(dim=1).cpu().double().sum() for block, own in blocks]
    return float(sum(sums))
