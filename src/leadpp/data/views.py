"""Datasets and loaders of views: every view is a function of (seed, purpose, epoch, sample), whoever reads it.

Views are uint8; each network normalises for itself, on its own device.
"""

import contextlib
import copy
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from leadpp.data.cache import PhotoCache
from leadpp.data.index import ImageRecord
from leadpp.data.photo import Box, Photo, sufficient_scale
from leadpp.data.reading import read_photo
from leadpp.data.transforms import (
    PROBE_RECIPE,
    TRAIN_RECIPE,
    Augmentation,
    Fit,
    Recipe,
    apply_augmentation,
    changes_of,
    draw_augmentation,
    fixed_view,
    least_crop_side,
    squeezed_side,
)
from leadpp.errors import DataError
from leadpp.functional.changes import apply_changes
from leadpp.functional.objective import VIEW_NAMES, ViewName
from leadpp.functional.randomness import generator_for

Batch = dict[str, Tensor]
"""Views by name, uint8 (B, 3, S, S), and ``index``, the samples' places among the records, int64 (B,).

Views that :func:`finish_views` has yet to finish come with ``changes``, float32 (B, views, WIDTH): the parameters of
each view there is, in the order of ``VIEW_NAMES``.
"""
CHANGES = "changes"
_ALL = slice(None)
_GRACE_S = 30
"""How long a reading process lives on after SIGTERM, so that its parent can finish a step."""


@dataclass(frozen=True, slots=True)
class SampleKey:
    """What one sample of training is a function of, besides the seed."""

    epoch: int
    """Pass over the photographs, from 0."""
    index: int
    """Place of the photograph among the records."""


class Samples(Sized, Protocol):
    """A dataset of this module."""

    def __getitem__(self, key: Any, /) -> Batch:  # noqa: ANN401 - sampled by keys or by numbers
        """Return one sample."""
        ...


