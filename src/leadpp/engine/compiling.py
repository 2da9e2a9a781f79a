"""torch.compile for the networks that a training runs, or one line that says why they run as they are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from leadpp.engine.lessons import Lessons
from leadpp.models.learner import Learner

P = TypeVar("P")
R = TypeVar("R")

_MOST_WORDS = 200


@runtime_checkable
class HasImageTower(Protocol):
    """A teacher whose image tower can be compiled."""

    def encode_images(self, images: Tensor) -> Tensor:
        """Return unit rows, (B, D)."""
        ...

    @property
    def image_tower(self) -> nn.Module:
        """The network that sees pictures."""
        ...


def compile_networks(
    learner: Learner,
    lessons: Lessons | None,
    *,
    batch: Tensor,
    autocast_dtype: torch.dtype | None = None,
    backend: str | Callable[..., Any] = "inductor",
    towers_on_cpu: bool = False,
) -> str:
    """Compile the backbones of a learner, and the towers of teachers that are asked in every step, in place.

    Not a tower on a CPU, where a compiled ViT-B/16 takes half as long again (docs/decisions/0039).

    Names of weights stay, so that checkpoints know nothing of it. Each network runs once, so that what cannot be
    compiled is known before training begins; all of them are then left as they were.

    Args:
        learner: In the mode in which it will train.
        lessons: Its teachers are compiled if they show their ``image_tower``.
        batch: Pictures as training will show them, uint8 (B, 3, S, S), on the learner's device.
        autocast_dtype: Half precision of the encoders.
        backend: Of torch.compile.
        towers_on_cpu: Compile the teachers' towers on a CPU too.

    Returns:
        What was done, or why nothing was.
    """
    # Here because it takes seconds, and only who compiles needs it.
    from torch._dynamo.exc import TorchDynamoException

    learning = {"student": learner.student.backbone, "key encoder": learner.key.backbone}
    frozen: dict[str, nn.Module] = {}
    if learner.kept_first is not None:
        frozen["first backbone"] = learner.kept_first.backbone
    teachers = [] if lessons is None or (batch.device.type == "cpu" and not towers_on_cpu) else _asked(lessons)
    frozen |= {name: teacher.image_tower for name, teacher in teachers}
    networks = learning | frozen
    for network in networks.values():
        network.compile(backend=backend)
    try:
        with (
            _statistics_kept(*learning.values()),
            torch.autocast(batch.device.type, dtype=autocast_dtype, enabled=autocast_dtype is not None),
        ):
            seen: Tensor = learner.student.backbone(batch)
            torch.autograd.backward(seen.float().mean())
            with torch.no_grad():
                learner.key.backbone(batch)
                if learner.kept_first is not None:
                    learner.kept_first.backbone(batch)
                for _, teacher in teachers:
                    teacher.encode_images(batch)
    except (TorchDynamoException, RuntimeError, ImportError, OSError) as error:
        for network in networks.values():
            network._compiled_call_impl = None  # as before compile(); there is no public way back
        return f"train.compile: not compiled ({_reason(error)}); training goes on without"
    finally:
        learner.student.zero_grad(set_to_none=True)
    return f"compiled: {', '.join(networks)}"


def _asked(lessons: Lessons) -> list[tuple[str, HasImageTower]]:
    """Name the teachers that are asked in every step and show their tower."""
    several = len(lessons.spaces) > 1
    return [
        (f"teacher {number}" if several else "teacher", space.teacher)
        for number, space in enumerate(lessons.spaces, start=1)
        if space.remembered is None and isinstance(space.teacher, HasImageTower)
    ]


def eagerly(call: Callable[[P], R]) -> Callable[[P], R]:
    """Return the same function, in which compiled networks run as they are written: for pictures of other shapes."""

    def run(argument: P) -> R:
        with torch.compiler.set_stance("force_eager"):
            return call(argument)

    return run


@contextmanager
def _statistics_kept(*networks: nn.Module) -> Iterator[None]:
    """Put every buffer back as it was."""
    kept = [(buffer, buffer.clone()) for network in networks for buffer in network.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


def _reason(error: BaseException) -> str:
    """Bring the many lines of a compiler's error down to the one that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.endswith("raised:")] or [type(error).__name__]
    return told[0] if len(told[0]) <= _MOST_WORDS else told[0][:_MOST_WORDS] + "..."
