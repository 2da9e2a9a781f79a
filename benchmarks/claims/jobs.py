"""Work through seeds and rows, some at once, each in a process of one thread; what is finished is not done again."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from benchmarks.claims.ground import Source, lay_ground, open_ground
from benchmarks.claims.making import make_row
from benchmarks.claims.rows import Row
from leadpp.engine.runtime import Progress, SilentProgress
from leadpp.errors import LeadppError

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a piece of work ended."""

    what: str
    """Seed and row."""
    seconds: float
    """How long it took; about 0 where it was done before."""
    mistake: str = ""
    """Why it could not be done; empty where it was."""


Work = Callable[[], None]


def work_through(
    source: Source, rows: Sequence[Row], *, seeds: Sequence[int], out: Path, jobs: int, progress: Progress
) -> list[Outcome]:
    """Lay the ground of every seed, then make every row of it.

    Args:
        source: Photographs and shared settings.
        rows: What to make.
        seeds: One world, or one training on the folder, each.
        out: Results go to ``out/<seed>/<row>/result.json``.
        jobs: How many processes; with 1 everything is done in this one.
        progress: Told of every end.

    Returns:
        What could not be done.
    """
    grounds = [(f"{seed} ground", partial(_lay, source, out, seed)) for seed in seeds]
    failed = _told(run_all(grounds, jobs=jobs), total=len(grounds), progress=progress)
    lost = {outcome.what.split()[0] for outcome in failed}
    tasks = [
        (f"{seed} {row.name}", partial(_make, source, out, seed, row))
        for seed in seeds
        if str(seed) not in lost
        for row in rows
    ]
    return failed + _told(run_all(tasks, jobs=jobs), total=len(tasks), progress=progress)


def run_all(tasks: Sequence[tuple[str, Work]], *, jobs: int) -> Iterator[Outcome]:
    """Do named pieces of work and yield their ends as they come; a mistake that the user can mend stops no other.

    In processes a bug stops no other work either, so that a night is not lost; it is told as what it is.

    Raises:
        LeadppError: A process died, for instance for want of memory.
    """
    if jobs <= 1 or len(tasks) <= 1:
        for what, work in tasks:
            yield do(what, work)
        return
    spawn = get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(jobs, mp_context=spawn, initializer=_end_at_interrupt) as pool:
        pending = {pool.submit(do, what, work): what for what, work in tasks}
        try:
            for future in as_completed(pending):
                yield _ending(future, pending[future])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _ending(future: Future[Outcome], what: str) -> Outcome:
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        raise LeadppError(
            "a process of the benchmark died, perhaps for want of memory; run the same command again, with fewer --jobs"
        ) from error
    return future.result() if error is None else Outcome(what=what, seconds=0.0, mistake=f"a bug: {error!r}")


def do(what: str, work: Work) -> Outcome:
    """Do one piece of work."""
    started = time.perf_counter()
    try:
        work()
    except LeadppError as error:
        return Outcome(what=what, seconds=time.perf_counter() - started, mistake=str(error))
    return Outcome(what=what, seconds=time.perf_counter() - started)


def _lay(source: Source, out: Path, seed: int) -> None:
    lay_ground(source, out=out, seed=seed, progress=SilentProgress())


def _make(source: Source, out: Path, seed: int, row: Row) -> None:
    make_row(open_ground(source, out=out, seed=seed), row, progress=SilentProgress())


def _told(outcomes: Iterator[Outcome], *, total: int, progress: Progress) -> list[Outcome]:
    """Tell of every end, and return those that failed."""
    failed = []
    for number, outcome in enumerate(outcomes, start=1):
        ending = f"failed: {outcome.mistake}" if outcome.mistake else f"{outcome.seconds:.0f} s"
        progress.note(f"[{number}/{total}] {outcome.what}: {ending}")
        failed += [outcome] if outcome.mistake else []
    return failed


def _end_at_interrupt() -> None:
    """End a process at Ctrl-C at once and without a word: the executor would go on to the next piece of work."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let the processes that start meanwhile compute with one thread: more would fight for the same cores."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