class ViewSet(Dataset[Batch]):
    """The views of a photograph that the student learns from: two of the whole, two of the object.

    Each photograph is decoded once a sample. A view depends on (seed, epoch, sample, name) alone: not on the number
    of workers, and not on which other views are wanted.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        *,
        root: Path,
        size: int,
        seed: int,
        crop_boxes_xyxy: Tensor | None = None,
        views: Sequence[ViewName] = VIEW_NAMES,
        recipe: Recipe = TRAIN_RECIPE,
        finished: bool = True,
        replayed: Mapping[ViewName, int] = MappingProxyType({}),
    ) -> None:
        """Hold what samples are made of.

        Args:
            records: Usable records; a sample's index is its place here.
            root: Folder that the records' paths start from.
            size: Side S of the views in pixels.
            seed: The run's seed.
            crop_boxes_xyxy: What object views are cut from, half-open integers, shape (N, 4); without boxes object
                views see the whole photograph.
            views: Which views to make.
            recipe: From what the parameters of the views are drawn.
            finished: Whether views are finished here; if not, they are cut and resized, and their ``changes`` are left
                to :func:`finish_views`.
            replayed: Views whose draws begin again after so many epochs: in epoch e they are those of epoch e mod K.

        Raises:
            DataError: A box is empty or leaves its photograph.
        """
        self.records = tuple(records)
        self.root, self.size, self.seed, self.views = root, size, seed, tuple(views)
        self.recipe, self.finished, self.replayed = recipe, finished, dict(replayed)
        self.cache: PhotoCache | None = None
        self._whole = _regions(self.records, None)
        self._object = _regions(self.records, crop_boxes_xyxy)

    def __len__(self) -> int:
        return len(self.records)

    def draw(self, key: SampleKey) -> dict[ViewName, Augmentation]:
        """Return the parameters of the views of a sample, without reading it."""
        return {name: self._draw(key, name) for name in self.views}

    def __getitem__(self, key: SampleKey) -> Batch:
        """Return the views, uint8 (3, S, S) each, and ``index``; ``changes`` too where views are not finished."""
        # All four are drawn, so that no view depends on which others are wanted, not even by the scale.
        drawn = {name: self._draw(key, name) for name in VIEW_NAMES}
        photo = self._read(key.index, drawn.values())
        index = torch.tensor(key.index)
        if self.finished:
            views: Batch = {name: apply_augmentation(photo, drawn[name], size=self.size) for name in self.views}
            return {**views, "index": index}
        names = [name for name in VIEW_NAMES if name in self.views]
        parts: Batch = {name: photo.square(drawn[name].crop_xyxy, side_px=self.size, snap=True) for name in names}
        return {**parts, CHANGES: torch.stack([changes_of(drawn[name]) for name in names]), "index": index}

    def only(self, view: ViewName) -> "ViewSet":
        """Return the same samples with one view alone, finished; it shares the cache."""
        alone = copy.copy(self)
        alone.views, alone.finished = (view,), True
        return alone

    def lasting_scales(self) -> list[int]:
        """Return by how much each photograph can be reduced, whatever is drawn: what a cache may keep."""
        pairs = zip(self._whole, self._object, strict=True)
        sides = [min(least_crop_side(region, recipe=self.recipe) for region in pair) for pair in pairs]
        scales = [sufficient_scale([(0, 0, side, side)], side_px=self.size) for side in sides]
        return [max(pair) for pair in zip(scales, (record.least_scale for record in self.records), strict=True)]

    def keep(self, cache: PhotoCache) -> None:
        """Read photographs from a cache of the records' at :meth:`lasting_scales`, and store there what it lacks."""
        self.cache = cache

    def _read(self, index: int, drawn: Iterable[Augmentation]) -> Photo:
        scale = self.cache.scale(index) if self.cache is not None else None
        if self.cache is None or scale is None:
            scale = sufficient_scale((one.crop_xyxy for one in drawn), side_px=self.size)
            return read_photo(self.records[index], root=self.root, scale=scale)
        photo = self.cache.read(index)
        if photo is None:
            photo = read_photo(self.records[index], root=self.root, scale=scale)
            self.cache.write(index, photo)
        return photo

    def _draw(self, key: SampleKey, name: ViewName) -> Augmentation:
        regions = self._object if name.startswith("object") else self._whole
        epoch = key.epoch % self.replayed[name] if name in self.replayed else key.epoch
        generator = generator_for(self.seed, "views", epoch, key.index, VIEW_NAMES.index(name))
        return draw_augmentation(regions[key.index], recipe=self.recipe, generator=generator)


class EvalSet(Dataset[Batch]):
    """The one fixed view of each photograph, or of its crop box: ``image`` and ``index``."""

    def __init__(
        self,
        records: Sequence[ImageRecord],
        *,
        root: Path,
        size: int,
        fit: Fit,
        crop_boxes_xyxy: Tensor | None = None,
    ) -> None:
        """Hold what the views are made of; see :class:`ViewSet`, and :func:`fixed_view` for ``fit``."""
        self.records = tuple(records)
        self.root, self.size, self.fit = root, size, fit
        self._regions = _regions(self.records, crop_boxes_xyxy)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Batch:
        """Return ``image``, uint8 (3, S, S), and ``index``."""
        region = self._regions[index]
        scale = sufficient_scale([region], side_px=squeezed_side(self.size, fit=self.fit))
        photo = read_photo(self.records[index], root=self.root, scale=scale)
        view = fixed_view(photo, region, size=self.size, fit=self.fit)
        return {"image": view, "index": torch.tensor(index)}


