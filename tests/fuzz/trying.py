"""Hand bytes to a reader and see that the rule holds: a result or a LeadppError, within seconds."""

import contextlib
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from leadpp.errors import LeadppError
from tests.fuzz.readers import Reader

PATIENCE_S = 10
"""Seconds of the processor that a file of some kilobytes may take."""


class Bench:
    """A folder in which a reader is tried again and again."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader, self.root = reader, folder / "tried"
        making = folder / "making"
        making.mkdir(parents=True)
        self.seeds = list(reader.seeds(making).values())
        self.target = self.root / reader.place
        for path, content in {**reader.beside(making), reader.place: self.seeds[0]}.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(content)

    def taken(self, content: bytes) -> bool:
        """Say whether the reader takes a file of this content; any other end than a refusal is raised."""
        self.target.write_bytes(content)
        try:
            with warnings.catch_warnings(), _patience():
                warnings.simplefilter("ignore")
                self.reader.read(self.root if self.reader.whole_folder else self.target)
        except LeadppError:
            return False
        return True


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Raise TimeoutError where code takes long; what a compiled library does is ended when it returns."""

    def tell(number: int, frame: FrameType | None) -> None:
        raise _TooLongError(f"more than {PATIENCE_S} s")

    before = signal.signal(signal.SIGPROF, tell)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class _TooLongError(BaseException):
    """Not an Exception, which a reader might catch."""
