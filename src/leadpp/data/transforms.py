"""Augmentations in two steps: parameters are drawn from a generator, then applied to a photograph.

What was drawn is a small frozen record, so that it can be shown, compared, and applied beside the decoder or on the
device. Pixels follow Pillow's and torchvision's operations, at most a few levels apart, but by way of vectors:
docs/decisions/0038 has the figures.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from leadpp.data.photo import Box, Photo
from leadpp.functional.blur import blur_bytes
from leadpp.functional.changes import JITTERS, encode_changes
from leadpp.functional.colour import take_colour_away, to_bytes

JitterName = Literal["brightness", "contrast", "saturation", "hue"]
Fit = Literal["center-crop", "squeeze"]

_JITTER_NAMES: tuple[JitterName, ...] = ("brightness", "contrast", "saturation", "hue")
_CROP_ATTEMPTS = 10
_SMALLEST_BLUR_PX = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """From what the parameters of an augmentation are drawn; the defaults are the paper's for training views."""

    scale: tuple[float, float] = (0.2, 1.0)
    """Share of the region's area that the crop keeps."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width over height of the crop; its logarithm is uniform."""
    jitter_prob: float = 0.8
    """How often colours are jittered, in random order."""
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    """Largest change of brightness, contrast, saturation (factors round 1) and hue (turns round 0)."""
    grey_prob: float = 0.2
    """How often colour is taken away."""
    blur_prob: float = 0.5
    """How often the view is blurred."""
    blur_sigma_px: tuple[float, float] = (_SMALLEST_BLUR_PX, 2.0)
    """Standard deviation of the blur, in pixels of the finished view."""
    flip_prob: float = 0.5
    """How often left and right are exchanged."""


TRAIN_RECIPE = Recipe()
"""The four views that the student learns from."""
PROBE_RECIPE = Recipe(scale=(0.08, 1.0), jitter_prob=0.0, grey_prob=0.0, blur_prob=0.0)
"""The views that the linear probe is trained on: crop and flip."""


