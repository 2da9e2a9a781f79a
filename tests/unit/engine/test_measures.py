"""All figures of one feature: which there are, on what they depend, and what is refused."""

import dataclasses
import json
from typing import Any

import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from leadpp.engine.features import FeatureBank
from leadpp.engine.measures import MeasureSettings, evaluate_features, naming_accuracy
from leadpp.engine.probe import ProbeSettings, linear_probe
from leadpp.errors import DataError

SETTINGS = MeasureSettings(seed=1, probe=ProbeSettings(epochs=5, batch_size=16), chunk=16, kmeans_restarts=2)
RETRIEVAL = {"rank1", "rank5", "recall1", "recall2", "recall4", "recall8", "map", "map_at_r", "purity10"}
CLUSTERS = {"cluster_accuracy", "nmi", "ari", "cluster_accuracy_spherical", "nmi_spherical", "ari_spherical"}
SUPERVISED = {"knn", "knn200", "probe_last", "probe_heldout", "probe_best_test"}


def bank(seed: int, *, items: int = 48, classes: int = 4, spread: float = 0.9) -> FeatureBank:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(items) % classes
    centres = torch.randn(classes, 8, generator=torch.Generator().manual_seed(77))
    return FeatureBank(features=centres[labels] + spread * torch.randn(items, 8, generator=generator), labels=labels)


def noise(seed: int, *, like: FeatureBank) -> Tensor:
    return torch.randn(like.features.shape, generator=torch.Generator().manual_seed(seed))


def figures(found: dict[str, Any]) -> set[str]:
    return set(found) - {"counts", "protocol"}


def test_perfect_features_are_perfect_in_every_figure() -> None:
    found = evaluate_features(bank(1, spread=0.01), bank(2, spread=0.01), settings=SETTINGS)
    assert figures(found) == RETRIEVAL | CLUSTERS | SUPERVISED
    assert all(found[name] == pytest.approx(1.0) for name in figures(found) - {"knn200"})


def test_noise_is_near_chance_in_every_figure() -> None:
    train, test = bank(1), bank(2)
    nothing = FeatureBank(features=noise(5, like=test), labels=test.labels)
    found = evaluate_features(train, nothing, settings=SETTINGS)
    assert all(found[name] < 0.5 for name in ("knn", "knn200", "probe_last", "rank1", "map", "cluster_accuracy"))


def test_without_train_there_is_nothing_supervised() -> None:
    found = evaluate_features(None, bank(2), settings=SETTINGS)
    assert figures(found) == RETRIEVAL | CLUSTERS
    assert found["counts"] == {"test": 48, "classes": 4, "queries": 48, "queries_left_out": 0}
    assert not {"knn", "knn200", "probe"} & set(found["protocol"])


def test_train_decides_the_supervised_figures_alone() -> None:
    test = bank(2)
    good = evaluate_features(bank(1), test, settings=SETTINGS)
    swapped = FeatureBank(features=bank(1).features, labels=(bank(1).labels + 1) % 4)
    bad = evaluate_features(swapped, test, settings=SETTINGS)
    assert all(bad[name] < 0.5 < good[name] for name in ("knn", "probe_last"))
    assert {name: good[name] for name in RETRIEVAL | CLUSTERS} == {name: bad[name] for name in RETRIEVAL | CLUSTERS}


def test_the_probe_learns_from_the_views_and_neighbours_do_not() -> None:
    train, test = bank(1, spread=0.3), bank(2, spread=0.3)
    own = evaluate_features(train, test, settings=SETTINGS)
    lost = evaluate_features(train, test, train_views=[noise(1, like=train), noise(2, like=train)], settings=SETTINGS)
    assert (own["probe_last"] > 0.9, lost["probe_last"] < 0.6) == (True, True)
    assert own["knn"] == lost["knn"]
    assert (own["protocol"]["probe"]["views"], lost["protocol"]["probe"]["views"]) == ("the test view", 2)


def test_the_probes_epoch_is_chosen_on_the_test_view_of_train() -> None:
    train, test = bank(1), bank(2)
    views = [noise(3, like=train), train.features]
    found = evaluate_features(train, test, train_views=views, settings=SETTINGS)
    by_view = {}
    for name, fixed in (("test view", train.features), ("first view", views[0])):
        by_view[name] = linear_probe(
            views, train.labels, fixed=fixed, test=(test.features, test.labels), settings=SETTINGS.probe, seed=1
        )
    assert by_view["test view"].heldout_epoch != by_view["first view"].heldout_epoch
    assert found["protocol"]["probe"]["heldout_epoch"] == by_view["test view"].heldout_epoch
    assert found["probe_heldout"] == by_view["test view"].heldout


