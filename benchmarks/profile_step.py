"""Where the time of a training step goes, operator by operator, and how often the host waits for its device.

    python -m benchmarks.profile_step                       our step on the CPU, as in the case step_exact
    python -m benchmarks.profile_step --way obvious
    python -m benchmarks.profile_step --device cuda --batch 64 --trace step.json

Our figures are fetched one step late, as the trainer does it: that one wait (an event, on CUDA) is counted apart.
"""

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.bench.step import fast_iteration, obvious_step
from leadpp.engine.iteration import Told

READS = "aten::_local_scalar_dense"
WAITS = (READS, "cudaStreamSynchronize", "cudaDeviceSynchronize")
"""Moments in which the host waits for the device."""
LATE = "cudaEventSynchronize"


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=["fast", "obvious"], default="fast")
    parser.add_argument("--remembered", action="store_true", help="look the teacher's answers up, as in step_cached")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=224, help="of the pictures, in pixels (default: 224)")
    parser.add_argument("--steps", type=int, default=3, help="steps that are profiled, after two that are not")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=25, help="of the table (default: 25)")
    parser.add_argument("--trace", type=Path, help="also write a trace for chrome://tracing")
    asked = parser.parse_args(words)
    torch.set_num_threads(asked.threads)
    logging.disable(logging.WARNING)
    if asked.way == "obvious":
        run: Callable[[], object] = obvious_step(side=asked.side, batch=asked.batch, device=torch.device(asked.device))
    else:
        run = _pipelined(
            fast_iteration(
                side=asked.side, batch=asked.batch, remembered=asked.remembered, device=torch.device(asked.device)
            )
        )
    report(run, steps=asked.steps, cuda=asked.device != "cpu", rows=asked.rows, trace=asked.trace)


def report(run: Callable[[], object], *, steps: int, cuda: bool, rows: int, trace: Path | None = None) -> None:
    """Profile so many steps and print the table by operator and the number of waits.

    Args:
        run: Does one step.
        steps: How many are profiled, after two that are not.
        cuda: Whether the device is a CUDA card.
        rows: Of the table.
        trace: Where to write a trace for chrome://tracing.
    """
    for _ in range(2):
        run()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            run()
        if cuda:
            torch.cuda.synchronize()  # this last one is the profile's own
    events = profiler.key_averages()
    order = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    print(events.table(sort_by=order, row_limit=rows, max_name_column_width=50))
    counts = {event.key: event.count for event in events}
    if cuda:
        counts["cudaDeviceSynchronize"] = counts.get("cudaDeviceSynchronize", 1) - 1
    told = ", ".join(f"{name} {counts.get(name, 0)}" for name in WAITS)
    print(f"waits in {steps} steps: {told}; one step late: {LATE} {counts.get(LATE, 0)}")
    if trace is not None:
        profiler.export_chrome_trace(str(trace))


def _pipelined(run: Callable[[], Told]) -> Callable[[], None]:
    """Fetch the figures of each step when the next one has been queued, as the trainer does."""
    untold: list[Told] = []

    def step() -> None:
        untold.append(run())
        if len(untold) > 1:
            untold.pop(0).figures()

    return step


if __name__ == "__main__":
    main()
