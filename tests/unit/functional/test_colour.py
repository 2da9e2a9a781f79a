"""Every colour operation against Pillow's, as torchvision calls it; each picture by its own amount."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as tv

from leadpp.functional.colour import (
    change_brightness,
    change_contrast,
    change_saturation,
    take_colour_away,
    to_bytes,
    turn_hue,
)

Change = Callable[[Tensor, Tensor | float], Tensor]
Oracle = Callable[[Image.Image, float], Image.Image]


# Each with the largest and the mean distance in levels that is allowed: lerp rounds once where Pillow floors, and
# Pillow's hue and saturation have 8 bits, so that a step of the hue is worth up to 6 levels.
class Case(NamedTuple):
    change: Change
    oracle: Oracle
    amounts: tuple[float, ...]
    largest: int
    mean: float


CASES = [
    Case(change_brightness, tv.adjust_brightness, (0.0, 0.6, 1.0, 1.4), 0, 0.0),
    Case(change_contrast, tv.adjust_contrast, (0.0, 0.6, 1.0, 1.4), 1, 0.05),
    Case(change_saturation, tv.adjust_saturation, (0.0, 0.6, 1.0, 1.4), 1, 0.02),
    Case(turn_hue, tv.adjust_hue, (-0.5, -0.1, -0.03, 0.03, 0.1, 0.5), 13, 0.6),
]


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)
    soft = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((30, 30), Image.Resampling.BICUBIC)
    corners = np.array([[r, g, b] for r in (0, 1, 128, 255) for g in (0, 127, 255) for b in (0, 254, 255)], np.uint8)
    pure = Image.fromarray(np.resize(corners, (30, 30, 3)))
    return [Image.fromarray(noise), soft, pure, Image.new("RGB", (30, 30), (9, 9, 9))]


def levels(photos: list[Image.Image]) -> Tensor:
    return torch.stack([tv.pil_to_tensor(photo) for photo in photos]).float()


@pytest.mark.parametrize("case", CASES)
def test_equal_to_pillow(photos: list[Image.Image], case: Case) -> None:
    for amount in case.amounts:
        expected = levels([case.oracle(photo, amount) for photo in photos])
        distance = (case.change(levels(photos), amount) - expected).abs()
        assert distance.max() <= case.largest, amount
        assert distance.mean() <= case.mean, amount


@pytest.mark.parametrize("amount", [-0.1, 0.04, 0.1])
def test_the_hue_has_no_drift_against_pillow(photos: list[Image.Image], amount: float) -> None:
    expected = levels([tv.adjust_hue(photo, amount) for photo in photos])
    drift = (turn_hue(levels(photos), amount) - expected).mean(dim=(0, 2, 3))
    assert drift.abs().max() < 0.3


def test_the_hue_keeps_the_largest_and_the_smallest_channel(photos: list[Image.Image]) -> None:
    before = levels(photos)
    after = turn_hue(before, 0.37)
    assert torch.equal(after.amax(dim=1), before.amax(dim=1))
    assert torch.equal(after.amin(dim=1), before.amin(dim=1))


def test_a_third_of_the_circle_exchanges_channels() -> None:
    colour, exchanged = torch.tensor([200.0, 30.0, 80.0]), torch.tensor([80.0, 200.0, 30.0])
    turned = turn_hue(colour.view(1, 3, 1, 1), 85.01 / 255).flatten()
    assert (turned - exchanged).abs().max() <= 2  # half a step of the hue is worth two levels here


def test_grey_is_pillows_luminance(photos: list[Image.Image]) -> None:
    expected = levels([photo.convert("L").convert("RGB") for photo in photos])
    assert torch.equal(take_colour_away(levels(photos)), expected)


@pytest.mark.parametrize("case", CASES)
def test_each_picture_is_treated_by_its_own_amount_alone(photos: list[Image.Image], case: Case) -> None:
    own = [*case.amounts[:3], 0.0]
    together = case.change(levels(photos), torch.tensor(own))
    for place, amount in enumerate(own):
        alone = case.change(levels(photos)[place : place + 1], amount)
        assert torch.equal(together[place : place + 1], alone)


@pytest.mark.parametrize("change", [case.change for case in CASES])
def test_what_goes_in_stays_as_it_was_and_what_comes_out_is_whole(photos: list[Image.Image], change: Change) -> None:
    before = levels(photos)
    after = change(before, 0.3)
    assert torch.equal(before, levels(photos))
    assert torch.equal(after, after.round())
    assert torch.equal(to_bytes(after).float(), after)
