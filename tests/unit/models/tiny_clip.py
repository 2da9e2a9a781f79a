"""A whole CLIP model of a few hundred thousand random weights, as a folder that open_clip reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CustomTextCLIP
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
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


WORDS = ("a", "bird", "with", "yellow", "wings", "and", "tail")
SIGLIP: dict[str, Any] = {
    "embed_dim": 64,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 32, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"},
    "text_cfg": {
        "context_length": 6,
        "vocab_size": 16,
        "hf_tokenizer_name": "somewhere/else",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 64,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "norm_kwargs": {"eps": 1e-6},
    },
}
"""As open_clip's settings of SigLIP are, but small: a timm tower that pools by attention, a tokenizer of the hub."""
EVA: dict[str, Any] = {
    "embed_dim": 24,
    "custom_text": True,
    "vision_cfg": {"image_size": 224, "timm_model_name": "eva02_tiny_patch14_224", "timm_pool": "token"},
    "text_cfg": {"context_length": 9, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
"""As those of EVA are: a timm transformer whose own head projects."""
MOBILE: dict[str, Any] = {
    "embed_dim": 24,
    "custom_text": True,
    "vision_cfg": {"image_size": 48, "timm_model_name": "test_convnext", "timm_pool": "avg", "timm_drop": 0.0},
    "text_cfg": {
        "context_length": 9,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
    },
}
"""As those of MobileCLIP are: a convolutional timm network, and words that see those after them too."""


def write_custom_clip(folder: Path, config: Mapping[str, Any], **preprocessing: object) -> nn.Module:
    """Write a folder of a model with a timm tower, with its tokenizer where it has one of the hub; return the model."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"model_cfg": config, "preprocess_cfg": {"mean": MEAN, "std": STD, **preprocessing}}
    (folder / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        model: nn.Module = CustomTextCLIP(**{name: value for name, value in config.items() if name != "custom_text"})
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    if "hf_tokenizer_name" in config["text_cfg"]:
        _write_tokenizer(folder)
    return model.eval()


def _write_tokenizer(folder: Path) -> None:
    """Write a hub tokenizer of a few words, which ends every text with a mark as SigLIP's does."""
    numbers = {word: place for place, word in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    words = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))  # noqa: S106 - a mark, and no password
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    words.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"unk_token": "<unk>"}), encoding="utf-8")
