"""Some steps of training on tiny networks, by as many processes as there are; the first one saves what came of them.

Each process is given its rows of the same batches. Run as ``python -m tests.distributed.learning VARIANT FILE``.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from leadpp.distributed.launch import read_launch
from leadpp.distributed.meeting import together
from leadpp.distributed.ranks import Ranks
from leadpp.engine.iteration import Iteration
from leadpp.engine.lessons import Lessons, Space
from leadpp.engine.plan import LoopPlan
from leadpp.engine.step import StepPlan
from leadpp.functional.objective import Objective
from leadpp.functional.randomness import generator_for
from leadpp.models.learner import Learner
from leadpp.models.student import Student
from tests.unit.tiny import CLASSES, WIDTH, TinyBackbone, TinyTeacher, tiny_prototypes, tiny_views

BATCH, STEPS = 8, 3
ORDER = StepPlan(key_momentum=0.9)
LOOP = LoopPlan(epochs=2, batch_size=BATCH, learning_rate=0.05, warmup_epochs=0, average_decay=0.9, clip_norm=0.5)


class OtherTeacher(TinyTeacher):
    """Sees pictures by their means, in a space of another width."""

    embedding_dim = WIDTH + 2

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(3, WIDTH + 2, generator=generator_for(12, "teacher"))

    def encode_images(self, images: Tensor) -> Tensor:
        return F.normalize((images.float().mean(dim=(2, 3)) - 120) @ self.weight, dim=1)


@dataclass(frozen=True)
class Variant:
    """What is trained, and how."""

    objective: Objective
    order: StepPlan = ORDER
    loop: LoopPlan = LOOP
    scaling: str = "image"
    teachers: int = 2


FULL = Objective(distillation_temperature=0.5, structure=0.7, structure_teacher=0.6, distill_view="both", alignment=0.5)
REFERENCE = Variant(
    Objective(distillation_temperature=0.5, reduction="reference", reference_alignment=0.4),
    order=StepPlan(forwards="reference", key_update="forward", key_timing="reference", key_momentum=0.9),
    scaling="batch",
    teachers=1,
)
VARIANTS: dict[str, Variant] = {
    "full": Variant(FULL),
    "reference": REFERENCE,
    "warmup": Variant(FULL, loop=replace(LOOP, head_warmup_epochs=0.5, anchor=0.1)),
    "shuffle": Variant(FULL, order=replace(ORDER, key_bn="shuffle", shuffle_seed=3)),
    "local": Variant(FULL, order=replace(ORDER, key_bn="local")),
}


def learner_of(variant: Variant) -> Learner:
    student = Student(
        TinyBackbone(),
        embedding_dim=WIDTH,
        further_dims=[WIDTH + 2] * (variant.teachers - 1),
        attention_channels=4,
        attention_scaling="batch" if variant.scaling == "batch" else "image",
        generator=generator_for(2, "student"),
    )
    return Learner(
        student,
        queues=variant.objective.queues(),
        queue_size=(STEPS + 1) * BATCH,
        generator=generator_for(2, "queues"),
        keep_first=True,
    )


def lessons_of(variant: Variant) -> Lessons:
    other = F.normalize(torch.randn(CLASSES, WIDTH + 2, generator=generator_for(12, "prototypes")), dim=1)
    spaces = (
        Space(teacher=TinyTeacher(), prototypes=tiny_prototypes()),
        Space(teacher=OtherTeacher(), prototypes=other),
    )
    return Lessons(spaces[: variant.teachers])


def learn(variant: Variant, ranks: Ranks) -> dict[str, Tensor]:
    """Take some steps; return figures, gradients and everything that learns or remembers."""
    learner = learner_of(variant).train()
    iteration = Iteration(
        learner,
        objective=variant.objective,
        order=variant.order,
        loop=variant.loop,
        lessons=lessons_of(variant),
        ranks=ranks,
    )
    found: dict[str, Tensor] = {}
    for step in range(STEPS):
        rows = ranks.share(BATCH)
        batch: dict[str, Tensor] = {name: view[rows] for name, view in tiny_views(BATCH, place=step).items()}
        told = iteration.run(batch, step=step, epoch=step // 2, steps_per_epoch=2)
        found |= {f"{step}.{name}": torch.tensor(value) for name, value in told.figures().items()}
        found[f"{step}.embedding"] = told.embedding.clone()
        for name, weight in learner.student.named_parameters():
            if weight.grad is not None:
                found[f"{step}.gradient.{name}"] = weight.grad.clone()
    found |= {f"learner.{name}": value.clone() for name, value in learner.state_dict().items()}
    assert iteration.average is not None
    return found | {f"average.{name}": value.clone() for name, value in iteration.average.state_dict().items()}


def main() -> None:
    """Learn, and have every process save what it holds beside the others'."""
    variants, folder = sys.argv[1].split(","), Path(sys.argv[2])
    with together(read_launch()) as ranks:
        for name in variants:
            save_file(learn(VARIANTS[name], ranks), folder / f"{name}-{ranks.rank}.safetensors")


if __name__ == "__main__":
    main()
