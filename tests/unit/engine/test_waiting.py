from collections.abc import Iterator

import pytest
import torch

from leadpp.engine import waiting
from leadpp.engine.waiting import Reading, WaitMeter, advise


class Clock:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(waiting, "time", clock)
    return clock


def epoch(meter: WaitMeter, clock: Clock, *, waits: list[float], works: float) -> list[float]:
    """Run an epoch whose batches let wait so long, with steps that work so long; each is settled one step late."""

    def batches() -> Iterator[int]:
        for number, wait in enumerate(waits):
            clock.now += wait
            yield number

    shares, late = [], False
    for _ in meter.watch(batches()):
        clock.now += works
        meter.done()
        if late:
            shares.append(meter.settle())
        late = True
        clock.now += 100  # the log and the monitor are no part of a step
    shares.append(meter.settle())
    return shares


def test_share_of_waiting_without_the_first_steps_of_a_run(clock: Clock) -> None:
    meter = WaitMeter(torch.device("cpu"))
    shares = epoch(meter, clock, waits=[50, 1, 1, 1, 1, 3, 0], works=7)
    assert shares == pytest.approx([50 / 57, 1 / 8, 1 / 8, 1 / 8, 1 / 8, 0.3, 0])
    assert meter.share == pytest.approx(3 / 17)
    epoch(meter, clock, waits=[1, 1], works=9)
    assert meter.share == pytest.approx(0.1)


class FakeEvent:
    """An event of a device whose moments are counted by the streams it is recorded on."""

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream: list[float]) -> None:
        self.at = stream.pop(0)

    def synchronize(self) -> None:
        assert self.at >= 0

    def elapsed_time(self, end: "FakeEvent") -> float:
        return 1000 * (end.at - self.at)


def test_on_cuda_the_stream_of_the_training_device_tells_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda", 1)
    streams = {device: [moment for step in range(6) for moment in (10.0 * step, 10.0 * step + 3, 10.0 * step + 10)]}
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", streams.__getitem__)
    meter = WaitMeter(device)
    shares = []
    for _ in meter.watch(range(5)):
        meter.done()
        shares.append(meter.settle())
    assert shares == pytest.approx([0.3] * 5)


def test_nothing_is_known_at_first(clock: Clock) -> None:
    meter = WaitMeter(torch.device("cpu"))
    assert meter.share is None
    epoch(meter, clock, waits=[9.0] * 5, works=1)
    assert meter.share is None
    assert not meter.too_much(epoch_ends=True)


@pytest.mark.parametrize(("wait", "much"), [(0.06, True), (0.04, False), (0.0, False)])
def test_too_much_needs_enough_steps(clock: Clock, wait: float, much: bool) -> None:
    meter = WaitMeter(torch.device("cpu"))
    epoch(meter, clock, waits=[5] * 5 + [wait] * 19, works=1 - wait)
    assert not meter.too_much(epoch_ends=True)
    epoch(meter, clock, waits=[wait], works=1 - wait)
    assert not meter.too_much(epoch_ends=False)
    assert meter.too_much(epoch_ends=True) == much
    epoch(meter, clock, waits=[wait] * 50, works=1 - wait)
    assert meter.too_much(epoch_ends=False) == much


def test_advice_names_what_would_help() -> None:
    idle = Reading(workers=1, cores=8, accelerated=True)
    assert advise(idle) == ("input.workers 7", "input.cache ram or disk", "input.augment device")
    assert advise(Reading(workers=7, cores=8, cached=True, accelerated=True)) == ("input.augment device",)
    assert advise(Reading(workers=7, cores=8, cached=True)) == ()
    assert advise(Reading(workers=7, cores=8, cached=True, on_device=True, accelerated=True)) == ()
