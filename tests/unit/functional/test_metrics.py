"""Figures of merit, against slow definitions, scikit-learn and laws."""

import pytest
import torch
from sklearn.metrics import average_precision_score, top_k_accuracy_score
from torch import Tensor

from leadpp.functional import metrics
from tests.oracles import retrieval as slow

INF = float("inf")


def ranks_of(scores: list[float], relevant: list[bool]) -> Tensor:
    indices = [index for index, hit in enumerate(relevant) if hit]
    return metrics.relevant_ranks(torch.tensor([scores]), torch.tensor([[*indices, -1]]))


def random_case(seed: int, *, items: int = 30, levels: int = 0) -> tuple[list[float], list[bool]]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(items, generator=generator) * 2 - 1
    if levels:
        scores = (scores * levels).round() / levels  # many ties, and both zeros
    relevant = torch.rand(items, generator=generator) < 0.3
    relevant[int(torch.randint(items, (), generator=generator))] = True
    return scores.tolist(), relevant.tolist()


def test_order_keys_sort_by_score_and_then_by_index() -> None:
    scores = [0.5, -0.5, -0.0, 0.0, -INF, 0.5, 1e-38, -1e-38, INF, -0.5]
    keys = metrics.order_keys(torch.tensor([scores]))
    assert keys[0].argsort(descending=True).tolist() == slow.ranking(scores) == [8, 0, 5, 6, 2, 3, 7, 1, 9, 4]
    assert len(set(keys[0].tolist())) == len(scores)


def test_first_items_returns_scores_as_they_were() -> None:
    scores, indices = metrics.first_items(torch.tensor([[-0.3, 0.2, 0.2, -0.1]]), k=3)
    assert indices.tolist() == [[1, 2, 3]]
    torch.testing.assert_close(scores, torch.tensor([[0.2, 0.2, -0.1]]), rtol=0, atol=0)


@pytest.mark.parametrize("k", [1, 2, 3, 7, 29, 30])
@pytest.mark.parametrize("levels", [0, 2, 9])
def test_first_items_are_the_head_of_the_full_order(k: int, levels: int) -> None:
    rows = [random_case(seed, levels=levels)[0] for seed in range(6)]
    values, indices = metrics.first_items(torch.tensor(rows), k=k)
    assert indices.tolist() == [slow.ranking(row)[:k] for row in rows]
    assert torch.equal(values, torch.tensor(rows).gather(1, indices))


def test_first_items_of_a_small_set_are_all_items() -> None:
    assert metrics.first_items(torch.tensor([[0.1, 0.9]]), k=10)[1].tolist() == [[1, 0]]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [0, 2])
def test_ranks_are_places_in_the_full_order(seed: int, levels: int) -> None:
    scores, relevant = random_case(seed, levels=levels)
    places = [place for place, index in enumerate(slow.ranking(scores), start=1) if relevant[index]]
    assert ranks_of(scores, relevant)[0].tolist() == [*places, metrics.NEVER]


