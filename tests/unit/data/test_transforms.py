"""Draws against torchvision's distributions, pixels against torchvision's functions."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy.stats import ks_2samp, kstest
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as tv

from leadpp.data.images import Decoded
from leadpp.data.photo import Box, Photo
from leadpp.data.transforms import (
    PROBE_RECIPE,
    TRAIN_RECIPE,
    Augmentation,
    JitterName,
    Recipe,
    apply_augmentation,
    draw_augmentation,
    draw_crop,
    fixed_view,
)

SIZE = 32


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((120, 90), Image.Resampling.BICUBIC)


def photo_of(picture: Image.Image) -> Photo:
    return Photo.of(Decoded(picture, picture.width, picture.height))


def assert_levels_near(found: torch.Tensor, expected: torch.Tensor, *, mean: float, largest: int) -> None:
    distance = (found.int() - expected.int()).abs()
    assert distance.max() <= largest
    assert distance.float().mean() <= mean


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draws(count: int, *, recipe: Recipe = TRAIN_RECIPE, region: Box = (0, 0, 120, 90)) -> list[Augmentation]:
    rng = generator(3)
    return [draw_augmentation(region, recipe=recipe, generator=rng) for _ in range(count)]


def torchvision_crops(count: int, *, width: int, height: int, scale: tuple[float, float]) -> list[Box]:
    blank = Image.new("RGB", (width, height))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        found = [RandomResizedCrop.get_params(blank, list(scale), [3 / 4, 4 / 3]) for _ in range(count)]
    return [(left, top, left + w, top + h) for top, left, h, w in found]


def traits(crops: list[Box]) -> dict[str, list[float]]:
    return {
        "area": [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in crops],
        "shape": [math.log((x1 - x0) / (y1 - y0)) for x0, y0, x1, y1 in crops],
        "left": [x0 for x0, *_ in crops],
        "top": [y0 for _, y0, *_ in crops],
    }


@pytest.mark.parametrize(("width", "height", "scale"), [(500, 375, (0.2, 1.0)), (200, 640, (0.08, 1.0))])
def test_crops_have_torchvisions_distribution(width: int, height: int, scale: tuple[float, float]) -> None:
    rng = generator()
    ours = traits(
        [draw_crop((0, 0, width, height), scale=scale, ratio=(3 / 4, 4 / 3), generator=rng) for _ in range(1500)]
    )
    theirs = traits(torchvision_crops(1500, width=width, height=height, scale=scale))
    for trait, values in ours.items():
        assert ks_2samp(values, theirs[trait]).pvalue > 1e-3, trait


@pytest.mark.parametrize(("width", "height"), [(2000, 20), (20, 2000), (1, 1), (3, 1)])
def test_a_region_too_long_for_any_crop_gives_torchvisions_centred_one(width: int, height: int) -> None:
    ours = draw_crop((0, 0, width, height), scale=(0.9, 1.0), ratio=(3 / 4, 4 / 3), generator=generator())
    assert ours in torchvision_crops(20, width=width, height=height, scale=(0.9, 1.0))


def test_crops_stay_inside_a_region_that_is_not_at_the_origin() -> None:
    region = (30, 20, 77, 88)
    crops = np.array([drawn.crop_xyxy for drawn in draws(400, region=region)])
    assert crops[:, 0].min() == 30
    assert crops[:, 1].min() == 20
    assert crops[:, 2].max() == 77
    assert crops[:, 3].max() == 88


def test_each_part_is_drawn_as_often_and_as_far_as_the_recipe_says() -> None:
    drawn = draws(3000)
    jittered = [one for one in drawn if one.jitter]
    blurs = [one.blur_sigma_px for one in drawn if one.blur_sigma_px > 0]
    shares = [len(jittered), sum(one.grey for one in drawn), len(blurs), sum(one.flip for one in drawn)]
    assert np.array(shares) / 3000 == pytest.approx([0.8, 0.2, 0.5, 0.5], abs=0.03)
    assert kstest(blurs, "uniform", args=(0.1, 1.9)).pvalue > 1e-3
    for name, low, high in [
        ("brightness", 0.6, 1.4),
        ("contrast", 0.6, 1.4),
        ("saturation", 0.6, 1.4),
        ("hue", -0.1, 0.1),
    ]:
        amounts = [amount for one in jittered for found, amount in one.jitter if found == name]
        assert len(amounts) == len(jittered), name
        assert kstest(amounts, "uniform", args=(low, high - low)).pvalue > 1e-3, name


def test_colour_changes_come_in_every_order_equally_often() -> None:
    orders = [tuple(name for name, _ in one.jitter) for one in draws(3000) if one.jitter]
    counts = np.array([orders.count(order) for order in sorted(set(orders))])
    assert len(counts) == 24
    assert counts.min() > 60


def test_a_jitter_wider_than_one_never_draws_a_negative_factor() -> None:
    wide = Recipe(jitter_prob=1.0, jitter=(2.0, 0.0, 0.0, 0.0))
    factors = [dict(one.jitter)["brightness"] for one in draws(300, recipe=wide)]
    assert min(factors) >= 0
    assert max(factors) > 2


def test_probe_views_are_crops_and_flips_only() -> None:
    drawn = draws(300, recipe=PROBE_RECIPE)
    bare = {dataclasses.replace(one, crop_xyxy=(0, 0, 1, 1), flip=False) for one in drawn}
    areas = [area / (120 * 90) for area in traits([one.crop_xyxy for one in drawn])["area"]]
    assert bare == {Augmentation(crop_xyxy=(0, 0, 1, 1))}
    assert min(areas) == pytest.approx(0.08, abs=0.02)
    assert {one.flip for one in drawn} == {False, True}


def test_draws_depend_on_the_generator_alone() -> None:
    first = draw_augmentation((0, 0, 99, 77), recipe=TRAIN_RECIPE, generator=generator(1))
    torch.manual_seed(5)
    assert draw_augmentation((0, 0, 99, 77), recipe=TRAIN_RECIPE, generator=generator(1)) == first
    assert draw_augmentation((0, 0, 99, 77), recipe=TRAIN_RECIPE, generator=generator(2)) != first


ADJUST: dict[JitterName, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": tv.adjust_brightness,
    "contrast": tv.adjust_contrast,
    "saturation": tv.adjust_saturation,
    "hue": tv.adjust_hue,
}


@pytest.mark.parametrize(
    "jitter",
    [
        (("brightness", 1.3),),
        (("contrast", 0.7),),
        (("saturation", 1.4),),
        (("hue", 0.09),),
        (("hue", -0.09),),
        (("hue", 0.05), ("contrast", 1.2), ("brightness", 0.8), ("saturation", 0.6)),
    ],
)
def test_colour_changes_equal_torchvisions(photo: Image.Image, jitter: tuple[tuple[JitterName, float], ...]) -> None:
    drawn = Augmentation(crop_xyxy=(10, 5, 100, 80), jitter=jitter)
    expected = tv.resized_crop(photo, 5, 10, 75, 90, [SIZE, SIZE])
    for name, amount in jitter:
        expected = ADJUST[name](expected, amount)
    found = apply_augmentation(photo_of(photo), drawn, size=SIZE)
    # The hue goes through 8 bits in Pillow and not here; a factor above 1 multiplies the one level of the resizing.
    turned = any(name == "hue" for name, _ in jitter)
    assert_levels_near(found, tv.pil_to_tensor(expected), mean=0.6 if turned else 0.1, largest=8 if turned else 2)


@pytest.mark.parametrize("amount", [0.0, 0.003, -0.003])
def test_a_hue_that_turns_by_less_than_a_step_keeps_every_colour(photo: Image.Image, amount: float) -> None:
    plain = Augmentation(crop_xyxy=(10, 5, 100, 80))
    turned = Augmentation(crop_xyxy=(10, 5, 100, 80), jitter=(("hue", amount),))
    same = photo_of(photo)
    assert torch.equal(apply_augmentation(same, turned, size=SIZE), apply_augmentation(same, plain, size=SIZE))


def test_grey_blur_and_flip_come_after_colour_in_this_order(photo: Image.Image) -> None:
    drawn = Augmentation(crop_xyxy=(0, 0, 60, 60), jitter=(("hue", 0.1),), grey=True, blur_sigma_px=1.7, flip=True)
    expected = tv.adjust_hue(tv.resized_crop(photo, 0, 0, 60, 60, [SIZE, SIZE]), 0.1)
    expected = tv.to_grayscale(expected, num_output_channels=3).filter(ImageFilter.GaussianBlur(1.7))
    found = apply_augmentation(photo_of(photo), drawn, size=SIZE)
    assert_levels_near(found, tv.pil_to_tensor(tv.hflip(expected)), mean=0.7, largest=3)


def test_a_crop_sees_nothing_beyond_its_border() -> None:
    photo = Image.new("RGB", (100, 100), (255, 0, 0))
    photo.paste((0, 0, 255), (20, 30, 80, 90))
    view = apply_augmentation(photo_of(photo), Augmentation(crop_xyxy=(20, 30, 80, 90)), size=16)
    assert (view.shape, view.dtype) == ((3, 16, 16), torch.uint8)
    assert torch.equal(view.amax(dim=(1, 2)), torch.tensor([0, 0, 255], dtype=torch.uint8))


@pytest.mark.parametrize("size", [32, 33, 224])
def test_the_fixed_view_is_the_centre_of_eight_sevenths(photo: Image.Image, size: int) -> None:
    side = round(size * 8 / 7)
    whole = tv.resize(photo.crop((10, 10, 110, 80)), [side, side])
    expected = tv.pil_to_tensor(tv.center_crop(whole, [size, size]))
    found = fixed_view(photo_of(photo), (10, 10, 110, 80), size=size, fit="center-crop")
    assert_levels_near(found, expected, mean=0.05, largest=1)


def test_the_squeezed_view_keeps_the_corners(photo: Image.Image) -> None:
    expected = tv.pil_to_tensor(tv.resize(photo, [SIZE, SIZE]))
    found = fixed_view(photo_of(photo), (0, 0, 120, 90), size=SIZE, fit="squeeze")
    assert_levels_near(found, expected, mean=0.05, largest=1)
