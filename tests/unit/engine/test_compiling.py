import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.engine.compiling import compile_networks, eagerly
from leadpp.engine.lessons import Lessons, Space
from leadpp.engine.step import StepPlan, score_step
from leadpp.functional.objective import Objective, total
from leadpp.models.learner import Learner
from tests.unit.tiny import WIDTH, TinyTeacher, tiny_learner, tiny_prototypes, tiny_views

OBJECTIVE = Objective(distillation_temperature=0.5, structure=1.0)
BATCH = torch.zeros(4, 3, 11, 11, dtype=torch.uint8)


class TowerTeacher(TinyTeacher):
    """A teacher that shows its tower."""

    def __init__(self) -> None:
        super().__init__()
        self.image_tower = nn.Sequential(nn.Flatten(), nn.Linear(3 * 11 * 11, WIDTH)).requires_grad_(False)

    def encode_images(self, images: Tensor) -> Tensor:
        return F.normalize(self.image_tower(images.float() / 255), dim=1)


def compiled(network: nn.Module) -> bool:
    return network._compiled_call_impl is not None


def networks(learner: Learner) -> list[nn.Module]:
    return [learner.student.backbone, learner.key.backbone, learner.first.backbone]


def refuse(graph: object, inputs: object) -> Callable[..., Any]:
    raise RuntimeError("No working C++ compiler found\nand more lines")


@pytest.mark.filterwarnings("ignore")
def test_what_is_compiled_and_what_stays() -> None:
    learner, teacher = tiny_learner(OBJECTIVE).train(), TowerTeacher()
    before, gradients = copy.deepcopy(learner.state_dict()), list(learner.student.parameters())
    lessons = Lessons((Space(teacher=teacher, prototypes=tiny_prototypes()),))
    said = compile_networks(learner, lessons, batch=BATCH, backend="aot_eager", towers_on_cpu=True)
    assert said == "compiled: student, key encoder, first backbone, teacher"
    assert all(map(compiled, [*networks(learner), teacher.image_tower]))
    after = learner.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert all(weight.grad is None for weight in gradients)
    assert not compiled(copy.deepcopy(learner).student.backbone)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_step_is_the_same_step() -> None:
    lessons = Lessons((Space(teacher=TowerTeacher(), prototypes=tiny_prototypes()),))
    found = []
    for compiles in (False, True):
        learner = tiny_learner(OBJECTIVE).train()
        if compiles:
            compile_networks(learner, lessons, batch=BATCH, backend="aot_eager", towers_on_cpu=True)
        scores = score_step(learner, tiny_views(), objective=OBJECTIVE, plan=StepPlan(), lessons=lessons)
        torch.autograd.backward(total(OBJECTIVE.reduce(scores.terms)))
        found.append([weight.grad for weight in learner.student.parameters()] + list(learner.buffers()))
    for plain, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_compiled_says_why_and_goes_on() -> None:
    learner = tiny_learner(OBJECTIVE).train()
    before = copy.deepcopy(learner.state_dict())
    said = compile_networks(learner, None, batch=BATCH, backend=refuse)
    assert said.startswith("train.compile: not compiled (")
    assert "No working C++ compiler found" in said
    assert "\n" not in said
    assert not any(map(compiled, networks(learner)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.state_dict().items())
    assert learner.student(BATCH).embedding.shape == (4, WIDTH)


@pytest.mark.filterwarnings("ignore")
def test_a_teacher_that_is_not_asked_or_hides_its_tower_is_left_alone() -> None:
    lessons = Lessons((Space(teacher=TinyTeacher(), prototypes=tiny_prototypes()),))
    said = compile_networks(tiny_learner(OBJECTIVE).train(), lessons, batch=BATCH, backend="aot_eager")
    assert said == "compiled: student, key encoder, first backbone"
    shows = Space(teacher=TowerTeacher(), prototypes=tiny_prototypes())
    known = replace(shows, remembered=torch.ones(4, 1, WIDTH))
    for asked, anywhere in ((shows, False), (known, True)):
        learner = tiny_learner(OBJECTIVE).train()
        said = compile_networks(learner, Lessons((asked,)), batch=BATCH, backend="aot_eager", towers_on_cpu=anywhere)
        assert said == "compiled: student, key encoder, first backbone"
        assert isinstance(asked.teacher, TowerTeacher)
        assert not compiled(asked.teacher.image_tower)


@pytest.mark.filterwarnings("ignore")
def test_of_several_teachers_those_that_show_their_tower_are_compiled() -> None:
    spaces = [
        Space(teacher=one, prototypes=tiny_prototypes()) for one in (TowerTeacher(), TinyTeacher(), TowerTeacher())
    ]
    learner = tiny_learner(OBJECTIVE).train()
    said = compile_networks(learner, Lessons(tuple(spaces)), batch=BATCH, backend="aot_eager", towers_on_cpu=True)
    assert said == "compiled: student, key encoder, first backbone, teacher 1, teacher 3"
    for space in (spaces[0], spaces[2]):
        assert isinstance(space.teacher, TowerTeacher)
        assert compiled(space.teacher.image_tower)


@pytest.mark.filterwarnings("ignore")
def test_eagerly_runs_what_is_written() -> None:
    kinds: list[bool] = []

    def look(images: Tensor) -> Tensor:
        kinds.append(torch.compiler.is_compiling())
        return images

    torch.compile(look, backend="eager")(BATCH)
    eagerly(torch.compile(look, backend="eager"))(BATCH)
    assert kinds[-1] is False
