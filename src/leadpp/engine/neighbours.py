"""Nearest neighbours by cosine: votes of training neighbours, and leave-one-out retrieval, in blocks of queries.

Only a block of queries is compared at a time, and a block is smaller where there are many items, so that memory grows
with N and never with N x N. Cosines are float32; ranks are exact for them (ties as in
:mod:`leadpp.functional.metrics`), and means are float64.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from leadpp.errors import DataError
from leadpp.functional import metrics

RECALL_AT = (1, 2, 4, 8)
PURITY_AT = 10
_BLOCK_SCORES = 1 << 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Vote:
    """A setting of weighted k-nearest-neighbour classification."""

    k: int
    """Neighbours that vote; more than there are means all."""
    temperature: float
    """Divides the cosine in the weight exp(cos / temperature)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrieval:
    """What leave-one-out retrieval found."""

    figures: dict[str, float]
    """rank1, rank5, recall1, recall2, recall4, recall8, map, map_at_r, purity10, each from 0 to 1; empty when there
    was no query to ask."""
    queries: int
    """How many items were asked."""
    queries_left_out: int
    """How many were not, because no other item shares their class; they stay in the gallery."""


def unit_rows(features: Tensor) -> Tensor:
    """Return float32 rows of unit length; an all-zero row stays zero; (N, F) -> (N, F).

    Raises:
        DataError: A value is not finite.
    """
    check_finite(features)
    return torch.nn.functional.normalize(features.float(), dim=1)


def check_finite(features: Tensor) -> None:
    """Refuse features of which a value is not finite; (N, F).

    Raises:
        DataError: One is not.
    """
    if features.sum().isfinite() or features.isfinite().all():  # the sum shows it without a mask of (N, F)
        return
    rows = int((~features.isfinite()).any(dim=1).sum())
    raise DataError(
        f"expected finite features, found NaN or infinity in {rows} of {len(features)} rows; "
        "the network that made them has diverged: train it with a lower learning rate"
    )


def nearest(
    features: Tensor, gallery: Tensor | None = None, *, k: int, chunk: int = 512
) -> Iterator[tuple[Tensor, Tensor]]:
    """Find the ``k`` most similar gallery items of each row, block by block.

    Args:
        features: Queries, shape (Q, F).
        gallery: Shape (N, F); None asks the queries among themselves, each leaving itself out.
        k: Neighbours; more than there are means all.
        chunk: Most queries in a block.

    Yields:
        Cosines and gallery indices of a block, most similar first, each (block, min(k, N)); with ``gallery`` None at
        most N - 1 of them.

    Raises:
        DataError: A value is not finite.
    """
    queries = unit_rows(features)
    items = queries if gallery is None else unit_rows(gallery)
    everyone = torch.arange(len(queries), device=queries.device)
    for _, scores in _blocks(queries, items, rows=everyone, chunk=chunk, leave_one_out=gallery is None):
        yield metrics.first_items(scores, k=min(k, len(items) - (gallery is None)))


def knn_accuracies(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], *, votes: Mapping[str, Vote], chunk: int = 512
) -> dict[str, float]:
    """Classify test items by their neighbours in train, under several settings in one pass.

    Args:
        train: Features (N, F) and class numbers (N,) of the items that vote.
        test: Features (Q, F) and class numbers (Q,) of the items that are classified; a class that train lacks
            counts as wrong.
        votes: Settings by name.
        chunk: Most queries in a block.

    Returns:
        Accuracy by name, each from 0 to 1.

    Raises:
        DataError: Train or test is empty, or a value is not finite.
    """
    labels_train, labels_test = train[1].cpu(), test[1].cpu()
    if len(labels_train) == 0 or len(labels_test) == 0:
        raise DataError(
            f"nearest neighbours need items in train and test, found {len(labels_train)} and {len(labels_test)}; "
            "give the data a train and a test split"
        )
    classes = int(labels_train.max()) + 1
    right = dict.fromkeys(votes, 0)
    done = 0
    for scores, indices in nearest(test[0], train[0], k=max(vote.k for vote in votes.values()), chunk=chunk):
        cosines, labels = scores.cpu(), labels_train[indices.cpu()]
        truth = labels_test[done : done + len(labels)]
        done += len(labels)
        for name, vote in votes.items():
            elected = metrics.neighbour_vote(
                cosines[:, : vote.k], labels[:, : vote.k], temperature=vote.temperature, classes=classes
            )
            right[name] += int((elected == truth).sum())
    return {name: count / len(labels_test) for name, count in right.items()}


