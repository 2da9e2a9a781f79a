"""A whole CLIP model of a few hundred thousand random weights, as a folder that open_clip reads."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import nn

MEAN, STD = (0.2, 0.4, 0.6), (0.3, 0.2, 0.1)
DIM, SIZE, CONTEXT = 16, 32, 12


def tiny_config(**changes: object) -> dict[str, Any]:
    """Settings of the model; changes replace entries at the top level."""
    return {
        "embed_dim": DIM,
        "vision_cfg": {"image_size": SIZE, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        **changes,
    }


def tiny_model(**changes: object) -> nn.Module:
    """The model itself, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model: nn.Module = open_clip.CLIP(**tiny_config(**changes))
    for name, weight in model.named_parameters():
        if name.endswith("mlp.c_fc.bias"):
            weight.data.fill_(0.5)  # makes the two kinds of GELU differ visibly
    return model.eval()


def write_tiny_clip(folder: Path, **changes: object) -> Path:
    """Write the folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": tiny_config(**changes), "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tiny_model(**changes).state_dict(), folder / "open_clip_model.safetensors")
    return folder
