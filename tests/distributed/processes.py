"""Processes of one run, started as torchrun starts them; warnings are errors in them, and none outlives its test."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LAUNCHERS = ("SLURM_", "TORCHELASTIC_", "MASTER_")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended, and what it said."""

    code: int
    """Its exit code; of a killed process the number of the signal, below 0."""
    out: str
    err: str


class Processes:
    """Processes that :func:`started` has started, in the order of their ranks."""

    def __init__(self, children: Sequence["subprocess.Popen[bytes]"], folder: Path) -> None:
        self.children, self._folder = children, folder

    def kill(self, rank: int) -> None:
        """End one of them without a warning."""
        os.kill(self.children[rank].pid, signal.SIGKILL)

    def said(self, rank: int) -> str:
        """Return what one has written on standard error so far."""
        return (self._folder / f"{rank}.err").read_text(encoding="utf-8")

    def wait(self, *, timeout_s: float = 200) -> list[Ended]:
        """Wait until all have ended.

        Raises:
            AssertionError: One of them has not, which is a hang; with what each said.
        """
        deadline = time.monotonic() + timeout_s
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=max(0.1, deadline - time.monotonic()))
        ranks = range(len(self.children))
        hanging = [rank for rank in ranks if self.children[rank].poll() is None]
        assert not hanging, f"still at work after {timeout_s} s: {hanging}; said: {[self.said(rank) for rank in ranks]}"
        out = [(self._folder / f"{rank}.out").read_text(encoding="utf-8") for rank in ranks]
        return [Ended(code=self.children[rank].returncode, out=out[rank], err=self.said(rank)) for rank in ranks]


@contextlib.contextmanager
def started(words: Sequence[object], *, count: int, threads: int = 1) -> Iterator[Processes]:
    """Start Python with some words in several processes that do one run.

    Args:
        words: What stands after ``python``, such as ``-m leadpp evaluate ...``.
        count: How many processes.
        threads: Threads of each.
    """
    port = _free_port()
    children: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        try:
            for rank in range(count):
                command = [sys.executable, "-W", "error", *map(str, words)]
                out, err = (stack.enter_context((folder / f"{rank}.{end}").open("wb")) for end in ("out", "err"))
                environment = _environment(rank, count, port, threads=threads)
                children.append(
                    subprocess.Popen(
                        command, cwd=ROOT, env=environment, stdout=out, stderr=err, stdin=subprocess.DEVNULL
                    )
                )
            yield Processes(children, folder)
        finally:
            for child in children:
                child.kill()
                child.wait()


def leadpp(*words: object, count: int, timeout_s: float = 200) -> list[Ended]:
    """Run the command line in several processes, or in one, and wait until all have ended."""
    with started(["-m", "leadpp", *words], count=count) as processes:
        return processes.wait(timeout_s=timeout_s)


def _environment(rank: int, count: int, port: int, *, threads: int) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHERS)}
    numbers = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
    return {
        **inherited,
        **{name: str(number) for name, number in numbers.items()},
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
