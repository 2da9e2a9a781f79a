"""Writing checkpoints behind a training's back, and when the next one is due.

A step waits only until its tensors are copied to the CPU. What a thread writes from there is whole or not there at all;
what goes wrong is told at the next step, and at the end at the latest.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.engine.plan import LoopPlan
from leadpp.io.checkpoint import write_checkpoint
from leadpp.io.ledger import Keeping, enter_checkpoint

Finish = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Adds to the copied tensors what can be computed from them, in the thread that writes."""


class Rhythm:
    """When checkpoints are due.

    Args:
        plan: Every how many epochs, steps or minutes.
        clock: Seconds, for minutes.
    """

    def __init__(self, plan: LoopPlan, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._unit, self._clock = plan.checkpoint_every, plan.checkpoint_unit, clock
        self._saved_at = clock()
        self._overdue = False

    def due(self, *, step: int, epoch: int, epoch_ends: bool) -> bool:
        """Tell whether a checkpoint is due after a step, or still is from before."""
        if self._unit == "steps":
            self._overdue |= step % int(self._every) == 0
        elif self._unit == "epochs":
            self._overdue |= epoch_ends and epoch % int(self._every) == 0
        else:
            self._overdue |= self._clock() - self._saved_at >= 60 * self._every
        return self._overdue

    def saved(self) -> None:
        """Note that a checkpoint was begun."""
        self._saved_at, self._overdue = self._clock(), False


class CheckpointWriter:
    """Copies the tensors of a checkpoint and has a thread write them; one checkpoint at a time.

    Args:
        folder: Where checkpoints are.
        fixed: What names of tensors that never change begin with; these are copied once.

    Attributes:
        count: Checkpoints begun.
        longest_wait_s: The longest that a call of :meth:`save` took, waiting for the checkpoint before included.
    """

    def __init__(self, folder: Path, *, fixed: tuple[str, ...] = ()) -> None:
        self._folder, self._fixed = folder, fixed
        self._copies: dict[str, Tensor] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: Future[None] | None = None
        self.count, self.longest_wait_s = 0, 0.0

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._under_way is not None and not self._under_way.done()

    def prepare(self, tensors: Mapping[str, Tensor]) -> None:
        """Find memory for the copies beforehand: the system clears it page by page, which takes longer than copying."""
        self._copy(tensors)

    def save(
        self,
        path: Path,
        tensors: Mapping[str, Tensor],
        metadata: Mapping[str, Any],
        *,
        keeping: Keeping,
        finish: Finish | None = None,
    ) -> None:
        """Copy the tensors now and write them later, after the checkpoint before, if that is still being written.

        Args:
            path: The file, in the folder.
            tensors: As :func:`~leadpp.io.checkpoint.gather_state` names them; they may change after this call.
            metadata: Any JSON object, which is not changed any more.
            keeping: Which older checkpoints stay.
            finish: What is added.

        Raises:
            ArtifactError: The checkpoint before could not be written.
        """
        started = time.perf_counter()
        self.settle()
        copies, ready = self._copy(tensors)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")

        def write() -> None:
            if ready is not None:
                ready.synchronize()
            write_checkpoint(path, copies if finish is None else copies | finish(copies), metadata)
            enter_checkpoint(path, keeping, folder=self._folder)

        self._under_way = self._thread.submit(write)
        self.count += 1
        self.longest_wait_s = max(self.longest_wait_s, time.perf_counter() - started)

    def check(self) -> None:
        """Raise what went wrong with a checkpoint whose writing has ended.

        Raises:
            ArtifactError: The disk refused.
        """
        if self._under_way is not None and self._under_way.done():
            self.settle()

    def settle(self) -> None:
        """Wait until nothing is being written.

        Raises:
            ArtifactError: The disk refused.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def close(self, *, wait: bool = True) -> None:
        """End the thread, after what is under way if it is to be waited for; what went wrong was told before."""
        if self._thread is not None:
            self._thread.shutdown(wait=wait)
        self._thread = None

    def _copy(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], torch.cuda.Event | None]:
        """Copy to memory that is kept; from a GPU nothing is waited for but the way there, and that by the thread."""
        device = next((tensor.device for tensor in tensors.values() if tensor.is_cuda), None)
        for name, tensor in tensors.items():
            copy = self._copies.get(name)
            if copy is None or copy.shape != tensor.shape or copy.dtype != tensor.dtype:
                self._copies[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            elif name.startswith(self._fixed):
                continue
            self._copies[name].copy_(tensor.detach(), non_blocking=tensor.is_cuda)
        ready = None
        if device is not None:
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch types it not
            ready.record(torch.cuda.current_stream(device))
        return {name: self._copies[name] for name in tensors}, ready
