"""Photographs as small pictures inside a page: data URIs, with what was found drawn over them."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from PIL import Image

Corners = tuple[float, float, float, float]
"""Half-open x0, y0, x1, y1."""

_QUALITY = 78
_JPEG_QUALITY = 88
_OVERLAY_RGB = (255, 122, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A small picture, and boxes over it in its own pixels."""

    uri: str
    """The picture itself, ``data:image/webp;base64,...``."""
    width_px: int
    height_px: int
    boxes: tuple[tuple[str, Corners], ...] = field(default=())
    """Kind of box (a class of the style sheet) and its corners."""


def shrink(
    photo: Image.Image, *, side_px: int, boxes: Sequence[tuple[str, Corners]] = (), crop: Corners | None = None
) -> Picture:
    """Make a picture whose longer side is at most ``side_px``.

    Args:
        photo: RGB.
        side_px: Longest side of the picture; smaller photographs keep their size.
        boxes: Kinds and corners, in pixels of the photograph.
        crop: The part of the photograph to show.
    """
    shown = photo if crop is None else photo.crop((round(crop[0]), round(crop[1]), round(crop[2]), round(crop[3])))
    left, top = (0.0, 0.0) if crop is None else crop[:2]
    rate = min(1.0, side_px / max(shown.size))
    size = (max(1, round(shown.width * rate)), max(1, round(shown.height * rate)))
    small = shown.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    x_rate, y_rate = size[0] / shown.width, size[1] / shown.height
    moved = tuple(
        (kind, ((x0 - left) * x_rate, (y0 - top) * y_rate, (x1 - left) * x_rate, (y1 - top) * y_rate))
        for kind, (x0, y0, x1, y1) in boxes
    )
    return Picture(uri=data_uri(small), width_px=size[0], height_px=size[1], boxes=moved)


def view_picture(view: torch.Tensor, *, side_px: int) -> Picture:
    """Make a picture of a view, uint8 (3, S, S)."""
    return shrink(Image.fromarray(view.permute(1, 2, 0).numpy()), side_px=side_px)


def overlay(photo: Image.Image, indicator: torch.Tensor) -> Image.Image:
    """Light a photograph by its indicator map: dark and grey where that is negative, bright and warm where it is high.

    Args:
        photo: RGB.
        indicator: Signed map over the whole photograph, shape (h, w); its largest value is the brightest.
    """
    strength = (indicator.float() / indicator.max().clamp(min=1e-12)).clamp(min=0, max=1).sqrt()
    mask = Image.fromarray((strength * 255).to(torch.uint8).numpy()).resize(photo.size, Image.Resampling.BICUBIC)
    dim = Image.blend(photo, photo.convert("L").convert("RGB"), 0.9).point(lambda level: level * 0.35)
    glow = Image.blend(photo, Image.new("RGB", photo.size, _OVERLAY_RGB), 0.2)
    return Image.composite(glow, dim, mask)


def jpeg_uri(picture: Image.Image) -> str:
    """Encode a picture as a JPEG data URI, which every program that takes pictures can read."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def data_uri(picture: Image.Image) -> str:
    """Encode a picture as a data URI that a page can hold."""
    stream = io.BytesIO()
    picture.save(stream, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
