"""Figures of merit: retrieval from the ranks of the relevant items, votes of neighbours, accuracies.

Everything about retrieval follows from one thing, the ranks that a query's relevant items take among all items. Ties
have one rule everywhere: a higher score comes first, and of equal scores the lower index. Scores may have any sign.

Shape letters: `Q` queries, `N` items, `R` the largest number of relevant items of a query, `C` classes.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

_LOW_BITS = 32
_LOW_MASK = (1 << _LOW_BITS) - 1
_MAGNITUDE = 0x7FFFFFFF
_FEW_TIES = 8
NEVER = torch.iinfo(torch.int64).max
"""The rank that stands for a relevant item that is not there; larger than any real rank."""


def order_keys(scores: Tensor) -> Tensor:
    """Turn scores to distinct integers whose descending order is that of (score, lower index first).

    Args:
        scores: Any finite numbers or infinities (no NaN), shape (Q, N), read as float32.

    Returns:
        int64 keys, shape (Q, N): no two of a row are equal.
    """
    bits = (scores.float() + 0.0).view(torch.int32)  # adding 0 makes -0 and 0 one score
    ordered = torch.where(bits < 0, bits ^ _MAGNITUDE, bits).long()
    columns = torch.arange(scores.shape[1], device=scores.device)
    return (ordered << _LOW_BITS) + (_LOW_MASK - columns)


def first_items(scores: Tensor, *, k: int) -> tuple[Tensor, Tensor]:
    """Return the scores and the indices of the first ``k`` items of each query, in order.

    Args:
        scores: Shape (Q, N); no NaN.
        k: How many; more than N means N.

    Returns:
        Scores and indices, each (Q, min(k, N)).
    """
    count = min(k, scores.shape[1])
    seen = scores.topk(min(count + 1, scores.shape[1]), dim=1)  # one more: a tie may lie across the border
    values, indices = seen.values[:, :count], seen.indices[:, :count]
    tied = (seen.values[:, 1:] == seen.values[:, :-1]).any(dim=1).nonzero()[:, 0]
    if len(tied):  # topk takes equal scores in any order
        indices[tied] = _LOW_MASK - (order_keys(scores[tied]).topk(count, dim=1).values & _LOW_MASK)
        values = scores.gather(1, indices)
    return values, indices


def relevant_ranks(scores: Tensor, relevant: Tensor) -> Tensor:
    """Rank the relevant items of each query among all items.

    A query's scores are sorted without their indices, which is cheap, and each relevant score is looked up there: that
    tells how many items come before it. Where another item has the very same score, the indices are looked at too.

    Args:
        scores: Shape (Q, N), no NaN; an item that is not to be ranked (the query itself) has the score -inf.
        relevant: Indices of the relevant items, shape (Q, R), filled up with -1.

    Returns:
        Ranks from 1, ascending, shape (Q, R); :data:`NEVER` where ``relevant`` is filled up.
    """
    missing = relevant < 0
    wanted = scores.gather(1, relevant.clamp(min=0))
    ordered = _ascending(scores)
    upto = torch.searchsorted(ordered, wanted, right=True)
    tied = (upto - torch.searchsorted(ordered, wanted) > 1) & ~missing
    ranks = scores.shape[1] - upto + 1
    if tied.any():
        _count_earlier_equals(ranks, scores, relevant, tied=tied)
    return ranks.masked_fill(missing, NEVER).sort(dim=1).values


def average_precision(ranks: Tensor) -> Tensor:
    """Mean, over a query's relevant items, of the precision at their ranks.

    Args:
        ranks: From :func:`relevant_ranks`, shape (Q, R); every query has at least one relevant item.

    Returns:
        float64, shape (Q,), above 0 and at most 1.
    """
    return _precisions(ranks).sum(dim=1) / _relevant_count(ranks)


def average_precision_at_r(ranks: Tensor) -> Tensor:
    """Average precision that counts only the first R_q places, R_q being the query's number of relevant items.

    The mean of it over queries is MAP@R of Musgrave et al., "A metric learning reality check" (2020).

    Args:
        ranks: As in :func:`average_precision`, shape (Q, R).

    Returns:
        float64, shape (Q,), from 0 to 1.
    """
    count = _relevant_count(ranks)
    return _precisions(ranks).masked_fill(ranks > count[:, None], 0.0).sum(dim=1) / count


def recall_at(ranks: Tensor, *, k: int) -> Tensor:
    """Tell whether a relevant item is among the first ``k``; its mean is Rank-k, also called R@k; (Q, R) -> (Q,)."""
    return (ranks[:, 0] <= k).double()


def purity_at(ranks: Tensor, *, k: int, items: int) -> Tensor:
    """Share of relevant items among the first ``k``.

    Args:
        ranks: Shape (Q, R).
        k: How many neighbours are looked at.
        items: How many items a query is ranked against; fewer than ``k`` means all of them.

    Returns:
        float64, shape (Q,), from 0 to 1; a class of n items cannot pass (n - 1) / k.
    """
    return (ranks <= k).sum(dim=1).double() / min(k, items)


def neighbour_vote(scores: Tensor, labels: Tensor, *, temperature: float, classes: int) -> Tensor:
    """Let neighbours vote with weight exp(score / temperature).

    Args:
        scores: Cosines of the neighbours, any sign, shape (Q, K).
        labels: Their classes, from 0 to C - 1, shape (Q, K).
        temperature: Above 0; small lets the nearest decide.
        classes: C.

    Returns:
        The elected classes, shape (Q,); of equal votes the lower class number.
    """
    scaled = scores.double() / temperature
    weights = (scaled - scaled.amax(dim=1, keepdim=True)).exp()  # one factor a query: the election is the same
    votes = weights.new_zeros(len(scores), classes).scatter_add_(1, labels, weights)
    return votes.argmax(dim=1)


def top_k_accuracy(scores: Tensor, labels: Tensor, *, k: int) -> float:
    """Share of rows whose true class is among the ``k`` highest scores.

    Args:
        scores: Shape (N, C); of equal scores the lower class number comes first.
        labels: True classes, shape (N,).
        k: How many guesses count.

    Returns:
        From 0 to 1.
    """
    _, guesses = first_items(scores, k=k)
    return (guesses == labels[:, None]).any(dim=1).double().mean().item()


def hungarian_accuracy(clusters: Tensor, labels: Tensor) -> float:
    """Accuracy of the best one-to-one naming of clusters by classes (Kuhn 1955).

    Args:
        clusters: Cluster numbers from 0, shape (N,).
        labels: Class numbers from 0, shape (N,); there may be more or fewer classes than clusters.

    Returns:
        From 0 to 1; the items of a cluster that no class is left for count as wrong.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, 40 MB, and wanted at the very end

    rows, columns = int(clusters.max()) + 1, int(labels.max()) + 1
    table = torch.bincount(clusters * columns + labels, minlength=rows * columns).view(rows, columns).cpu().numpy()
    chosen = linear_sum_assignment(table, maximize=True)
    return float(table[chosen].sum()) / len(labels)


