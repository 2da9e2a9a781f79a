"""The reference's learning rates, at 1e-12."""

import numpy as np
import pytest
from numpy.typing import NDArray

from leadpp.functional.schedule import cosine_by_epoch, learning_rate, step_decay
from tests.golden.arrays import number, read

REFERENCE_EPOCHS = 100
"""Where 60 % and 80 % are the reference's milestones, whatever the number of epochs."""


def assert_same(rates: list[float], expected: NDArray[np.generic]) -> None:
    assert len(rates) == len(expected)
    assert np.abs(np.asarray(rates) - expected.astype(np.float64)).max() <= 1e-12


def test_cosine_by_epoch() -> None:
    arrays = read("lr.npz")
    peak = number(arrays, "lr")
    for name, epochs in (("cosine", int(number(arrays, "epochs"))), ("cosine_37", len(arrays["cosine_37"]))):
        rates = [cosine_by_epoch(epoch, epochs=epochs, peak=peak) for epoch in range(1, epochs + 1)]
        assert_same(rates, arrays[name])


def test_step_decay() -> None:
    arrays = read("lr.npz")
    epochs, peak = int(number(arrays, "epochs")), number(arrays, "lr")
    rates = [step_decay(epoch, epochs=REFERENCE_EPOCHS, peak=peak) for epoch in range(1, epochs + 1)]
    assert_same(rates, arrays["step"])


@pytest.mark.parametrize(("schedule", "name"), [("cosine-epoch", "cosine"), ("step", "step")])
def test_rates_of_the_loop(schedule: str, name: str) -> None:
    """The loop counts steps from 0; every step of an epoch runs at the epoch's rate."""
    arrays = read("lr.npz")
    epochs, peak, per_epoch = int(number(arrays, "epochs")), number(arrays, "lr"), 3
    rates = [
        learning_rate(
            "step" if schedule == "step" else "cosine-epoch",
            step,
            steps_per_epoch=per_epoch,
            epochs=REFERENCE_EPOCHS if schedule == "step" else epochs,
            warmup_epochs=5,
            peak=peak,
        )
        for step in range(per_epoch * epochs)
    ]
    assert_same(rates, np.repeat(arrays[name], per_epoch))
