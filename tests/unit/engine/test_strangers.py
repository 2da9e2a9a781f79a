"""Clusters for which no name fits: told by a slow mean, found when planted, and not by a weak vocabulary alone."""

import pytest
import torch
from torch import Tensor

from leadpp.engine.strangers import LEAST, cluster_count, fit_names, most_typical


def answers(*clusters: list[list[float]]) -> tuple[Tensor, Tensor]:
    """Return probabilities of all photographs, and their clusters."""
    rows = [row for cluster in clusters for row in cluster]
    numbers = [number for number, cluster in enumerate(clusters) for _ in cluster]
    return torch.tensor(rows), torch.tensor(numbers)


SURE, OTHER, TORN = [[0.9, 0.05, 0.05]] * 4, [[0.1, 0.8, 0.1]] * 4, [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]
DOUBTFUL = [[0.4, 0.3, 0.3]] * 4


def test_the_fit_is_the_mean_probability_of_the_best_name() -> None:
    generator = torch.Generator().manual_seed(0)
    probs = torch.rand(50, 6, generator=generator).softmax(dim=1)
    clusters = torch.randint(0, 5, (50,), generator=generator)
    found = fit_names(probs, clusters, clusters=5, below=0.5)
    for number in range(5):
        members = [row for row, own in zip(probs.tolist(), clusters.tolist(), strict=True) if own == number]
        means = [sum(column) / len(members) for column in zip(*members, strict=True)]
        assert found.fit[number].item() == pytest.approx(max(means))
        assert found.ranking[number, 0].item() == means.index(max(means))
        assert found.sizes[number].item() == len(members)


def test_clusters_of_several_names_and_of_unsure_ones_are_strange_the_least_fitting_first() -> None:
    probs, clusters = answers(SURE, OTHER, TORN, SURE, DOUBTFUL, OTHER, SURE)
    found = fit_names(probs, clusters, clusters=7, below=0.75)
    assert found.limit == pytest.approx(0.75 * 0.8)
    assert found.strange.tolist() == [2, 4]


def test_a_weak_vocabulary_makes_nothing_strange() -> None:
    probs, clusters = answers(DOUBTFUL, DOUBTFUL, DOUBTFUL)
    assert fit_names(probs, clusters, clusters=3, below=0.75).strange.tolist() == []


def test_small_and_empty_clusters_are_not_judged() -> None:
    assert LEAST == 3
    probs, clusters = answers(SURE, TORN[:2], OTHER)
    found = fit_names(probs, clusters, clusters=5, below=0.9)
    assert found.strange.tolist() == []
    assert found.fit[4].item() == 0


def test_the_number_of_clusters_goes_by_names_and_photographs() -> None:
    assert cluster_count(7, names=40, photographs=2000) == 7
    assert cluster_count(7, names=40, photographs=5) == 5
    assert cluster_count(0, names=3, photographs=12) == 2
    assert cluster_count(0, names=3, photographs=1) == 1


def test_typical_photographs_are_those_nearest_to_the_mean_direction() -> None:
    features = torch.tensor([[0.0, 9.0], [1.0, 0.1], [2.0, 0.0], [1.0, -0.5], [0.0, 1.0]])
    assert most_typical(features, torch.tensor([1, 2, 3]))[-1] == 3
    assert sorted(most_typical(features, torch.tensor([1, 2, 3]))) == [1, 2, 3]
    assert most_typical(10 * features, torch.tensor([3, 2, 1])) == most_typical(features, torch.tensor([1, 2, 3]))
