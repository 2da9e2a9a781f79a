"""Any timm network as a map of features that brings its own normalisation."""

import math
import re
from pathlib import Path
from typing import Any, Protocol, cast

import timm
import torch
from safetensors import SafetensorError
from timm.models import group_parameters
from torch import Tensor, nn

from leadpp.errors import WeightsError
from leadpp.models.builtin import LOCAL_PREFIX, local_name
from leadpp.models.weights import (
    HUB_PREFIX,
    check_folder,
    check_registered,
    hub_folder,
    named_overlay,
)

_ANY_SIZE: tuple[dict[str, Any], ...] = ({"strict_img_size": False}, {"dynamic_img_size": True}, {})
"""How timm's transformers are told to read any size, in the order in which to try; other networks know no such word.
Swin's of before timm 1.0.31 know the first alone, and take the second without a word."""


class FeatureNetwork(Protocol):
    """What is asked of a timm network."""

    pretrained_cfg: dict[str, Any]
    num_features: int

    def forward_features(self, images: Tensor, /) -> Tensor:
        """Return what the network computes before pooling."""
        ...

    def forward_intermediates(
        self, images: Tensor, /, *, indices: int, norm: bool, output_fmt: str
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the same, and the outputs of the last ``indices`` stages."""
        ...

    def reset_classifier(self, num_classes: int, /) -> None:
        """Replace the classifier, or take it off for 0."""
        ...


class Backbone(nn.Module):
    """A timm network without its classifier.

    Attributes:
        network: The timm network.
        name: The name under which it was created.
        feature_dim: Channels F of its feature map.
        input_size: Side in pixels of the pictures it was trained on; informative.
        mean: Per-channel mean of its training pictures, shape (3, 1, 1); not part of the state dict.
        std: Per-channel standard deviation, shape (3, 1, 1); not part of the state dict.
    """

    network: FeatureNetwork
    mean: Tensor
    std: Tensor

    def __init__(self, network: FeatureNetwork, *, name: str) -> None:
        """Wrap a timm network whose classifier has been taken off.

        Args:
            network: The network; its ``pretrained_cfg`` says how pictures are normalised.
            name: The name under which it was created, for messages and artifacts.
        """
        super().__init__()
        settings: dict[str, Any] = network.pretrained_cfg
        self.network = network
        self.name = name
        self.feature_dim = int(network.num_features)
        self.input_size = int(settings["input_size"][-1])
        self.register_buffer("mean", torch.tensor(settings["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(settings["std"]).view(3, 1, 1), persistent=False)
        self._patch_px = _patch_side(network)
        self._prefix = int(getattr(network, "num_prefix_tokens", 0))
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Encode pictures to the last feature map; (B, 3, H, W) -> (B, F, h, w).

        Args:
            images: ``uint8`` from 0 to 255, or floating point from 0 to 1; the network's own mean and standard
                deviation are applied here. Gradients flow to floating-point pictures.

        Returns:
            The map before pooling, channels first; of a transformer, its patch tokens on their grid.

        Raises:
            WeightsError: A transformer's patches do not tile the pictures, or the network has no one last map.
        """
        return self._as_map(self.network.forward_features(self._normalize(images)), images)

    def forward_stages(self, images: Tensor, stages: int) -> list[Tensor]:
        """Encode pictures to the outputs of the last ``stages`` stages, from the earliest (finest) to the last.

        Stages are what timm calls intermediates: the stages of a convolutional network, the blocks of a transformer
        (normalised as its last one is). They end before a head convolution such as EfficientNet's, so that the last
        of them may have other channels than :meth:`forward` returns.

        Args:
            images: As in :meth:`forward`.
            stages: How many maps, at least 1.

        Returns:
            Maps (B, F_i, h_i, w_i). Of a network without intermediates, and one stage, what :meth:`forward` returns.

        Raises:
            WeightsError: The network has fewer stages, or does not give its intermediates.
        """
        if not hasattr(self.network, "forward_intermediates"):
            if stages == 1:
                return [self(images)]
            raise WeightsError(f"{self.name} gives only its last feature map, not the last {stages}; use stages 1")
        pixels = self._normalize(images)
        try:
            _, maps = self.network.forward_intermediates(pixels, indices=stages, norm=True, output_fmt="NCHW")
        except (AssertionError, IndexError, ValueError) as error:
            raise WeightsError(f"{self.name} does not have {stages} feature maps; ask for fewer stages") from error
        return maps

    def _normalize(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if height % self._patch_px or width % self._patch_px:
            raise WeightsError(
                f"{self.name} cuts pictures into patches of {self._patch_px} x {self._patch_px} pixels, "
                f"got {width} x {height}; choose a multiple of {self._patch_px}"
            )
        scaled = images if images.is_floating_point() else images.to(self.mean.dtype) / 255
        # Channels last in memory: convolutions of a training step take 0.6 of the time on a CPU, and fp16 likes it.
        return ((scaled - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def _as_map(self, features: object, images: Tensor) -> Tensor:
        if not isinstance(features, Tensor) or features.ndim not in {3, 4}:
            raise WeightsError(f"{self.name} gives no single feature map; choose another timm model")
        if features.ndim == 3:
            return _tokens_to_map(features[:, self._prefix :], height_px=images.shape[2], width_px=images.shape[3])
        if features.shape[1] != self.feature_dim and features.shape[3] == self.feature_dim:
            return features.permute(0, 3, 1, 2)
        return features


def create_backbone(name: str, *, pretrained: bool = True) -> Backbone:
    """Create a network by name, with its weights, in eval mode.

    Args:
        name: A timm model such as ``"resnet50.tv_in1k"``; ``"local-dir:FOLDER"`` for a folder with ``config.json`` and
            ``model.safetensors`` as timm saves them; ``"hf-hub:OWNER/NAME"`` for a hub repository;
            ``"builtin:world-backbone"`` for the network in the package.
        pretrained: False only where the weights of a checkpoint are loaded right after.

    Raises:
        WeightsError: The name is unknown, a file is missing or damaged, the weights are of another architecture, or
            they are not to be had. There is never a network with random weights in place of an error.
    """
    overlay: dict[str, Any] = {}
    source = local_name(name)
    if source.startswith((LOCAL_PREFIX, HUB_PREFIX)):
        if source.startswith(HUB_PREFIX):
            folder = hub_folder(source.removeprefix(HUB_PREFIX), weights=pretrained)
        else:
            folder = Path(source.removeprefix(LOCAL_PREFIX)).expanduser()
        check_folder(folder, weights=pretrained)
        source = f"{LOCAL_PREFIX}{folder}"
    else:
        check_registered(name)
        overlay = named_overlay(name) if pretrained else {}
    network = _create(source, pretrained=pretrained, overlay=overlay)
    if not hasattr(network, "forward_features"):
        raise WeightsError(f"{name}: this network gives no feature map; choose another timm model")
    network.reset_classifier(0)
    return Backbone(network, name=name).eval()


def parameter_stages(backbone: nn.Module) -> list[list[nn.Parameter]]:
    """Sort the weights of a backbone by stage, from the one next to the pixels to the last.

    Stages are what timm's networks say of themselves: stem, stages (or a transformer's blocks), head. Of a network that
    says nothing they are its parts, in the order in which it holds them.

    Returns:
        Every weight once; no stage is empty.
    """
    network: nn.Module = getattr(backbone, "network", backbone)
    if callable(matcher := getattr(network, "group_matcher", None)):
        by_name = dict(network.named_parameters())
        named = group_parameters(network, matcher(coarse=True))
        return [[by_name[name] for name in names] for names in named.values()]
    parts = [list(part.parameters()) for part in network.children()]
    own = list(network.parameters(recurse=False))
    return [stage for stage in (own, *parts) if stage]


def _create(source: str, *, pretrained: bool, overlay: dict[str, Any]) -> FeatureNetwork:
    for keywords in _ANY_SIZE[:-1]:
        try:
            return _build(source, pretrained=pretrained, overlay=overlay, keywords=keywords)
        except TypeError as error:
            if not any(keyword in str(error) for keyword in keywords):
                raise
    return _build(source, pretrained=pretrained, overlay=overlay, keywords=_ANY_SIZE[-1])


def _build(source: str, *, pretrained: bool, overlay: dict[str, Any], keywords: dict[str, Any]) -> FeatureNetwork:
    # Initial weights are drawn from the global generator; its state is none of the network's business.
    with torch.random.fork_rng(devices=[]):
        try:
            network: object = timm.create_model(
                source, pretrained=pretrained, pretrained_cfg_overlay=overlay or None, **keywords
            )
        except (SafetensorError, OSError, KeyError, EOFError) as error:
            raise WeightsError(f"{source}: the weights cannot be read ({_line(error)}); fetch them again") from error
        except RuntimeError as error:
            raise WeightsError(_mismatch(source, error)) from error
    return cast("FeatureNetwork", network)


def _tokens_to_map(tokens: Tensor, *, height_px: int, width_px: int) -> Tensor:
    """Lay a transformer's patch tokens out on their grid; (B, h * w, F) -> (B, F, h, w)."""
    batch, count, channels = tokens.shape
    rows = round(math.sqrt(count * height_px / width_px))
    return tokens.transpose(1, 2).reshape(batch, channels, rows, count // rows)


def _patch_side(network: FeatureNetwork) -> int:
    """Return the side in pixels of a plain transformer's patches, or 1 for networks that read any size."""
    if not hasattr(network, "num_prefix_tokens"):
        return 1
    side = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    return int(side[0] if isinstance(side, tuple | list) else side)


def _mismatch(source: str, error: RuntimeError) -> str:
    """Name the first tensor in PyTorch's message about a state dict that does not fit."""
    text = str(error)
    for pattern, words in (
        (r'Missing key\(s\) in state_dict: "([^"]+)"', "has no tensor"),
        (r'Unexpected key\(s\) in state_dict: "([^"]+)"', "has an unknown tensor"),
        (r"size mismatch for ([\w.]+)", "has another shape for tensor"),
    ):
        if found := re.search(pattern, text):
            return f"{source}: the weight file {words} {found[1]!r}; it belongs to another architecture than the config"
    return f"{source}: the weights cannot be read ({_line(error)}); fetch them again"


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
