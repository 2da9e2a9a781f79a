"""Everything that learns or remembers in a training, as one module that can be moved and saved."""

from collections.abc import Sequence

import torch
from torch import nn

from leadpp.functional.objective import QueueName
from leadpp.models.parts import Parts
from leadpp.models.queue import KeyQueue
from leadpp.models.student import FirstBackbone, KeyEncoder, Student


class Learner(nn.Module):
    """Query encoder, key encoder and the queues of keys of whole views and of object views.

    Args:
        student: The query encoder; the key encoder begins as its copy, with the projector of the first space alone,
            because contrast compares in that.
        queues: Which of the queues are needed, ``global`` and ``object``.
        queue_size: K, negatives in each queue.
        generator: Draws the first negatives.
        keep_first: Whether to keep the backbone as it is now, for what is measured by it.
    """

    def __init__(
        self,
        student: Student,
        *,
        queues: Sequence[QueueName],
        queue_size: int,
        generator: torch.Generator,
        keep_first: bool = False,
    ) -> None:
        super().__init__()
        self.student = student
        self.key = KeyEncoder(student)
        self.kept_first = FirstBackbone(student) if keep_first else None
        self.queues = nn.ModuleDict(
            {name: KeyQueue(queue_size, student.embedding_dim, generator=generator) for name in sorted(queues)}
        )

    def queue(self, name: QueueName) -> KeyQueue:
        """Return one of the queues."""
        queue = self.queues[name]
        assert isinstance(queue, KeyQueue)  # noqa: S101 - tells the type checker what __init__ put there
        return queue

    @property
    def first(self) -> FirstBackbone:
        """The backbone as it was before training; kept where it is asked for."""
        assert self.kept_first is not None  # noqa: S101 - whoever needs it has it kept
        return self.kept_first

    def divide(self, parts: Parts) -> None:
        """Have the encoders take their batches in so many parts; see :func:`~leadpp.models.parts.encode_in_parts`."""
        self.student.parts = self.key.parts = parts
        if self.kept_first is not None:
            self.kept_first.parts = parts

    def hold_backbone(self, *, held: bool) -> None:
        """Let the backbone of both encoders stand still, or learn again."""
        if held != self.student.held:
            self.student.hold_backbone(held=held)
            self.key.hold_backbone(held=held)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device
