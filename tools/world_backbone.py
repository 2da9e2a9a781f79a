"""Making ``world-backbone``: an ordinary supervised classifier of reserved species, without its last layer."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.functional.randomness import derive_seed, generator_for
from tools.world_corpus import Corpus
from tools.world_schedule import decay_groups, one_cycle
from tools.world_views import MEAN, STD, cut, normalized, random_regions, tint

SIZE = 96
ARCHITECTURE = "resnet18"
MODEL_ARGS: dict[str, Any] = {
    "layers": [1, 1, 1, 1],
    "channels": [32, 64, 128, 256],
    "stem_type": "deep",
    "stem_width": 16,
    "output_stride": 16,
}


def _has_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@dataclass(frozen=True, kw_only=True, slots=True)
class BackboneRecipe:
    """How the classifier is made."""

    epochs: int = 16
    batch: int = 128
    rate: float = 3e-3
    decay: float = 0.05
    smoothing: float = 0.1
    warmup_frac: float = 0.08
    half: bool = field(default_factory=_has_bfloat16)
    """Compute in bfloat16, which halves the time where the processor knows it."""


def make_backbone(
    corpus: Corpus, *, recipe: BackboneRecipe, seed: int, watch: Callable[[int, nn.Module, float], None]
) -> nn.Module:
    """Train the classifier on whole pictures.

    Args:
        corpus: Pictures and species.
        recipe: The settings.
        seed: Decides weights, order and crops.
        watch: Called after each epoch with its number, the network and the epoch's mean loss.

    Returns:
        The network in eval mode, with its classifier.
    """
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "backbone/weights"))
        network: nn.Module = timm.create_model(ARCHITECTURE, num_classes=len(corpus.species), **MODEL_ARGS)
    network = network.to(memory_format=torch.channels_last).train()
    steps = len(corpus.labels) // recipe.batch
    optimizer = torch.optim.AdamW(decay_groups(network, recipe.decay), lr=recipe.rate)
    schedule = one_cycle(optimizer, steps=recipe.epochs * steps, warmup_frac=recipe.warmup_frac)
    for epoch in range(recipe.epochs):
        generator = generator_for(seed, "backbone/epoch", epoch)
        order = torch.randperm(len(corpus.labels), generator=generator)
        total = 0.0
        for step in range(steps):
            rows = order[step * recipe.batch : (step + 1) * recipe.batch]
            pixels = _augmented(corpus, rows, generator)
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.half):
                logits = network(pixels)
            loss = F.cross_entropy(logits.float(), corpus.labels[rows], label_smoothing=recipe.smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        watch(epoch + 1, network, total / steps)
    return network.eval()


def _augmented(corpus: Corpus, rows: Tensor, generator: torch.Generator) -> Tensor:
    pictures = corpus.pictures(rows)
    side = pictures.shape[-1]
    frames = torch.tensor([0.0, 0.0, side, side]).expand(len(rows), 4)
    regions = random_regions(frames, area_frac=(0.5, 1.0), aspect=1.3, generator=generator)
    mirrored = torch.rand(len(rows), generator=generator) < 0.5
    return normalized(tint(cut(pictures, regions, size=SIZE, mirrored=mirrored), strength=0.12, generator=generator))


def save_backbone(network: nn.Module, folder: Path) -> None:
    """Write weights in half precision without the classifier, and the configuration, as timm reads them."""
    network.reset_classifier(0)  # type: ignore[operator]  # timm adds it to every network
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in network.state_dict().items()
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)  # safetensors lets nobody else read it
    statistics = {"input_size": [3, SIZE, SIZE], "mean": MEAN, "std": STD, "num_classes": 0}
    statistics |= {"interpolation": "bicubic", "crop_pct": 1.0, "first_conv": "conv1.0", "classifier": "fc"}
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": 0,
        "num_features": 256,
        "model_args": MODEL_ARGS,
        "pretrained_cfg": statistics,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
