"""The query encoder that is trained, the key encoder that follows it, and what it began as. No losses here."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from leadpp.functional.gradcam import Scaling, attention_pool, scale_map
from leadpp.models.parts import Parts, encode_in_parts

BatchNormMode = Literal["train", "eval"]


@dataclass(frozen=True, slots=True)
class StudentOutput:
    """What the query encoder makes of a batch of views."""

    feature_map: Tensor
    """(B, F, H, W), single precision or better."""
    feature: Tensor
    """(B, F), the average of the map over its positions."""
    embeddings: tuple[Tensor, ...]
    """Unit rows, (B, D), in the space of each teacher's prototypes."""

    @property
    def embedding(self) -> Tensor:
        """The first of them, which is contrasted too."""
        return self.embeddings[0]


class AttentionHead(nn.Module):
    """Where the student looks: 1x1 convolution without bias, BatchNorm, ReLU, the largest of its channels.

    After "common rationale" (LCR, Shu et al., CVPR 2023).
    """

    def __init__(self, feature_dim: int, channels: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.conv = nn.Conv2d(feature_dim, channels, kernel_size=1, bias=False, device="meta").to_empty(device="cpu")
        self.norm = nn.BatchNorm2d(channels)
        _draw_uniform(self.conv.weight, feature_dim, generator)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return the map before scaling, 0 or more; (B, F, H, W) -> (B, H, W)."""
        raw: Tensor = self.norm(self.conv(feature_map))
        return raw.relu().amax(dim=1)


class Student(nn.Module):
    """Query encoder: backbone, average over positions, projector, unit length; beside it the attention head.

    There is one projector a space: where several teachers teach, each has its own. The first embedding is the one that
    is contrasted, and the only one that the key encoder follows.

    The backbone may run under autocast; projector and attention head keep full precision, because the gradients
    that Grad-CAM is made of would vanish in half precision.

    Args:
        backbone: Images to maps (B, F, H, W), with an attribute ``feature_dim`` that is F.
        embedding_dim: D of the first space.
        further_dims: D of each further space.
        attention_channels: Channels of the attention head's convolution; the reference has 32.
        attention_scaling: Min-max scaling of the attention map, per image or (reference) over the batch.
        batchnorm: ``eval`` keeps the backbone's BatchNorm at its stored statistics even in training.
        generator: Draws the first weights of projector and attention head.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        embedding_dim: int,
        further_dims: Sequence[int] = (),
        attention_channels: int = 32,
        attention_scaling: Scaling = "image",
        batchnorm: BatchNormMode = "train",
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        feature_dim = int(backbone.feature_dim)  # type: ignore[arg-type]  # a plain attribute, whatever nn.Module says
        self.backbone, self.feature_dim = backbone, feature_dim
        self.embedding_dim, self.further_dims = embedding_dim, tuple(further_dims)
        self.projector = _projector(feature_dim, embedding_dim, generator)
        self.attention = AttentionHead(feature_dim, attention_channels, generator=generator)
        self.further = nn.ModuleList(_projector(feature_dim, width, generator) for width in self.further_dims)
        self.attention_scaling: Scaling = attention_scaling
        self.batchnorm: BatchNormMode = batchnorm
        self.held = False
        self.parts: Parts = 0

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; BatchNorm of the backbone stays in evaluation where so chosen, or held."""
        super().train(mode)
        _hold_batchnorm(self.backbone, self.batchnorm, held=self.held)
        return self

    def hold_backbone(self, *, held: bool) -> None:
        """Let the backbone stand still, or learn again; while it is held, its BatchNorm keeps its statistics too."""
        self.held = held
        self.backbone.requires_grad_(not held)
        self.train(self.training)

    def forward(self, images: Tensor) -> StudentOutput:
        """Encode views, (B, 3, S, S)."""
        feature_map = _full_precision(encode_in_parts(self.backbone, images, parts=self.parts))
        with torch.autocast(images.device.type, enabled=False):
            feature = feature_map.mean(dim=(2, 3))
            if self.held and torch.is_grad_enabled():
                feature.requires_grad_()  # Grad-CAM differentiates by the feature, whether the backbone learns or not
            projected = [projector(feature) for projector in (self.projector, *self.further)]
            return StudentOutput(feature_map, feature, tuple(F.normalize(rows, dim=1) for rows in projected))

    def attention_map(self, feature_map: Tensor) -> Tensor:
        """Return where the student looks, scaled to [0, 1); (B, F, H, W) -> (B, H, W)."""
        return scale_map(self.attention(feature_map), over=self.attention_scaling)

    def attention_feature(self, feature_map: Tensor) -> Tensor:
        """Average the map under its attention, to unit length; (B, F, H, W) -> (B, F).

        This is the feature of the reference's linear probe.
        """
        return attention_pool(feature_map, self.attention_map(feature_map))


class KeyEncoder(nn.Module):
    """A copy of the query encoder whose weights follow it slowly; its BatchNorm statistics are its own.

    It has no gradients, and runs in the same mode as the student: in training its BatchNorm sees batch statistics.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(student.backbone)
        self.projector = copy.deepcopy(student.projector)
        self.batchnorm = student.batchnorm
        self.held = student.held
        self.parts: Parts = 0
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode, as :meth:`Student.train` does."""
        super().train(mode)
        _hold_batchnorm(self.backbone, self.batchnorm, held=self.held)
        return self

    def hold_backbone(self, *, held: bool) -> None:
        """Keep the statistics of BatchNorm, or gather them again, as :meth:`Student.hold_backbone` does."""
        self.held = held
        self.train(self.training)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Encode views to keys, (B, 3, S, S) -> (B, D), unit rows."""
        feature_map = _full_precision(encode_in_parts(self.backbone, images, parts=self.parts))
        with torch.autocast(images.device.type, enabled=False):
            return F.normalize(self.projector(feature_map.mean(dim=(2, 3))), dim=1)


class FirstBackbone(nn.Module):
    """The backbone of a student as it was before training; it never learns, and is always in evaluation mode."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(student.backbone)
        self.parts: Parts = 0
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Encode views to averages of their maps, (B, 3, S, S) -> (B, F)."""
        return _full_precision(encode_in_parts(self.backbone, images, parts=self.parts)).mean(dim=(2, 3))


@torch.no_grad()
def update_key(student: Student, key: KeyEncoder, *, momentum: float) -> None:
    """Move the key encoder towards the query encoder: key = momentum * key + (1 - momentum) * query, all weights.

    BatchNorm statistics are not weights; they are left alone.
    """
    following: list[Tensor] = [*key.backbone.parameters(), *key.projector.parameters()]
    leading: list[Tensor] = [*student.backbone.parameters(), *student.projector.parameters()]
    torch._foreach_lerp_(following, leading, 1 - momentum)


def _projector(feature_dim: int, embedding_dim: int, generator: torch.Generator) -> nn.Sequential:
    # Made without values first: PyTorch would draw them from its global generator.
    layers = [nn.Linear(feature_dim, w, device="meta").to_empty(device="cpu") for w in (feature_dim, embedding_dim)]
    for layer in layers:
        _draw_uniform(layer.weight, feature_dim, generator)
        _draw_uniform(layer.bias, feature_dim, generator)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1])


def _draw_uniform(weight: Tensor, fan_in: int, generator: torch.Generator) -> None:
    """PyTorch's own start for linear layers and convolutions, from a generator of ours."""
    bound = 1 / math.sqrt(fan_in)
    nn.init.uniform_(weight, -bound, bound, generator=generator)


def _hold_batchnorm(backbone: nn.Module, batchnorm: BatchNormMode, *, held: bool) -> None:
    if held or batchnorm == "eval":
        for part in backbone.modules():
            if isinstance(part, _BatchNorm):
                part.eval()


def _full_precision(feature_map: Tensor) -> Tensor:
    return feature_map.to(torch.promote_types(feature_map.dtype, torch.float32))
