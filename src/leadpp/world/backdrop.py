"""Five kinds of places, out of focus, and what stands before the bird."""

from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from leadpp.world.individual import Backdrop

_Painter = Callable[[ImageDraw.ImageDraw, np.random.Generator, float], None]

_GRADIENTS: Final[dict[Backdrop, tuple[tuple[int, int, int], ...]]] = {
    "foliage": ((168, 186, 120), (66, 96, 48), (40, 58, 34)),
    "water": ((164, 186, 196), (98, 134, 150), (64, 92, 104)),
    "sky": ((112, 156, 206), (164, 194, 222), (214, 222, 226)),
    "bark": ((122, 102, 82), (98, 82, 66), (70, 62, 50)),
    "urban": ((178, 180, 182), (150, 142, 134), (104, 100, 98)),
}


def paint_backdrop(kind: Backdrop, *, size: int, rng: np.random.Generator) -> Image.Image:
    """Paint a backdrop of ``size`` x ``size``: drawn small and enlarged, which puts it out of focus."""
    stops = np.float32(_GRADIENTS[kind])
    stops = stops * rng.uniform(0.75, 1.2) + rng.normal(0, 9, (len(stops), 3))
    field = stops[:, None] + rng.normal(0, 14, (len(stops), 3, 1))
    focus = int(rng.integers(36, 90))
    side = 2 * focus
    image = Image.fromarray(np.clip(field, 0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    _PAINTERS[kind](ImageDraw.Draw(image), rng, float(side))
    soft = image.reduce(2).filter(ImageFilter.GaussianBlur(0.6))
    return soft.resize((size, size), Image.Resampling.BICUBIC)


def _ink(rng: np.random.Generator, base: tuple[int, int, int], spread: float) -> tuple[int, int, int]:
    level = rng.normal(0, spread)
    red, green, blue = (
        int(min(max(c + level + d, 0), 255)) for c, d in zip(base, rng.normal(0, spread / 3, 3), strict=True)
    )
    return red, green, blue


def _blob(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, ink: tuple[int, int, int]) -> None:
    draw.ellipse((x - r, y - r, x + r, y + r), fill=ink)


def _leaf(draw: ImageDraw.ImageDraw, x: float, y: float, length: float, turn: float, ink: tuple[int, int, int]) -> None:
    dx, dy = length * np.cos(turn), length * np.sin(turn)
    draw.polygon([x - dx, y - dy, x - dy * 0.4, y + dx * 0.4, x + dx, y + dy, x + dy * 0.4, y - dx * 0.4], fill=ink)


def _foliage(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    for _ in range(int(rng.integers(2, 5))):
        x, lean = rng.uniform(0, side), rng.normal(0, side * 0.3)
        draw.line(
            (x, 0, x + lean, side), fill=_ink(rng, (74, 62, 46), 16), width=max(1, int(side * rng.uniform(0.02, 0.06)))
        )
    greens = ((84, 118, 50), (120, 148, 66), (48, 78, 40), (150, 160, 82))
    for x, y, r, turn, pick in rng.random((46, 5)):
        ink = _ink(rng, greens[int(pick * 4)], 18)
        _leaf(draw, x * side, y * side, side * (0.04 + 0.10 * r), turn * 3.2, ink)
    for x, y, r in rng.random((int(rng.integers(0, 7)), 3)):
        _blob(draw, x * side, y * side, side * (0.015 + 0.04 * r), _ink(rng, (214, 222, 186), 14))


def _water(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    for x, y, w, pick in rng.random((44, 4)):
        ink = _ink(rng, (176, 198, 208) if pick < 0.45 else (58, 88, 100), 16)
        half, thick = side * (0.05 + 0.22 * w) * (0.4 + y), max(1.0, side * 0.018 * (0.5 + y))
        draw.ellipse((x * side - half, y * side - thick, x * side + half, y * side + thick), fill=ink)
    if rng.random() < 0.5:
        for x, h in rng.random((12, 2)):
            top = side * (0.2 + 0.6 * h)
            draw.line((x * side, top, (x + 0.06 * (h - 0.5)) * side, side), fill=_ink(rng, (112, 124, 66), 20), width=1)


def _sky(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    for _ in range(int(rng.integers(1, 4))):
        cx, cy = rng.uniform(0, side, 2)
        for dx, dy, r in rng.normal(0, 1, (12, 3)):
            _blob(
                draw,
                cx + dx * side * 0.16,
                cy + dy * side * 0.05,
                side * (0.05 + 0.03 * abs(r)),
                _ink(rng, (232, 234, 236), 8),
            )
    if rng.random() < 0.6:
        x, y = rng.uniform(0, side, 2)
        for _ in range(int(rng.integers(2, 6))):
            end = rng.uniform(0, side, 2)
            draw.line(
                (x, side if y > side / 2 else 0, *end), fill=_ink(rng, (86, 78, 70), 18), width=max(1, int(side * 0.02))
            )


def _bark(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    for x, y, h, pick in rng.random((60, 4)):
        ink = _ink(rng, (136, 116, 94) if pick < 0.5 else (60, 50, 42), 18)
        width, half = max(1, int(side * (0.01 + 0.03 * pick))), side * (0.04 + 0.16 * h)
        lean = side * 0.05 * (pick - 0.5)
        draw.line((x * side, y * side - half, x * side + lean, y * side + half), fill=ink, width=width)
    for x, y, r in rng.random((8, 3)):
        _blob(draw, x * side, y * side, side * (0.015 + 0.05 * r), _ink(rng, (136, 146, 112), 16))


def _urban(draw: ImageDraw.ImageDraw, rng: np.random.Generator, side: float) -> None:
    walls = ((166, 120, 98), (184, 178, 168), (118, 124, 132), (206, 196, 172))
    for x, y, w, h, pick in rng.random((9, 5)):
        box = (x * side, y * side, (x + 0.15 + 0.35 * w) * side, (y + 0.1 + 0.5 * h) * side)
        draw.rectangle(box, fill=_ink(rng, walls[int(pick * 4)], 16))
    dark = rng.random() < 0.7
    for x, y, w in rng.random((14, 3)):
        box = (x * side, y * side, (x + 0.04 + 0.05 * w) * side, (y + 0.07 + 0.07 * w) * side)
        draw.rectangle(box, fill=_ink(rng, (62, 68, 78) if dark else (226, 214, 170), 16))
    for y in rng.random(4):
        draw.line(
            (0, y * side, side, (y + rng.normal(0, 0.06)) * side),
            fill=_ink(rng, (70, 70, 74), 12),
            width=max(1, int(side * 0.012)),
        )


_PAINTERS: Final[dict[Backdrop, _Painter]] = {
    "foliage": _foliage,
    "water": _water,
    "sky": _sky,
    "bark": _bark,
    "urban": _urban,
}
