"""The photographs of a world as files' contents, drawn here or in several processes with the same result."""

import contextlib
import io
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

from PIL import Image

from leadpp.errors import WorldError
from leadpp.world.attributes import Species
from leadpp.world.individual import Backdrop
from leadpp.world.picture import draw_picture

PATIENCE_S: Final = 8.0
"""Seconds of work from which on processes are worth their start, which takes some seconds itself."""
_CHUNK: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A photograph to be taken."""

    species: Species
    seed: int
    index: int
    """Number of the individual in its species."""
    size: int
    """Width and height in pixels."""
    backdrop: Backdrop | None
    """None leaves it to chance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """What is written of a photograph."""

    jpeg: bytes
    mask_png: bytes
    """One bit a pixel: where the bird can be seen."""
    box_xyxy: tuple[int, int, int, int]
    """Half-open, pixels."""


def take(order: Order) -> Photograph:
    """Take one photograph."""
    picture = draw_picture(order.species, seed=order.seed, index=order.index, size=order.size, backdrop=order.backdrop)
    mask = io.BytesIO()
    Image.fromarray(picture.mask).save(mask, "png")
    return Photograph(jpeg=picture.jpeg, mask_png=mask.getvalue(), box_xyxy=picture.box_xyxy)


def take_all(orders: Sequence[Order], *, workers: int) -> Generator[Photograph, None, None]:
    """Take photographs in the order asked for.

    Args:
        orders: What to take.
        workers: Processes beside this one, which only waits; 0 draws in this process. Short work is done in this
            process anyway.

    Yields:
        One photograph an order; what is in it does not depend on ``workers``.

    Raises:
        WorldError: A process died.
    """
    began = time.monotonic()
    for done, order in enumerate(orders):
        elapsed_s = time.monotonic() - began
        if workers and done and elapsed_s / done * (len(orders) - done) > PATIENCE_S:
            yield from _take_in_pool(orders[done:], workers=workers)
            return
        yield take(order)


def contact_sheet(rows: Sequence[Sequence[bytes]], *, side_px: int) -> bytes:
    """Put photographs side by side, one row of files' contents below the other; return a JPEG file's content."""
    gap_px = max(2, side_px // 24)
    step_px = side_px + gap_px
    width, height = max(map(len, rows)) * step_px + gap_px, len(rows) * step_px + gap_px
    sheet = Image.new("RGB", (width, height), (250, 250, 248))
    for down, row in enumerate(rows):
        for across, jpeg in enumerate(row):
            with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
                tile = picture.resize((side_px, side_px), Image.Resampling.LANCZOS)
            sheet.paste(tile, (gap_px + across * step_px, gap_px + down * step_px))
    content = io.BytesIO()
    sheet.save(content, "jpeg", quality=88)
    return content.getvalue()


def _take_in_pool(orders: Sequence[Order], *, workers: int) -> Generator[Photograph, None, None]:
    # Spawned, because forking a process that runs torch's threads can hang.
    pool = ProcessPoolExecutor(
        workers + 1,
        mp_context=get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is this process's to handle
    )
    try:
        with _interrupts_held():
            photographs = pool.map(take, orders, chunksize=_CHUNK)
        yield from photographs
    except BrokenProcessPool as error:
        raise WorldError(
            "a process that draws photographs died, perhaps for want of memory; try again with fewer or 0 workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back while processes start: half-started ones could not be stopped without a noise.

    The processes inherit the mask, until they ignore Ctrl-C themselves; the handler is for those of this process's
    threads that have no mask, and would let the interruption through to it.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    arrived: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: arrived.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
    if arrived:
        signal.raise_signal(signal.SIGINT)
