"""Outlines of smooth shapes, as polygons in bird coordinates (x forward, y down, the body about 1.5 long)."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]
"""Shape (N, 2), or (M, N, 2) for many outlines of equal length."""


def floats(values: npt.ArrayLike) -> Points:
    """Return values as an array of 32-bit floats."""
    return np.asarray(values, np.float32)


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
    return rotate(_circle(corners) * floats([across, down]), turn) + floats(centre)


def rotate(points: Points, turn: float) -> Points:
    """Turn points about the origin by ``turn`` radians, clockwise as y points down."""
    cos, sin = np.cos(turn), np.sin(turn)
    turned: Points = points @ np.array([[cos, sin], [-sin, cos]], np.float32)
    return turned


def ribbon(middle: Points, half_widths: npt.ArrayLike) -> Points:
    """Return the outlines of bands round open lines; the half width may change along them.

    Args:
        middle: One line or many, shape (..., K, 2) with K >= 2.
        half_widths: Shape (K,) or a scalar.

    Returns:
        Shape (..., 2K, 2).
    """
    along = np.empty_like(middle)
    along[..., 1:-1, :] = middle[..., 2:, :] - middle[..., :-2, :]
    along[..., 0, :] = middle[..., 1, :] - middle[..., 0, :]
    along[..., -1, :] = middle[..., -1, :] - middle[..., -2, :]
    reach = floats(half_widths) / np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-6)
    across = along[..., ::-1] * floats([-1, 1]) * reach[..., None]
    outline: Points = np.concatenate([middle + across, (middle - across)[..., ::-1, :]], axis=-2)
    return outline


def mix(first: Sequence[float], second: Sequence[float], share: float) -> tuple[float, float, float]:
    """Blend two colours; ``share`` is the second one's."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue
