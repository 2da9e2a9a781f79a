import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor

from leadpp.functional import likeness
from leadpp.functional.likeness import (
    closest_pairs,
    coverage,
    odds_between,
    pairs_closer_than,
    resolvable_cosine,
    similarity_order,
)


def _rows(count: int, dim: int, seed: int = 2) -> Tensor:
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def _all_pairs(vectors: Tensor) -> list[tuple[float, int, int]]:
    """Every pair, the most alike first, by the definition."""
    rows = vectors.double().numpy()
    pairs = [(float(rows[i] @ rows[j]), i, j) for i in range(len(rows)) for j in range(i + 1, len(rows))]
    return sorted(pairs, reverse=True)


@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("cosine", [1.0, 0.995, 0.9, 0.0, -1.0])
def test_odds_are_those_of_a_softmax_for_a_picture_at_the_prototype(cosine: float, temperature: float) -> None:
    prototypes = np.array([[1.0, 0.0], [cosine, math.sqrt(1 - cosine**2)]])
    one, other = softmax(prototypes @ prototypes[0] / temperature)
    assert odds_between(cosine, temperature=temperature) == pytest.approx(one / other)


def test_odds_begin_at_one_and_end_beyond_numbers() -> None:
    assert odds_between(1.0000001, temperature=0.01) == 1
    assert odds_between(0.0, temperature=0.001) == math.inf


@pytest.mark.parametrize("temperature", [0.01, 0.02, 0.05])
def test_the_rule_is_two_to_one(temperature: float) -> None:
    border = resolvable_cosine(temperature)
    assert odds_between(border, temperature=temperature) == pytest.approx(2)
    assert (
        odds_between(border + 1e-3, temperature=temperature) < 2 < odds_between(border - 1e-3, temperature=temperature)
    )


@pytest.mark.parametrize("block", [1, 3, 7, 1024])
def test_pairs_are_those_of_the_definition_in_any_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "_BLOCK", block)
    vectors = _rows(7, 3)
    known = _all_pairs(vectors)
    pairs, cosines = closest_pairs(vectors, 5)
    assert pairs.tolist() == [[i, j] for _, i, j in known[:5]]
    assert cosines.tolist() == pytest.approx([cosine for cosine, _, _ in known[:5]], abs=1e-6)
    least = (known[8][0] + known[9][0]) / 2
    pairs, cosines = pairs_closer_than(vectors, least)
    assert pairs.tolist() == [[i, j] for _, i, j in known[:9]]
    assert cosines.tolist() == pytest.approx([cosine for cosine, _, _ in known[:9]], abs=1e-6)


def test_there_may_be_fewer_pairs_than_asked_for_or_none() -> None:
    vectors = _rows(3, 4)
    assert len(closest_pairs(vectors, 50)[0]) == 3
    assert pairs_closer_than(vectors, 1.0)[0].shape == (0, 2)
    twice = vectors[[0, 1, 0]]
    pairs, cosines = pairs_closer_than(twice, 0.999)
    assert pairs.tolist() == [[0, 2]]
    assert cosines.item() == pytest.approx(1)
    assert cosines.item() <= 1


def test_families_stand_together_however_the_rows_come() -> None:
    centres = _rows(4, 32)
    rows = torch.nn.functional.normalize(centres.repeat_interleave(5, dim=0) + 0.05 * _rows(20, 32, seed=8), dim=1)
    families = torch.arange(4).repeat_interleave(5)
    shuffled = torch.randperm(20, generator=torch.Generator().manual_seed(4))
    order = similarity_order(rows[shuffled])
    assert sorted(order.tolist()) == list(range(20))
    seen = families[shuffled][order].tolist()
    assert sum(first != second for first, second in itertools.pairwise(seen)) == 3


@pytest.mark.parametrize("count", [1, 2])
def test_few_rows_keep_their_order(count: int) -> None:
    assert similarity_order(_rows(count, 4)).tolist() == list(range(count))


def test_coverage_is_that_of_the_definition() -> None:
    features, vectors = _rows(50, 6), _rows(4, 6, seed=9)
    seen = coverage(features, vectors, temperature=0.2, chunk=7)
    cosines = features.double().numpy() @ vectors.double().numpy().T
    assert seen.nearest.tolist() == [int((cosines.argmax(axis=1) == place).sum()) for place in range(4)]
    assert seen.share.tolist() == pytest.approx(4 * softmax(cosines / 0.2, axis=1).mean(axis=0), rel=1e-4)
    assert seen.closest.tolist() == pytest.approx(cosines.max(axis=0), abs=1e-6)
    assert seen.nearest.sum() == seen.nearest_balanced.sum() == 50


def test_a_class_that_a_favourite_hides_is_found_when_evened_out_and_an_absent_one_is_not() -> None:
    # Photographs of the classes 0 and 1 differ in one direction; prototype 0 leans to where all photographs lie.
    photographs = torch.tensor([[0.0, 1.0, 0.2], [0.0, 1.0, -0.2]]).repeat(20, 1)
    vectors = torch.tensor([[0.2, 1.0, 0.02], [0.6, 1.0, -0.05], [1.0, -1.0, 0.0]])
    photographs, vectors = (torch.nn.functional.normalize(rows, dim=1) for rows in (photographs, vectors))
    seen = coverage(photographs, vectors, temperature=0.02)
    assert seen.nearest.tolist() == [40, 0, 0]
    assert seen.nearest_balanced[:2].tolist() == [20, 20]
    assert seen.nearest_balanced[2] == 0
    assert seen.closest[2] < 0 < seen.closest[1]
