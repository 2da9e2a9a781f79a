"""Five kinds of places, out of focus, and what stands before the bird."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from leadpp.world.curves import floats
from leadpp.world.individual import Backdrop

_Painter = Callable[[ImageDraw.ImageDraw, np.random.Generator, float], None]

_Ink = tuple[int, int, int]

_STEM = (80, 68, 54)
_REED = (112, 124, 66)
_GRADIENTS: Final[dict[Backdrop, tuple[tuple[int, int, int], ...]]] = {
    "foliage": ((168, 186, 120), (66, 96, 48), (40, 58, 34)),
    "water": ((164, 186, 196), (98, 134, 150), (64, 92, 104)),
    "sky": ((112, 156, 206), (164, 194, 222), (214, 222, 226)),
    "bark": ((122, 102, 82), (98, 82, 66), (70, 62, 50)),
    "urban": ((178, 180, 182), (150, 142, 134), (104, 100, 98)),
}


def paint_backdrop(kind: Backdrop, *, size: int, rng: np.random.Generator) -> Image.Image:
    """Paint a backdrop of ``size`` x ``size``: drawn small and enlarged, which puts it out of focus."""
    base = floats(_GRADIENTS[kind])
    stops = base * rng.uniform(0.75, 1.2) + rng.normal(0, 5, base.shape)
    field = stops[:, None] + rng.normal(0, 12, (len(stops), 3, 1))
    focus = int(rng.integers(36, 90))
    side = 2 * focus
    image = Image.fromarray(np.clip(field, 0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    _PAINTERS[kind](ImageDraw.Draw(image), rng, float(side))
    soft = image.reduce(2).filter(ImageFilter.GaussianBlur(0.6))
    return soft.resize((size, size), Image.Resampling.BICUBIC)


def _inks(rng: np.random.Generator, bases: npt.ArrayLike, *, spread: float, count: int = 1) -> list[_Ink]:
    """Draw ``count`` colours around those of ``bases`` (K, 3), each a random one of them."""
    table = floats(bases)
    picks = table[rng.integers(len(table), size=count)]
    drawn = picks + rng.normal(0, spread, (count, 1)) + rng.normal(0, spread / 3, (count, 3))
    return [(r, g, b) for r, g, b in np.clip(drawn, 0, 255).astype(int).tolist()]


def _blob(draw: ImageDraw.ImageDraw, x: float, y: float, *, r: float, ink: _Ink) -> None:
    draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)


def _leaf(draw: ImageDraw.ImageDraw, place: tuple[float, float], *, length: float, turn: float, ink: _Ink) -> None:
    x, y = place
    dx, dy = length * math.cos(turn), length * math.sin(turn)
    draw.polygon([x - dx, y - dy, x - dy * 0.4, y + dx * 0.4, x + dx, y + dy, x + dy * 0.4, y - dx * 0.4], fill=ink)


def _foliage(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    stems = int(rng.integers(2, 5))
    for ink, (x, lean, w) in zip(
        _inks(rng, [_STEM], spread=16, count=stems), rng.random((stems, 3)).tolist(), strict=True
    ):
        end = x + 0.6 * (lean - 0.5)
        draw.line((x * side, 0, end * side, side), fill=ink, width=max(1, int(side * (0.02 + 0.04 * w))))
    greens = ((84, 118, 50), (120, 148, 66), (48, 78, 40), (150, 160, 82))
    for ink, place in zip(_inks(rng, greens, spread=18, count=52), rng.random((52, 4)).tolist(), strict=True):
        x, y, r, turn = place
        _leaf(draw, (x * side, y * side), length=side * (0.04 + 0.10 * r), turn=turn * 3.2, ink=ink)
    lights = int(rng.integers(0, 7))
    for ink, (x, y, r) in zip(
        _inks(rng, [(206, 216, 170)], spread=14, count=lights), rng.random((lights, 3)).tolist(), strict=True
    ):
        _blob(draw, x * side, y * side, r=side * (0.015 + 0.035 * r), ink=ink)


def _water(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    inks = _inks(rng, [(160, 182, 192), (62, 92, 104), (90, 120, 132)], spread=12, count=60)
    for ink, (x, y, w) in zip(inks, rng.random((60, 3)).tolist(), strict=True):
        half, thick = side * (0.05 + 0.22 * w) * (0.4 + y), max(1.0, side * 0.014 * (0.5 + y))
        draw.ellipse((x * side - half, y * side - thick, x * side + half, y * side + thick), fill=ink)
    if rng.random() < 0.5:
        for ink, (x, h, lean) in zip(
            _inks(rng, [_REED], spread=20, count=16), rng.random((16, 3)).tolist(), strict=True
        ):
            foot = (x + 0.12 * (lean - 0.5)) * side
            draw.line((x * side, side * (0.1 + 0.7 * h), foot, side), fill=ink, width=max(1, int(side * 0.015)))


def _sky(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    for _ in range(int(rng.integers(1, 4))):
        cx, cy = rng.uniform(0, side, 2).tolist()
        for ink, (dx, dy, r) in zip(
            _inks(rng, [(222, 226, 230)], spread=7, count=16), rng.normal(0, 1, (16, 3)).tolist(), strict=True
        ):
            _blob(draw, cx + dx * side * 0.17, cy + dy * side * 0.04, r=side * (0.04 + 0.03 * abs(r)), ink=ink)
    if rng.random() < 0.6:
        x, y = rng.uniform(0, side, 2).tolist()
        branches = int(rng.integers(2, 6))
        for ink, (right, down) in zip(
            _inks(rng, [_STEM], spread=18, count=branches), rng.random((branches, 2)).tolist(), strict=True
        ):
            end = (right * side, down * side)
            draw.line((x, side if y > side / 2 else 0, *end), fill=ink, width=max(1, int(side * 0.02)))


def _bark(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    inks = _inks(rng, [(136, 118, 98), (60, 51, 43), (104, 90, 76)], spread=14, count=80)
    for ink, (x, y, h, w) in zip(inks, rng.random((80, 4)).tolist(), strict=True):
        half, lean = side * (0.04 + 0.16 * h), side * 0.05 * (w - 0.5)
        width = max(1, int(side * (0.01 + 0.03 * w)))
        draw.line((x * side, y * side - half, x * side + lean, y * side + half), fill=ink, width=width)
    for ink, (x, y, r) in zip(
        _inks(rng, [(126, 136, 104)], spread=14, count=6), rng.random((6, 3)).tolist(), strict=True
    ):
        _blob(draw, x * side, y * side, r=side * (0.01 + 0.04 * r), ink=ink)


def _urban(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    walls = ((166, 124, 104), (180, 174, 164), (118, 124, 132), (196, 186, 164))
    for ink, (x, y, w, h) in zip(_inks(rng, walls, spread=14, count=9), rng.random((9, 4)).tolist(), strict=True):
        box = (x * side, y * side, (x + 0.15 + 0.35 * w) * side, (y + 0.1 + 0.5 * h) * side)
        draw.rectangle(box, fill=ink)
    panes = (62, 68, 78) if rng.random() < 0.7 else (216, 206, 170)
    for ink, (x, y, w) in zip(_inks(rng, [panes], spread=14, count=16), rng.random((16, 3)).tolist(), strict=True):
        box = (x * side, y * side, (x + 0.04 + 0.05 * w) * side, (y + 0.07 + 0.07 * w) * side)
        draw.rectangle(box, fill=ink)
    for ink, (y, lean) in zip(_inks(rng, [(70, 70, 74)], spread=12, count=4), rng.random((4, 2)).tolist(), strict=True):
        draw.line((0, y * side, side, (y + 0.2 * (lean - 0.5)) * side), fill=ink, width=max(1, int(side * 0.012)))


_PAINTERS: Final[dict[Backdrop, _Painter]] = {
    "foliage": _foliage,
    "water": _water,
    "sky": _sky,
    "bark": _bark,
    "urban": _urban,
}
