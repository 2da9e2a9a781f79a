"""What a training tells about itself: means over epochs, lines of ``metrics.jsonl``, and TensorBoard if installed."""

import importlib.util
import io
import json
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.errors import ArtifactError
from leadpp.functional.spectrum import effective_rank
from leadpp.io.artifacts import append_bytes, append_line, write_text

Figures = dict[str, float]

TIMES = frozenset({"seconds", "images_per_s", "data_wait"})
"""What is told that depends on the machine and its load, and not on the training."""

_RANK_ROWS = 1024


class MetricsLog:
    """One JSON object a line, each with ``event``, ``epoch`` (from 1) and ``step`` (how many are done).

    Args:
        run: The run folder; the log is ``metrics.jsonl`` in it, and TensorBoard's folder is ``tensorboard``.
        since_step: Lines up to this step stay, later ones go: they tell of work that is about to be done again.
        notify: Told once if TensorBoard's file cannot be written; the training goes on without it.
        keeps: Whether this process is the one of several that writes.
    """

    def __init__(
        self, run: Path, *, since_step: int = 0, notify: Callable[[str], None] | None = None, keeps: bool = True
    ) -> None:
        self._path, self._notify, self._keeps = run / "metrics.jsonl", notify, keeps
        self._board: _Board | None = None
        if not keeps:
            return
        kept = [line for line in _lines(self._path) if since_step and _step_of(line) <= since_step]
        write_text(self._path, "".join(line + "\n" for line in kept))
        board = importlib.util.find_spec("tensorboard") is not None
        self._board = _Board(run / "tensorboard", since_step=since_step) if board else None

    def write(self, event: str, *, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Add a line; a value that is not finite becomes null, which JSON has.

        Raises:
            ArtifactError: The line cannot be written.
        """
        if not self._keeps:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        append_line(self._path, json.dumps({"event": event, "epoch": epoch, "step": step, **finite}))
        if self._board is not None:
            try:
                self._board.add(step, {f"{event}/{name}": value for name, value in values.items()})
            except ArtifactError as error:
                self._board = None
                if self._notify is not None:
                    self._notify(f"{error}; training goes on without TensorBoard")


class EpochMeter:
    """Means over one epoch, its rate, and the effective rank of its newest embeddings."""

    def __init__(self) -> None:
        self.latest: Figures = {}
        self._sums: Figures = {}
        self._steps, self._images, self._started = 0, 0, time.perf_counter()
        self._embeddings: deque[Tensor] = deque()
        self._rate: float | None = None

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

    def state(self) -> tuple[dict[str, Any], Tensor]:
        """Return what there is so far: ready for JSON, and the newest embeddings, (N, D)."""
        told = {
            "sums": dict(self._sums),
            "steps": self._steps,
            "images": self._images,
            "seconds": time.perf_counter() - self._started,
            "batches": [len(batch) for batch in self._embeddings],
        }
        return told, torch.cat(list(self._embeddings))

    def load(self, told: Mapping[str, Any], embeddings: Tensor) -> None:
        """Go on from what :meth:`state` returned."""
        self._sums = dict(told["sums"])
        self._steps, self._images = told["steps"], told["images"]
        self._started = time.perf_counter() - told["seconds"]
        self._embeddings = deque(torch.split(embeddings, told["batches"]))

    @property
    def rate(self) -> float | None:
        """Images a second until the epoch was summed up; None before."""
        return self._rate

    def summary(self) -> Figures:
        """Return the epoch in numbers; the rate of learning is the last step's."""
        seconds = time.perf_counter() - self._started
        means = {name: value / self._steps for name, value in self._sums.items()}
        self._rate = self._images / seconds
        return means | {
            "learning_rate": self.latest["learning_rate"],
            "seconds": seconds,
            "images_per_s": self._rate,
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


class _Board:
    """A file for TensorBoard; its own writer has a thread, which would end in a traceback on a full disk."""

    def __init__(self, folder: Path, *, since_step: int) -> None:
        # Here because TensorBoard is optional.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self._path = folder / f"events.out.tfevents.{time.time_ns()}"
        self._event: Any = Event
        self._waiting: list[Any] = [Event(wall_time=time.time(), file_version="brain.Event:2")]
        if since_step:  # what earlier files say of later steps is not to be shown
            start = SessionLog(status=SessionLog.START)
            self._waiting.append(Event(wall_time=time.time(), step=since_step + 1, session_log=start))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Append the scalars of one step.

        Raises:
            ArtifactError: The disk refused.
        """
        from tensorboard.summary.writer.record_writer import RecordWriter

        event = self._event(wall_time=time.time(), step=step)
        for name, value in scalars.items():
            event.summary.value.add(tag=name, simple_value=value)
        content = io.BytesIO()
        records = RecordWriter(content)
        for each in (*self._waiting, event):
            records.write(each.SerializeToString())
        append_bytes(self._path, content.getvalue())
        self._waiting.clear()
