"""The frame on which a bird is built: a spine with a girth, and a head."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from leadpp.world.attributes import Species
from leadpp.world.curves import Points, floats, rotate, smooth
from leadpp.world.individual import Individual

_SPINES: Final[dict[str, tuple[tuple[float, float, float], ...]]] = {
    "slim": (
        (0.62, -0.4, 0.23),
        (0.5, -0.22, 0.235),
        (0.28, -0.03, 0.3),
        (-0.1, 0.08, 0.29),
        (-0.5, 0.14, 0.18),
        (-0.86, 0.16, 0.07),
    ),
    "plump": (
        (0.52, -0.46, 0.29),
        (0.42, -0.24, 0.38),
        (0.22, 0.0, 0.49),
        (-0.12, 0.1, 0.5),
        (-0.46, 0.14, 0.32),
        (-0.76, 0.12, 0.1),
    ),
    "stocky": (
        (0.52, -0.34, 0.35),
        (0.38, -0.18, 0.385),
        (0.16, -0.02, 0.42),
        (-0.16, 0.06, 0.4),
        (-0.5, 0.09, 0.28),
        (-0.76, 0.09, 0.12),
    ),
    "long-necked": (
        (0.8, -1.0, 0.215),
        (0.66, -0.84, 0.165),
        (0.54, -0.48, 0.15),
        (0.3, -0.06, 0.31),
        (-0.1, 0.06, 0.36),
        (-0.52, 0.09, 0.22),
        (-0.84, 0.08, 0.08),
    ),
}
"""Knots (x, y, half girth) from the middle of the head to the root of the tail."""

LEGS: Final = {"slim": 0.36, "plump": 0.34, "stocky": 0.26, "long-necked": 0.62}
"""How far the feet reach below the belly."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Where the parts of a bird are."""

    spine: npt.NDArray[np.float32]
    """Along the body: x, y and the way from there to the edge of the belly, shape (S, 4)."""
    head: Points
    """Middle of the head, shape (2,)."""
    radius: float
    """Of the head."""
    gaze: float
    """Direction of the bill, radians below the horizontal."""
    start: float
    """Where on the spine, in [0, 1], the body begins behind the neck."""
    roll: float
    """How far the breast turns to the camera."""
    legs: float
    """How far the feet reach below the belly."""

    def at(self, along: npt.ArrayLike, across: npt.ArrayLike) -> Points:
        """Return points of the body: along 0 head to 1 tail, across -1 back to 1 belly; broadcast, (..., 2)."""
        last = len(self.spine) - 1
        place = np.minimum(np.maximum(floats(along), 0) * last, last - 1e-4)
        low = place.astype(np.intp)
        table = self.spine[low]
        table = table + (self.spine[low + 1] - table) * (place - low)[..., None]
        points: Points = table[..., :2] + table[..., 2:] * floats(across)[..., None]
        return points

    def of_head(self, points: npt.ArrayLike) -> Points:
        """Map points of the head (unit: its radius, x to the bill) to bird coordinates."""
        return rotate(np.asarray(points, np.float32) * self.radius, self.gaze) + self.head

    def body(self, t: npt.ArrayLike) -> Points:
        """Return the places on the spine of places on the trunk: 0 breast, 1 root of the tail."""
        return self.start + (1 - self.start) * floats(t)


def frame_of(species: Species, individual: Individual) -> Frame:
    """Pose the skeleton of a species."""
    knots = np.array(_SPINES[species.build], np.float32)
    neck = len(knots) - 4
    turned = individual.pose == "turned"
    knots[:, :2] = rotate(knots[:, :2], individual.tilt)
    pivot = knots[neck, :2].copy()
    knots[:neck, :2] = rotate(knots[:neck, :2] - pivot, individual.nod * 0.6) + pivot
    if individual.pose == "flying":
        knots[:neck, 1] = knots[:neck, 1] * 0.45 + pivot[1] * 0.55
        knots[:neck, 0] += 0.12
    if turned:
        knots[:, 0] *= 0.74
    spine = smooth(knots, steps=6, closed=False)
    along = np.gradient(spine[:, :2], axis=0)
    normals = along[:, ::-1] * floats([1, -1]) / np.hypot(along[:, :1], along[:, 1:])
    return Frame(
        spine=np.concatenate([spine[:, :2], normals * spine[:, 2:]], axis=1),
        head=knots[0, :2],
        radius=float(knots[0, 2]),
        gaze=individual.nod * 0.8 + individual.tilt * 0.3,
        start=(neck - 0.4) / (len(knots) - 1),
        roll=0.28 if turned else 0.0,
        legs=LEGS[species.build],
    )
