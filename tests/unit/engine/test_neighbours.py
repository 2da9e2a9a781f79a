"""Neighbours in blocks: scikit-learn, slow definitions, and laws."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from leadpp.engine import neighbours
from leadpp.engine.neighbours import Vote, knn_accuracies, knn_accuracy, nearest, retrieval, unit_rows
from leadpp.errors import DataError
from tests.oracles import retrieval as slow


def clouds(seed: int, *, items: int, classes: int = 5, width: int = 8) -> tuple[Tensor, Tensor]:
    """Draw noisy clouds whose cosines are of both signs."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (items,), generator=generator)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    return centres[labels] + 1.3 * torch.randn(items, width, generator=generator), labels


def slow_figures(features: Tensor, labels: Tensor) -> dict[str, float]:
    unit = features / features.norm(dim=1, keepdim=True)
    rows = []
    for query in range(len(features)):
        others = [item for item in range(len(features)) if item != query]
        scores = [float(unit[query] @ unit[item]) for item in others]
        relevant = [bool(labels[item] == labels[query]) for item in others]
        if any(relevant):
            row = {f"recall{k}": slow.recall(scores, relevant, k) for k in (1, 2, 4, 8)}
            row |= {f"rank{k}": slow.recall(scores, relevant, k) for k in (1, 5)}
            row |= {"map": slow.average_precision(scores, relevant), "purity10": slow.purity(scores, relevant, 10)}
            rows.append(row | {"map_at_r": slow.average_precision_at_r(scores, relevant)})
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def test_retrieval_equals_the_definition_whatever_the_block() -> None:
    features, labels = clouds(1, items=60)
    expected = slow_figures(features, labels)
    assert 0.2 < expected["map"] < 0.9
    for chunk in (7, 60, 1000):
        assert retrieval(features, labels, chunk=chunk).figures == pytest.approx(expected, abs=1e-12)


def test_a_block_is_smaller_where_there_are_many_items(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clouds(1, items=60)
    expected = retrieval(features, labels).figures
    monkeypatch.setattr(neighbours, "_BLOCK_SCORES", 60 * 7)
    blocks = [len(rows) for rows, _ in nearest(features, k=3, chunk=50)]
    assert blocks == [7] * 8 + [4]
    assert retrieval(features, labels).figures == expected
    monkeypatch.setattr(neighbours, "_BLOCK_SCORES", 10)  # less than one query needs
    assert retrieval(features, labels).figures == expected


def test_features_that_are_there_many_times_are_ranked_by_index() -> None:
    generator = torch.Generator().manual_seed(3)
    features = torch.randint(2, (90, 4), generator=generator) * 2.0 - 1  # cosines without rounding, hence true ties
    labels = torch.randint(5, (90,), generator=generator)
    assert retrieval(features, labels, chunk=13).figures == pytest.approx(slow_figures(features, labels), abs=1e-12)


def test_queries_without_class_mates_are_left_out_and_stay_in_the_gallery() -> None:
    features, labels = clouds(2, items=40)
    features, labels = torch.cat([features, features[:2] + 0.2]), torch.cat([labels, torch.tensor([77, 78])])
    found = retrieval(features, labels, chunk=16)
    assert (found.queries, found.queries_left_out) == (40, 2)
    assert found.figures == pytest.approx(slow_figures(features, labels), abs=1e-12)
    assert found.figures["rank1"] < retrieval(features[:40], labels[:40]).figures["rank1"]


def test_without_any_query_there_are_no_figures() -> None:
    found = retrieval(torch.eye(3), torch.arange(3))
    assert (found.figures, found.queries, found.queries_left_out) == ({}, 0, 3)


def test_an_empty_set_has_no_query() -> None:
    assert retrieval(torch.empty(0, 4), torch.empty(0, dtype=torch.int64)).queries == 0


def test_one_class_is_found_perfectly() -> None:
    features, _ = clouds(3, items=6)  # fewer others than purity looks at
    assert set(retrieval(features, torch.zeros(6, dtype=torch.int64)).figures.values()) == {1.0}


def test_a_collapsed_encoder_is_ranked_by_index() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    found = retrieval(torch.ones(4, 3), labels).figures
    assert found["rank1"] == 0.5  # every query meets item 0 first, item 0 meets item 1
    assert found["map"] == pytest.approx((1 + 1 + 1 / 3 + 1 / 3) / 4)


def test_retrieval_does_not_depend_on_scale_or_class_numbers() -> None:
    features, labels = clouds(4, items=50)
    scales = torch.rand(50, 1, generator=torch.Generator().manual_seed(0)) + 0.5
    assert retrieval(features * scales, 900 - 7 * labels).figures == pytest.approx(retrieval(features, labels).figures)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (10, 0.07), (25, 0.1), (500, 0.1)])