def training_recipe(
    *,
    crop_least: float,
    jitter: float,
    hue: float,
    jitter_prob: float,
    grey_prob: float,
    blur: float,
    blur_prob: float,
) -> Recipe:
    """Return the recipe of training views from the few numbers that people set.

    Args:
        crop_least: Least share of the region's area that a view keeps.
        jitter: Largest change of brightness, contrast and saturation.
        hue: Largest turn of the hue, in turns of the colour circle.
        jitter_prob: How often colours are jittered.
        grey_prob: How often colour is taken away.
        blur: Largest standard deviation of the blur in pixels of the view.
        blur_prob: How often the view is blurred.
    """
    return Recipe(
        scale=(crop_least, 1.0),
        jitter_prob=jitter_prob,
        jitter=(jitter, jitter, jitter, hue),
        grey_prob=grey_prob,
        blur_prob=blur_prob,
        blur_sigma_px=(_SMALLEST_BLUR_PX, blur),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """The parameters of one view, as drawn."""

    crop_xyxy: Box
    """What is cut from the photograph, in its pixels."""
    jitter: tuple[tuple[JitterName, float], ...] = ()
    """Colour changes in the order in which they are made; empty for none."""
    grey: bool = False
    """Whether colour is taken away."""
    blur_sigma_px: float = 0.0
    """Standard deviation of the blur; 0 for none."""
    flip: bool = False
    """Whether left and right are exchanged."""


def draw_augmentation(region_xyxy: Box, *, recipe: Recipe, generator: torch.Generator) -> Augmentation:
    """Draw the parameters of one view of a region.

    Args:
        region_xyxy: The part of the photograph that the view may show, not empty.
        recipe: Ranges and probabilities.
        generator: The only source of randomness.

    Returns:
        Parameters whose crop lies inside the region.
    """
    crop_xyxy = draw_crop(region_xyxy, scale=recipe.scale, ratio=recipe.ratio, generator=generator)
    jittered, grey, blurred, flip = _uniform(4, generator=generator)
    return Augmentation(
        crop_xyxy=crop_xyxy,
        jitter=_draw_jitter(recipe.jitter, generator=generator) if jittered < recipe.jitter_prob else (),
        grey=grey < recipe.grey_prob,
        blur_sigma_px=_between(recipe.blur_sigma_px, generator=generator) if blurred < recipe.blur_prob else 0.0,
        flip=flip < recipe.flip_prob,
    )


def draw_crop(
    region_xyxy: Box, *, scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Box:
    """Draw a crop by area and shape; ten misfits end in the largest centred crop of an allowed shape.

    The area is uniform in ``scale`` times the region's, the logarithm of width over height is uniform, and so is the
    place, which is torchvision's law of ``RandomResizedCrop``.
    """
    left, top, right, bottom = region_xyxy
    width, height = right - left, bottom - top
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    for _ in range(_CROP_ATTEMPTS):
        area = width * height * _between(scale, generator=generator)
        shape = math.exp(_between(log_ratio, generator=generator))
        crop_width, crop_height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            x0 = left + _integer(width - crop_width + 1, generator=generator)
            y0 = top + _integer(height - crop_height + 1, generator=generator)
            return x0, y0, x0 + crop_width, y0 + crop_height
    return _centred_crop(region_xyxy, ratio=ratio)


def least_crop_side(region_xyxy: Box, *, recipe: Recipe) -> int:
    """Return the fewest pixels that any crop of a region can have along an axis."""
    left, top, right, bottom = region_xyxy
    width, height = right - left, bottom - top
    flattest = min(recipe.ratio[0], 1 / recipe.ratio[1])
    return min(width, height, math.floor(math.sqrt(width * height * recipe.scale[0] * flattest)))


def apply_augmentation(photo: Photo, augmentation: Augmentation, *, size: int) -> Tensor:
    """Make the view that the parameters describe.

    Args:
        photo: The photograph.
        augmentation: What :func:`draw_augmentation` drew.
        size: Side of the view in pixels.

    Returns:
        uint8, shape (3, size, size).
    """
    return change_view(photo.square(augmentation.crop_xyxy, side_px=size, snap=True), augmentation)


def change_view(view: Tensor, augmentation: Augmentation) -> Tensor:
    """Change colours and sharpness of a cut and resized view, and mirror it; uint8 (3, S, S) -> the same."""
    if augmentation.jitter or augmentation.grey:
        levels = view.unsqueeze(0).float()
        for name, amount in augmentation.jitter:
            levels = JITTERS[name](levels, amount)
        view = to_bytes(take_colour_away(levels) if augmentation.grey else levels)[0]
    if augmentation.blur_sigma_px > 0:
        view = blur_bytes(view, augmentation.blur_sigma_px)
    return view.flip(-1) if augmentation.flip else view


def changes_of(augmentation: Augmentation) -> Tensor:
    """Return the row of numbers with which ``functional.changes.apply_changes`` does as :func:`change_view`."""
    return encode_changes(
        augmentation.jitter,
        grey=augmentation.grey,
        blur_sigma_px=augmentation.blur_sigma_px,
        flip=augmentation.flip,
    )


def fixed_view(photo: Photo, region_xyxy: Box, *, size: int, fit: Fit) -> Tensor:
    """Make the view of a region that evaluation uses, without randomness.

    Args:
        photo: The photograph.
        region_xyxy: The part that is shown.
        size: Side of the view in pixels.
        fit: ``center-crop`` squeezes to a square of 8/7 of the size (256 for 224) and keeps its centre, as the
            paper's probe does; ``squeeze`` keeps all of the region.

    Returns:
        uint8, shape (3, size, size).
    """
    side = squeezed_side(size, fit=fit)
    margin = round((side - size) / 2)
    square = photo.square(region_xyxy, side_px=side)
    return square[:, margin : margin + size, margin : margin + size].contiguous()


def squeezed_side(size: int, *, fit: Fit) -> int:
    """Return the side of the square that a region is squeezed to before its centre is kept."""
    return size if fit == "squeeze" else round(size * 8 / 7)


def _draw_jitter(
    strength: tuple[float, float, float, float], *, generator: torch.Generator
) -> tuple[tuple[JitterName, float], ...]:
    *factors, hue = strength
    amounts = [_between((max(0.0, 1 - factor), 1 + factor), generator=generator) for factor in factors]
    amounts.append(_between((-hue, hue), generator=generator))
    order: list[int] = torch.randperm(len(amounts), generator=generator).tolist()
    return tuple((_JITTER_NAMES[place], amounts[place]) for place in order)


def _centred_crop(region_xyxy: Box, *, ratio: tuple[float, float]) -> Box:
    left, top, right, bottom = region_xyxy
    width, height = right - left, bottom - top
    crop_width = min(width, max(1, round(height * ratio[1])))
    crop_height = min(height, max(1, round(width / ratio[0])))
    x0, y0 = left + (width - crop_width) // 2, top + (height - crop_height) // 2
    return x0, y0, x0 + crop_width, y0 + crop_height


def _uniform(count: int, *, generator: torch.Generator) -> list[float]:
    values: list[float] = torch.rand(count, generator=generator, dtype=torch.float64).tolist()
    return values


def _between(limits: tuple[float, float], *, generator: torch.Generator) -> float:
    low, high = limits
    return low + (high - low) * _uniform(1, generator=generator)[0]


def _integer(end: int, *, generator: torch.Generator) -> int:
    return int(torch.randint(end, (), generator=generator).item())
