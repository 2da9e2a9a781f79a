"""Colour changes, blur and mirroring of many pictures at once, each by its own parameters, on any device.

The parameters stay on the CPU as far as they decide which picture is treated how, so that nobody waits for the device.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from leadpp.functional.blur import blur, box_radius
from leadpp.functional.colour import (
    change_brightness,
    change_contrast,
    change_saturation,
    take_colour_away,
    to_bytes,
    turn_hue,
)

JITTERS: dict[str, Callable[[Tensor, Tensor | float], Tensor]] = {
    "brightness": change_brightness,
    "contrast": change_contrast,
    "saturation": change_saturation,
    "hue": turn_hue,
}
"""Colour changes by name; their numbers in a row of parameters count from 1 in this order."""

_SLOTS = len(JITTERS)
_GREY, _RADIUS, _FLIP = 2 * _SLOTS, 2 * _SLOTS + 1, 2 * _SLOTS + 2
WIDTH = 2 * _SLOTS + 3
"""Numbers in a row of parameters."""


def encode_changes(jitter: Sequence[tuple[str, float]], *, grey: bool, blur_sigma_px: float, flip: bool) -> Tensor:
    """Write the parameters of one picture as a row of numbers, float32, shape (WIDTH,).

    Args:
        jitter: Colour changes in their order, each kind at most once.
        grey: Whether colour is taken away.
        blur_sigma_px: Standard deviation of the blur; 0 for none.
        flip: Whether left and right are exchanged.
    """
    names = list(JITTERS)
    row = [0.0] * WIDTH
    for slot, (name, amount) in enumerate(jitter):
        row[slot], row[_SLOTS + slot] = names.index(name) + 1, amount
    row[_GREY], row[_FLIP] = float(grey), float(flip)
    row[_RADIUS] = box_radius(blur_sigma_px) if blur_sigma_px > 0 else 0.0
    return torch.tensor(row)


def apply_changes(pictures: Tensor, changes: Tensor) -> Tensor:
    """Change every picture by its own row of parameters.

    Args:
        pictures: uint8, shape (N, 3, S, S), on any device.
        changes: :func:`encode_changes` of each, shape (N, WIDTH), on the CPU.

    Returns:
        uint8, shape (N, 3, S, S), on the pictures' device.
    """
    device = pictures.device
    steps = _steps(changes)
    wanted = torch.cat([rows for rows, _ in steps]) if steps else torch.empty(0, dtype=torch.int64)
    # From other memory than page-locked memory the copy would wait.
    locked = (each.pin_memory() if device.type == "cuda" else each for each in (wanted, changes))
    wanted, numbers = (each.to(device, non_blocking=True) for each in locked)
    levels, done = pictures.float(), 0
    for rows, change in steps:
        places = wanted[done : done + len(rows)]
        done += len(rows)
        levels.index_copy_(0, places, change(levels.index_select(0, places), numbers.index_select(0, places)))
    return to_bytes(levels)


_Change = Callable[[Tensor, Tensor], Tensor]


def _steps(changes: Tensor) -> list[tuple[Tensor, _Change]]:
    """Return, in order, which rows are changed how."""
    found: list[tuple[Tensor, _Change]] = []

    def step(chosen: Tensor, change: _Change) -> None:
        rows = chosen.nonzero().flatten()
        if len(rows):
            found.append((rows, change))

    for slot in range(_SLOTS):
        for number, jitter in enumerate(JITTERS.values(), start=1):
            step(changes[:, slot] == number, _with_amount(jitter, _SLOTS + slot))
    step(changes[:, _GREY] > 0, lambda levels, _: take_colour_away(levels))
    radii = changes[:, _RADIUS]
    reach = math.ceil(radii.max().item())
    step(radii > 0, lambda levels, numbers: blur(levels, numbers[:, _RADIUS], reach_px=reach))
    step(changes[:, _FLIP] > 0, lambda levels, _: levels.flip(-1))
    return found


def _with_amount(jitter: Callable[[Tensor, Tensor | float], Tensor], column: int) -> _Change:
    return lambda levels, numbers: jitter(levels, numbers[:, column])
