"""Deep descriptor transforming as one would first write it.

Plain about it: one photograph a forward pass, the default memory format; the fit stacks every descriptor of every
training photograph and gives the stack to scikit-learn's PCA; and each of the five cut rates is a whole run from the
file to the candidate, with a forward pass of its own. Everything after the network is arithmetic on pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage
from sklearn.decomposition import PCA
from torch import Tensor

CUT_RATES = (1.25, 1.15, 1.05, 0.95, 0.85)

Network = Callable[[Tensor], Tensor]
"""Pictures (1, 3, S, S), uint8, to feature maps (1, F, h, w)."""
Box = tuple[int, int, int, int]
Floats = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Fitted:
    """Mean descriptor and first principal direction; the sign is scikit-learn's: the largest entry is positive."""

    mean: Floats
    direction: Floats


@torch.no_grad()
def fit(paths: Sequence[Path], network: Network, *, size: int) -> Fitted:
    """Stack the descriptors of all photographs, and find the first principal direction."""
    stacked = []
    for path in paths:
        stacked.append(descriptors(read_picture(path, size), network))
    pca = PCA(n_components=1).fit(np.concatenate(stacked))
    return Fitted(mean=pca.mean_, direction=pca.components_[0])


@torch.no_grad()
def find_box(path: Path, network: Network, fitted: Fitted, *, size: int) -> Box:
    """Find the object in a photograph: the best of five candidates, half-open in pixels of the photograph."""
    with Image.open(path) as photo:
        width, height = photo.size
    best, best_score = None, -np.inf
    for cut_rate in CUT_RATES:
        box = candidate(path, network, fitted, cut_rate=cut_rate, size=size)
        area = (box[2] - box[0]) * (box[3] - box[1]) / (width * height)
        touched = (box[0] <= 1) + (box[1] <= 1) + (box[2] >= width - 1) + (box[3] >= height - 1)
        score = -area - 0.02 * touched
        if 0.01 <= area <= 0.80 and score > best_score:
            best, best_score = box, score
    return best or candidate(path, network, fitted, cut_rate=1.05, size=size)


def candidate(path: Path, network: Network, fitted: Fitted, *, cut_rate: float, size: int) -> Box:
    """Cut one candidate out of a photograph."""
    rows = descriptors(read_picture(path, size), network)
    side = int(np.sqrt(len(rows)))
    indicator = ((rows - fitted.mean) @ fitted.direction).reshape(side, side)
    part = largest_part(indicator)
    shown = np.arange(size) * side // size  # nearest neighbour: the cell that each pixel shows
    ys, xs = np.nonzero(part[np.ix_(shown, shown)])
    with Image.open(path) as photo:
        width, height = photo.size
    x0, x1 = cut_axis(xs, cut_rate, size, width)
    y0, y1 = cut_axis(ys, cut_rate, size, height)
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    return (x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))


def largest_part(indicator: Floats) -> Mask:
    """Keep the largest connected part of what is above 0 after min-max scaling of the non-negative values."""
    everything = np.ones(indicator.shape, dtype=bool)
    kept = indicator[indicator >= 0]
    if kept.size == 0 or kept.max() == kept.min():
        return everything
    labels, count = ndimage.label((indicator - kept.min()) / (kept.max() - kept.min()) > 0)
    sizes = [(labels == label).sum() for label in range(1, count + 1)]
    part: Mask = labels == 1 + int(np.argmax(sizes))
    return part


def cut_axis(places: npt.NDArray[np.int64], cut_rate: float, size: int, length: int) -> tuple[int, int]:
    """Lay ``cut_rate`` times the extent of the part's pixels round their mean, pushed inside, in photograph pixels."""
    extent, centre = places.max() - places.min() + 1, places.mean()
    cut = min(cut_rate * extent, size)
    if centre < cut / 2 + 1:
        origin = 0
    elif centre > size - cut / 2 - 1:
        origin = int(size - cut)
    else:
        origin = int(centre - cut / 2)
    return round(origin * (length / size)), round((origin + int(cut)) * (length / size))


def read_picture(path: Path, size: int) -> Tensor:
    """Read a photograph and squeeze it to a square; uint8 (1, 3, S, S)."""
    with Image.open(path) as photo:
        squeezed = photo.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(squeezed)).permute(2, 0, 1)[None]


def descriptors(picture: Tensor, network: Network) -> Floats:
    """Return one row for each position of the feature map; (h * w, F)."""
    return network(picture)[0].flatten(1).T.numpy()
