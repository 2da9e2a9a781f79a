"""The blur against Pillow's and against the definition of a box, on one picture and on many."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torchvision.transforms import functional as tv

from leadpp.functional.blur import blur, blur_bytes, box_radius
from leadpp.functional.changes import apply_changes, encode_changes

WIDE_SIGMAS = (13.4, 15.0, 20.0, 30.0, 36.0, 300.0)
"""Boxes wider than what 256ths can be shared out among evenly, up to one far wider than the picture."""
SIGMAS = (0.1, 0.3, 0.5, 0.9, 1.3, math.sqrt(2), 1.7, 2.0, 3.1, 5.0)


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)
    soft = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((48, 48), Image.Resampling.BICUBIC)
    return [Image.fromarray(noise), soft]


@pytest.mark.parametrize("sigma", SIGMAS)
def test_three_boxes_have_the_standard_deviation(sigma: float) -> None:
    radius = box_radius(sigma)
    taps = {
        step: min(1.0, radius + 1 - abs(step)) / (2 * radius + 1) for step in range(-9, 10) if abs(step) < radius + 1
    }
    assert sum(taps.values()) == pytest.approx(1)
    assert 3 * sum(weight * step**2 for step, weight in taps.items()) == pytest.approx(sigma**2)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_equal_to_pillow(photos: list[Image.Image], sigma: float) -> None:
    for photo in photos:
        expected = tv.pil_to_tensor(photo.filter(ImageFilter.GaussianBlur(sigma))).int()
        picture, radius = tv.pil_to_tensor(photo), box_radius(sigma)
        exact = blur(picture.float().unsqueeze(0), torch.tensor([radius]), reach_px=math.ceil(radius))[0]
        assert (exact - expected).abs().max() <= 2
        assert (exact - expected).abs().mean() <= 0.15
        fast = (blur_bytes(picture, sigma).int() - expected).abs()
        assert fast.max() <= 6
        assert fast.float().mean() <= 0.8


@pytest.mark.parametrize("sigma", WIDE_SIGMAS)
def test_wide_blurs_are_equal_to_pillow_too(photos: list[Image.Image], sigma: float) -> None:
    bright = np.zeros((48, 48, 3), dtype=np.uint8)
    bright[10:30, 20:40] = 255
    for photo in (*photos, Image.fromarray(bright)):
        expected = tv.pil_to_tensor(photo.filter(ImageFilter.GaussianBlur(sigma))).int()
        picture, row = tv.pil_to_tensor(photo), encode_changes((), grey=False, blur_sigma_px=sigma, flip=False)
        on_device = (apply_changes(picture.unsqueeze(0), row.unsqueeze(0))[0].int() - expected).abs()
        assert on_device.max() <= 1
        assert on_device.float().mean() <= 0.05
        beside_decoder = (blur_bytes(picture, sigma).int() - expected).abs()
        assert beside_decoder.max() <= 2
        assert beside_decoder.float().mean() <= (0.25 if sigma < 100 else 0.7)


def test_any_width_of_the_box_can_be_shared_out(photos: list[Image.Image]) -> None:
    picture = tv.pil_to_tensor(photos[1])[:, :8, :8]
    plain = torch.full_like(picture, 255)
    for sigma in np.arange(0.1, 60, 0.7):
        assert torch.equal(blur_bytes(plain, sigma), plain)  # no weight is lost or invented
        assert blur_bytes(picture, sigma).float().std() <= picture.float().std()


def test_each_picture_has_its_own_blur(photos: list[Image.Image]) -> None:
    pictures = torch.stack([tv.pil_to_tensor(photo).float() for photo in photos])
    radii = [box_radius(0.4), box_radius(1.9)]
    together = blur(pictures, torch.tensor(radii), reach_px=2)
    for place, radius in enumerate(radii):
        alone = blur(pictures[place : place + 1], torch.tensor([radius]), reach_px=math.ceil(radius))
        assert torch.equal(together[place : place + 1], alone)


def test_a_plain_picture_stays_as_it_is() -> None:
    plain = torch.full((3, 20, 20), 255, dtype=torch.uint8)
    assert torch.equal(blur_bytes(plain, 1.6), plain)
    assert torch.equal(blur_bytes(torch.zeros_like(plain), 5.0), torch.zeros_like(plain))


def test_left_and_right_and_top_and_bottom_are_alike(photos: list[Image.Image]) -> None:
    picture = tv.pil_to_tensor(photos[0])
    assert torch.equal(blur_bytes(picture.flip(1, 2), 1.1), blur_bytes(picture, 1.1).flip(1, 2))
