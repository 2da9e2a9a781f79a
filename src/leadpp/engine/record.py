"""What a training tells about itself: means over epochs, lines of ``metrics.jsonl``, and TensorBoard if installed."""

import importlib.util
import json
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leadpp.errors import ArtifactError
from leadpp.functional.spectrum import effective_rank
from leadpp.io.artifacts import append_line, write_text

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Figures = dict[str, float]

_RANK_ROWS = 1024


class MetricsLog:
    """One JSON object a line, each with ``event``, ``epoch`` (from 1) and ``step`` (how many are done).

    Args:
        run: The run folder; the log is ``metrics.jsonl`` in it, and TensorBoard's folder is ``tensorboard``.
        since_step: Lines up to this step stay, later ones go: they tell of work that is about to be done again.
    """

    def __init__(self, run: Path, *, since_step: int = 0) -> None:
        self._path = run / "metrics.jsonl"
        kept = [line for line in _lines(self._path) if since_step and _step_of(line) <= since_step]
        write_text(self._path, "".join(line + "\n" for line in kept))
        self._board = _open_board(run / "tensorboard", since_step=since_step)

    def write(self, event: str, *, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Add a line; a value that is not finite becomes null, which JSON has."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        append_line(self._path, json.dumps({"event": event, "epoch": epoch, "step": step, **finite}))
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{event}/{name}", value, step)

    def close(self) -> None:
        """Let TensorBoard write out what it holds."""
        if self._board is not None:
            self._board.close()


class EpochMeter:
    """Means over one epoch, its rate, and the effective rank of its newest embeddings."""

    def __init__(self) -> None:
        self.latest: Figures = {}
        self._sums: Figures = {}
        self._steps, self._images, self._started = 0, 0, time.perf_counter()
        self._embeddings: deque[Tensor] = deque()

    def add(self, figures: Figures, embedding: Tensor) -> None:
        """Take in one step."""
        self.latest = figures
        for name, value in figures.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        self._images += len(embedding)
        self._embeddings.append(embedding.detach())
        while sum(map(len, self._embeddings)) - len(self._embeddings[0]) >= _RANK_ROWS:
            self._embeddings.popleft()

    def summary(self) -> Figures:
        """Return the epoch in numbers; the rate of learning is the last step's."""
        seconds = time.perf_counter() - self._started
        means = {name: value / self._steps for name, value in self._sums.items()}
        return means | {
            "learning_rate": self.latest["learning_rate"],
            "seconds": seconds,
            "images_per_s": self._images / seconds,
            "effective_rank": effective_rank(torch.cat(list(self._embeddings))),
        }


def _lines(path: Path) -> Iterator[str]:
    if not path.exists():
        return
    try:
        yield from path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot read the log ({error.strerror}); remove it") from error


def _step_of(line: str) -> float:
    """Return the step that a line tells of; a torn line tells of none that is wanted."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, TypeError, KeyError):
        return math.inf
    return step if isinstance(step, int) else math.inf


def _open_board(folder: Path, *, since_step: int) -> "SummaryWriter | None":
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=since_step or None)