@pytest.mark.parametrize("few", [0, 2, 1000])
@pytest.mark.parametrize("levels", [3, 400])
def test_ties_go_by_index_however_many_there_are(few: int, levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole rows sorted, single items compared, or some of both: the full order decides."""
    monkeypatch.setattr(metrics, "_FEW_TIES", max(1, few))
    cases = [random_case(seed, items=90, levels=levels * (seed % 4)) for seed in range(12)]
    most = max(sum(hits) for _, hits in cases)
    relevant = [[index for index, hit in enumerate(hits) if hit] for _, hits in cases]
    filled = torch.tensor([row + [-1] * (most - len(row)) for row in relevant])
    found = metrics.relevant_ranks(torch.tensor([scores for scores, _ in cases]), filled)
    for row, (scores, hits) in zip(found.tolist(), cases, strict=True):
        places = [place for place, index in enumerate(slow.ranking(scores), start=1) if hits[index]]
        assert row == [*places, *[metrics.NEVER] * (most - len(places))]


def test_scores_are_left_as_they_were() -> None:
    scores = torch.tensor([[0.5, -0.0, 0.0, 0.5]])
    metrics.relevant_ranks(scores, torch.tensor([[3, 1]]))
    metrics.first_items(scores, k=2)
    assert scores.tolist() == [[0.5, -0.0, 0.0, 0.5]]


def test_an_item_of_minus_infinity_comes_after_all_others() -> None:
    assert ranks_of([-INF, -0.9, -0.2], [False, True, False])[0, 0] == 2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [0, 2])
def test_retrieval_figures_equal_their_definitions(seed: int, levels: int) -> None:
    scores, relevant = random_case(seed, levels=levels)
    ranks = ranks_of(scores, relevant)
    assert metrics.average_precision(ranks).item() == pytest.approx(slow.average_precision(scores, relevant), abs=1e-15)
    at_r = slow.average_precision_at_r(scores, relevant)
    assert metrics.average_precision_at_r(ranks).item() == pytest.approx(at_r, abs=1e-15)
    for k in (1, 2, 5, 40):
        assert metrics.recall_at(ranks, k=k).item() == slow.recall(scores, relevant, k)
        assert metrics.purity_at(ranks, k=k, items=30).item() == pytest.approx(slow.purity(scores, relevant, k))


def test_average_precision_with_negative_scores_is_scikit_learns() -> None:
    scores, relevant = [-0.3, -0.1, -0.2, -0.5], [False, True, False, True]
    actual = metrics.average_precision(ranks_of(scores, relevant)).item()
    assert actual == pytest.approx(average_precision_score(relevant, scores)) == pytest.approx(0.75)


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_scikit_learns(seed: int) -> None:
    scores, relevant = random_case(seed, items=200)
    actual = metrics.average_precision(ranks_of(scores, relevant)).item()
    assert actual == pytest.approx(average_precision_score(relevant, scores), abs=1e-12)


def test_queries_with_different_numbers_of_relevant_items_share_a_batch() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6]])
    ranks = metrics.relevant_ranks(scores, torch.tensor([[0, 2, 3], [1, -1, -1]]))
    torch.testing.assert_close(
        metrics.average_precision(ranks), torch.tensor([(1 + 2 / 3 + 3 / 4) / 3, 1 / 2], dtype=torch.float64)
    )
    torch.testing.assert_close(
        metrics.average_precision_at_r(ranks), torch.tensor([(1 + 2 / 3) / 3, 0], dtype=torch.float64)
    )


def test_purity_divides_by_the_items_there_are() -> None:
    assert metrics.purity_at(ranks_of([0.3, 0.2, 0.1], [True, False, True]), k=10, items=3).item() == pytest.approx(
        2 / 3
    )


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_votes_equal_their_definition(temperature: float) -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.rand(20, 7, generator=generator) * 2 - 1
    labels = torch.randint(4, (20, 7), generator=generator)
    expected = [slow.vote(row, names, temperature) for row, names in zip(scores.tolist(), labels.tolist(), strict=True)]
    assert metrics.neighbour_vote(scores, labels, temperature=temperature, classes=4).tolist() == expected


def test_many_far_neighbours_outvote_a_near_one_only_at_a_high_temperature() -> None:
    scores, labels = torch.tensor([[0.9, 0.1, 0.1, 0.1]]), torch.tensor([[2, 1, 1, 1]])
    assert metrics.neighbour_vote(scores, labels, temperature=0.07, classes=3).item() == 2
    assert metrics.neighbour_vote(scores, labels, temperature=10.0, classes=3).item() == 1


def test_equal_votes_go_to_the_lower_class() -> None:
    scores, labels = torch.tensor([[-0.5, -0.5]]), torch.tensor([[3, 1]])
    assert metrics.neighbour_vote(scores, labels, temperature=0.07, classes=4).item() == 1


def test_a_tiny_temperature_does_not_overflow() -> None:
    scores, labels = torch.tensor([[-0.2, -0.9, -0.9], [0.9, 0.8, 0.8]]), torch.tensor([[1, 0, 0], [1, 0, 0]])
    assert metrics.neighbour_vote(scores, labels, temperature=1e-4, classes=2).tolist() == [1, 1]


@pytest.mark.parametrize("k", [1, 3])
def test_top_k_accuracy_is_scikit_learns(k: int) -> None:
    generator = torch.Generator().manual_seed(1)
    scores, labels = torch.randn(50, 6, generator=generator), torch.randint(6, (50,), generator=generator)
    expected = top_k_accuracy_score(labels.numpy(), scores.numpy(), k=k, labels=range(6))
    assert metrics.top_k_accuracy(scores, labels, k=k) == pytest.approx(expected)


def test_top_k_accuracy_breaks_ties_by_class_number() -> None:
    assert metrics.top_k_accuracy(torch.zeros(2, 4), torch.tensor([1, 2]), k=2) == 0.5


@pytest.mark.parametrize(("clusters", "classes"), [(4, 4), (5, 3), (2, 5)])
def test_hungarian_accuracy_is_the_best_of_all_namings(clusters: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(clusters)
    found = torch.randint(clusters, (30,), generator=generator)
    truth = torch.randint(classes, (30,), generator=generator)
    expected = slow.matched_accuracy(found.tolist(), truth.tolist())
    assert metrics.hungarian_accuracy(found, truth) == pytest.approx(expected)


def test_hungarian_accuracy_does_not_depend_on_cluster_numbers() -> None:
    truth = torch.tensor([0, 0, 1, 1, 2])
    assert metrics.hungarian_accuracy((truth + 1) % 3, truth) == 1.0


def test_ranks_of_double_precision_are_those_of_single_precision() -> None:
    scores = torch.randint(-9, 9, (5, 40), generator=torch.Generator().manual_seed(3)) / 10
    relevant = torch.tensor([[0, 7, 20], [1, 2, -1], [39, 3, 5], [8, -1, -1], [4, 5, 6]])
    assert torch.equal(
        metrics.relevant_ranks(scores.double(), relevant), metrics.relevant_ranks(scores.float(), relevant)
    )
