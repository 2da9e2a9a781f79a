"""Hand bytes to a reader and see that the rule holds: a result or a LeadppError, within seconds."""

import contextlib
import hashlib
import json
import signal
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from leadpp.errors import LeadppError
from tests.fuzz.readers import READERS_OF, Reader

PATIENCE_S = 10
"""Seconds of the processor that a file of some kilobytes may take."""
CORPUS = Path(__file__).parent / "corpus"
"""Files that once broke the rule, in a folder for each reader; they are tried again in every run of the tests."""


class TooLongError(BaseException):
    """A reader that does not come to an end; no Exception, which it might catch."""


class Bench:
    """A folder in which a reader is tried again and again."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.root = name, folder / name / "tried"
        self.reader: Reader = READERS_OF[name]
        making = folder / name / "making"
        making.mkdir(parents=True)
        own = list(self.reader.seeds(making).values())
        self.seeds = own + [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]
        self.target = self.root / self.reader.place
        for path, content in {**self.reader.beside(making), self.reader.place: own[0]}.items():
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_bytes(content)

    def taken(self, content: bytes) -> bool:
        """Say whether the reader takes a file of this content; any other end than a refusal is raised."""
        self.target.write_bytes(content)  # it is still there if the process ends
        try:
            with warnings.catch_warnings(), _patience():
                warnings.simplefilter("ignore")
                self.reader.read(self.root if self.reader.whole_folder else self.target)
        except LeadppError:
            return False
        return True


@dataclass
class Tally:
    """What was tried and found."""

    name: str
    tried: int = 0
    taken: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    """How often, by what was raised and where."""

    def attempt(self, bench: Bench, content: bytes, *, found: Path) -> None:
        """Try a file; one that breaks the rule as no other did is kept in ``found``."""
        self.tried += 1
        try:
            self.taken += bench.taken(content)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
            fault = _where(error)
            if fault not in self.faults:
                keep(found / self.name, content)
            self.faults[fault] = self.faults.get(fault, 0) + 1

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(self.__dict__))


def keep(folder: Path, content: bytes) -> Path:
    """Write a finding under a name of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.blake2b(content, digest_size=6).hexdigest()
    path.write_bytes(content)
    return path


def _where(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/leadpp/" in frame.filename]
    place = f"{frames[-1].filename.rpartition('/leadpp/')[2]}:{frames[-1].lineno}" if frames else "elsewhere"
    return f"{type(error).__name__} at {place}: {' '.join(str(error).split())[:80]}"


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """Raise where code takes long; what a compiled library does is ended when it returns."""

    def tell(number: int, frame: FrameType | None) -> None:
        raise TooLongError(f"more than {PATIENCE_S} s")

    before = signal.signal(signal.SIGPROF, tell)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
