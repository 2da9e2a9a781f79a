"""What the bird sits on and what hangs in front of it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from leadpp.world.curves import Points, floats, ribbon, smooth
from leadpp.world.individual import Backdrop

_WOOD = ((98, 78, 60), (120, 104, 86), (74, 62, 52))
_STONE = ((140, 136, 128), (112, 110, 106), (160, 152, 140))
_LEAVES = ((86, 122, 48), (120, 140, 60), (58, 92, 44), (146, 132, 62))


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Paint with its coverage; ``size`` x ``size``."""

    colour: Image.Image
    cover: Image.Image


def paint_perch(*, feet: Points, backdrop: Backdrop, size: int, rng: np.random.Generator) -> Layer:
    """Paint a branch, or in water and town a stone or ledge, under the feet (shares of the frame)."""
    wood = backdrop in ("foliage", "sky", "bark")
    base = floats((_WOOD if wood else _STONE)[int(rng.integers(3))]) * rng.uniform(0.75, 1.15)
    lean, bow = rng.normal(0, 0.10), rng.normal(0, 0.05)
    thick = rng.uniform(0.016, 0.035) if wood else rng.uniform(0.05, 0.12)
    x = np.linspace(-0.1, 1.1, 13, dtype=np.float32)
    y = feet[1] + lean * (x - feet[0]) + bow * (x - feet[0]) ** 2 + thick * 0.92
    if not wood:
        y = y + thick * 1.2 * np.abs((x - feet[0]) / 0.5) ** 3
    else:
        y = y + rng.normal(0, 0.006, len(x)) * (np.abs(x - feet[0]) > 0.08)
    middle = np.stack([x, y], 1).astype(np.float32)
    bands = [
        (ribbon(middle + floats([0, thick * d]), thick * h), base * g)
        for d, h, g in ((0, 1.0, 1.0), (0.45, 0.5, 0.72), (-0.55, 0.3, 1.22))
    ]
    if wood:
        for start in rng.uniform(0, 1, int(rng.integers(0, 3))):
            end = floats([start + rng.normal(0, 0.2), feet[1] + rng.uniform(0.1, 0.35)])
            root = floats([start, np.interp(start, x, y)])
            bands.insert(0, (ribbon(np.stack([root, end]), (thick * 0.6, thick * 0.2)), base * 0.9))
    return _paint(bands, size=size)


def paint_twigs(count: int, *, box: tuple[float, float, float, float], size: int, rng: np.random.Generator) -> Layer:
    """Paint ``count`` leafy twigs across the box (shares of the frame), which they cover in part."""
    shapes: list[tuple[Points, np.ndarray]] = []
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


def _paint(shapes: list[tuple[Points, np.ndarray]], *, size: int) -> Layer:
    side = size * 2
    colour = Image.new("RGB", (side, side), tuple(int(min(c, 255)) for c in shapes[0][1]))
    cover = Image.new("L", (side, side))
    painters = ImageDraw.Draw(colour), ImageDraw.Draw(cover)
    for outline, ink in shapes:
        polygon = (outline * side).ravel().tolist()
        painters[0].polygon(polygon, fill=tuple(int(min(c, 255)) for c in ink))
        painters[1].polygon(polygon, fill=255)
    return Layer(colour.reduce(2), cover.reduce(2))
