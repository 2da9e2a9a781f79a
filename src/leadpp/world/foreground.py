"""What the bird sits on and what hangs in front of it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from leadpp.world.curves import Points, ellipse, floats, ribbon, smooth
from leadpp.world.individual import Backdrop

_WOOD = ((98, 78, 60), (120, 104, 86), (74, 62, 52))
_STONE = ((140, 136, 128), (112, 110, 106), (160, 152, 140))
_LEAVES = ((86, 122, 48), (120, 140, 60), (58, 92, 44), (146, 132, 62))


_Shape = tuple[Points, Points]
"""Outline in shares of the frame, and colour."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Paint with its coverage; ``size`` x ``size``."""

    colour: Image.Image
    cover: Image.Image


def paint_perch(*, feet: Points, backdrop: Backdrop, size: int, rng: np.random.Generator) -> Layer:
    """Paint a branch, or in water and town a rock or ledge, under the feet (shares of the frame)."""
    wood = backdrop in ("foliage", "sky", "bark")
    base = floats((_WOOD if wood else _STONE)[int(rng.integers(3))]) * rng.uniform(0.75, 1.1)
    return _paint(_branch(feet, base, rng) if wood else _rock(feet, base, rng), size=size)


def _branch(feet: Points, base: Points, rng: np.random.Generator) -> list[_Shape]:
    lean, bow, thick = rng.normal(0, 0.10), rng.normal(0, 0.05), rng.uniform(0.016, 0.035)
    x = np.linspace(-0.1, 1.1, 17, dtype=np.float32)
    y = feet[1] + lean * (x - feet[0]) + bow * (x - feet[0]) ** 2 + thick * 0.92
    y += rng.normal(0, 0.006, len(x)) * (np.abs(x - feet[0]) > 0.08)
    middle = floats(np.stack([x, y], 1))
    shapes: list[_Shape] = []
    for start in rng.uniform(0, 1, int(rng.integers(0, 3))):
        end = [start + rng.normal(0, 0.2), feet[1] + rng.uniform(0.1, 0.35)]
        side = floats([[start, np.interp(start, x, y)], end])
        shapes.append((ribbon(side, (thick * 0.6, thick * 0.2)), base * 0.85))
    shapes.append((ribbon(middle, thick), base))
    shapes.append((ribbon(middle + floats([0, thick * 0.5]), thick * 0.5), base * 0.72))
    shapes.append((ribbon(middle - floats([0, thick * 0.6]), thick * 0.25), base * 1.2))
    for place in rng.integers(0, len(x) - 1, 6):
        crack = middle[place : place + 2] + floats([0, thick * rng.uniform(-0.5, 0.6)])
        shapes.append((ribbon(crack, thick * 0.1), base * 0.55))
    return shapes


def _rock(feet: Points, base: Points, rng: np.random.Generator) -> list[_Shape]:
    x = np.linspace(-0.1, 1.1, 13, dtype=np.float32)
    away = np.abs(x - feet[0])
    y = (
        feet[1]
        + rng.uniform(0.0, 0.5) * np.maximum(away - 0.1, 0) ** 1.5
        + rng.normal(0, 0.010, len(x)) * (away > 0.14)
    )
    shapes: list[_Shape] = []
    for depth, gain in ((0.0, 1.0), (0.05, 0.86), (0.13, 0.74), (0.26, 0.64)):
        edge = floats(np.stack([x, y + depth * (1 + rng.normal(0, 0.25, len(x)))], 1))
        shapes.append((np.concatenate([edge, floats([(1.1, 1.5), (-0.1, 1.5)])]), base * gain))
    shapes.append((ellipse(feet + floats([0, 0.012]), across=0.13, down=0.014), base * 0.6))
    return shapes


def paint_twigs(count: int, *, box: tuple[float, float, float, float], size: int, rng: np.random.Generator) -> Layer:
    """Paint ``count`` leafy twigs across the box (shares of the frame), which they cover in part."""
    shapes: list[_Shape] = []
    left, top, right, bottom = box
    for _ in range(count):
        middle = floats([rng.uniform(left, right), rng.uniform(top, bottom)])
        turn = rng.uniform(0, np.pi)
        reach = floats([np.cos(turn), np.sin(turn)]) * rng.uniform(0.12, 0.35)
        knots = np.stack([middle - reach, middle + rng.normal(0, 0.02, 2), middle + reach]).astype(np.float32)
        line = smooth(knots, steps=6, closed=False)
        shapes.append((ribbon(line, rng.uniform(0.004, 0.010)), floats(_WOOD[int(rng.integers(3))])))
        base = floats(_LEAVES[int(rng.integers(4))])
        for place in rng.integers(0, len(line), int(rng.integers(2, 6))):
            shapes.append((_leaf(line[place], rng), base * rng.uniform(0.7, 1.25)))
    return _paint(shapes, size=size)


def _leaf(root: Points, rng: np.random.Generator) -> Points:
    turn, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.04, 0.09)
    way = floats([np.cos(turn), np.sin(turn)]) * length
    s = np.linspace(0, 1, 7, dtype=np.float32)
    return ribbon(root + s[:, None] * way, 0.3 * length * np.sin(np.pi * s**0.8))


def _paint(shapes: list[_Shape], *, size: int) -> Layer:
    side = size * 2
    colour = Image.new("RGB", (side, side), tuple(int(min(c, 255)) for c in shapes[0][1]))
    cover = Image.new("L", (side, side))
    painters = ImageDraw.Draw(colour), ImageDraw.Draw(cover)
    for outline, ink in shapes:
        polygon = (outline * side).ravel().tolist()
        painters[0].polygon(polygon, fill=tuple(int(min(c, 255)) for c in ink))
        painters[1].polygon(polygon, fill=255)
    return Layer(colour.reduce(2), cover.reduce(2))
