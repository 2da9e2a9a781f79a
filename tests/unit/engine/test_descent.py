import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from leadpp.engine.descent import Descent
from leadpp.engine.plan import LoopPlan
from leadpp.engine.step import StepPlan, score_step
from leadpp.functional.objective import Objective, total
from leadpp.functional.schedule import Schedule
from leadpp.models.backbone import parameter_stages
from leadpp.models.learner import Learner
from leadpp.models.student import KeyEncoder, Student
from tests.unit.tiny import tiny_learner, tiny_views

MOCO = Objective(global_object=0, object_object=0, alignment=0, distillation=0, contrast_weighting="one")
PLAN = LoopPlan(epochs=3, batch_size=4, learning_rate=0.1, warmup_epochs=1)
PER_EPOCH = 4
Loss = Callable[[Student, int], Tensor]


def bowl(student: Student, step: int) -> Tensor:
    """A curved loss of all weights, another one in every step; no forward pass, so that only the descent matters."""
    weights = enumerate(student.parameters())
    return torch.stack([((weight - 0.1 * step - 0.01 * place) ** 2).sum() for place, weight in weights]).sum()


def descend(plan: LoopPlan, *, steps: int, loss: Loss = bowl) -> Learner:
    learner = tiny_learner(MOCO, keep_first=plan.anchor > 0)
    descent = Descent(learner, plan)
    for step in range(steps):
        descent.prepare(step, steps_per_epoch=PER_EPOCH)
        descent.differentiate(loss(learner.student, step))
        descent.clip()
        descent.move()
    return learner


def by_hand(rates: Callable[[int], tuple[float, float, float]], *, steps: int) -> Student:
    """Follow the same loss with PyTorch's SGD and the rates of convolution, its BatchNorm and the heads, per step."""
    student = tiny_learner(MOCO).student
    parts: tuple[nn.Module, ...] = (
        student.backbone.get_submodule("conv"),
        student.backbone.get_submodule("norm"),
        nn.ModuleList([student.projector, student.attention]),
    )
    optimizer = torch.optim.SGD(
        [{"params": list(part.parameters())} for part in parts], momentum=0.9, weight_decay=5e-4
    )
    for step in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(bowl(student, step))
        for group, rate in zip(optimizer.param_groups, rates(step), strict=True):
            group["lr"] = rate
            if rate == 0:  # stands still: no momentum gathers either
                for weight in group["params"]:
                    weight.grad = None
        optimizer.step()
    return student


def check_same(found: Student, expected: Student) -> None:
    for name, weight in expected.named_parameters():
        torch.testing.assert_close(found.get_parameter(name), weight, rtol=1e-6, atol=1e-7, msg=name)


RISE = (0.025, 0.05, 0.075, 0.1)


def test_the_backbone_learns_at_its_own_rate() -> None:
    expected = by_hand(lambda step: (0.2 * RISE[step], 0.2 * RISE[step], RISE[step]), steps=4)
    check_same(descend(replace(PLAN, backbone_rate=0.2), steps=4).student, expected)


def test_earlier_stages_learn_more_slowly() -> None:
    expected = by_hand(lambda step: (0.5 * 0.3 * RISE[step], 0.5 * RISE[step], RISE[step]), steps=4)
    check_same(descend(replace(PLAN, backbone_rate=0.5, layer_decay=0.3), steps=4).student, expected)


def test_the_anchor_is_a_loss_of_the_distance_from_the_first_weights() -> None:
    """L2-SP: anchor / 2 times the squared distance, of the backbone alone, in place of its weight decay."""
    start = tiny_learner(MOCO).student
    student = tiny_learner(MOCO).student
    backbone = list(student.backbone.parameters())
    heads = [*student.projector.parameters(), *student.attention.parameters()]
    groups = [{"params": backbone, "weight_decay": 0.0}, {"params": heads, "weight_decay": 5e-4}]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    for step, rate in enumerate(RISE):
        pairs = zip(backbone, start.backbone.parameters(), strict=True)
        distance = torch.stack([(weight - first.detach()).square().sum() for weight, first in pairs]).sum()
        optimizer.zero_grad()
        torch.autograd.backward(bowl(student, step) + 0.7 / 2 * distance)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    check_same(descend(replace(PLAN, anchor=0.7), steps=4).student, student)


def test_the_anchor_is_not_clipped() -> None:
    """As weight decay is not: clipping tames the loss, the anchor is what holds."""
    plan = replace(PLAN, anchor=0.5, clip_norm=1e-6, momentum=0.0, schedule="step", epochs=100)
    learner = tiny_learner(MOCO, keep_first=True)
    descent = Descent(learner, plan)
    with torch.no_grad():
        for weight in learner.student.backbone.parameters():
            weight.add_(1)
    descent.prepare(0, steps_per_epoch=PER_EPOCH)
    descent.differentiate(bowl(learner.student, 0))
    descent.clip()
    descent.move()
    for weight, first in zip(learner.student.backbone.parameters(), learner.first.parameters(), strict=True):
        torch.testing.assert_close(weight - first, torch.full_like(first, 1 - 0.1 * 0.5), rtol=1e-4, atol=1e-4)


