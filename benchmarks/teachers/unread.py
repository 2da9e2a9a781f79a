"""CLIP's ViT-B/16 with random weights: it knows nothing and takes as long as the real one."""

import open_clip
import torch

from leadpp.models.teacher import OpenClipTeacher

ARCHITECTURE = "ViT-B-16"


def teacher(architecture: str = ARCHITECTURE) -> OpenClipTeacher:
    """Build an open_clip model whose weights are drawn, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(architecture, pretrained=None)
    return OpenClipTeacher(
        model,
        tokenizer=open_clip.get_tokenizer(architecture),
        name=f"{architecture}, random weights",
        mean=model.visual.image_mean,
        std=model.visual.image_std,
    )
