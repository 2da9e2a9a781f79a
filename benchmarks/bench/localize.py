"""Boxing photographs, the fit included."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.bench.case import Case, Work
from leadpp.config import build_config
from leadpp.data.index import open_data
from leadpp.models.backbone import Backbone, create_backbone
from leadpp.stages.localize import localize as localize_stage

_WIDTH, _HEIGHT = 500, 375


def localize(*, quick: bool) -> Case:
    """Fit on half of the photographs and find the object in all of them."""
    size, count = (224, 24) if quick else (448, 32)
    protocol = (
        f"{count} generated JPEGs of {_WIDTH} x {_HEIGHT}, half of them for training; ResNet-50 with random weights, "
        f"{size} px, last stage, search over five cut rates. One call fits and boxes all of them, from the files on: "
        "ours is the whole stage (index given, one reading process, files written), with its default batch."
    )
    return Case(
        name="localize",
        protocol=protocol,
        items=count,
        obvious=lambda: _obvious(count, size=size),
        fast=lambda: _fast(count, size=size),
        target=5.0,
        peak_target_mb=1200.0,
    )


def _obvious(count: int, *, size: int) -> Work:
    from benchmarks.obvious.localize import find_box, fit  # here: scikit-learn is no part of the other side

    data = tempfile.TemporaryDirectory()
    train, test = write_photographs(Path(data.name), count)
    backbone = _resnet()
    resnet = backbone.to(memory_format=torch.contiguous_format).network

    def network(picture: Tensor) -> Tensor:
        return resnet.forward_features((picture / 255 - backbone.mean) / backbone.std)

    def work() -> object:
        fitted = fit(train, network, size=size)
        return data, [find_box(path, network, fitted, size=size) for path in (*train, *test)]

    return work


def _fast(count: int, *, size: int) -> Work:
    data, run = tempfile.TemporaryDirectory(), tempfile.TemporaryDirectory()
    write_photographs(Path(data.name), count)
    index = open_data(Path(data.name), seed=0)
    settings = {"size": size, "stages": 1, "form": "search"}
    config = build_config({"localize": settings, "train": {"device": "cpu"}})
    backbone = _resnet()

    def work() -> object:
        return data, localize_stage(index=index, run=Path(run.name), config=config, backbone=backbone)

    return work


def write_photographs(folder: Path, count: int) -> tuple[list[Path], list[Path]]:
    """Write smooth grounds with a rough ellipse on each, by turns for training and for test; return both."""
    paths: dict[str, list[Path]] = {"train": [], "test": []}
    for number in range(count):
        split = ("train", "test")[number % 2]
        path = folder / split / "thing" / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        _photograph(number).save(path, quality=90)
        paths[split].append(path)
    return paths["train"], paths["test"]


def _photograph(number: int) -> Image.Image:
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(90, 170, (3, 4, 3), dtype=np.uint8))
    pixels = np.array(coarse.resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC), dtype=np.int64)
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    inside = ((x - rng.integers(150, 350)) / 110) ** 2 + ((y - rng.integers(110, 260)) / 80) ** 2 < 1
    pixels[inside] += rng.integers(-90, 90, (int(inside.sum()), 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _resnet() -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create_backbone("resnet50", pretrained=False)
