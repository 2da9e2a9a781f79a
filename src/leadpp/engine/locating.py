"""Where objects are: pictures are read, a fitted localizer makes maps of them, and boxes are gathered from the maps."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from leadpp.data.index import ImageRecord
from leadpp.data.views import EvalSet, eval_loader
from leadpp.engine.runtime import Progress
from leadpp.functional.boxes import CropPolicy, policy_boxes
from leadpp.functional.part import ObjectBox
from leadpp.models.localizer import Localizer, Location

_FEW = 16
"""Up to so many photographs are read in this process: others would take longer to start."""
_SIDE = 448
_PICTURES = 64
"""Pictures of that side which an accelerator is given at once; smaller ones by as many more as they are smaller."""

Indicators = tuple[Tensor, Sequence[ImageRecord]]
"""Indicator maps (B, h, w) on the device, and their photographs."""
ObjectBoxes = tuple[ObjectBox, ObjectBox]
"""The rectangle of the part, and the box that crops are made from."""


@dataclass(frozen=True, kw_only=True)
class FoundBoxes:
    """What was found in all photographs of an index, in index order."""

    object_xyxy: Tensor
    crop_xyxy: Tensor
    score: tuple[float, ...]
    area_frac: tuple[float, ...]
    fallback: tuple[bool, ...]


@dataclass(frozen=True, kw_only=True)
class BoxReader:
    """Reads squeezed pictures on to the device."""

    root: Path
    asked: int
    workers: int
    device: torch.device

    def batch_size(self, size: int) -> int:
        """Return how many pictures of a size go through the network together."""
        # One for each thread of a processor is enough to keep it busy: more cost memory, and cache misses.
        pictures = max(2, torch.get_num_threads()) if self.device.type == "cpu" else _PICTURES
        return self.asked or max(1, pictures * _SIDE**2 // size**2)

    def batches(self, records: Sequence[ImageRecord], *, size: int) -> Iterator[tuple[Tensor, list[ImageRecord]]]:
        """Yield pictures, uint8 (B, 3, size, size), and their records, in order."""
        samples = EvalSet(records, root=self.root, size=size, fit="squeeze")
        workers = self.workers if len(records) > _FEW else 0
        pin = self.device.type == "cuda"
        for batch in eval_loader(samples, batch_size=self.batch_size(size), workers=workers, pin_memory=pin):
            images = batch["image"].to(self.device, non_blocking=pin)
            yield images, [records[place] for place in batch["index"].tolist()]


def find_boxes(
    localizer: Localizer, records: Sequence[ImageRecord], reader: BoxReader, *, policy: CropPolicy, progress: Progress
) -> FoundBoxes:
    """Find the object of every photograph with a localizer that was fitted on others.

    Args:
        localizer: Fitted, its network on the reader's device.
        records: Usable photographs, at least one.
        reader: Reads them.
        policy: How object boxes become crop boxes.
        progress: Shows how far it is.

    Raises:
        DataError: A photograph cannot be read any more.
    """
    total = math.ceil(len(records) / reader.batch_size(localizer.settings.size))
    batches = computed_indicators(localizer, records, reader)
    tracked = progress.track(batches, total=total, what="finding objects", unit="batches")
    boxes = [(location.part, location.chosen) for _, location in located(localizer, tracked)]
    return gather_boxes(boxes, records, policy=policy)


def computed_indicators(
    localizer: Localizer, records: Sequence[ImageRecord], reader: BoxReader
) -> Iterator[Indicators]:
    """Yield the indicator maps of photographs, batch by batch, in order."""
    for images, some in reader.batches(records, size=localizer.settings.size) if records else ():
        yield localizer.indicators(images), some


def located(localizer: Localizer, batches: Iterator[Indicators]) -> Iterator[tuple[ImageRecord, Location]]:
    """Find the boxes of a batch while the device is at work on the next one."""
    batch = next(batches, None)
    while batch is not None:
        indicators, some = batch[0].cpu(), batch[1]
        batch = next(batches, None)
        sizes = {"widths_px": [r.width_px for r in some], "heights_px": [r.height_px for r in some]}
        yield from zip(some, localizer.locate(indicators, **sizes), strict=True)


def gather_boxes(boxes: Sequence[ObjectBoxes], records: Sequence[ImageRecord], *, policy: CropPolicy) -> FoundBoxes:
    """Put the boxes of photographs together, and make the crop boxes of them."""
    chosen = [each for _, each in boxes]
    return FoundBoxes(
        object_xyxy=torch.tensor([part.box_xyxy for part, _ in boxes]),
        crop_xyxy=policy_boxes(
            torch.tensor([box.box_xyxy for box in chosen]),
            policy=policy,
            height_px=torch.tensor([record.height_px for record in records]),
            width_px=torch.tensor([record.width_px for record in records]),
        ),
        score=tuple(box.score for box in chosen),
        area_frac=tuple(box.area_frac for box in chosen),
        fallback=tuple(box.fallback for box in chosen),
    )
