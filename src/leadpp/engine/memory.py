"""When memory runs out in a step: what the step has changed is put back, and it is tried again in smaller parts."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from leadpp.errors import LeadppError
from leadpp.models.learner import Learner
from leadpp.models.parts import Parts, most_parts

_WORDS = (
    "DefaultCPUAllocator", "could not create a primitive", "could not create a memory object", "std::bad_alloc",
    "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
)  # fmt: skip
"""What torch, oneDNN and CUDA's libraries say where there is no memory left; oneDNN does not say why it could not."""


def ran_out(error: RuntimeError) -> bool:
    """Tell whether an error says that memory ran out, on a GPU or not."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _WORDS)


class Undo:
    """Remembers what a step changes before its weights move: statistics, queues, and the key encoder where it must.

    Args:
        learner: What takes the steps.
        key_weights: Whether the key encoder moves more than once in a step, so that it cannot be told how far it is.
    """

    def __init__(self, learner: Learner, *, key_weights: bool) -> None:
        self._learner = learner
        changed = [*learner.student.buffers(), *learner.key.buffers()]
        changed += list(learner.key.parameters()) if key_weights else []
        self._changed = [[one for one in changed if one.is_floating_point() == kind] for kind in (False, True)]
        self._copies = [[torch.empty_like(one) for one in some] for some in self._changed]
        self._queues: dict[str, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def remember(self) -> None:
        """Remember how things are before a step."""
        for copies, tensors in zip(self._copies, self._changed, strict=True):
            _copy(copies, tensors)
        queues = self._learner.queues.named_children()
        self._queues = {name: (queue.get_buffer("keys"), queue.get_buffer("pushed").clone()) for name, queue in queues}

    @torch.no_grad()
    def restore(self) -> None:
        """Put things back; gradients go, and what memory is unused is given back."""
        for copies, tensors in zip(self._copies, self._changed, strict=True):
            _copy(tensors, copies)
        for name, queue in self._learner.queues.named_children():
            queue.keys, pushed = self._queues[name]  # a push amid a step made another ring of the keys
            queue.get_buffer("pushed").copy_(pushed)
        self._learner.student.zero_grad(set_to_none=True)
        if self._learner.device.type == "cuda":
            torch.cuda.empty_cache()


def take_smaller_parts(learner: Learner, *, rows: int) -> Parts:
    """Have the encoders take a batch of so many rows in twice as many parts as before.

    Returns:
        How many there are now; 0 if the parts cannot be smaller.
    """
    before, most = learner.student.parts, most_parts(learner.student.backbone, rows=rows)
    if before >= most:
        return 0
    after = min(most, max(2, 2 * before))
    learner.divide(after)
    return after


def _copy(into: list[Tensor], of: list[Tensor]) -> None:
    if into:
        torch._foreach_copy_(into, of)


@contextlib.contextmanager
def memory_told(device: torch.device, *, batch_size: int) -> Iterator[None]:
    """Turn what torch says when memory runs out for good into one line.

    Raises:
        LeadppError: It ran out.
    """
    try:
        yield
    except RuntimeError as error:
        if not ran_out(error):
            raise
        raise LeadppError(
            f"{device} has too little memory for a batch of {batch_size}; lower train.batch_size or input.size, or "
            "set train.precision bf16 or train.micro_batches"
        ) from error
