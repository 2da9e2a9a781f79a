"""Long work on many items: begun in this process, and handed to a pool once it promises to be long."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from leadpp.errors import DataError

PATIENCE_S = 15.0
"""Seconds of work from which on reading processes are worth their start, which takes some seconds itself."""

R = TypeVar("R")


def each_in_turn(
    work: Callable[..., R], items: Sequence[tuple[object, ...]], *, workers: int, chunk: int = 1
) -> Iterator[R]:
    """Yield the result of every item, in order.

    Args:
        work: A function of a module, which each process imports with all that it imports itself.
        items: Its arguments.
        workers: Processes besides this one, which only waits once they work; 0 does everything here.
        chunk: Items that a process is given at once.

    Raises:
        DataError: A process died; or what ``work`` raises.
    """
    began = time.monotonic()
    for done, item in enumerate(items):
        elapsed_s = time.monotonic() - began
        if workers and done and elapsed_s / done * (len(items) - done) > PATIENCE_S:
            yield from _in_pool(work, items[done:], workers=workers, chunk=chunk)
            return
        yield work(*item)


def _in_pool(work: Callable[..., R], items: Sequence[tuple[object, ...]], *, workers: int, chunk: int) -> Iterator[R]:
    # Spawned, because forking a process that runs torch's threads can hang.
    pool = ProcessPoolExecutor(
        workers + 1,
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is this process's to handle
    )
    try:
        yield from pool.map(work, *zip(*items, strict=True), chunksize=chunk)
    except BrokenProcessPool as error:
        raise DataError(
            "a process that reads photographs died, perhaps for want of memory; try again with fewer or 0 workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
