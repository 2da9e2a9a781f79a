"""From an indicator map to the box of the object: the largest part, and the search over cut rates.

An indicator map is a grid of h x w cells over a picture that was squeezed to a square of S x S pixels. Everything here
is arithmetic on the grid: the picture itself is not looked at, and all cut rates come from one map.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

CUT_RATES = (1.25, 1.15, 1.05, 0.95, 0.85)
"""Sizes of the reference's candidates, relative to the rectangle of the part."""

FALLBACK_RATE = 1.05
"""The cut rate where no candidate is valid."""

_VALID_AREA_FRAC = (0.01, 0.80)
_BORDER_PENALTY = 0.02

FloatMap = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]
BoxReading = Literal["xyxy", "reference"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The part of an indicator map that is taken for the object."""

    mask: Mask
    """Its cells, shape (h, w)."""
    usable: bool
    """False where the map gave no part, and the mask is the whole map."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectBox:
    """The box of the object in the photograph."""

    box_xyxy: Box
    """Half-open, in pixels of the photograph."""
    score: float
    """The search's score, at most 0: minus the area share, minus 0.02 for each border that is touched."""
    area_frac: float
    """Share of the photograph that the box covers."""
    cut_rate: float
    """Size relative to the rectangle of the part."""
    fallback: bool
    """The map gave no part, or no candidate was valid."""


def min_max(indicator: FloatMap) -> FloatMap | None:
    """Scale so that the least non-negative value becomes 0 and the largest 1; negative values become negative.

    Args:
        indicator: Values of any range, shape (h, w).

    Returns:
        The scaled map, or None where there is no range: no value is 0 or more, or all of those are equal.
    """
    kept = indicator[indicator >= 0]
    if kept.size == 0 or kept.max() == kept.min():
        return None
    scaled: FloatMap = (indicator - kept.min()) / (kept.max() - kept.min())
    return scaled


def largest_part(mask: Mask) -> Mask:
    """Keep the largest 4-connected part of a mask, the first in raster order on ties; (h, w) -> (h, w)."""
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    part: Mask = labels == 1 + int(sizes.argmax())
    return part


def find_part(indicator: FloatMap, *, threshold: float) -> Part:
    """Find the object in an indicator map; the whole map where there is nothing to find.

    Args:
        indicator: Shape (h, w); positive where the object is.
        threshold: Min-max scaled values above this are object, from 0 up to 1.
    """
    scaled = min_max(indicator)
    mask = np.zeros(indicator.shape, dtype=bool) if scaled is None else largest_part(scaled > threshold)
    if mask.any():
        return Part(mask=mask, usable=True)
    return Part(mask=np.ones(indicator.shape, dtype=bool), usable=False)


def part_box(part: Part, *, width_px: int, height_px: int) -> ObjectBox:
    """Return the plain rectangle of a part, scaled from the grid to the photograph.

    Args:
        part: The part.
        width_px: Width of the photograph.
        height_px: Height of the photograph.
    """
    x0, x1 = _scaled_range(np.asarray(part.mask.any(axis=0)), width_px)
    y0, y1 = _scaled_range(np.asarray(part.mask.any(axis=1)), height_px)
    box = (x0, y0, x1, y1)
    area, score = _score(box, width_px=width_px, height_px=height_px)
    return ObjectBox(box_xyxy=box, score=score, area_frac=area, cut_rate=1.0, fallback=not part.usable)


def cut_box(part: Part, *, cut_rate: float, size_px: int, width_px: int, height_px: int) -> Box:
    """Cut a rectangle about the centre of mass of a part, as the reference does.

    The part is upsampled (nearest neighbour) to the squeezed picture; the sides of its rectangle times ``cut_rate``,
    at most the picture's, are laid round the mean of its pixels, pushed inside and scaled to the photograph.

    Args:
        part: The part.
        cut_rate: Size relative to the rectangle of the part.
        size_px: Side S of the squeezed picture.
        width_px: Width W of the photograph.
        height_px: Height H of the photograph.

    Returns:
        Half-open, in whole pixels of the photograph; may be empty where the photograph is a few pixels wide.
    """
    rows, columns = (np.diff(cell_edges(cells, size_px)) for cells in part.mask.shape)
    pixels = part.mask * np.outer(rows, columns)
    x0, x1 = _cut_axis(pixels.sum(axis=0), cut_rate=cut_rate, size_px=size_px, length_px=width_px)
    y0, y1 = _cut_axis(pixels.sum(axis=1), cut_rate=cut_rate, size_px=size_px, length_px=height_px)
    return x0, y0, x1, y1


def read_box(box: Box, *, width_px: int, height_px: int, reading: BoxReading) -> Box:
    """Read a box, and make it at least one pixel wide and high.

    Args:
        box: Half-open ``xyxy``.
        width_px: Width W of the photograph.
        height_px: Height H of the photograph.
        reading: ``xyxy`` as it is meant; ``reference``: as in the reference, a box with x0 + x1 <= W + 1 and
            y0 + y1 <= H + 1 is taken for (x, y, width, height), and so becomes larger than meant.
    """
    x0, y0, x1, y1 = box
    if reading == "reference" and x1 > 0 and y1 > 0 and x0 + x1 <= width_px + 1 and y0 + y1 <= height_px + 1:
        x1, y1 = x0 + x1, y0 + y1
    x0, y0 = min(x0, width_px - 1), min(y0, height_px - 1)
    return x0, y0, min(max(x1, x0 + 1), width_px), min(max(y1, y0 + 1), height_px)


def search_box(part: Part, *, size_px: int, width_px: int, height_px: int, reading: BoxReading = "xyxy") -> ObjectBox:
    """Choose among the cut rates of the reference the box with the best score.

    The score is minus the share of the photograph's area, minus 0.02 for each side within one pixel of the
    photograph's border. Boxes below 1 % or above 80 % of the area are not valid; with none valid the rate is 1.05.

    Args:
        part: The part.
        size_px: Side S of the squeezed picture.
        width_px: Width of the photograph.
        height_px: Height of the photograph.
        reading: See :func:`read_box`.
    """

    def candidate(cut_rate: float) -> ObjectBox:
        meant = cut_box(part, cut_rate=cut_rate, size_px=size_px, width_px=width_px, height_px=height_px)
        box = read_box(meant, width_px=width_px, height_px=height_px, reading=reading)
        area, score = _score(box, width_px=width_px, height_px=height_px)
        low, high = _VALID_AREA_FRAC
        fallback = not (part.usable and low <= area <= high)
        return ObjectBox(box_xyxy=box, score=score, area_frac=area, cut_rate=cut_rate, fallback=fallback)

    candidates = [candidate(rate) for rate in CUT_RATES]
    valid = [each for each in candidates if _VALID_AREA_FRAC[0] <= each.area_frac <= _VALID_AREA_FRAC[1]]
    return max(valid, key=lambda each: each.score) if valid else candidates[CUT_RATES.index(FALLBACK_RATE)]


def cell_edges(cells: int, size_px: int) -> npt.NDArray[np.int64]:
    """Return where the cells of a grid begin when it is upsampled by nearest neighbours; shape (cells + 1,).

    Pixel p shows cell floor(p * cells / size), so cell c begins at ceil(c * size / cells).
    """
    return -(-np.arange(cells + 1, dtype=np.int64) * size_px // cells)


def _scaled_range(used: Mask, length_px: int) -> tuple[int, int]:
    """Scale the first and the last used cell of an axis to pixels of the photograph."""
    places = np.flatnonzero(used)
    low = round(int(places[0]) * length_px / used.size)
    high = round((int(places[-1]) + 1) * length_px / used.size)
    low = min(low, length_px - 1)
    return low, max(high, low + 1)


def _cut_axis(pixels: npt.NDArray[np.int64], *, cut_rate: float, size_px: int, length_px: int) -> tuple[int, int]:
    """Cut one axis of a part; ``pixels`` are what it has in each cell along that axis."""
    edges = cell_edges(pixels.size, size_px)
    used = np.flatnonzero(pixels)
    extent = float(edges[used[-1] + 1] - edges[used[0]])
    centre = float((pixels * (edges[:-1] + edges[1:] - 1)).sum() / (2 * pixels.sum()))
    cut = min(cut_rate * extent, float(size_px))
    if centre < cut / 2 + 1:
        origin = 0
    elif centre > size_px - cut / 2 - 1:
        origin = int(size_px - cut)
    else:
        origin = int(centre - cut / 2)
    low, high = (round(edge * (length_px / size_px)) for edge in (origin, origin + int(cut)))
    return min(max(low, 0), length_px), min(max(high, 0), length_px)


def _score(box: Box, *, width_px: int, height_px: int) -> tuple[float, float]:
    x0, y0, x1, y1 = box
    area = (x1 - x0) * (y1 - y0) / (width_px * height_px)
    touched = (x0 <= 1) + (y0 <= 1) + (x1 >= width_px - 1) + (y1 >= height_px - 1)
    return area, -area - _BORDER_PENALTY * touched