def knn_accuracy(
    features_train: Tensor,
    labels_train: Tensor,
    features_test: Tensor,
    labels_test: Tensor,
    *,
    k: int = 10,
    temperature: float = 0.07,
) -> float:
    """Accuracy of one setting of :func:`knn_accuracies`; (N, F), (N,), (Q, F), (Q,) -> from 0 to 1.

    Raises:
        DataError: Train or test is empty, or a value is not finite.
    """
    votes = {"knn": Vote(k=k, temperature=temperature)}
    return knn_accuracies((features_train, labels_train), (features_test, labels_test), votes=votes)["knn"]


def retrieval(features: Tensor, labels: Tensor, *, chunk: int = 512) -> Retrieval:
    """Ask each item for its class-mates among all other items.

    Items whose class has no other member cannot be asked; they are left out, counted, and stay in the gallery.

    Args:
        features: Shape (N, F).
        labels: Class numbers, shape (N,).
        chunk: Most queries in a block.

    Returns:
        The means over queries; Rank-k and R@k are the same thing.

    Raises:
        DataError: A value is not finite.
    """
    members, place = _class_members(labels.to(features.device))
    items = unit_rows(features)
    asked = (members[place] >= 0).sum(dim=1) > 1
    queries, done = int(asked.sum()), 0
    values: dict[str, Tensor] = {}
    for rows, scores in _blocks(items, items, rows=asked.nonzero()[:, 0], chunk=chunk, leave_one_out=True):
        relevant = members[place[rows]]
        ranks = metrics.relevant_ranks(scores, relevant.where(relevant != rows[:, None], -1)).cpu()
        for name, of_queries in _figures(ranks, others=len(items) - 1).items():
            # Made at the first block: results that stay between the large parts of blocks would keep their memory.
            values.setdefault(name, of_queries.new_empty(queries))[done : done + len(rows)] = of_queries
        done += len(rows)
    figures = {name: of_queries.mean().item() for name, of_queries in values.items()}
    return Retrieval(figures=figures, queries=queries, queries_left_out=len(items) - queries)


def _figures(ranks: Tensor, *, others: int) -> dict[str, Tensor]:
    figures = {f"rank{k}": metrics.recall_at(ranks, k=k) for k in (1, 5)}
    figures |= {f"recall{k}": metrics.recall_at(ranks, k=k) for k in RECALL_AT}
    figures["map"] = metrics.average_precision(ranks)
    figures["map_at_r"] = metrics.average_precision_at_r(ranks)
    figures[f"purity{PURITY_AT}"] = metrics.purity_at(ranks, k=PURITY_AT, items=others)
    return figures


def _class_members(labels: Tensor) -> tuple[Tensor, Tensor]:
    """List the items of each class, (classes, largest class) filled up with -1, and each item's row in that list."""
    order = labels.argsort()
    row = torch.zeros_like(labels)
    row[1:] = (labels[order].diff() != 0).cumsum(dim=0)
    place = torch.empty_like(row).scatter_(0, order, row)
    counts = row.bincount()
    column = torch.arange(len(labels), device=labels.device) - (counts.cumsum(dim=0) - counts)[row]
    members = torch.full((len(counts), int(counts.max()) if len(counts) else 0), -1, device=labels.device)
    members[row, column] = order
    return members, place


def _blocks(
    queries: Tensor, items: Tensor, *, rows: Tensor, chunk: int, leave_one_out: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield row numbers and cosines (block, N) of some rows of ``queries``, block by block.

    With ``leave_one_out`` a row's own cosine is -inf. The cosines are overwritten by the next block.
    """
    size = max(1, min(chunk, len(rows), _BLOCK_SCORES // max(1, len(items))))
    room = items.new_empty(size, len(items))  # fresh memory for each block would have to be cleared each time
    for block in torch.split(rows, size) if len(rows) else ():
        scores = torch.mm(queries[block], items.T, out=room[: len(block)])
        if leave_one_out:
            scores[torch.arange(len(block), device=block.device), block] = -torch.inf
        yield block, scores
