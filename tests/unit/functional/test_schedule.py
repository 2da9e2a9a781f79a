import math

import pytest

from leadpp.functional.schedule import Schedule, cosine_by_epoch, cosine_by_step, late_rise, learning_rate, step_decay


def rates(schedule: Schedule, *, epochs: int = 5, per_epoch: int = 4, warmup_epochs: float = 1.0) -> list[float]:
    return [
        learning_rate(schedule, step, steps_per_epoch=per_epoch, epochs=epochs, warmup_epochs=warmup_epochs, peak=0.08)
        for step in range(epochs * per_epoch)
    ]


def test_warm_up_rises_in_even_steps_to_the_peak() -> None:
    assert rates("cosine-step")[:5] == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.08])


def test_cosine_by_step_falls_after_the_warm_up_and_never_to_zero() -> None:
    falling = rates("cosine-step")[4:]
    assert falling == sorted(falling, reverse=True)
    expected = [0.08 * math.cos(math.pi * place / 16 / 2) ** 2 for place in range(16)]
    assert falling == pytest.approx(expected)
    assert falling[-1] > 0


def test_without_warm_up_the_first_step_is_the_peak() -> None:
    assert rates("cosine-step", warmup_epochs=0)[0] == 0.08


def test_warm_up_of_part_of_an_epoch() -> None:
    assert rates("cosine-step", warmup_epochs=0.5)[:3] == pytest.approx([0.04, 0.08, 0.08])


def test_warm_up_longer_than_the_training_only_rises() -> None:
    assert rates("cosine-step", epochs=1, warmup_epochs=2) == pytest.approx([0.01, 0.02, 0.03, 0.04])
    assert rates("cosine-step", epochs=1, warmup_epochs=1) == pytest.approx([0.02, 0.04, 0.06, 0.08])


def test_the_references_cosine_ends_at_zero_and_starts_below_the_peak() -> None:
    assert cosine_by_epoch(10, epochs=10, peak=0.02) == pytest.approx(0, abs=1e-18)
    assert cosine_by_epoch(5, epochs=10, peak=0.02) == pytest.approx(0.01)
    assert cosine_by_epoch(1, epochs=10, peak=0.02) < 0.02


@pytest.mark.parametrize("schedule", ["cosine-epoch", "step"])
def test_by_epoch_all_steps_of_an_epoch_are_alike(schedule: Schedule) -> None:
    values = rates(schedule)
    assert [len(set(values[start : start + 4])) for start in range(0, 20, 4)] == [1] * 5


def test_steps_fall_at_60_and_80_percent() -> None:
    assert rates("step")[::4] == pytest.approx([0.08, 0.08, 0.008, 0.0008, 0.0008])


@pytest.mark.parametrize(("epochs", "first", "second"), [(100, 60, 80), (7, 5, 6), (3, 2, 3), (1, 1, 1)])
def test_milestones_of_any_length(epochs: int, first: int, second: int) -> None:
    values = [step_decay(epoch, epochs=epochs, peak=1.0) for epoch in range(1, epochs + 1)]
    assert [sum(value > bound for value in values) + 1 for bound in (0.5, 0.05)] == [first, second]


def test_cosine_by_step_is_half_way_in_the_middle() -> None:
    assert cosine_by_step(60, steps=110, warmup_steps=10, peak=1.0) == pytest.approx(0.5)


def test_what_learns_from_the_start_has_no_rise_of_its_own() -> None:
    for step, rate in enumerate(rates("cosine-step")):
        assert late_rise(step, start_step=0, warmup_steps=4, peak=0.08) >= rate - 1e-12


def test_what_learns_late_rises_from_there() -> None:
    rising = [late_rise(step, start_step=3, warmup_steps=2, peak=0.08) for step in range(7)]
    assert rising == pytest.approx([0, 0, 0, 0.04, 0.08, 0.08, 0.08])
    assert late_rise(3, start_step=3, warmup_steps=0, peak=0.08) == 0.08
