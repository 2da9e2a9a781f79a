"""The obvious way's views and ours are of one law: the same kind of picture, with the same averages over many draws."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.bench.case import Case
from benchmarks.bench.load import draw_photograph, load, load_cached, load_large
from benchmarks.obvious.load import load_sample, make_augmentation
from leadpp.data.records import ImageRecord
from leadpp.data.views import SampleKey, ViewSet
from leadpp.functional.objective import VIEW_NAMES

SIZE, DRAWS, BOX = 24, 300, (20, 10, 70, 60)
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def traits(views: list[torch.Tensor]) -> dict[str, float]:
    """Average what an augmentation changes: light, contrast, colour, sharpness and how often there is no colour."""
    pictures = torch.stack(views)
    colour = pictures.amax(dim=1) - pictures.amin(dim=1)
    return {
        "light": pictures.mean().item(),
        "contrast": pictures.std(dim=(1, 2, 3)).mean().item(),
        "colour": colour.mean().item(),
        "sharpness": pictures.diff(dim=-1).abs().mean().item(),
        "grey": (colour.amax(dim=(1, 2)) < 2).float().mean().item(),
    }


def levels_of(view: torch.Tensor) -> torch.Tensor:
    return (view * STD.view(3, 1, 1) + MEAN.view(3, 1, 1)) * 255


def test_both_ways_make_views_of_one_law(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    draw_photograph(90, 70, np.random.default_rng(0)).save(path, quality=95)
    record = ImageRecord(path="a.jpg", label=None, split="train", width_px=90, height_px=70, checksum="")
    ours = ViewSet([record], root=tmp_path, size=SIZE, seed=0, crop_boxes_xyxy=torch.tensor([BOX]))
    augment = make_augmentation(SIZE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        obvious = [load_sample(path, BOX, augment) for _ in range(DRAWS)]
    fast = [ours[SampleKey(epoch, 0)] for epoch in range(DRAWS)]
    for part in ("global", "object"):
        names = [name for name in VIEW_NAMES if name.startswith(part)]
        expected = traits([levels_of(one[name]) for one in obvious for name in names])
        found = traits([one[name].float() for one in fast for name in names])
        for trait in ("light", "contrast", "colour", "sharpness"):
            assert found[trait] == pytest.approx(expected[trait], rel=0.1), (part, trait)
        assert found["grey"] == pytest.approx(expected["grey"], abs=0.06), part


@pytest.mark.parametrize(("make", "target"), [(load, 2.5), (load_cached, 3.0), (load_large, 6.0)])
def test_cases_ask_for_what_was_promised(make: Callable[..., Case], target: float) -> None:
    for quick in (True, False):
        case = make(quick=quick)
        assert case.name == make.__name__
        assert case.target == target