def test_a_sweep_says_what_was_tried_and_on_what_it_was_chosen() -> None:
    sweep = dataclasses.replace(
        SETTINGS, probe=ProbeSettings(epochs=5, batch_size=16, rates=(1e-6, 30.0), decays=(0.0,))
    )
    found = evaluate_features(bank(1), bank(2), settings=sweep)
    plain = evaluate_features(bank(1), bank(2), settings=SETTINGS)
    protocol = found["protocol"].pop("probe")
    assert (protocol["learning_rate"], protocol["weight_decay"]) == (30.0, 0.0)
    assert (protocol["rates_tried"], protocol["decays_tried"]) == ([1e-6, 30.0], [0.0])
    assert protocol["chosen_on"] == "8 held-out training photographs, never on test"
    assert not {"rates_tried", "decays_tried", "chosen_on"} & set(plain["protocol"].pop("probe"))
    assert found == plain


def test_small_sets_and_lonely_classes_are_said_in_the_row() -> None:
    train = FeatureBank(features=torch.eye(3), labels=torch.arange(3))
    test = FeatureBank(features=torch.eye(3)[[0, 0, 1]], labels=torch.tensor([0, 0, 1]))
    found = evaluate_features(train, test, settings=SETTINGS)
    assert found["counts"] == {"test": 3, "classes": 2, "queries": 2, "queries_left_out": 1, "train": 3}
    assert found["protocol"]["knn"] == {"k": 3, "temperature": 0.07}
    assert found["protocol"]["knn200"] == {"k": 3, "temperature": 0.1}
    assert found["protocol"]["probe"]["batch_size"] == 3
    assert "probe_heldout" not in found
    assert "heldout_epoch" not in found["protocol"]["probe"]
    assert found["rank1"] == found["probe_last"] == 1.0


def test_only_lonely_classes_leave_no_retrieval() -> None:
    found = evaluate_features(None, FeatureBank(features=torch.eye(3), labels=torch.arange(3)), settings=SETTINGS)
    assert figures(found) == CLUSTERS
    assert found["counts"]["queries_left_out"] == 3


def test_spherical_clusters_do_not_see_length_and_plain_ones_do() -> None:
    test = bank(2, spread=0.1)
    lengths = 10 ** (2 * torch.rand(48, 1, generator=torch.Generator().manual_seed(3)))
    found = evaluate_features(None, FeatureBank(features=test.features * lengths, labels=test.labels))
    assert found["ari_spherical"] == pytest.approx(adjusted_rand_score(test.labels.numpy(), test.labels.numpy()))
    assert found["ari"] < 0.8


def test_rows_are_json_and_depend_on_the_seed_alone() -> None:
    train, test = bank(1), bank(2, spread=2.0)
    one, again = (evaluate_features(train, test, settings=SETTINGS) for _ in range(2))
    other = evaluate_features(train, test, settings=MeasureSettings(seed=2, probe=SETTINGS.probe))
    assert json.dumps(one) == json.dumps(again)
    assert {name: one[name] for name in RETRIEVAL} == {name: other[name] for name in RETRIEVAL}
    assert one["protocol"]["seed"] != other["protocol"]["seed"]
    assert [one[name] for name in sorted(CLUSTERS)] != [other[name] for name in sorted(CLUSTERS)]


def test_the_device_changes_nothing() -> None:
    on_cpu = dataclasses.replace(SETTINGS, device=torch.device("cpu"))
    assert evaluate_features(bank(1), bank(2), settings=on_cpu) == evaluate_features(
        bank(1), bank(2), settings=SETTINGS
    )


def empty() -> FeatureBank:
    return FeatureBank(features=torch.empty(0, 8), labels=torch.empty(0, dtype=torch.int64))


def narrow() -> FeatureBank:
    return FeatureBank(features=torch.eye(4), labels=torch.arange(4))


def one_class() -> FeatureBank:
    return FeatureBank(features=torch.eye(8), labels=torch.zeros(8, dtype=torch.int64))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (bank(1), empty(), "found none; give the data a test split"),
        (bank(1), one_class(), "found one class"),
        (empty(), bank(2), "training items, found none"),
        (narrow(), bank(2), "4 wide and those of test 8"),
    ],
)
def test_what_cannot_be_measured_is_refused(train: FeatureBank, test: FeatureBank, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate_features(train, test, settings=SETTINGS)


def test_naming_goes_by_the_nearest_direction() -> None:
    embeddings = torch.tensor([[5.0, 0.1], [0.1, 0.2], [-1.0, -3.0], [1.0, 0.0]])
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert naming_accuracy(embeddings, prototypes, torch.tensor([0, 1, 2, 1])) == 0.75
