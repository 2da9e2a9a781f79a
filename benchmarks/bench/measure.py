"""Measuring one case: both ways in turn in one process, and the peak of memory of each in a fresh one.

This module is also the command that those processes run: it prints one JSON object as its last line.
"""

import argparse
import gc
import importlib
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from benchmarks.bench.case import Case, Work

Side = Literal["obvious", "fast"]
CASES = {
    "step_exact": "benchmarks.bench.step",
    "step_cached": "benchmarks.bench.step",
    "localize": "benchmarks.bench.localize",
    "load": "benchmarks.bench.load",
    "load_cached": "benchmarks.bench.load",
    "load_large": "benchmarks.bench.load",
    "retrieval": "benchmarks.bench.retrieval",
    "probe": "benchmarks.bench.probe",
}
"""Where the function of each name stands."""
_BRIEF_S = 20.0
"""Work that takes less is done twice where its memory is measured, so that what it keeps for the next time counts."""


def make_case(name: str, *, quick: bool) -> Case:
    """Return a case of :data:`CASES`."""
    make: Callable[..., Case] = getattr(importlib.import_module(CASES[name]), name)
    return make(quick=quick)


def measure_in_turn(case: Case, *, rounds: int) -> dict[str, Any]:
    """Do the work of both sides by turns, A B A B, after one unmeasured round.

    Returns:
        JSON-ready: ``ratio``, the median over rounds of obvious over fast; ``seconds`` and ``seconds_obvious``, medians
        of one call's wall time; ``cpu_seconds`` and ``cpu_seconds_obvious``, of this process; and ``ratios``.
    """
    works = {"obvious": case.obvious(), "fast": case.fast()}
    for work in works.values():
        work()
    taken: dict[str, list[tuple[float, float]]] = {"obvious": [], "fast": []}
    for _ in range(rounds):
        for side, work in works.items():
            taken[side].append(_seconds(work))
    walls = {side: [wall for wall, _ in pairs] for side, pairs in taken.items()}
    cpus = {side: statistics.median(cpu for _, cpu in pairs) for side, pairs in taken.items()}
    ratios = [slow / fast for slow, fast in zip(walls["obvious"], walls["fast"], strict=True)]
    return {
        "ratio": statistics.median(ratios),
        "seconds": statistics.median(walls["fast"]),
        "seconds_obvious": statistics.median(walls["obvious"]),
        "cpu_seconds": cpus["fast"],
        "cpu_seconds_obvious": cpus["obvious"],
        "ratios": ratios,
    }


def measure_memory(case: Case, side: Side) -> dict[str, Any]:
    """Do the work of one side and return ``peak_mb``, the most memory that this process has held, in MB."""
    work = (case.obvious if side == "obvious" else case.fast)()
    wall, _ = _seconds(work)
    if wall < _BRIEF_S:
        work()
    return {"peak_mb": peak_mb()}


def peak_mb() -> float:
    """Return the highest resident memory of this process so far, in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage also counts what the parent held when it started this process
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def in_fresh_process(
    name: str, *, quick: bool, threads: int, rounds: int = 0, side: Side | None = None
) -> dict[str, Any]:
    """Measure a case in a process of its own: its time by turns or, given a side, that side's memory.

    Raises:
        RuntimeError: The process failed; the message is the end of what it had to say.
    """
    words = [sys.executable, "-m", "benchmarks.bench.measure", name, "--threads", str(threads)]
    words += ["--side", side] if side else ["--rounds", str(rounds)]
    words += ["--quick"] if quick else []
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError("\n".join(done.stderr.splitlines()[-8:]) or f"exit code {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure as the command line says, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench.measure", description=__doc__)
    parser.add_argument("name", choices=list(CASES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=("obvious", "fast"))
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    import torch  # here, so that the command that starts these processes need not wait for it

    torch.set_num_threads(asked.threads)
    case = make_case(asked.name, quick=asked.quick)
    found = measure_memory(case, asked.side) if asked.side else measure_in_turn(case, rounds=asked.rounds)
    asks = ("protocol", "items", "target", "memory_target", "peak_target_mb", "seconds_target")
    print(json.dumps(found | {name: getattr(case, name) for name in asks}))


def _seconds(work: Work) -> tuple[float, float]:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