def _relevant_count(ranks: Tensor) -> Tensor:
    return (ranks != NEVER).sum(dim=1)


def _precisions(ranks: Tensor) -> Tensor:
    """Precision at each relevant rank, 0 where there is none: the j-th relevant item at rank r gives j / r."""
    place = torch.arange(1, ranks.shape[1] + 1, device=ranks.device, dtype=torch.float64)
    return (place / ranks).masked_fill(ranks == NEVER, 0.0)


def _ascending(scores: Tensor) -> Tensor:
    """Sort each row; on the CPU by numpy, whose sort of single precision is vectorised and ten times as fast."""
    if scores.device.type != "cpu" or scores.dtype != torch.float32:
        return scores.sort(dim=1).values
    ordered = scores.detach().numpy().copy()
    parts = np.array_split(ordered, torch.get_num_threads())  # numpy itself sorts on one core
    with ThreadPoolExecutor(len(parts)) as threads:
        list(threads.map(lambda rows: rows.sort(axis=1), parts))
    return torch.from_numpy(ordered)


def _count_earlier_equals(ranks: Tensor, scores: Tensor, relevant: Tensor, *, tied: Tensor) -> None:
    """Move tied relevant items behind the items of the same score and a lower index; changes ``ranks``, all (Q, R).

    Rows with many ties are sorted in full, in portions; of the others each tied item is compared with its row.
    """
    many = tied.sum(dim=1) > _FEW_TIES
    for rows in torch.split(many.nonzero()[:, 0], max(1, len(scores) // _FEW_TIES)):
        order = scores[rows].sort(dim=1, descending=True, stable=True).indices
        places = torch.arange(1, order.shape[1] + 1, device=order.device).expand_as(order)
        found = torch.empty_like(order).scatter_(1, order, places)
        ranks[rows] = found.gather(1, relevant[rows].clamp(min=0))
    pairs = (tied & ~many[:, None]).nonzero()
    columns = torch.arange(scores.shape[1], device=scores.device)
    for rows, places in (part.unbind(dim=1) for part in torch.split(pairs, max(1, len(scores) // _FEW_TIES))):
        items = relevant[rows, places][:, None]
        of_rows = scores[rows]
        equal = (of_rows == of_rows.gather(1, items)) & (columns < items)
        ranks[rows, places] += equal.sum(dim=1)
