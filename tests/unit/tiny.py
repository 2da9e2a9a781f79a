"""Networks that are small enough to be trained in a test."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.functional.objective import Objective, ViewName
from leadpp.functional.randomness import generator_for
from leadpp.models.learner import Learner
from leadpp.models.student import Student

WIDTH = 5
CLASSES = 3


class TinyBackbone(nn.Module):
    """One convolution with BatchNorm; enough to tell weights from statistics."""

    feature_dim = 6

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.conv = nn.Conv2d(3, 6, kernel_size=3, stride=2)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images if images.is_floating_point() else images.float() / 255
        normed: Tensor = self.norm(self.conv(pixels))
        return normed.relu()


class TinyTeacher:
    """Says the same of the same picture; not normalised by the student's statistics, and with its own width."""

    embedding_dim = WIDTH
    name = "tiny"

    def __init__(self) -> None:
        self.weight = torch.randn(3, WIDTH, generator=generator_for(11, "teacher"))

    def encode_images(self, images: Tensor) -> Tensor:
        return F.normalize(images.float().std(dim=(2, 3)) @ self.weight, dim=1)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return F.normalize(torch.ones(len(texts), WIDTH), dim=1)

    def to(self, device: torch.device) -> Self:
        self.weight = self.weight.to(device)
        return self


def tiny_prototypes() -> Tensor:
    return F.normalize(torch.randn(CLASSES, WIDTH, generator=generator_for(11, "prototypes")), dim=1)


def tiny_learner(objective: Objective, *, queue_size: int = 8, seed: int = 2, keep_first: bool = False) -> Learner:
    student = Student(
        TinyBackbone(), embedding_dim=WIDTH, attention_channels=4, generator=generator_for(seed, "student")
    )
    return Learner(
        student,
        queues=objective.queues(),
        queue_size=queue_size,
        generator=generator_for(seed, "queues"),
        keep_first=keep_first or objective.uses("structure"),
    )


def tiny_views(count: int = 4, *, place: int = 0) -> dict[ViewName, Tensor]:
    names: tuple[ViewName, ...] = ("global_1", "global_2", "object_1", "object_2")
    generator = generator_for(12, "views", place)
    return {name: torch.randint(0, 256, (count, 3, 11, 11), generator=generator, dtype=torch.uint8) for name in names}


def save_tiny_network(folder: Path, *, architecture: str = "test_resnet") -> str:
    """Save a timm network of fixed random weights as timm does, and return its name for settings."""
    folder.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = timm.create_model(architecture, num_classes=7)
    settings = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "input_size": [3, 64, 64]}
    config = {"architecture": architecture, "num_classes": 7, "pretrained_cfg": settings}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(network.state_dict(), folder / "model.safetensors")
    return f"local-dir:{folder}"
