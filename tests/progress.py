"""A progress that keeps what it is told, and presses Ctrl-C where a test wants it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from leadpp.engine.runtime import SilentProgress

T = TypeVar("T")


@dataclass(kw_only=True)
class Piece:
    """A piece of work, as far as it has come."""

    number: int
    """Its place among all pieces, from 1."""
    what: str
    unit: str
    total: int
    items: int = 0
    """Items that are done."""
    done: int = 0
    """Units that are done."""
    shown: list[str] = field(default_factory=list)
    """What is told beside the bar after each item."""


class WatchedProgress(SilentProgress):
    """Keeps every piece of work; ``stop`` is asked before each item and tells whether Ctrl-C is pressed there."""

    def __init__(self, *, stop: Callable[[Piece], bool] | None = None) -> None:
        super().__init__()
        self.pieces: list[Piece] = []
        self._stop = stop

    def track(
        self,
        items: Iterable[T],
        *,
        total: int,
        what: str,
        unit: str = "images",
        size: Callable[[T], int] | None = None,
        describe: Callable[[], str] | None = None,
    ) -> Iterator[T]:
        piece = Piece(number=len(self.pieces) + 1, what=what, unit=unit, total=total)
        self.pieces.append(piece)
        for item in items:
            if self._stop is not None and self._stop(piece):
                raise KeyboardInterrupt
            yield item
            piece.items += 1
            piece.done += 1 if size is None else size(item)
            piece.shown += [] if describe is None else [describe()]
