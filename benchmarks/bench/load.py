"""Loading a training sample: four views of one photograph, on one core."""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.bench.case import Case, Setup, Work
from benchmarks.obvious.load import load_sample, make_augmentation
from leadpp.data.cache import PhotoCache
from leadpp.data.records import ImageRecord
from leadpp.data.transforms import TRAIN_RECIPE
from leadpp.data.views import SampleKey, ViewSet

_SIZE, _QUALITY, _FINEST_PX, _CONTRAST = 224, 90, 4, 12.0
_Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Photographs:
    """JPEG files in a folder that goes with the process, all of one size and with one object box."""

    folder: "tempfile.TemporaryDirectory[str]"
    names: tuple[str, ...]
    width_px: int
    height_px: int

    @property
    def box_xyxy(self) -> _Box:
        """A square of three quarters of the height, where a bird would be."""
        left, top, side = self.width_px // 6, self.height_px // 8, self.height_px * 3 // 4
        return left, top, left + side, top + side

    def views(self) -> ViewSet:
        """Return our way to the views."""
        records = [
            ImageRecord(
                path=name, label=None, split="train", width_px=self.width_px, height_px=self.height_px, checksum=""
            )
            for name in self.names
        ]
        boxes = torch.tensor([self.box_xyxy] * len(records))
        return ViewSet(
            records, root=Path(self.folder.name), size=_SIZE, seed=0, crop_boxes_xyxy=boxes, recipe=TRAIN_RECIPE
        )


def load(*, quick: bool) -> Case:
    """Make the case of small photographs that are decoded every time."""
    return _case("load", width_px=500, height_px=400, items=100 if quick else 400, target=2.5)


def load_large(*, quick: bool) -> Case:
    """Make the case of large photographs that are decoded every time."""
    return _case("load_large", width_px=2000, height_px=1500, items=32 if quick else 120, target=6.0)


def load_cached(*, quick: bool) -> Case:
    """Make the case of small photographs that are decoded already."""

    def fill(views: ViewSet) -> None:
        views.keep(PhotoCache(views.records, views.lasting_scales(), kind="ram", folder=views.root))
        for place in range(len(views)):
            views[SampleKey(0, place)]

    items, words = 100 if quick else 400, " Our cache of decoded photographs is filled."
    return _case("load_cached", width_px=500, height_px=400, items=items, target=3.0, prepare=fill, words=words)


def draw_photograph(width_px: int, height_px: int, rng: np.random.Generator) -> Image.Image:
    """Draw a picture with the spectrum of photographs: every octave of wavelengths down to 4 px has equal contrast."""
    levels = np.full((height_px, width_px, 3), 128.0, np.float32)
    cells = 2
    while cells <= max(width_px, height_px) * 2 // _FINEST_PX:
        rows = max(2, round(cells * height_px / max(width_px, height_px)))
        # Half of the contrast is the same in all channels: photographs are greyer than noise.
        grey, coloured = rng.normal(size=(rows, cells, 1)), rng.normal(size=(rows, cells, 3))
        field = (_CONTRAST * (grey + coloured / 2)).astype(np.float32)
        for channel in range(3):
            plane = Image.fromarray(np.ascontiguousarray(field[..., channel]))
            levels[..., channel] += np.asarray(plane.resize((width_px, height_px), Image.Resampling.BICUBIC))
        cells *= 2
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


@functools.cache
def _photographs(width_px: int, height_px: int, count: int) -> _Photographs:
    folder = tempfile.TemporaryDirectory(prefix="leadpp-load-")
    rng = np.random.default_rng(0)
    names = tuple(f"{number}.jpg" for number in range(count))
    for name in names:
        draw_photograph(width_px, height_px, rng).save(Path(folder.name) / name, quality=_QUALITY)
    return _Photographs(folder, names, width_px, height_px)


def _case(
    name: str,
    *,
    width_px: int,
    height_px: int,
    items: int,
    target: float,
    prepare: Callable[[ViewSet], None] | None = None,
    words: str = "",
) -> Case:
    make = functools.partial(_photographs, width_px, height_px, 4 if width_px > 1000 else 16)

    def obvious() -> Work:
        files = make()
        paths = [Path(files.folder.name) / file for file in files.names]
        augment = make_augmentation(_SIZE)
        torch.manual_seed(0)

        def work() -> None:
            with _OneThread():
                for place in range(items):
                    load_sample(paths[place % len(paths)], files.box_xyxy, augment)

        return work

    def fast() -> Work:
        views = make().views()
        if prepare is not None:
            prepare(views)

        def work() -> None:
            with _OneThread():
                for place in range(items):
                    views[SampleKey(place, place % len(views))]

        return work

    setups: tuple[Setup, Setup] = (obvious, fast)
    return Case(
        name=name,
        protocol=(
            f"{items} samples of four {_SIZE} px views (recipe of MoCo v2), from JPEG files of {width_px} x "
            f"{height_px} px, quality {_QUALITY}, drawn with the spectrum of photographs; one core. The "
            "obvious way: Pillow and torchvision, one view at a time, normalised floats. Ours: bytes, which the "
            f"network normalises.{words}"
        ),
        items=items,
        obvious=setups[0],
        fast=setups[1],
        target=target,
    )


class _OneThread:
    """Has torch compute with one thread, as in a reading process."""

    def __enter__(self) -> None:
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._threads)
