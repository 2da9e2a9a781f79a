"""Where objects are: pictures are read, a fitted localizer makes maps of them, and boxes are gathered from the maps."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from leadpp.data.index import ImageRecord
from leadpp.data.views import EvalSet, eval_loader
from leadpp.distributed.ranks import Ranks
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
    threads: int = field(default_factory=torch.get_num_threads)
    """Threads of a processor that is to be kept busy; for the same batches in all processes, those of the first."""

    def batch_size(self, size: int) -> int:
        """Return how many pictures of a size go through the network together."""
        # One for each thread of a processor is enough to keep it busy: more cost memory, and cache misses.
        pictures = max(2, self.threads) if self.device.type == "cpu" else _PICTURES
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
        object_xyxy=_sides(part for part, _ in boxes),
        crop_xyxy=policy_boxes(
            _sides(chosen),
            policy=policy,
            height_px=torch.tensor([record.height_px for record in records]),
            width_px=torch.tensor([record.width_px for record in records]),
        ),
        score=tuple(box.score for box in chosen),
        area_frac=tuple(box.area_frac for box in chosen),
        fallback=tuple(box.fallback for box in chosen),
    )


def collect_boxes(found: FoundBoxes, places: Sequence[int], *, ranks: Ranks) -> FoundBoxes:
    """Bring the boxes of all processes to the first.

    Args:
        found: Boxes of this process's photographs.
        places: The places of these photographs among those of all processes, ascending.
        ranks: This process.

    Returns:
        Boxes in the order of their places: at the first process all, at the others their own.
    """
    if ranks.alone:
        return found
    facts = torch.tensor([places, found.score, found.area_frac, found.fallback], dtype=torch.float64).T
    table = torch.cat([facts, found.object_xyxy.double(), found.crop_xyxy.double()], dim=1)  # float64 loses no bit
    counts = ranks.everyones(len(table))
    if ranks.leads:
        table = torch.cat([table, table.new_empty(sum(counts[1:]), table.shape[1])])
    ranks.collect(table, counts)
    table = table[table[:, 0].argsort()]
    return FoundBoxes(
        object_xyxy=table[:, 4:8].long(),
        crop_xyxy=table[:, 8:].long(),
        score=tuple(table[:, 1].tolist()),
        area_frac=tuple(table[:, 2].tolist()),
        fallback=tuple(table[:, 3].bool().tolist()),
    )


def _sides(boxes: Iterable[ObjectBox]) -> Tensor:
    """Sides of boxes, int64 (N, 4)."""
    return torch.tensor([box.box_xyxy for box in boxes], dtype=torch.int64).view(-1, 4)
