"""Retrieval, votes and matching, one item at a time, straight from their definitions."""

import itertools
import math
from collections.abc import Sequence


def ranking(scores: Sequence[float]) -> list[int]:
    """Indices by falling score; of equal scores the lower index first."""
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))


def average_precision(scores: Sequence[float], relevant: Sequence[bool]) -> float:
    """Mean over relevant items of the share of relevant items down to them."""
    hits = [relevant[index] for index in ranking(scores)]
    precisions = [sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit]
    return sum(precisions) / len(precisions)


def average_precision_at_r(scores: Sequence[float], relevant: Sequence[bool]) -> float:
    """Musgrave et al. 2020: precision at i if the i-th is relevant, over the first R, divided by R."""
    count = sum(relevant)
    hits = [relevant[index] for index in ranking(scores)][:count]
    return sum(sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit) / count


def recall(scores: Sequence[float], relevant: Sequence[bool], k: int) -> float:
    """Whether any of the first k is relevant."""
    return float(any(relevant[index] for index in ranking(scores)[:k]))


def purity(scores: Sequence[float], relevant: Sequence[bool], k: int) -> float:
    """Share of relevant items among the first k."""
    first = ranking(scores)[:k]
    return sum(relevant[index] for index in first) / len(first)


def vote(scores: Sequence[float], labels: Sequence[int], temperature: float) -> int:
    """The class with the largest sum of exp(score / temperature), the lower number of equals."""
    votes = dict.fromkeys(sorted(set(labels)), 0.0)
    for score, label in zip(scores, labels, strict=True):
        votes[label] += math.exp(score / temperature)
    return max(votes, key=lambda label: (votes[label], -label))


def matched_accuracy(clusters: Sequence[int], labels: Sequence[int]) -> float:
    """Try every one-to-one naming of clusters by classes."""
    size = max(*clusters, *labels) + 1
    best = max(
        sum(naming[cluster] == label for cluster, label in zip(clusters, labels, strict=True))
        for naming in itertools.permutations(range(size))
    )
    return best / len(labels)
