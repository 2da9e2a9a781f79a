"""Calibration: temperatures matched without labels, reliability, coverage against accuracy, and nearness of names."""

from itertools import permutations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torchmetrics.functional.classification import multiclass_calibration_error

from leadpp.functional.calibration import (
    coverage_curve,
    match_confidence,
    mean_confidence,
    reliability,
    semantic_accuracy,
)
from tests.oracles.calibration import slow_calibration_error, slow_confidence, slow_risks


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cosines(items: int = 40, classes: int = 7, *, seed: int = 0) -> Tensor:
    rows, columns = (torch.randn(n, 5, generator=generator(seed + place)) for place, n in enumerate((items, classes)))
    return normalize(rows, dim=1) @ normalize(columns, dim=1).T


@pytest.mark.parametrize("temperature", [1e-4, 0.01, 0.07, 1.0, 50.0])
def test_mean_confidence_is_the_softmax_of_the_definition(temperature: float) -> None:
    actual = mean_confidence(cosines(), temperature=temperature)
    assert actual == pytest.approx(slow_confidence(cosines().double().tolist(), temperature), rel=1e-9)
    assert 1 / 7 <= actual <= 1


def test_confidence_falls_as_the_temperature_grows() -> None:
    found = [mean_confidence(cosines(), temperature=10**power) for power in (-4, -3, -2, -1, 0, 1, 2)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("temperature", [0.003, 0.02, 0.05, 0.4, 3.0])
def test_the_temperature_that_made_a_confidence_is_found_again(temperature: float) -> None:
    target = mean_confidence(cosines(), temperature=temperature)
    found = match_confidence(cosines(), target=target, usual=1.0)
    assert found.value == pytest.approx(temperature, rel=1e-9)
    assert found.reached == pytest.approx(target, abs=1e-12)


def test_cosines_scaled_ask_for_a_temperature_scaled_alike() -> None:
    one = match_confidence(cosines(), target=0.6, usual=1.0)
    half = match_confidence(cosines() / 2, target=0.6, usual=1.0)
    assert half.value == pytest.approx(one.value / 2, rel=1e-6)


def test_the_order_of_items_and_classes_does_not_matter() -> None:
    whole = cosines()
    mixed = whole[torch.randperm(40, generator=generator(1))][:, torch.randperm(7, generator=generator(2))]
    one, other = (match_confidence(each, target=0.5, usual=1.0).value for each in (whole, mixed))
    assert one == pytest.approx(other, rel=1e-9)


@pytest.mark.parametrize("odd", [torch.rand(4, 1), torch.full((4, 6), 0.3)], ids=["one class", "all alike"])
def test_where_every_temperature_gives_the_same_the_usual_is_kept(odd: Tensor) -> None:
    found = match_confidence(odd, target=0.7, usual=0.02)
    assert found.value == 0.02
    assert found.reached == pytest.approx(1 / odd.shape[1])


def test_what_cannot_be_reached_gives_the_nearest_end_and_says_what_it_reached() -> None:
    assert match_confidence(cosines(), target=0.0, usual=1.0).value == 100
    assert match_confidence(cosines(), target=0.0, usual=1.0).reached == pytest.approx(1 / 7, abs=0.01)
    tied = torch.tensor([[0.5, 0.5, 0.1]])
    found = match_confidence(tied, target=0.9, usual=1.0)
    assert found.value == 1e-4
    assert found.reached == pytest.approx(0.5)


def answers(items: int = 200, classes: int = 5, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    probs = torch.rand(items, classes, generator=generator(seed)).softmax(dim=1)
    sharper = (torch.randn(items, classes, generator=generator(seed)) * 2).softmax(dim=1)
    labels = torch.randint(0, classes, (items,), generator=generator(seed + 1))
    return torch.cat([probs, sharper]), torch.cat([labels, sharper.argmax(dim=1) % classes])


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_is_that_of_torchmetrics_and_of_the_definition(bins: int) -> None:
    probs, labels = answers()
    confidence, guesses = probs.max(dim=1)
    actual = reliability(confidence, guesses == labels, bins=bins).error
    theirs = multiclass_calibration_error(probs, labels, num_classes=5, n_bins=bins, norm="l1")
    assert actual == pytest.approx(float(theirs), abs=1e-6)
    slow = slow_calibration_error(confidence.double().tolist(), (guesses == labels).tolist(), bins=bins)
    assert actual == pytest.approx(slow, abs=1e-12)


def test_certain_answers_belong_to_the_last_bin() -> None:
    found = reliability(torch.tensor([1.0, 0.97, 0.0]), torch.tensor([True, False, False]), bins=10)
    assert found.counts.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert found.error == pytest.approx((0.97 + 1 - 1) / 3)


def test_a_confidence_on_a_border_belongs_to_the_upper_bin() -> None:
    assert reliability(torch.tensor([0.5]), torch.tensor([True]), bins=2).counts.tolist() == [0, 1]


def test_answers_that_are_right_as_often_as_they_say_have_no_error() -> None:
    confidence = torch.tensor([0.75] * 4 + [0.5] * 2)
    right = torch.tensor([True, True, True, False, True, False])
    assert reliability(confidence, right).error == pytest.approx(0, abs=1e-12)
    assert reliability(confidence, ~right).error == pytest.approx(4 / 6 * 0.5)


def test_risks_are_those_of_the_definition() -> None:
    confidence = torch.rand(50, generator=generator(3))
    right = torch.rand(50, generator=generator(4)) < confidence
    curve = coverage_curve(confidence, right)
    slow = slow_risks(confidence.tolist(), right.tolist())
    assert (1 - curve.accuracy).tolist() == pytest.approx(slow)
    assert curve.risk_area == pytest.approx(sum(slow) / 50)
    assert bool(curve.cuts.all())


def test_equal_confidences_give_the_mean_over_all_their_orders() -> None:
    confidence = [0.9, 0.5, 0.5, 0.5, 0.2]
    right = [False, True, False, True, True]
    curve = coverage_curve(torch.tensor(confidence), torch.tensor(right))
    orders = [[right[0], *middle, right[4]] for middle in permutations(right[1:4])]
    for k in range(1, 6):
        expected = sum(sum(order[:k]) / k for order in orders) / len(orders)
        assert curve.accuracy[k - 1].item() == pytest.approx(expected)
    assert curve.cuts.tolist() == [True, False, False, True, True]


def test_accuracy_at_coverage_and_coverage_at_accuracy() -> None:
    confidence = torch.linspace(1, 0, 10)
    right = torch.tensor([1, 1, 1, 1, 0, 1, 1, 0, 0, 0]).bool()
    curve = coverage_curve(confidence, right)
    assert curve.accuracy_at(1.0) == pytest.approx(0.6)
    assert curve.accuracy_at(0.5) == pytest.approx(4 / 5)
    assert curve.accuracy_at(0.01) == 1
    assert curve.coverage_at(0.8) == pytest.approx(0.7)  # six of seven; six of eight are too few
    assert curve.coverage_at(1.0) == pytest.approx(0.4)
    assert coverage_curve(confidence, ~right).coverage_at(0.9) == 0


def test_coverage_cannot_end_within_equal_confidences() -> None:
    curve = coverage_curve(torch.tensor([0.9, 0.5, 0.5]), torch.tensor([True, True, False]))
    assert curve.accuracy_at(2 / 3) == pytest.approx(0.75)
    assert curve.coverage_at(0.7) == pytest.approx(1 / 3)


def test_any_rising_scale_of_confidence_gives_the_same_curve() -> None:
    confidence = torch.rand(30, generator=generator(5))
    right = torch.rand(30, generator=generator(6)) < 0.5
    one, other = coverage_curve(confidence, right), coverage_curve(confidence**3 * 7 - 2, right)
    assert torch.equal(one.accuracy, other.accuracy)


def test_the_best_order_has_the_least_area() -> None:
    right = torch.tensor([True] * 6 + [False] * 4)
    best, worst = coverage_curve(torch.arange(10, 0, -1), right), coverage_curve(torch.arange(10), right)
    mixed = coverage_curve(torch.ones(10), right)
    assert best.risk_area < mixed.risk_area < worst.risk_area
    assert mixed.risk_area == pytest.approx(0.4)


def test_right_names_have_semantic_accuracy_one_and_opposite_ones_minus_one() -> None:
    names = normalize(torch.randn(6, 4, generator=generator(7)), dim=1)
    assert semantic_accuracy(names, names) == pytest.approx(1)
    assert semantic_accuracy(names, -names) == pytest.approx(-1)
    swapped = semantic_accuracy(names, names.roll(1, dims=0))
    assert swapped == pytest.approx(
        sum(float(a @ b) for a, b in zip(names, names.roll(1, 0), strict=True)) / 6, abs=1e-6
    )
