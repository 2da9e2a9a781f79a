"""Learning rates as pure functions of step or epoch."""

import math
from typing import Literal

Schedule = Literal["cosine-step", "cosine-epoch", "step"]


def cosine_by_step(step: int, *, steps: int, warmup_steps: int, peak: float) -> float:
    """Rise linearly to the peak, then follow half a cosine towards 0, which is not reached: every step learns.

    Args:
        step: Counted from 0, below ``steps``.
        steps: Steps of the whole training.
        warmup_steps: Steps of the rise; the first one runs at ``peak / warmup_steps``. 0 starts at the peak.
        peak: The highest rate.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak / 2 * (1 + math.cos(math.pi * (step - warmup_steps) / (steps - warmup_steps)))


def cosine_by_epoch(epoch: int, *, epochs: int, peak: float) -> float:
    """Follow half a cosine by epochs counted from 1, as the reference does: the last epoch runs at rate 0."""
    return peak / 2 * (1 + math.cos(math.pi * epoch / epochs))


def step_decay(epoch: int, *, epochs: int, peak: float) -> float:
    """Divide the rate by 10 from 60 % and again from 80 % of the epochs, counted from 1.

    >>> [step_decay(epoch, epochs=10, peak=1.0) for epoch in (5, 6, 8)]
    [1.0, 0.1, 0.01]
    """
    passed = sum(10 * epoch >= tenths * epochs for tenths in (6, 8))
    return peak / 10.0**passed


def late_rise(step: int, *, start_step: int, warmup_steps: int, peak: float) -> float:
    """Bound the rate of a part that begins to learn late: 0 until then, after that the linear rise to the peak.

    Args:
        step: Counted from 0 over the whole training.
        start_step: The first step in which the part learns.
        warmup_steps: Steps of the rise, as in :func:`cosine_by_step`; 0 starts at the peak.
        peak: The highest rate.

    >>> [late_rise(step, start_step=2, warmup_steps=4, peak=1.0) for step in (1, 2, 3, 5, 9)]
    [0.0, 0.25, 0.5, 1.0, 1.0]
    """
    if step < start_step:
        return 0.0
    return peak * min(1.0, (step - start_step + 1) / max(1, warmup_steps))


def learning_rate(
    schedule: Schedule, step: int, *, steps_per_epoch: int, epochs: int, warmup_epochs: float, peak: float
) -> float:
    """Return the rate of one step under a schedule.

    Args:
        schedule: ``cosine-step``: by step with warm-up; ``cosine-epoch``: the reference's, by epoch counted from 1;
            ``step``: divided by 10 from 60 % and from 80 % of the epochs.
        step: Counted from 0 over the whole training.
        steps_per_epoch: Steps in one epoch.
        epochs: Epochs of the whole training.
        warmup_epochs: Length of the warm-up in epochs, whole or not; used with ``cosine-step``.
        peak: The highest rate.
    """
    if schedule == "cosine-step":
        warmup_steps = round(warmup_epochs * steps_per_epoch)
        return cosine_by_step(step, steps=steps_per_epoch * epochs, warmup_steps=warmup_steps, peak=peak)
    epoch = step // steps_per_epoch + 1
    by_epoch = cosine_by_epoch if schedule == "cosine-epoch" else step_decay
    return by_epoch(epoch, epochs=epochs, peak=peak)
