"""Progress for people: bars with rates and time left on a terminal, plain lines elsewhere; always on standard error."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from leadpp.io.words import plain_line

T = TypeVar("T")


class _RateColumn(ProgressColumn):
    """How many items pass in a second."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        unit = task.fields.get("unit", "")
        return Text(f"{rate:,.1f} {unit}/s" if rate else f"– {unit}/s", style="cyan")


class TerminalProgress:
    """Bars with rate and time left; notes stay above them."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    def note(self, message: str) -> None:
        """Show one line that stays."""
        self._console.print(plain_line(message), markup=False)

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
        """Yield the items under a bar that vanishes when it is done; see :class:`~leadpp.engine.runtime.Progress`."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}", style="dim"),
        )
        with Bars(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(what, total=total, unit=unit, words="")
            for item in items:
                yield item
                bars.update(task, advance=size(item) if size else 1, words=describe() if describe else "")


class PlainProgress:
    """Plain lines for logs and pipes: notes at once, and progress now and then."""

    def __init__(self, *, every_s: float = 15.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock

    def note(self, message: str) -> None:
        """Print one line."""
        sys.stderr.write(plain_line(message) + "\n")
        sys.stderr.flush()

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
        """Yield the items and print a line every ``every_s`` seconds; see :class:`~leadpp.engine.runtime.Progress`."""
        started = last = self._clock()
        done = 0
        for item in items:
            yield item
            done += size(item) if size else 1
            now = self._clock()
            if now - last >= self._every_s and done < total:
                last = now
                rate = done / (now - started)
                words = f", {describe()}" if describe else ""
                self.note(f"  {what}: {done}/{total} {unit}, {rate:.1f}/s, {(total - done) / rate:.0f} s left{words}")


def console_progress() -> TerminalProgress | PlainProgress:
    """Return bars where standard error is a terminal, plain lines elsewhere."""
    return TerminalProgress() if sys.stderr.isatty() else PlainProgress()