class ProbeSet(Dataset[Batch]):
    """The random view of each photograph that has one number: crop and flip, as the linear probe is trained on."""

    def __init__(
        self,
        records: Sequence[ImageRecord],
        *,
        root: Path,
        size: int,
        seed: int,
        view: int,
        crop_boxes_xyxy: Tensor | None = None,
    ) -> None:
        """Hold what the views are made of; see :class:`ViewSet`. Another ``view`` number is another draw."""
        self.records = tuple(records)
        self.root, self.size, self.seed, self.view = root, size, seed, view
        self._regions = _regions(self.records, crop_boxes_xyxy)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Batch:
        """Return ``image``, uint8 (3, S, S), and ``index``."""
        generator = generator_for(self.seed, "probe", self.view, index)
        drawn = draw_augmentation(self._regions[index], recipe=PROBE_RECIPE, generator=generator)
        scale = sufficient_scale([drawn.crop_xyxy], side_px=self.size)
        photo = read_photo(self.records[index], root=self.root, scale=scale)
        return {"image": apply_augmentation(photo, drawn, size=self.size), "index": torch.tensor(index)}


def finish_views(
    batch: Mapping[str, Tensor], names: Iterable[ViewName], device: torch.device
) -> dict[ViewName, Tensor]:
    """Bring views of a batch to a device, and finish there what readers have left undone.

    Args:
        batch: As a loader yields it.
        names: Which views are wanted.
        device: Where they shall be.

    Returns:
        The views by name, uint8 (B, 3, S, S).
    """
    wanted = list(names)
    views = {name: batch[name].to(device, non_blocking=True) for name in wanted}
    if CHANGES not in batch:
        return views
    there = [name for name in VIEW_NAMES if name in batch]
    changes = batch[CHANGES][:, [there.index(name) for name in wanted]].transpose(0, 1).flatten(0, 1)
    pictures = torch.cat(list(views.values()))
    if pictures.device.type == "cpu":  # one after another stay in its caches: three times faster than all at once
        ones = [apply_changes(pictures[n : n + 1], changes[n : n + 1]) for n in range(len(pictures))]
        finished = torch.cat(ones)
    else:
        finished = apply_changes(pictures, changes)
    return dict(zip(wanted, finished.chunk(len(wanted)), strict=True))


class EpochSampler(Sampler[list[SampleKey]]):
    """The batches of one epoch, in an order that is a function of (seed, epoch); a last short batch is dropped."""

    def __init__(self, count: int, *, batch_size: int, seed: int, share: slice = _ALL) -> None:
        """Sample ``count`` photographs, from the start of epoch 0; of each batch a share of the rows.

        Raises:
            DataError: There are fewer photographs than one batch holds.
        """
        if count < batch_size:
            raise DataError(
                f"training needs at least one batch of {batch_size} photographs, found {count}; "
                "lower train.batch_size or add photographs"
            )
        self.count, self.batch_size, self.seed, self.share = count, batch_size, seed, share
        self._epoch, self._first = 0, 0

    def start(self, epoch: int, *, first: int = 0) -> None:
        """Choose the epoch, and how many of its batches to leave out."""
        self._epoch, self._first = epoch, first

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, start = self._epoch, self._first
        order: list[int] = torch.randperm(self.count, generator=generator_for(self.seed, "order", epoch)).tolist()
        for batch in range(start, len(self)):
            first = batch * self.batch_size
            yield [SampleKey(epoch, index) for index in order[first : first + self.batch_size][self.share]]


class TrainLoader:
    """Batches of views, epoch by epoch; reading processes are kept between epochs."""

    def __init__(self, loader: DataLoader[Batch], sampler: EpochSampler) -> None:
        self._loader, self._sampler = loader, sampler

    @property
    def batches_per_epoch(self) -> int:
        """Batches in a whole epoch."""
        return len(self._sampler)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch; the first ones may be left out, and are not read then.

        Raises:
            DataError: A photograph cannot be read any more, or a reading process died.
        """
        self._sampler.start(epoch, first=first)
        yield from _checked(self._loader)


class EvalLoader:
    """Batches of an :class:`EvalSet` or :class:`ProbeSet` in the order of its records; the last may be short."""

    def __init__(self, loader: DataLoader[Batch]) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches.

        Raises:
            DataError: A photograph cannot be read any more, or a reading process died.
        """
        yield from _checked(self._loader)


