"""How much of the time training waits for its data, and what would help."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch

T = TypeVar("T")

Mark = float | torch.cuda.Event
"""A moment: seconds, or an event on the device's own line of work."""

MUCH = 0.05
"""Share of waiting from which on advice is given."""
_STARTING_STEPS = 5
"""First steps of a run, in which reading processes start and libraries warm up."""
_ENOUGH_STEPS = 20
_WINDOW_STEPS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """How photographs reach the device: what advice depends on."""

    workers: int
    """Processes that read; 0 reads in the main one."""
    cores: int
    """Cores that this process may use."""
    cached: bool = False
    """Whether decoded photographs are kept."""
    on_device: bool = False
    """Whether views are made on the training device."""
    accelerated: bool = False
    """Whether the training device is another than the processor."""


def advise(reading: Reading) -> tuple[str, ...]:
    """Return the settings that would make the data come faster, the most promising first; none if all are taken.

    >>> advise(Reading(workers=7, cores=8))
    ('input.cache ram or disk',)
    """
    most = reading.cores - 1
    wanted = (
        (reading.workers < most, f"input.workers {most}"),
        (not reading.cached, "input.cache ram or disk"),
        (reading.accelerated and not reading.on_device, "input.augment device"),
    )
    return tuple(words for helps, words in wanted if helps)


class _Step(NamedTuple):
    asked: Mark
    arrived: Mark
    done: Mark


class WaitMeter:
    """Share of the time in which steps wait for data, without the first steps of a run.

    On CUDA moments are events on the stream: a step waits from the end of the work before it to the moment when its
    batch is there, however far ahead of the device this process is. Elsewhere the clock of this process counts; on MPS
    it counts as waiting too what the device does meanwhile.

    Args:
        device: Where the steps are computed.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._begun: tuple[Mark, Mark] | None = None
        self._unsettled: deque[_Step] = deque()
        self._steps = 0
        self._epoch = _Sum()
        self._window = _Sum()

    def watch(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the batches of an epoch; each is to be followed by :meth:`done`."""
        self._epoch = _Sum()
        iterator = iter(batches)
        while True:
            asked = self._now()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._begun = asked, self._now()
            yield batch

    def done(self) -> None:
        """Mark that all work of a step is under way."""
        assert self._begun is not None  # noqa: S101 - watch() comes first
        self._unsettled.append(_Step(*self._begun, self._now()))

    def settle(self) -> float:
        """Return the share that the oldest step not yet told of waited; the device must be through with it soon."""
        step = self._unsettled.popleft()
        waited, seconds = _seconds(step.asked, step.arrived), _seconds(step.asked, step.done)
        self._steps += 1
        if self._steps > _STARTING_STEPS:
            for kept in (self._epoch, self._window):
                kept.add(waited, seconds)
        return waited / seconds if seconds > 0 else 0.0

    @property
    def share(self) -> float | None:
        """Of this epoch so far; None while no step counts."""
        return self._epoch.share

    def too_much(self, *, epoch_ends: bool) -> bool:
        """Tell whether waiting was more than :data:`MUCH` since it was last asked with enough steps to tell."""
        enough = _ENOUGH_STEPS if epoch_ends else _WINDOW_STEPS
        if self._window.steps < enough:
            return False
        share, self._window = self._window.share, _Sum()
        return share is not None and share > MUCH

    def _now(self) -> Mark:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch types it not
        event.record(torch.cuda.current_stream(self._device))  # the current device may be another one
        return event


class _Sum:
    """Seconds of waiting among seconds in all."""

    def __init__(self) -> None:
        self.steps, self._waited, self._seconds = 0, 0.0, 0.0

    def add(self, waited: float, seconds: float) -> None:
        self.steps += 1
        self._waited += waited
        self._seconds += seconds

    @property
    def share(self) -> float | None:
        return self._waited / self._seconds if self._seconds > 0 else None


def _seconds(start: Mark, end: Mark) -> float:
    if isinstance(start, float) or isinstance(end, float):
        assert isinstance(start, float) and isinstance(end, float)  # noqa: S101, PT018 - one clock
        return end - start
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000
