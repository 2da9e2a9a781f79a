"""Crops and colour changes of whole batches at once, for making the shipped networks."""

import torch
from torch import Tensor
from torch.nn import functional as F

MEAN, STD = (0.45, 0.45, 0.42), (0.25, 0.24, 0.25)
"""Of each colour over the world's pictures, roughly."""


def cut(images: Tensor, regions_xyxy: Tensor, *, size: int, mirrored: Tensor | None = None) -> Tensor:
    """Resize one region of each picture to a square; (B, 3, S, S) uint8, (B, 4) pixels -> float (B, 3, size, size).

    Args:
        images: From 0 to 255.
        regions_xyxy: Edges; what lies outside of a picture repeats its rim.
        size: Side of the result.
        mirrored: Which to flip left to right, bool (B,).
    """
    side = images.shape[-1]
    x0, y0, x1, y1 = (2 * regions_xyxy / side - 1).unbind(1)
    wide, high = (x1 - x0) / 2, (y1 - y0) / 2
    turn = torch.ones_like(wide) if mirrored is None else 1 - 2 * mirrored.float()
    none = torch.zeros_like(wide)
    grid = torch.stack(
        [torch.stack([wide * turn, none, (x0 + x1) / 2], 1), torch.stack([none, high, (y0 + y1) / 2], 1)], 1
    )
    places = F.affine_grid(grid, [len(images), 3, size, size], align_corners=False)
    return F.grid_sample(images.float() / 255, places, padding_mode="border", align_corners=False)


def square_regions(boxes_xyxy: Tensor, *, side: int, margin: Tensor | float = 0.0) -> Tensor:
    """Return the squares about boxes that lie inside the picture; (B, 4) -> (B, 4).

    Args:
        boxes_xyxy: In pixels.
        side: Of the picture.
        margin: Share of the longer edge that is added on each side; may be negative.
    """
    x0, y0, x1, y1 = boxes_xyxy.unbind(1)
    edge = (torch.maximum(x1 - x0, y1 - y0) * (1 + 2 * margin)).clamp(min=8, max=side)
    left = ((x0 + x1 - edge) / 2).clamp(min=0).minimum(side - edge)
    top = ((y0 + y1 - edge) / 2).clamp(min=0).minimum(side - edge)
    return torch.stack([left, top, left + edge, top + edge], 1)


def random_regions(
    within_xyxy: Tensor, *, area_frac: tuple[float, float], aspect: float, generator: torch.Generator
) -> Tensor:
    """Draw a rectangle inside each given one; (B, 4) -> (B, 4).

    Args:
        within_xyxy: In pixels.
        area_frac: Least and largest share of the area.
        aspect: The ratio of the edges changes by up to this factor, either way.
        generator: Source of the draws.
    """
    x0, y0, x1, y1 = within_xyxy.unbind(1)
    draws = torch.rand(4, len(within_xyxy), generator=generator)
    share = area_frac[0] + (area_frac[1] - area_frac[0]) * draws[0]
    ratio = aspect ** (2 * draws[1] - 1)
    wide, high = (share * ratio).sqrt().clamp(max=1) * (x1 - x0), (share / ratio).sqrt().clamp(max=1) * (y1 - y0)
    left, top = x0 + draws[2] * (x1 - x0 - wide), y0 + draws[3] * (y1 - y0 - high)
    return torch.stack([left, top, left + wide, top + high], 1)


def tint(images: Tensor, *, strength: float, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and the balance of colours a little; float (B, 3, H, W) in [0, 1].

    Colours tell species apart, so that the hue stays nearly as it is.
    """
    draws = 2 * torch.rand(len(images), 5, 1, 1, generator=generator) - 1
    bright, contrast, balance = draws[:, :1], draws[:, 1:2], draws[:, 2:]
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    changed = (images - middle) * (1 + strength * contrast) + middle * (1 + strength * bright)
    return (changed * (1 + strength / 4 * balance)).clamp(0, 1)


def normalized(pixels: Tensor) -> Tensor:
    """Apply the networks' pixel statistics; channels last in memory."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)