def train_loader(
    views: ViewSet, *, batch_size: int, workers: int = 0, pin_memory: bool = False, share: slice = _ALL
) -> TrainLoader:
    """Make the loader of training.

    Args:
        views: The samples; their seed also decides the order.
        batch_size: B.
        workers: Processes that read; 0 reads in this one. It changes no pixel.
        pin_memory: Page-locked batches, for CUDA.
        share: Which rows of each batch to read; the others are another process's.

    Raises:
        DataError: There are fewer photographs than one batch holds.
    """
    sampler = EpochSampler(len(views), batch_size=batch_size, seed=views.seed, share=share)
    return TrainLoader(_loader(views, workers=workers, pin_memory=pin_memory, batch_sampler=sampler), sampler)


def eval_loader(
    samples: Samples, *, batch_size: int, workers: int = 0, pin_memory: bool = False, share: slice = _ALL
) -> EvalLoader:
    """Make a loader that reads every sample once, in order; ``share`` says which, else as :func:`train_loader`."""
    places = range(len(samples))[share]
    return EvalLoader(_loader(samples, workers=workers, pin_memory=pin_memory, batch_size=batch_size, sampler=places))


class _Unreadable(NamedTuple):
    message: str


class _Guarded(Dataset[Batch | _Unreadable]):
    """Hands a DataError on as a value: torch would turn it into a traceback of many lines between processes."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: SampleKey | int) -> Batch | _Unreadable:
        try:
            return self.samples[key]
        except DataError as error:
            return _Unreadable(str(error))


def _collate(items: list[Batch | _Unreadable]) -> Batch | _Unreadable:
    for item in items:
        if isinstance(item, _Unreadable):
            return item
    batch: Batch = default_collate(items)
    return batch


def _loader(samples: Samples, *, workers: int, pin_memory: bool, **sampling: Any) -> DataLoader[Any]:  # noqa: ANN401
    return DataLoader(
        _Guarded(samples),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        collate_fn=_collate,
        worker_init_fn=_leave_interrupts_alone,
        generator=torch.Generator(),  # else torch draws the workers' seeds from the global generator
        **sampling,
    )


def _checked(loader: DataLoader[Any]) -> Iterator[Batch]:
    try:
        with _interrupts_held():
            batches = iter(loader)
        for batch in batches:
            if isinstance(batch, _Unreadable):
                raise DataError(batch.message)
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise DataError(f"a process that reads photographs died ({reason}); use fewer with input.workers") from error


def _leave_interrupts_alone(worker: int) -> None:
    """Make a reading process ignore the signals that a terminal or a batch system sends to it too: its parent stops it.

    A parent that stops in the middle of a batch leaves a broken connection behind, which is no news to anybody.
    """
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":

        def live_on(*_: object) -> None:
            signal.alarm(_GRACE_S)

        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, live_on)
    usual = sys.excepthook

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, ConnectionError):
            usual(kind, error, trace)

    sys.excepthook = tell


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold signals back while reading processes start: a half-made loader could not be put away cleanly.

    Blocking the signal would not do, because any other thread of this process may receive it in our place.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    held = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in held}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    for number in arrived:
        signal.raise_signal(number)


def _regions(records: Sequence[ImageRecord], boxes_xyxy: Tensor | None) -> list[Box]:
    whole = [(0, 0, record.width_px, record.height_px) for record in records]
    if boxes_xyxy is None:
        return whole
    boxes = [(int(x0), int(y0), int(x1), int(y1)) for x0, y0, x1, y1 in boxes_xyxy.tolist()]
    for record, (x0, y0, x1, y1) in zip(records, boxes, strict=True):
        if not (0 <= x0 < x1 <= record.width_px and 0 <= y0 < y1 <= record.height_px):
            raise DataError(
                f"{record.path}: the crop box {x0}, {y0}, {x1}, {y1} is empty or leaves the photograph of "
                f"{record.width_px} x {record.height_px} pixels; run localize again"
            )
    return boxes
