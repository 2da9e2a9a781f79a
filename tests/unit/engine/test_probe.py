"""The linear probe: a by-hand oracle, its protocol, and what must not leak."""

import pytest
import torch
from torch import Tensor

from leadpp.engine import probe
from leadpp.engine.probe import Pace, ProbeResult, ProbeSettings, linear_probe, probe_rate, stratified_parts
from leadpp.errors import DataError
from leadpp.functional.randomness import generator_for
from tests.oracles.probe import train as train_by_hand


def clouds(seed: int, *, items: int, spread: float = 0.8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(items) % 3
    centres = torch.randn(3, 6, generator=torch.Generator().manual_seed(9))
    return centres[labels] + spread * torch.randn(items, 6, generator=generator), labels


def run(
    views: list[Tensor], labels: Tensor, *, test: tuple[Tensor, Tensor], epochs: int, batch_size: int = 256
) -> ProbeResult:
    settings = ProbeSettings(epochs=epochs, batch_size=batch_size)
    return linear_probe(views, labels, fixed=views[0], test=test, settings=settings, seed=5)


@pytest.mark.parametrize(("items", "batch", "decay"), [(50, 16, 0.0), (10, 256, 0.0), (32, 16, 0.002)])
def test_layers_are_those_of_the_protocol_worked_by_hand(items: int, batch: int, decay: float) -> None:
    """Batches of the drawn order, the short one dropped; view e mod V; rate to a tenth at 60 % and 80 %."""
    views, labels = [clouds(1, items=items)[0], 3 * clouds(2, items=items)[0]], clouds(1, items=items)[1]
    steps = []
    for epoch, rate in enumerate([30.0, 30.0, 30.0, 3.0, 0.3]):
        order = torch.randperm(items, generator=generator_for(5, "probe-order", epoch))
        view = torch.nn.functional.normalize(views[epoch % 2].double(), dim=1)
        full = [rows for rows in order.split(min(batch, items)) if len(rows) == min(batch, items)]  # type: ignore[no-untyped-call]
        steps += [(view[rows].numpy(), labels[rows].numpy(), rate) for rows in full]
    first = 0.01 * torch.randn(3, 6, generator=generator_for(5, "probe-weights"))
    weight, bias = train_by_hand(steps, first.double().numpy(), momentum=0.9, decay=decay)
    settings = ProbeSettings(epochs=5, batch_size=batch)
    rows = torch.arange(items)
    grid = [Pace(rate=30.0, decay=decay)]
    *_, (found_weight, found_bias) = probe._layers(
        views, labels, rows=rows, classes=3, grid=grid, settings=settings, seed=5
    )
    torch.testing.assert_close(found_weight[0].double(), torch.from_numpy(weight), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found_bias[0].double(), torch.from_numpy(bias), rtol=1e-4, atol=1e-4)


def test_separable_classes_are_learned_and_unlearnable_ones_are_not() -> None:
    features, labels = clouds(1, items=60, spread=0.05)
    found = run([features], labels, test=clouds(2, items=30, spread=0.05), epochs=10)
    assert found.last == found.heldout == found.best_test == 1.0
    noise = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    assert run([features], labels, test=(noise, torch.arange(300) % 3), epochs=10).last < 0.5


def test_test_accuracy_is_read_after_each_epoch() -> None:
    features, labels = clouds(1, items=60)
    test = clouds(2, items=40)
    found = run([features], labels, test=test, epochs=4)
    settings = ProbeSettings(epochs=4)
    unit = torch.nn.functional.normalize(test[0], dim=1)
    expected = []
    rows = torch.arange(60)
    for (weight,), (bias,) in probe._layers(
        [features], labels, rows=rows, classes=3, grid=settings.grid, settings=settings, seed=5
    ):
        expected.append(((unit @ weight.T + bias).argmax(1) == test[1]).double().mean().item())
    assert list(found.test_curve) == expected


def test_held_out_items_never_train_the_probe_that_judges_them() -> None:
    features, labels = clouds(1, items=40)
    _, held = stratified_parts(labels, share=0.2, generator=generator_for(5, "probe-heldout"))
    spoilt = features.clone()
    spoilt[held] = 7 * torch.randn(len(held), 6, generator=torch.Generator().manual_seed(1))
    test = clouds(2, items=40)
    settings = ProbeSettings(epochs=6, batch_size=8)
    clean, changed = (
        linear_probe([view], labels, fixed=features, test=test, settings=settings, seed=5)
        for view in (features, spoilt)
    )
    assert clean.heldout_curve == changed.heldout_curve
    assert clean.test_curve != changed.test_curve


def test_the_test_set_does_not_choose_the_epoch() -> None:
    features, labels = clouds(1, items=60)
    test = clouds(2, items=60)
    one = run([features], labels, test=test, epochs=8, batch_size=8)
    other = run([features], labels, test=(test[0], (test[1] + 1) % 3), epochs=8, batch_size=8)
    assert one.heldout_epoch == other.heldout_epoch


@pytest.mark.parametrize(
    ("items", "epoch"),
    [(10_000, 3), (101, 3), (99, 4), (20, 5)],  # one standard error of 0.5: 0.005, 0.04975, 0.05025, 0.11
)
def test_the_chosen_epoch_is_the_latest_within_one_standard_error_of_the_best(items: int, epoch: int) -> None:
    test = (0.1, 0.9, 0.4, 0.3, 0.2)
    result = ProbeResult(test_curve=test, heldout_curve=(0.2, 0.5, 0.5, 0.45, 0.4), heldout_items=items)
    assert (result.heldout_epoch, result.heldout) == (epoch, test[epoch - 1])
    assert (result.last, result.best_test) == (0.2, 0.9)


def test_many_paces_at_once_are_as_many_single_probes() -> None:
    train, test = clouds(1, items=90, spread=1.2), clouds(2, items=60, spread=1.2)
    rates, decays = (0.5, 30.0, 200.0), (0.0, 1e-3)
    several = ProbeSettings(epochs=8, batch_size=16, rates=rates, decays=decays)
    together = linear_probe([train[0]], train[1], fixed=train[0], test=test, settings=several, seed=5)
    assert [pace for pace, _ in together.tried] == [Pace(rate=r, decay=d) for r in rates for d in decays]
    alone = {}
    for pace, curve in together.tried:
        single = ProbeSettings(epochs=8, batch_size=16, rates=(pace.rate,), decays=(pace.decay,))
        alone[pace] = linear_probe([train[0]], train[1], fixed=train[0], test=test, settings=single, seed=5)
        assert curve == pytest.approx(alone[pace].heldout_curve, abs=1e-12)
    assert len({result.heldout_curve for result in alone.values()}) > 2
    assert together.test_curve == pytest.approx(alone[together.pace].test_curve, abs=1e-12)
    best = max(result.heldout_curve[(result.heldout_epoch or 0) - 1] for result in alone.values())
    assert together.heldout_curve[(together.heldout_epoch or 0) - 1] == best
    assert together.pace == next(
        pace for pace, result in alone.items() if result.heldout_curve[(result.heldout_epoch or 0) - 1] == best
    )


def test_the_test_set_does_not_choose_the_pace() -> None:
    features, labels = clouds(1, items=60, spread=1.5)
    settings = ProbeSettings(epochs=5, batch_size=8, rates=(0.01, 30.0, 1000.0))
    test = clouds(2, items=60)
    paces = [
        linear_probe([features], labels, fixed=features, test=(test[0], truth), settings=settings, seed=5).pace
        for truth in (test[1], (test[1] + 1) % 3)
    ]
    assert paces[0] == paces[1]


def test_a_pace_that_never_learns_is_not_chosen() -> None:
    features, labels = clouds(1, items=60, spread=0.05)
    for rates in ((1e-9, 30.0), (30.0, 1e-9)):
        settings = ProbeSettings(epochs=5, rates=rates)
        found = linear_probe([features], labels, fixed=features, test=clouds(2, items=30), settings=settings, seed=5)
        assert found.pace.rate == 30.0


def test_judging_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = clouds(1, items=60)
    test = clouds(2, items=50)
    whole = run([features], labels, test=test, epochs=3)
    monkeypatch.setattr(probe, "_BLOCK_SCORES", 20)
    assert run([features], labels, test=test, epochs=3) == whole


def test_nothing_held_out_leaves_the_first_pace() -> None:
    settings = ProbeSettings(epochs=5, rates=(3.0, 30.0))
    test = (torch.eye(3), torch.arange(3))
    found = linear_probe([torch.eye(3)], torch.arange(3), fixed=torch.eye(3), test=test, settings=settings, seed=5)
    assert (found.pace, found.tried) == (Pace(rate=3.0, decay=0.0), ())


def test_classes_of_one_leave_nothing_to_hold_out() -> None:
    result = run([torch.eye(3)], torch.arange(3), test=(torch.eye(3), torch.arange(3)), epochs=5)
    assert (result.heldout_curve, result.heldout_epoch, result.heldout) == ((), None, None)
    assert result.last == 1.0


def test_the_seed_decides_and_nothing_else() -> None:
    features, labels = clouds(1, items=60)
    test = clouds(2, items=200, spread=1.5)
    settings = ProbeSettings(epochs=3, batch_size=8)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    curves = [
        linear_probe([features], labels, fixed=features, test=test, settings=settings, seed=seed).test_curve
        for seed in (1, 1, 2)
    ]
    assert curves[0] == curves[1] != curves[2]
    assert torch.equal(state, torch.get_rng_state())


def test_features_count_by_direction_alone() -> None:
    features, labels = clouds(1, items=60)
    test = clouds(2, items=60)
    assert run([features], labels, test=test, epochs=3) == run([8 * features], labels, test=test, epochs=3)


def test_test_classes_that_train_lacks_count_as_wrong() -> None:
    features, labels = clouds(1, items=30, spread=0.01)
    assert run([features], labels, test=(features, labels + 3), epochs=3).last == 0.0


def test_rates_of_the_paper() -> None:
    rates = [probe_rate(epoch, epochs=100, learning_rate=30.0) for epoch in range(100)]
    assert rates == pytest.approx([30.0] * 60 + [3.0] * 20 + [0.3] * 20)


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_each_class_gives_its_share(share: float) -> None:
    labels = torch.tensor([0] * 10 + [1] * 20 + [2] + [3] * 2)[torch.randperm(33, generator=generator_for(0, "mix"))]
    rest, held = stratified_parts(labels, share=share, generator=generator_for(1, "split"))
    assert sorted([*rest.tolist(), *held.tolist()]) == list(range(33))
    assert labels[held].bincount(minlength=4).tolist() == [10 * share, 20 * share, 0, 1]
    assert rest.tolist() == sorted(rest.tolist())
    other = stratified_parts(labels, share=share, generator=generator_for(2, "split"))[1]
    assert held.tolist() != other.tolist()


def test_diverged_features_are_an_error() -> None:
    features, labels = clouds(1, items=12)
    features[3, 3] = torch.nan
    with pytest.raises(DataError, match="NaN"):
        run([features], labels, test=clouds(2, items=12), epochs=2)
