"""Our training step is the obvious one: same losses, gradients and statistics after one step."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.obvious.step import Networks, ObviousStep, Settings, Statistics
from leadpp.engine.iteration import Iteration
from leadpp.engine.lessons import Lessons, Space
from leadpp.engine.plan import LoopPlan
from leadpp.engine.step import StepPlan
from leadpp.functional.objective import Objective
from leadpp.functional.randomness import generator_for
from leadpp.models.learner import Learner
from leadpp.models.student import Student
from tests.unit.tiny import tiny_views

STATISTICS = Statistics(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
TEACHER_STATISTICS = Statistics(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
WIDTH, CLASSES, QUEUE = 6, 5, 12
SETTINGS = Settings(distillation_temperature=0.1, key_momentum=0.9, alignment=0.5)  # so that no term is nearly nothing


class Maps(nn.Module):
    """Two convolutions with BatchNorm."""

    feature_dim = 8

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        )  # fmt: skip

    def forward(self, pictures: Tensor) -> Tensor:
        maps: Tensor = self.layers(pictures)
        return maps


class Backbone(nn.Module):
    """The same network as ours is: it normalises for itself, and lies channels last."""

    feature_dim = 8

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)

    def forward(self, pictures: Tensor) -> Tensor:
        pixels = STATISTICS.normalize(pictures, next(self.network.parameters()).dtype)
        maps: Tensor = self.network(pixels.contiguous(memory_format=torch.channels_last))
        return maps


class Tower(nn.Module):
    """A teacher whose weights want gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 5), nn.GELU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(16, WIDTH)

    def forward(self, pictures: Tensor) -> Tensor:
        seen: Tensor = self.head(self.layers(pictures))
        return seen


@dataclass
class Frozen:
    """The tower as our step asks it."""

    tower: Tower

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        return F.normalize(self.tower(TEACHER_STATISTICS.normalize(images, self.tower.head.weight.dtype)), dim=1)


@dataclass
class Both:
    """Both ways after one step."""

    obvious: ObviousStep
    learner: Learner
    told: Mapping[str, float]
    figures: Mapping[str, float]


def both(dtype: torch.dtype, *, forwards: Literal["once", "reference"] = "once", momentum: float | None = 0.1) -> Both:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        maps, tower = Maps(), Tower()
    for part in maps.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = momentum
    objective = Objective(distillation_temperature=SETTINGS.distillation_temperature, alignment=SETTINGS.alignment)
    student = Student(Backbone(maps), embedding_dim=WIDTH, generator=generator_for(1, "heads"))
    learner = Learner(student, queues=objective.queues(), queue_size=QUEUE, generator=generator_for(1, "negatives"))
    with torch.no_grad():
        for weight in student.parameters():  # so that the key encoder has fallen behind
            weight.mul_(1.1)
    learner, tower = learner.to(dtype).train(), tower.to(dtype)
    prototypes = F.normalize(torch.randn(CLASSES, WIDTH, generator=generator_for(1, "prototypes"), dtype=dtype), dim=1)
    obvious = _obvious(learner, tower, prototypes)
    views = dict[str, Tensor](tiny_views(6).items())
    told = obvious(views)
    iteration = Iteration(
        learner,
        objective=objective,
        order=StepPlan(forwards=forwards, key_momentum=SETTINGS.key_momentum),
        loop=LoopPlan(epochs=1, batch_size=6, learning_rate=SETTINGS.learning_rate, warmup_epochs=0),
        lessons=Lessons((Space(teacher=Frozen(tower), prototypes=prototypes),)),
    )
    figures = iteration.run(views, step=0, epoch=0, steps_per_epoch=1)
    return Both(obvious, learner, told, dict(zip(figures.names, figures.values.tolist(), strict=True)))


def _obvious(learner: Learner, tower: Tower, prototypes: Tensor) -> ObviousStep:
    student, key = copy.deepcopy(learner.student), copy.deepcopy(learner.key)
    assert isinstance(student.backbone, Backbone)
    assert isinstance(key.backbone, Backbone)
    return ObviousStep(
        networks=Networks(
            query=student.backbone.network.to(memory_format=torch.contiguous_format),
            query_projector=student.projector,
            key=key.backbone.network.to(memory_format=torch.contiguous_format),
            key_projector=key.projector,
            attention=student.attention,
            teacher=copy.deepcopy(tower),
        ),
        prototypes=prototypes,
        queues={name: learner.get_buffer(f"queues.{name}.keys").clone() for name in ("global", "object")},
        pixels=STATISTICS,
        teacher_pixels=TEACHER_STATISTICS,
        settings=SETTINGS,
    )


def gradients(result: Both) -> tuple[list[Tensor | None], list[Tensor | None]]:
    networks, student = result.obvious.networks, result.learner.student
    assert isinstance(student.backbone, Backbone)
    plain = [*networks.query.parameters(), *networks.query_projector.parameters(), *networks.attention.parameters()]
    ours = [*student.backbone.parameters(), *student.projector.parameters(), *student.attention.parameters()]
    return [weight.grad for weight in plain], [weight.grad for weight in ours]


def statistics(result: Both) -> list[tuple[str, Tensor, Tensor]]:
    networks, learner = result.obvious.networks, result.learner
    rows = []
    for plain, ours in (
        (networks.query, learner.student.backbone), (networks.key, learner.key.backbone),
        (networks.attention, learner.student.attention),
    ):  # fmt: skip
        rows += [(name, one, other) for (name, one), other in zip(plain.named_buffers(), ours.buffers(), strict=True)]
    return rows


@pytest.mark.parametrize("forwards", ["once", "reference"])
@pytest.mark.parametrize("momentum", [0.1, 0.3, None])
def test_double_precision(forwards: Literal["once", "reference"], momentum: float | None) -> None:
    result = both(torch.float64, forwards=forwards, momentum=momentum)
    assert set(result.told) <= set(result.figures)
    for name, value in result.told.items():
        assert result.figures[name] == pytest.approx(value, rel=1e-10, abs=1e-10), name
        assert abs(value) > 1e-4, name
    for plain, ours in zip(*gradients(result), strict=True):
        assert plain is not None
        assert ours is not None
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)
    seen = statistics(result)
    assert len(seen) == 3 * (2 + 2 + 1)
    for name, plain, ours in seen:
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10, msg=name)
    for name, queue in result.obvious.queues.items():
        torch.testing.assert_close(result.learner.get_buffer(f"queues.{name}.keys"), queue, rtol=1e-10, atol=1e-10)


def test_weights_after_the_step() -> None:
    result = both(torch.float64)
    networks, learner = result.obvious.networks, result.learner
    for plain, ours in (
        (networks.query, learner.student.backbone), (networks.query_projector, learner.student.projector),
        (networks.key, learner.key.backbone), (networks.key_projector, learner.key.projector),
    ):  # fmt: skip
        for one, other in zip(plain.parameters(), ours.parameters(), strict=True):
            torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


def test_single_precision() -> None:
    result = both(torch.float32)
    for name, value in result.told.items():
        assert result.figures[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name
    plain, ours = (torch.cat([g.flatten() for g in side if g is not None]) for side in gradients(result))
    assert len(plain) == len(ours) > 0
    assert ((ours - plain).norm() / plain.norm()).item() < 1e-4


def test_the_obvious_way_computes_the_needless_gradients_of_the_teacher() -> None:
    result = both(torch.float64)
    assert all(weight.grad is not None for weight in result.obvious.networks.teacher.parameters())
