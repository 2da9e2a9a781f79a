"""The training step: ours against the obvious way, from the same networks, batch and settings."""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import open_clip
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.bench.case import Case, Work
from benchmarks.obvious.step import Networks, ObviousStep, Settings, Statistics
from leadpp.engine.iteration import Iteration, Told
from leadpp.engine.lessons import Lessons, Space
from leadpp.engine.plan import LoopPlan
from leadpp.engine.step import StepPlan
from leadpp.functional.objective import VIEW_NAMES, Objective
from leadpp.functional.randomness import generator_for
from leadpp.models.backbone import Backbone
from leadpp.models.learner import Learner
from leadpp.models.queue import KeyQueue
from leadpp.models.student import Student
from leadpp.models.teacher import IMAGENET_MEAN, IMAGENET_STD

CLASSES = 200
QUEUE = 5952  # that of CUB's training set at batch 64
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
OBJECTIVE = Objective()
"""LEAD++ with means: three contrastive terms, distillation on the object view, alignment, entropy weights."""
SETTINGS = Settings()
CPU = torch.device("cpu")


class ImageTower(nn.Module):
    """A teacher of one's own: open_clip's image tower, frozen, with its own pixel statistics."""

    mean: Tensor
    std: Tensor

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(CLIP_STD).view(1, 3, 1, 1))

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Return unit rows, (B, D)."""
        seen: Tensor = self.tower((images / 255 - self.mean) / self.std)
        return F.normalize(seen, dim=1)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What both ways begin with."""

    backbone: Any
    """A timm network in NCHW."""
    tower: nn.Module
    """The teacher's image tower."""
    views: dict[str, Tensor]
    """uint8, (B, 3, S, S), and ``index``."""
    prototypes: Tensor


def step_exact(*, quick: bool) -> Case:
    """The whole step, the teacher asked anew."""
    side, batch = _size(quick=quick)
    return Case(
        name="step_exact",
        protocol=_protocol(side, batch) + "Ours asks the teacher in every step too; losses and gradients are equal.",
        items=batch,
        obvious=functools.partial(obvious_step, side=side, batch=batch),
        fast=functools.partial(fast_step, side=side, batch=batch, remembered=False),
        target=1.8,
        memory_target=0.8 if quick else 0.65,  # weights and imports weigh more in a small step
    )


def step_cached(*, quick: bool) -> Case:
    """The step with the teacher's answers remembered, against the same obvious way, which asks."""
    side, batch = _size(quick=quick)
    return Case(
        name="step_cached",
        protocol=_protocol(side, batch) + "Ours looks the teacher's answers up, as for fixed or replayed views.",
        items=batch,
        obvious=functools.partial(obvious_step, side=side, batch=batch),
        fast=functools.partial(fast_step, side=side, batch=batch, remembered=True),
        target=2.4,
    )


def obvious_step(*, side: int, batch: int, device: torch.device = CPU) -> Work:
    """Build the obvious way; one call trains on one batch, which it brings to the device first."""
    start = _setting(side, batch)
    student = _student(_Width(start.backbone.num_features), start)
    key = copy.deepcopy(start.backbone).requires_grad_(False)
    step = ObviousStep(
        networks=Networks(
            query=_Maps(start.backbone).train().to(device),
            query_projector=student.projector.to(device),
            key=_Maps(key).train().to(device),
            key_projector=copy.deepcopy(student.projector).requires_grad_(False).to(device),
            attention=student.attention.train().to(device),
            teacher=start.tower.eval().to(device),
        ),
        prototypes=start.prototypes.to(device),
        queues={name: keys.to(device) for name, keys in _queues(start.prototypes.shape[1]).items()},
        pixels=Statistics(mean=IMAGENET_MEAN, std=IMAGENET_STD),
        teacher_pixels=Statistics(mean=CLIP_MEAN, std=CLIP_STD),
        settings=SETTINGS,
    )
    return lambda: step({name: view.to(device) for name, view in start.views.items()})


