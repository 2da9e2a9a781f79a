"""Many pictures at once against one after another, and no look at what the device holds."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from leadpp.functional.blur import blur, box_radius
from leadpp.functional.changes import JITTERS, WIDTH, apply_changes, encode_changes
from leadpp.functional.colour import take_colour_away

SIGMAS = (0.0, 0.4, 1.8)


def pictures(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 20, 20), generator=generator, dtype=torch.uint8)


def all_orders() -> list[tuple[tuple[str, float], ...]]:
    amounts = {"brightness": 1.3, "contrast": 0.7, "saturation": 1.4, "hue": -0.08}
    return [tuple((name, amounts[name]) for name in order) for order in itertools.permutations(amounts)]


def one_by_one(
    picture: Tensor, jitter: tuple[tuple[str, float], ...], *, grey: bool, sigma: float, flip: bool
) -> Tensor:
    levels = picture.unsqueeze(0).float()
    for name, amount in jitter:
        levels = JITTERS[name](levels, amount)
    levels = take_colour_away(levels) if grey else levels
    if sigma > 0:
        radius = box_radius(sigma)
        levels = blur(levels, torch.tensor([radius]), reach_px=math.ceil(radius))
    return (levels.flip(-1) if flip else levels)[0].to(torch.uint8)


def test_every_picture_of_a_batch_has_its_own_changes_in_its_own_order() -> None:
    orders = [*all_orders(), (), (("hue", 0.1),), (("contrast", 0.5), ("brightness", 1.2))]
    flags = [(n % 5 == 0, SIGMAS[n % 3], n % 2 == 0) for n in range(len(orders))]
    batch = pictures(len(orders))
    rows = torch.stack(
        [
            encode_changes(order, grey=grey, blur_sigma_px=sigma, flip=flip)
            for order, (grey, sigma, flip) in zip(orders, flags, strict=True)
        ]
    )
    before = batch.clone()
    found = apply_changes(batch, rows)
    assert torch.equal(batch, before)
    assert found.dtype == torch.uint8
    for place, (order, (grey, sigma, flip)) in enumerate(zip(orders, flags, strict=True)):
        expected = one_by_one(batch[place], order, grey=grey, sigma=sigma, flip=flip)
        assert torch.equal(found[place], expected), (order, grey, sigma, flip)


def test_a_picture_does_not_depend_on_its_batch() -> None:
    orders = all_orders()
    rows = torch.stack(
        [encode_changes(order, grey=False, blur_sigma_px=SIGMAS[n % 3], flip=False) for n, order in enumerate(orders)]
    )
    batch = pictures(len(orders))
    order = torch.randperm(len(orders), generator=torch.Generator().manual_seed(1))
    assert torch.equal(apply_changes(batch[order], rows[order]), apply_changes(batch, rows)[order])
    assert torch.equal(apply_changes(batch[3:4], rows[3:4]), apply_changes(batch, rows)[3:4])


def test_no_changes_change_nothing() -> None:
    nothing = encode_changes((), grey=False, blur_sigma_px=0.0, flip=False)
    assert torch.equal(nothing, torch.zeros(WIDTH))
    assert torch.equal(apply_changes(pictures(2), nothing.expand(2, -1)), pictures(2))


def test_the_levels_are_never_asked_for() -> None:
    # A meta tensor has no levels: any look at them, such as .item(), or a shape that depends on them, is an error.
    rows = torch.stack([encode_changes(order, grey=True, blur_sigma_px=1.1, flip=True) for order in all_orders()])
    found = apply_changes(pictures(len(rows)).to("meta"), rows)
    assert (found.shape, found.dtype, found.device.type) == ((24, 3, 20, 20), torch.uint8, "meta")
    with pytest.raises((RuntimeError, NotImplementedError)):
        found.sum().item()