def test_the_heads_learn_first_and_the_backbone_rises_after_them() -> None:
    plan = replace(PLAN, head_warmup_epochs=1.5, schedule="cosine-step", epochs=1000)  # the cosine is flat so early

    def rates(step: int) -> tuple[float, float, float]:
        backbone = (0, 0, 0, 0, 0, 0, *RISE)[step]
        return backbone, backbone, (*RISE, *[0.1] * 6)[step]

    found = descend(plan, steps=10).student
    for name, weight in by_hand(rates, steps=10).named_parameters():
        torch.testing.assert_close(found.get_parameter(name), weight, rtol=1e-4, atol=1e-5, msg=name)


def test_without_settings_of_its_own_there_is_one_group() -> None:
    """So that momentum lies in checkpoints as it always has."""
    learner = tiny_learner(MOCO)
    (group,) = Descent(learner, PLAN).optimizer.param_groups
    assert [id(weight) for weight in group["params"]] == [id(weight) for weight in learner.student.parameters()]


@pytest.mark.parametrize("schedule", ["cosine-epoch", "step"])
def test_schedules_without_a_rise_have_none_for_the_backbone(schedule: Schedule) -> None:
    plan = replace(PLAN, epochs=4, schedule=schedule, head_warmup_epochs=1)
    learner = tiny_learner(MOCO)
    descent = Descent(learner, plan)
    rates = []
    for step in (3, 4):
        heads = descent.prepare(step, steps_per_epoch=PER_EPOCH)
        rates.append([group["lr"] / heads for group in descent.optimizer.param_groups])
    assert rates == [[0.0, 1.0], [1.0, 1.0]]


def test_the_heads_learn_alone_for_a_quarter_of_the_training_at_most() -> None:
    learner = tiny_learner(MOCO)
    descent = Descent(learner, replace(PLAN, epochs=2, schedule="step", head_warmup_epochs=5))
    rates = []
    for step in range(2 * PER_EPOCH):
        descent.prepare(step, steps_per_epoch=PER_EPOCH)
        rates.append(min(group["lr"] for group in descent.optimizer.param_groups) > 0)
    assert rates == [False] * 2 + [True] * 6


def test_while_the_heads_learn_alone_the_backbone_stands_still() -> None:
    """Weights and BatchNorm statistics, of the query encoder and of the key encoder, with Grad-CAM in the loss."""
    objective = Objective(distillation=0, contrast_weighting="one")
    learner = tiny_learner(objective).train()
    first = copy.deepcopy(learner)
    descent = Descent(learner, replace(PLAN, epochs=4, head_warmup_epochs=1, clip_norm=1.0))
    moved: list[set[str]] = []
    for step in range(PER_EPOCH + 1):
        descent.prepare(step, steps_per_epoch=PER_EPOCH)
        scores = score_step(learner, tiny_views(place=step), objective=objective, plan=StepPlan(key_momentum=0.5))
        descent.differentiate(total(objective.reduce(scores.terms)))
        norm = descent.clip()
        descent.move()
        assert torch.isfinite(norm)
        moved.append(changed_parts(learner, first))
    heads = {"student.projector", "student.attention", "key.projector"}
    assert moved[PER_EPOCH - 1] == heads
    assert moved[PER_EPOCH] == heads | {"student.backbone", "key.backbone"}


def changed_parts(learner: Learner, first: Learner) -> set[str]:
    before, after = first.state_dict(), learner.state_dict()
    changed = {name for name, tensor in after.items() if not torch.allclose(tensor, before[name], rtol=1e-6, atol=0)}
    return {".".join(name.split(".")[:2]) for name in changed if not name.startswith("queues")}


def test_held_encoders_stay_held_when_the_mode_is_set_again() -> None:
    learner = tiny_learner(MOCO)
    learner.hold_backbone(held=True)
    for module in (learner.eval(), learner.train()):
        assert not any(part.training for part in (norm_of(module.student), norm_of(module.key)))
        assert module.student.attention.norm.training == module.training
    learner.hold_backbone(held=False)
    assert norm_of(learner.student).training
    assert norm_of(learner.key).training
    assert all(weight.requires_grad for weight in learner.student.parameters())
    assert not any(weight.requires_grad for weight in learner.key.parameters())


def norm_of(encoder: Student | KeyEncoder) -> nn.Module:
    return encoder.backbone.get_submodule("norm")


def test_stages_of_a_plain_module_are_its_parts() -> None:
    backbone = tiny_learner(MOCO).student.backbone
    shapes = [[tuple(weight.shape) for weight in stage] for stage in parameter_stages(backbone)]
    assert shapes == [[(6, 3, 3, 3), (6,)], [(6,), (6,)]]
