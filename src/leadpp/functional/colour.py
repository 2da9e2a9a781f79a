"""Colour changes of batches of pictures, on any device, as Pillow makes them.

Pictures are float32, whole levels from 0 to 255, shape (B, 3, H, W); every operation returns such pictures anew and
treats each by its own amount, (B,) or one number for all. Like Pillow's, each operation ends in whole levels, and it
takes the floor where Pillow does, so that a chain of them does not drift from Pillow's chain.
"""

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Amount = Tensor | float
"""One number a picture, shape (B,), or one for all."""

Number = TypeVar("Number", int, float)

_LEVELS = 255.0
_FLOORED = 0.5
# Pillow's weights of red, green and blue: whole 65,536ths, so that with whole levels float32 is exact.
_RED, _GREEN, _BLUE = 19595 / 65536, 38470 / 65536, 7471 / 65536


def grey_levels(pictures: Tensor) -> Tensor:
    """Return the luminance (ITU-R 601-2), rounded to whole levels; (B, 3, H, W) -> (B, 1, H, W)."""
    red, green, blue = pictures.chunk(3, dim=1)
    return (red * _RED).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE).add_(0.5).floor_()


def take_colour_away(pictures: Tensor) -> Tensor:
    """Give all three channels the luminance."""
    return grey_levels(pictures).expand_as(pictures).contiguous()


def change_brightness(pictures: Tensor, factor: Amount) -> Tensor:
    """Multiply every level; 1 changes nothing, 0 is black."""
    return _settle(pictures * _spread(factor))


def change_contrast(pictures: Tensor, factor: Amount) -> Tensor:
    """Move every level away from the picture's mean luminance (rounded); 1 changes nothing, 0 is plain grey."""
    red, green, blue = pictures.mean(dim=(2, 3), keepdim=True).chunk(3, dim=1)
    mean = (red * _RED).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE).add_(0.5).floor_()
    return _away_from(mean, pictures, factor)


def change_saturation(pictures: Tensor, factor: Amount) -> Tensor:
    """Move every pixel away from its own luminance; 1 changes nothing, 0 takes colour away."""
    return _away_from(grey_levels(pictures), pictures, factor)


def turn_hue(pictures: Tensor, turns: Amount) -> Tensor:
    """Turn the hue (of HSV) by a share of the colour circle, cut towards zero to 255ths, as torchvision does.

    Largest and smallest channel stay; the hue is a place on the hexagon round which the third one moves, and times the
    chroma (largest less smallest) that place is a whole number of levels: no division is needed, and short integers do,
    which a CPU works through four times faster than floats. Pillow goes through a hue and a saturation of 8 bits, both
    floored; half of what its floor takes from the hue is taken here too, so that both agree on the average.
    """
    steps = _spread(torch.trunc(turns * _LEVELS) if isinstance(turns, Tensor) else float(int(turns * _LEVELS)))
    if isinstance(steps, float) and steps == 0:
        return pictures.clone()
    levels = pictures.to(torch.int16)
    place, chroma, value = _hexagon(levels)
    place.add_((chroma * ((steps - _FLOORED) * (6 / _LEVELS))).round_().to(torch.int16))
    circle = 6 * chroma
    place.add_(place.bitwise_right_shift(15).bitwise_and_(circle))
    place.sub_((place - circle).bitwise_right_shift_(15).bitwise_not_().bitwise_and_(circle))
    turned = _from_hexagon(place, chroma, value)
    return torch.where(steps == 0, pictures, turned) if isinstance(steps, Tensor) else turned


def to_bytes(pictures: Tensor) -> Tensor:
    """Return whole levels as uint8."""
    if pictures.device.type == "cpu":  # three times as fast as torch
        return torch.from_numpy(pictures.numpy().astype(np.uint8))
    return pictures.to(torch.uint8)


def _hexagon(levels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the place on a hexagon of sides as long as the chroma, from 0 (red); the chroma; the largest channel.

    The sign bit, spread by a shift, is a mask that chooses between two numbers far faster than ``torch.where``.
    """
    red, green, blue = levels.chunk(3, dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    of_red = green - blue
    of_green = (blue - red).add_(chroma, alpha=2)
    of_blue = (red - green).add_(chroma, alpha=4)
    not_red = (red - value).bitwise_right_shift_(15)
    not_green = (green - value).bitwise_right_shift_(15)
    others = of_blue.sub_(of_green).bitwise_and_(not_green).add_(of_green)
    return others.sub_(of_red).bitwise_and_(not_red).add_(of_red), chroma, value


def _from_hexagon(place: Tensor, chroma: Tensor, value: Tensor) -> Tensor:
    """Return channels, float32, from a place on the hexagon counted from 0 to six times the chroma."""
    twice, channels = 2 * chroma, []
    for sides, near in ((3, False), (2, True), (4, True)):
        away = torch.sub(place, chroma, alpha=sides).abs_()
        missing = away.sub_(chroma) if near else torch.sub(twice, away)
        channels.append(value - torch.minimum(missing.clamp_(min=0), chroma))
    return torch.cat(channels, dim=1).float()


def _away_from(centre: Tensor, pictures: Tensor, factor: Amount) -> Tensor:
    return _settle(torch.lerp(centre, pictures, _spread(factor)))


def _settle(levels: Tensor) -> Tensor:
    return levels.clamp_(0, _LEVELS).floor_()


def _spread(amount: Tensor | Number) -> Tensor | Number:
    return amount.view(-1, 1, 1, 1) if isinstance(amount, Tensor) else amount