def fast_step(*, side: int, batch: int, remembered: bool) -> Work:
    """Build our way; one call trains on one batch and fetches its figures."""
    run = fast_iteration(side=side, batch=batch, remembered=remembered)
    return lambda: run().figures()


def fast_iteration(
    *,
    side: int,
    batch: int,
    remembered: bool = False,
    device: torch.device = CPU,
    autocast_dtype: torch.dtype | None = None,
) -> Callable[[], Told]:
    """Build what our trainer does for one step, with the settings of the obvious way; a call does not wait for it.

    Args:
        side: Of the pictures, in pixels.
        batch: Photographs in a step.
        remembered: Whether the teacher's answers are looked up.
        device: Where to train; pictures come from page-locked memory if it is a CUDA device.
        autocast_dtype: Half precision of the encoders; without it the step is exact.
    """
    start = _setting(side, batch)
    teacher = ImageTower(start.tower).to(device)
    space = Space(teacher=teacher, prototypes=start.prototypes.to(device))
    if remembered:
        answers = teacher.encode_images(start.views["object_1"].to(device))
        space = replace(space, remembered=answers[:, None])
    learner = Learner(
        _student(Backbone(start.backbone, name="resnet50"), start),
        queues=OBJECTIVE.queues(),
        queue_size=QUEUE,
        generator=generator_for(7, "negatives"),
    )
    loop = LoopPlan(
        epochs=1,
        batch_size=1,
        learning_rate=SETTINGS.learning_rate,
        momentum=SETTINGS.momentum,
        weight_decay=SETTINGS.weight_decay,
        warmup_epochs=0,
    )
    iteration = Iteration(
        learner.to(device).train(),
        objective=OBJECTIVE,
        order=StepPlan(key_momentum=SETTINGS.key_momentum, autocast_dtype=autocast_dtype),
        loop=loop,
        lessons=Lessons((space,)),
    )
    views = {name: view.pin_memory() if device.type == "cuda" else view for name, view in start.views.items()}
    return lambda: iteration.run(views, step=0, epoch=0, steps_per_epoch=1)


class _Width(nn.Module):
    """In place of a network whose width alone is asked for; ours would turn the obvious one's weights channels last."""

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim


class _Maps(nn.Module):
    """A timm network's feature map, as one calls it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        network: Any = self.network
        feature_map: Tensor = network.forward_features(pictures)
        return feature_map


def _size(*, quick: bool) -> tuple[int, int]:
    """Side of the pictures in pixels, and photographs in a batch."""
    return (160, 4) if quick else (224, 8)


def _protocol(side: int, batch: int) -> str:
    return (
        f"One training step, ResNet-50 and ViT-B/16 (random weights), {batch} random pictures of {side} px, {CLASSES} "
        f"prototypes, two queues of {QUEUE}, BatchNorm in train mode, SGD, float32. "
    )


def _setting(side: int, batch: int) -> Setting:
    generator = generator_for(7, "benchmark of the step")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        backbone = timm.create_model("resnet50", pretrained=False, num_classes=0)
        tower = open_clip.create_model("ViT-B-16", pretrained=None, force_image_size=side).visual
    views = {
        name: torch.randint(0, 256, (batch, 3, side, side), generator=generator, dtype=torch.uint8)
        for name in VIEW_NAMES
    }
    prototypes = F.normalize(torch.randn(CLASSES, tower.output_dim, generator=generator), dim=1)
    return Setting(backbone=backbone, tower=tower, views=views | {"index": torch.arange(batch)}, prototypes=prototypes)


def _student(backbone: nn.Module, start: Setting) -> Student:
    return Student(backbone, embedding_dim=start.prototypes.shape[1], generator=generator_for(7, "heads"))


def _queues(width: int) -> dict[str, Tensor]:
    """Return the negatives that a learner begins with."""
    generator = generator_for(7, "negatives")
    return {name: KeyQueue(QUEUE, width, generator=generator).keys for name in sorted(OBJECTIVE.queues())}
