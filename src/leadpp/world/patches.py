"""A bird as painted patches, from the far side to the near one, and their rasterisation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw

from leadpp.world.curves import Points, floats
from leadpp.world.plumage import Colour


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Polygons of one colour."""

    outlines: Sequence[Points] | Points
    colour: Colour
    within: str = ""
    """Name of the earlier patches outside which it does not show; empty: it is part of the silhouette."""
    name: str = ""
    """Name under which its area is remembered; equal names add up."""
    opacity: float = 1.0


def bounds(patches: Iterable[Patch]) -> tuple[Points, Points, Points]:
    """Return the least and the largest coordinates of the silhouette, and the place where it stands."""
    points = np.concatenate([outline for patch in patches if not patch.within for outline in patch.outlines])
    low, high = points.min(0), points.max(0)
    return low, high, floats([points[points[:, 1] > high[1] - 0.05, 0].mean(), high[1]])


def rasterise(
    patches: Sequence[Patch], *, scale: float, shift: npt.NDArray[np.float32], mirror: bool, shape: tuple[int, int]
) -> tuple[Image.Image, Image.Image]:
    """Paint patches on a canvas of ``shape`` (width, height).

    Args:
        patches: In the order of painting.
        scale: Canvas pixels a bird unit.
        shift: Added after scaling, canvas pixels, shape (2,).
        mirror: Whether x is reversed before it is scaled.
        shape: Width and height of the canvas.

    Returns:
        The colours (RGB) and the silhouette (L).
    """
    factors = floats([-scale if mirror else scale, scale])
    canvas, silhouette = Image.new("RGB", shape), Image.new("L", shape)
    painters = ImageDraw.Draw(canvas), ImageDraw.Draw(silhouette)
    areas: dict[str, Image.Image] = {}
    for patch in patches:
        polygons = _polygons(patch.outlines, factors, shift)
        ink = tuple(int(min(max(c, 0), 255)) for c in patch.colour)
        if not patch.within:
            for polygon in polygons:
                painters[0].polygon(polygon, fill=ink)
                painters[1].polygon(polygon, fill=255)
            if patch.name:
                areas[patch.name] = _area(polygons, 255, shape, areas.get(patch.name))
            continue
        area = ImageChops.darker(_area(polygons, round(255 * patch.opacity), shape), areas[patch.within])
        if patch.name:
            areas[patch.name] = ImageChops.lighter(area, areas[patch.name]) if patch.name in areas else area
        if box := area.getbbox():
            canvas.paste(ink, box, area.crop(box))
    return canvas, silhouette


def _polygons(outlines: Sequence[Points] | Points, factors: Points, shift: Points) -> list[list[float]]:
    if isinstance(outlines, np.ndarray):
        array = outlines * factors + shift
        return array.reshape(len(array), -1).tolist()
    return [(outline * factors + shift).ravel().tolist() for outline in outlines]


def _area(
    polygons: Sequence[list[float]], level: int, shape: tuple[int, int], onto: Image.Image | None = None
) -> Image.Image:
    area = Image.new("L", shape) if onto is None else onto
    painter = ImageDraw.Draw(area)
    for polygon in polygons:
        painter.polygon(polygon, fill=level)
    return area
