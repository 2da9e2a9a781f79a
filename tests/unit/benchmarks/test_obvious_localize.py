"""Our localizer and the obvious one find the same, photograph by photograph."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.obvious import localize as obvious
from leadpp.config import build_config
from leadpp.data.boxes import read_boxes
from leadpp.data.index import ImageIndex, open_data
from leadpp.models.backbone import Backbone, create_backbone
from leadpp.models.localizer import Localizer
from leadpp.stages.localize import localize

SIZE = 96


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return create_backbone("test_resnet", pretrained=False).double()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ImageIndex:
    """Bright rectangles of many places and sizes on noise, of which some are so large that no candidate is valid."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(24):
        rng = np.random.default_rng(number)
        width, height = (int(side) for side in rng.integers(60, 200, 2))
        pixels = rng.integers(0, 120, (height, width, 3))
        x, y = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
        w, h = int(rng.integers(8, width - x + 1)), int(rng.integers(8, height - y + 1))
        pixels[y : y + h, x : x + w] += 130
        path = folder / ("train", "test")[number % 3 == 0] / "a" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return open_data(folder, seed=0)


def read_picture(path: Path, size: int) -> torch.Tensor:
    """Squeeze as the package does: its resize and Pillow's are up to one level apart, which is not the matter here."""
    with Image.open(path) as photo:
        levels = torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1)[None]
    return torch.nn.functional.interpolate(levels, (size, size), mode="bilinear", antialias=True)


def test_direction_and_boxes_are_the_same(
    backbone: Backbone, index: ImageIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obvious, "read_picture", read_picture)
    settings = {"size": SIZE, "batch_size": 5, "form": "search", "policy": "tight", "sign_rule": "loading"}
    config = build_config(
        {"localize": {**settings, "keep_gb": 0.0}, "input": {"workers": 0}, "train": {"device": "cpu"}}
    )
    localize(index=index, run=tmp_path, config=config, backbone=backbone)
    (ours,) = Localizer.load(tmp_path / "localizer.safetensors", backbone=backbone).directions_

    fitted = obvious.fit([index.root / each.path for each in index.usable("train")], backbone, size=SIZE)
    assert float(np.abs(fitted.direction - ours.vector.numpy()).max()) < 1e-8
    assert float(np.abs(fitted.mean - ours.mean.numpy()).max()) < 1e-8
    given = dataclasses.replace(fitted, mean=ours.mean.numpy(), direction=ours.vector.numpy())
    expected = [obvious.find_box(index.root / each.path, backbone, given, size=SIZE) for each in index.usable()]
    boxes = read_boxes(tmp_path / "boxes.parquet", index.usable())
    assert boxes.crop_xyxy.tolist() == [list(box) for box in expected]
    assert len(set(expected)) > 20