def test_knn_is_scikit_learns_with_the_same_weights(k: int, temperature: float) -> None:
    train, labels_train = clouds(5, items=80)
    test, labels_test = clouds(6, items=70)

    def weights(cosine_distances: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp((1 - cosine_distances) / temperature))

    oracle = KNeighborsClassifier(min(k, 80), metric="cosine", algorithm="brute", weights=weights)
    oracle.fit(train.numpy(), labels_train.numpy())
    expected = float(oracle.score(test.numpy(), labels_test.numpy()))
    assert 0.3 < expected < 0.9
    assert knn_accuracy(train, labels_train, test, labels_test, k=k, temperature=temperature) == pytest.approx(expected)


def test_settings_in_one_pass_are_those_asked_one_by_one() -> None:
    train, test = clouds(7, items=60), clouds(8, items=50)
    votes = {"few": Vote(k=3, temperature=0.07), "many": Vote(k=40, temperature=0.5)}
    together = knn_accuracies(train, test, votes=votes, chunk=9)
    alone = {name: knn_accuracy(*train, *test, k=vote.k, temperature=vote.temperature) for name, vote in votes.items()}
    assert together == alone
    assert together["few"] != together["many"]


def test_classes_that_train_lacks_count_as_wrong() -> None:
    train, labels_train = torch.eye(3), torch.tensor([0, 1, 2])
    assert knn_accuracy(train, labels_train, train, torch.tensor([0, 1, 9]), k=1) == pytest.approx(2 / 3)


@pytest.mark.parametrize("empty", ["train", "test"])
def test_an_empty_split_is_an_error(empty: str) -> None:
    none, some = (torch.empty(0, 3), torch.empty(0, dtype=torch.int64)), (torch.eye(3), torch.arange(3))
    train, test = (none, some) if empty == "train" else (some, none)
    with pytest.raises(DataError, match=r"train and a test split$"):
        knn_accuracy(*train, *test)


def test_nearest_leaves_each_query_out() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]])
    (cosines, indices), (last, _) = nearest(features, k=5, chunk=2)
    assert indices.tolist() == [[1, 2], [0, 2]]
    assert cosines[0, 1].item() == pytest.approx(-1)
    assert last.shape == (1, 2)


def test_nearest_in_a_gallery_keeps_all_items() -> None:
    ((_, indices),) = nearest(torch.eye(2), torch.eye(2).flip(0), k=5)
    assert indices.tolist() == [[1, 0], [0, 1]]


def test_unit_rows_keeps_zero_rows() -> None:
    torch.testing.assert_close(unit_rows(torch.tensor([[3.0, 4.0], [0, 0]])), torch.tensor([[0.6, 0.8], [0, 0]]))


def test_finite_features_whose_sum_is_not_are_taken() -> None:
    assert unit_rows(torch.full((2, 4), 3e38)).isfinite().all()


def test_diverged_features_are_named() -> None:
    features = torch.eye(4)
    features[1, 0], features[3, 3] = torch.nan, torch.inf
    with pytest.raises(DataError, match="2 of 4 rows"):
        retrieval(features, torch.zeros(4, dtype=torch.int64))
