"""Pillow's Gaussian blur: three extended box filters along the rows, then three along the columns.

An extended box of radius l + a, l whole, has 2 l + 1 taps of equal weight and two outer ones of a times that; the edge
of a picture repeats its last level, and every pass ends in whole levels, as in Pillow.
"""

import itertools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_PASSES = 3


def box_radius(sigma_px: float) -> float:
    """Return the radius of the extended box that has, three times applied, this standard deviation.

    Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box filtering", 2011.

    >>> round(box_radius(2.0), 4)
    1.375
    """
    variance = sigma_px**2 / _PASSES
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    outer = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    return whole + outer


def blur(pictures: Tensor, radii_px: Tensor, *, reach_px: int) -> Tensor:
    """Blur each picture by its own extended box, on any device.

    Args:
        pictures: float32 whole levels, shape (B, C, H, W).
        radii_px: :func:`box_radius` of each picture, float32, shape (B,), on the pictures' device.
        reach_px: A whole number that is not below the largest radius; known beforehand, so that nobody has to wait for
            the device to tell it.
    """
    radii = radii_px.view(-1, 1, 1, 1)
    # Weights of the outer taps as shares of the middle one: 1, or what the radius has left of it.
    shares = [(radii + 1 - step).clamp_(0, 1) for step in range(1, reach_px + 1)]
    middle = (2 * radii + 1).reciprocal()
    for axis in (3, 2):
        for _ in range(_PASSES):
            pictures = _pass(pictures, shares, middle, axis=axis)
    return pictures


def blur_bytes(picture: Tensor, sigma_px: float) -> Tensor:
    """Blur one square picture on the CPU; uint8 (C, S, S) -> the same.

    It works in unsigned 16-bit integers, with weights in 256ths, for which processors have the widest vectors: 0.3 ms
    for 3 x 224 x 224 where Pillow takes 0.9. Rows and columns lie in one buffer with margins, so that a shift along
    either axis is a shift in memory.
    """
    radius, size = box_radius(sigma_px), picture.shape[-1]
    margin = math.ceil(radius)
    weights = _whole_weights(radius, margin)
    middle, side = 256 - 2 * sum(weights), size + 2 * margin
    # All corners of both hold levels in the end; until then what lies there may be anything.
    now, then = (np.empty((len(picture), side, side), np.uint16) for _ in range(2))
    scratch = np.empty(now.size, np.uint16)
    now[:, margin:-margin, margin:-margin] = picture.numpy()
    for turned, stride in ((True, 1), (False, side)):
        edge, count = margin * stride, now.size - 2 * margin * stride
        for _ in range(_PASSES):
            _repeat_edges(now.swapaxes(1, 2) if turned else now, margin)
            flat, total, pair = now.reshape(-1), then.reshape(-1)[edge : edge + count], scratch[:count]
            np.multiply(flat[edge : edge + count], np.uint16(middle), out=total)
            total += 128
            for step, weight in enumerate(weights, start=1):
                low, high = edge - step * stride, edge + step * stride
                np.add(flat[low : low + count], flat[high : high + count], out=pair)
                pair *= np.uint16(weight)
                total += pair
            total >>= 8
            now, then = then, now
    return torch.from_numpy(now[:, margin:-margin, margin:-margin].astype(np.uint8))


def _whole_weights(radius: float, margin: int) -> list[int]:
    """Return the weights of the taps at 1 to ``margin`` pixels from the middle one, in 256ths.

    What is rounded is the sum from the outermost tap on, not each weight: wherever one cuts the box, its mass is right
    to half a 256th on either side, so that no width of the box leaves the middle tap more or less than its share.
    """
    shares = (min(1.0, radius + 1 - step) / (2 * radius + 1) for step in range(margin, 0, -1))
    sums = [round(256 * mass) for mass in itertools.accumulate(shares, initial=0.0)]
    return [after - before for before, after in itertools.pairwise(sums)][::-1]


def _repeat_edges(lines: "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]", margin: int) -> None:
    """Fill the margins along the second axis with what lies next to them."""
    lines[:, :margin] = lines[:, margin : margin + 1]
    lines[:, -margin:] = lines[:, -margin - 1 : -margin]


def _pass(pictures: Tensor, shares: list[Tensor], middle: Tensor, *, axis: int) -> Tensor:
    reach, length = len(shares), pictures.shape[axis]
    margins = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
    padded = F.pad(pictures, margins, mode="replicate")
    total = pictures
    for step, share in enumerate(shares, start=1):
        pair = padded.narrow(axis, reach - step, length) + padded.narrow(axis, reach + step, length)
        total = torch.addcmul(total, pair, share)
    return (total * middle).round_()
