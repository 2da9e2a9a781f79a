"""A decoded photograph as bytes, whole or reduced, and square pictures cut from it by boxes of the whole one."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.dlpack import from_dlpack

from leadpp.data.images import Decoded

Box = tuple[int, int, int, int]
"""Half-open x0, y0, x1, y1 in pixels of the upright photograph."""

SCALES = (8, 4, 2, 1)
"""By how much JPEG decoders can divide the sides of a photograph."""


def sufficient_scale(boxes_xyxy: Iterable[Box], *, side_px: int) -> int:
    """Return the largest scale at which each box still has at least ``side_px`` pixels along both axes, else 1."""
    least = min(min(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes_xyxy)
    return next((scale for scale in SCALES if least >= scale * side_px), 1)


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """Levels of an upright photograph after the cut, and how its boxes are found in them."""

    levels: Tensor
    """uint8, shape (h, w, 3), or (h, w, 4) with a last channel that means nothing."""
    scale: int = 1
    """By how much width and height of the photograph were divided."""
    offset_px: tuple[float, float] = (0.0, 0.0)
    """Where the photograph's corner lies, in pixels of ``levels``."""

    @classmethod
    def of(cls, decoded: Decoded) -> Self:
        """Take the levels of a decoded photograph, without a copy where Pillow shares its memory."""
        return cls(_levels(decoded.picture), decoded.scale, decoded.offset_px)

    def square(self, box_xyxy: Box, *, side_px: int, snap: bool = False) -> Tensor:
        """Cut a box and resize it to a square (bilinear, antialiased); nothing outside of the box is looked at.

        Args:
            box_xyxy: In pixels of the whole photograph.
            side_px: Side of the square.
            snap: Of a reduced photograph, move the edges of the box to the nearest whole pixels; it takes a third of
                the time of an exact box, and is as good where the box was drawn at random.

        Returns:
            uint8, shape (3, side, side).
        """
        (left, top), scale = self.offset_px, self.scale
        x0, y0, x1, y1 = box_xyxy
        exact = (x0 / scale + left, y0 / scale + top, x1 / scale + left, y1 / scale + top)
        near = (round(exact[0]), round(exact[1]), round(exact[2]), round(exact[3]))
        if exact == near or (snap and near[0] < near[2] and near[1] < near[3]):
            return _resize(self.levels, near, side_px=side_px)
        return _resize_between(self.levels, exact, side_px=side_px)


def _levels(picture: Image.Image) -> Tensor:
    shape = (picture.height, picture.width, 4)
    try:
        shared: Tensor = from_dlpack(pa.array(picture).values).view(shape)
    except (TypeError, ValueError, pa.ArrowInvalid):  # an older Pillow, or too large for one piece of its memory
        return torch.from_numpy(np.array(picture))
    return shared


def _resize(levels: Tensor, box_xyxy: Box, *, side_px: int) -> Tensor:
    x0, y0, x1, y1 = box_xyxy
    part = levels[y0:y1, x0:x1].permute(2, 0, 1).unsqueeze(0)
    # The byte path of torch works like Pillow's, on vectors: 0.2 ms where Pillow takes 0.6, at most one level apart.
    return F.interpolate(part, (side_px, side_px), mode="bilinear", antialias=True)[0, :3]


def _resize_between(levels: Tensor, box_xyxy: tuple[float, float, float, float], *, side_px: int) -> Tensor:
    """Resize a box whose edges lie between pixels, which torch cannot."""
    x0, y0 = math.floor(box_xyxy[0]), math.floor(box_xyxy[1])
    x1, y1 = min(levels.shape[1], math.ceil(box_xyxy[2])), min(levels.shape[0], math.ceil(box_xyxy[3]))
    within = (box_xyxy[0] - x0, box_xyxy[1] - y0, min(box_xyxy[2], x1) - x0, min(box_xyxy[3], y1) - y0)
    part = Image.fromarray(np.ascontiguousarray(levels[y0:y1, x0:x1, :3].numpy()))
    square = part.resize((side_px, side_px), Image.Resampling.BILINEAR, box=within)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()
