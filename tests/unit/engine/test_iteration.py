from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from leadpp.engine.iteration import Iteration
from leadpp.engine.lessons import Lessons, Space
from leadpp.engine.plan import LoopPlan
from leadpp.engine.step import StepPlan
from leadpp.functional.objective import Objective
from leadpp.functional.randomness import generator_for
from tests.unit.syncs import Syncs
from tests.unit.tiny import WIDTH, TinyTeacher, tiny_learner, tiny_prototypes, tiny_views

FULL = Objective(distillation_temperature=0.5)
LOOP = LoopPlan(epochs=2, batch_size=4)
SPACE = Space(teacher=TinyTeacher(), prototypes=tiny_prototypes())
LESSONS = Lessons((SPACE,))
ANSWERS = F.normalize(torch.randn(9, 2, WIDTH, generator=generator_for(3, "answers")), dim=2)
CAREFUL = replace(LOOP, clip_norm=1.0, anchor=0.5, average_decay=0.9, head_warmup_epochs=1.0)
"""Every part of a step that could ask for something."""


@pytest.mark.parametrize(
    ("objective", "order", "loop", "lessons"),
    [
        (FULL, StepPlan(), LOOP, LESSONS),
        (replace(FULL, structure=1.0, structure_teacher=0.5, distill_view="both"), StepPlan(), CAREFUL, LESSONS),
        (
            FULL,
            StepPlan(),
            LOOP,
            Lessons((replace(SPACE, remembered=ANSWERS, offsets=torch.ones(len(SPACE.prototypes))),)),
        ),
        (FULL, StepPlan(forwards="reference", key_update="forward", key_timing="reference"), LOOP, LESSONS),
        (FULL, StepPlan(), replace(LOOP, precision="fp16"), LESSONS),
        (replace(FULL, log_form="softmax-log", reduction="reference"), StepPlan(), LOOP, None),
    ],
    ids=["default", "careful", "remembered", "reference", "fp16", "alone"],
)
def test_no_iteration_waits_for_its_device(
    objective: Objective, order: StepPlan, loop: LoopPlan, lessons: Lessons | None
) -> None:
    learner = tiny_learner(objective, keep_first=loop.anchor > 0).train()
    iteration = Iteration(learner, objective=objective, order=order, loop=loop, lessons=lessons)
    batch = dict[str, Tensor](tiny_views().items()) | {"index": torch.tensor([8, 2, 5, 0])}
    iteration.run(batch, step=0, epoch=0, steps_per_epoch=2)  # the first asks how far its counts are
    for step in (1, 2):
        with Syncs() as syncs:
            told = iteration.run(batch, step=step, epoch=step // 2, steps_per_epoch=2)
        assert syncs.seen == []
    assert told.figures()["loss"] > 0


def test_what_is_told() -> None:
    iteration = Iteration(tiny_learner(FULL).train(), objective=FULL, order=StepPlan(), loop=LOOP, lessons=LESSONS)
    told = iteration.run(dict[str, Tensor](tiny_views().items()), step=0, epoch=0, steps_per_epoch=2)
    figures = told.figures()
    terms = ("global_global", "global_object", "object_object", "distillation", "alignment")
    assert figures["loss"] == pytest.approx(sum(figures[name] for name in terms))
    assert figures["learning_rate"] == told.rate
    assert figures["contrast_weight"] + figures["distill_weight"] == pytest.approx(1)
    assert told.embedding.shape == (4, WIDTH)


WAYS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda value: value[0].item(),
    "bool": lambda value: bool(value[0]),
    "int": lambda value: int(value[0]),
    "float": lambda value: float(value[0]),
    "tolist": lambda value: value.tolist(),
    "cpu": lambda value: value.cpu(),
    "to": lambda value: value.to("cpu"),
    "to by name": lambda value: value.to(device="cpu"),
    "numpy": lambda value: value.numpy(),
    "nonzero": lambda value: value.nonzero(),
    "mask": lambda value: value[value > 0],
    "masked write": lambda value: value.index_put_((value > 5,), torch.zeros(1)),
    "equal": lambda value: torch.equal(value, value + 1),
    "repeats": lambda value: torch.repeat_interleave(value, torch.ones(3, dtype=torch.int64)),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_ask_is_seen(way: str) -> None:
    value = torch.ones(3)
    with Syncs() as syncs:
        WAYS[way](value)
    assert syncs.seen


def test_arithmetic_asks_nothing() -> None:
    with Syncs() as syncs:
        torch.ones(3).add(1).mean()
        torch.ones(3)[torch.tensor([2, 0])].to(torch.float64)
    assert syncs.seen == []
