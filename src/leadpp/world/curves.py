"""Outlines of smooth shapes, as polygons in bird coordinates (x forward, y down, the body about 1.5 long)."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]
"""Shape (N, 2)."""


@lru_cache(maxsize=64)
def _catmull_rom(knots: int, steps: int, *, closed: bool) -> npt.NDArray[np.float32]:
    """Return the weights (samples, knots) of a Catmull-Rom curve through its knots."""
    spans = knots if closed else knots - 1
    weights = np.zeros((spans * steps + (not closed), knots), np.float32)
    for row in range(len(weights)):
        span, u = min(row // steps, spans - 1), 0.0
        u = row / steps - span
        cubic = (
            -0.5 * u**3 + u**2 - 0.5 * u,
            1.5 * u**3 - 2.5 * u**2 + 1,
            -1.5 * u**3 + 2 * u**2 + 0.5 * u,
            0.5 * u**3 - 0.5 * u**2,
        )
        for offset, weight in zip((-1, 0, 1, 2), cubic, strict=True):
            place = span + offset
            weights[row, place % knots if closed else min(max(place, 0), knots - 1)] += weight
    return weights


def smooth(knots: npt.ArrayLike, *, steps: int = 5, closed: bool = True) -> npt.NDArray[np.float32]:
    """Draw a smooth curve through knots of any number of columns, shape (K, C) -> (N, C)."""
    array = np.asarray(knots, np.float32)
    curve: npt.NDArray[np.float32] = _catmull_rom(len(array), steps, closed=closed) @ array
    return curve


@lru_cache(maxsize=8)
def _circle(corners: int) -> Points:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def ellipse(centre: npt.ArrayLike, *, across: float, down: float, turn: float = 0.0, corners: int = 20) -> Points:
    """Return an ellipse of half axes ``across`` and ``down``, turned by ``turn`` radians."""
    return rotate(_circle(corners) * np.float32([across, down]), turn) + np.float32(centre)


def rotate(points: Points, turn: float) -> Points:
    """Turn points about the origin by ``turn`` radians, clockwise as y points down."""
    cos, sin = np.cos(turn), np.sin(turn)
    turned: Points = points @ np.array([[cos, sin], [-sin, cos]], np.float32)
    return turned


def ribbon(middle: Points, half_widths: npt.ArrayLike) -> Points:
    """Return the outline of a band round an open line; the half width may change along it."""
    along = np.gradient(middle, axis=0)
    along /= np.maximum(np.hypot(along[:, :1], along[:, 1:]), 1e-6)
    across = np.stack([-along[:, 1], along[:, 0]], 1) * np.broadcast_to(half_widths, len(middle))[:, None]
    return np.concatenate([middle + across, (middle - across)[::-1]]).astype(np.float32)


def stroke(start: npt.ArrayLike, end: npt.ArrayLike, *, width: float, taper: float = 1.0) -> Points:
    """Return a straight bar from ``start`` to ``end``; its end is ``taper`` times as wide as its start."""
    first, last = np.float32(start), np.float32(end)
    along = (last - first) / max(float(np.hypot(*(last - first))), 1e-6)
    side = np.float32([-along[1], along[0]]) * (width / 2)
    return np.stack([first + side, last + side * taper, last - side * taper, first - side])


def mix(first: Sequence[float], second: Sequence[float], share: float) -> tuple[float, float, float]:
    """Blend two colours; ``share`` is the second one's."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue
