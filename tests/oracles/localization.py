"""Slow definitions of parts, boxes and directions; they share no code with leadpp."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Grid = npt.NDArray[np.bool_]


def flood_largest_part(mask: Grid) -> Grid:
    """Fill from each cell in raster order over the four neighbours; the first of the largest parts wins."""
    rows, columns = mask.shape
    seen = np.zeros_like(mask)
    best: list[tuple[int, int]] = []
    for start in np.ndindex(rows, columns):
        if not mask[start] or seen[start]:
            continue
        part, waiting = [], [(int(start[0]), int(start[1]))]
        seen[start] = True
        while waiting:
            row, column = waiting.pop()
            part.append((row, column))
            for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= near[0] < rows and 0 <= near[1] < columns and mask[near] and not seen[near]:
                    seen[near] = True
                    waiting.append(near)
        if len(part) > len(best):
            best = part
    result = np.zeros_like(mask)
    for cell in best:
        result[cell] = True
    return result


def upsampled(mask: Grid, size_px: int) -> Grid:
    """Nearest neighbours: pixel p shows cell floor(p * cells / size)."""
    rows = [pixel * mask.shape[0] // size_px for pixel in range(size_px)]
    columns = [pixel * mask.shape[1] // size_px for pixel in range(size_px)]
    big: Grid = mask[np.ix_(rows, columns)]
    return big


def pixel_cut_axis(used: Sequence[int], cut_rate: float, size_px: int, length_px: int) -> tuple[int, int]:
    """Cut one axis from the coordinates of all pixels of a part, as the reference does."""
    extent = max(used) - min(used) + 1
    centre = sum(used) / len(used)
    cut = min(cut_rate * extent, size_px)
    if centre < cut / 2 + 1:
        origin = 0
    elif centre > size_px - cut / 2 - 1:
        origin = int(size_px - cut)
    else:
        origin = int(centre - cut / 2)
    ratio = length_px / size_px
    return round(origin * ratio), round((origin + int(cut)) * ratio)


def counted_iou(first: Sequence[int], second: Sequence[int]) -> float:
    """Count pixels one by one."""
    cells = [{(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (first, second)]
    union = cells[0] | cells[1]
    return len(cells[0] & cells[1]) / len(union) if union else 0.0


def pearson(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Correlation from its definition."""
    a, b = first - first.mean(), second - second.mean()
    return float((a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum()))
