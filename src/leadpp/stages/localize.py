"""Find the object in every photograph, and measure how well where true boxes are known."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from leadpp.config.tree import Config, LocalizeConfig
from leadpp.data.boxes import read_boxes
from leadpp.data.index import ImageIndex, ImageRecord
from leadpp.data.materialize import target_paths
from leadpp.data.reading import read_photograph
from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.engine.corloc import measure_boxes
from leadpp.engine.determinism import deterministic_if_asked
from leadpp.engine.locating import (
    BoxReader,
    FoundBoxes,
    Indicators,
    ObjectBoxes,
    collect_boxes,
    computed_indicators,
    gather_boxes,
    located,
)
from leadpp.engine.runtime import Progress, SilentProgress, pick_device, worker_count
from leadpp.errors import DataError
from leadpp.functional.boxes import CropPolicy
from leadpp.functional.randomness import generator_for
from leadpp.io.artifacts import replacing, write_table, write_tensors
from leadpp.io.kept import KeptMaps
from leadpp.models.backbone import Backbone, create_backbone
from leadpp.models.localizer import Localizer, LocalizerSettings, Location

LOCALIZER_NAME = "localizer.safetensors"
BOXES_NAME = "boxes.parquet"
INDICATORS_NAME = "indicators.safetensors"

_SAMPLES = 24
_KEEP_FROM = 0.1
"""Share of all photographs from which on the feature maps of the fit are worth keeping."""
_POLICIES: dict[str, CropPolicy] = {"cars": "car", "aircraft": "aircraft"}
_SIDES = ("x0", "y0", "x1", "y1")
_JPEG_QUALITY = 95
_JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})


@deterministic_if_asked
def localize(
    *,
    index: ImageIndex,
    run: Path,
    config: Config,
    backbone: Backbone | None = None,
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Fit the localizer, find the object and the crop box in every usable photograph, and write them to the run.

    Writes ``localizer.safetensors``; ``boxes.parquet``, one row per usable photograph in index order, in which
    ``object_*`` is the rectangle of the part, ``crop_*`` what views are cut from, and ``score``, ``area_frac`` and
    ``fallback`` belong to the box that the crop is made from; and ``indicators.safetensors``, indicator maps of a
    sample of photographs for the report. Of several processes each looks at a share of the photographs; all fit one
    localizer on what all have seen, and the first writes.

    Args:
        index: The photographs.
        run: The run folder.
        config: The settings; ``localize``, ``input.workers``, ``train.device`` and ``seed`` are used.
        backbone: The network, if it is there already; otherwise it is created as the settings say.
        progress: Shows how far it is, and warnings.
        ranks: This process among those that localize together.

    Returns:
        JSON-ready: ``images``, ``fallbacks``, ``fit`` (images, sign margins, share of variance explained),
        ``warnings``, ``policy``, ``protocol``; where true boxes are known also ``corloc`` and ``mean_iou`` of the
        object box, ``crop_mean_iou``, and ``baselines``: the same figures of two guesses. Nothing in processes after
        the first.

    Raises:
        DataError: No photographs, or one of them cannot be read any more.
        WeightsError: The network or its weights are not to be had.
        ArtifactError: The disk refused.
    """
    progress = progress or SilentProgress()
    settings = config.localize
    records = index.usable()
    if not records:
        raise DataError(f"{index.root}: no photograph that can be read; nothing to localize")
    reader = BoxReader(
        root=index.root,
        asked=settings.batch_size,
        workers=worker_count(config.input.workers, processes=ranks.local_count),
        device=pick_device(config.train.device),
        threads=ranks.tell(torch.get_num_threads()),
    )
    localizer = Localizer((backbone or create_backbone(settings.backbone)).to(reader.device), _settings(settings))
    work = _Work(localizer=localizer, reader=reader, progress=progress, ranks=ranks)
    sample = fit_records(index, settings, seed=config.seed)
    policy = crop_policy(index, settings)
    sampled = _sample(len(records), seed=config.seed)
    run.mkdir(parents=True, exist_ok=True)
    keeps = settings.keep_gb > 0 and localizer.applies_as_fitted and len(sample) > _KEEP_FROM * len(records)
    # Room is asked for as if this process kept the maps of all, so that several decide as one does.
    room = KeptMaps(run, images=len(sample), most_bytes=settings.keep_gb * 1e9) if keeps else nullcontext()
    with room as kept:
        again = _fit(work, sample, kept)
        for warning in localizer.warnings():
            progress.note(warning)
        found, maps = _apply(work, records, again, policy=policy, sampled=sampled)
    if not ranks.leads:
        return {}
    localizer.save(run / LOCALIZER_NAME, metadata={"data": index.digest(), "policy": policy})
    _write_boxes(run / BOXES_NAME, records, found, policy=policy)
    names = [records[place].path for place in sampled]
    write_tensors(run / INDICATORS_NAME, {"indicators": maps}, kind="indicators", metadata={"paths": names})
    return {
        "images": len(records),
        "fallbacks": sum(found.fallback),
        "policy": policy,
        "fit": _describe_fit(localizer),
        "warnings": localizer.warnings(),
        **measure_boxes(records, found.object_xyxy, found.crop_xyxy),
    }


def crop_policy(index: ImageIndex, settings: LocalizeConfig) -> CropPolicy:
    """Return how object boxes become crop boxes: as set, or for ``auto`` as the reference does for the data set."""
    return _POLICIES.get(index.source, "square") if settings.policy == "auto" else settings.policy


def write_crops(*, index: ImageIndex, run: Path, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Cut the crop box out of every usable photograph and write it as an image folder, JPEG of quality 95.

    Args:
        index: The photographs.
        run: The run folder that holds ``boxes.parquet``.
        out: Where ``train/<class>/...`` and ``test/<class>/...`` shall be.
        progress: Shows how far it is.

    Returns:
        JSON-ready: ``out`` and ``crops``, how many were written.

    Raises:
        ArtifactError: No boxes, or the disk refused.
        DataError: A photograph has no box or cannot be read any more.
    """
    progress = progress or SilentProgress()
    records = index.usable()
    boxes = read_boxes(run / BOXES_NAME, records).crop_xyxy.tolist()
    names = target_paths(records, index.classes)
    pairs = zip(records, boxes, strict=True)
    for record, box in progress.track(pairs, total=len(records), what="writing crops"):
        crop = read_photograph(record, root=index.root).crop(tuple(box))
        with replacing(_as_jpeg(out / names[record.path])) as partial:
            crop.save(partial, format="JPEG", quality=_JPEG_QUALITY)
    return {"out": str(out), "crops": len(records)}


def _settings(settings: LocalizeConfig) -> LocalizerSettings:
    return LocalizerSettings(
        **{item.name: getattr(settings, item.name) for item in dataclasses.fields(LocalizerSettings)}
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """Who looks at photographs, and with what."""

    localizer: Localizer
    reader: BoxReader
    progress: Progress
    ranks: Ranks

    def share(self, records: Sequence[ImageRecord], *, size: int) -> Sequence[ImageRecord]:
        """Return this process's share of photographs that are read in pictures of a size."""
        return records[self.ranks.share_of_batches(len(records), batch_size=self.reader.batch_size(size))]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Remembered:
    """What need not be read and computed again: photographs of the fit."""

    records: Sequence[ImageRecord] = ()
    """Those of all processes."""
    share: Sequence[ImageRecord] = ()
    """Those of this one."""
    maps: KeptMaps | None = None
    """Feature maps of the share, in the same order."""


def _fit(work: _Work, sample: Sequence[ImageRecord], kept: KeptMaps | None) -> _Remembered:
    """Fit the localizer on what all processes see; return what can be had again, which is all or nothing."""
    size = work.localizer.fit_size
    share = work.share(sample, size=size)
    batches = work.progress.track(
        work.reader.batches(share, size=size),
        total=math.ceil(len(share) / work.reader.batch_size(size)),
        what=work.ranks.words("fitting the localizer"),
        unit="batches",
    )
    work.localizer.fit((images for images, _ in batches), keep=kept.append if kept else None, ranks=work.ranks)
    if kept is None:
        return _Remembered()
    (refused,) = work.ranks.largest(int(bool(kept.refusal)))
    if refused:
        reason = kept.refusal or "another process has no room for them"
        work.progress.note(
            f"the {len(sample)} photographs of the fit go through the network twice, because their feature maps are "
            f"not kept ({reason}); localize.keep_gb is what they may take, localize.fit_images how many they are"
        )
        return _Remembered()
    return _Remembered(records=sample, share=share, maps=kept)


def _apply(
    work: _Work,
    records: Sequence[ImageRecord],
    again: _Remembered,
    *,
    policy: CropPolicy,
    sampled: Sequence[int],
) -> tuple[FoundBoxes, Tensor]:
    """Locate every object; also return the indicator maps of the sampled places, float16 (N, h, w).

    Of several processes the first returns what all have found; the others have done a share.
    """
    known = {record.path for record in again.records}
    size = work.localizer.settings.size
    others = work.share([record for record in records if record.path not in known], size=size)
    total = sum(math.ceil(len(some) / work.reader.batch_size(size)) for some in (again.share, others))
    indicators = chain(_remembered(work, again), computed_indicators(work.localizer, others, work.reader))
    tracked = work.progress.track(indicators, total=total, what=work.ranks.words("finding objects"), unit="batches")
    places = {record.path: place for place, record in enumerate(records)}
    wanted = set(sampled)
    boxes: dict[int, ObjectBoxes] = {}
    maps: dict[int, Tensor] = {}
    for record, location in located(work.localizer, tracked):
        place = places[record.path]
        if place in wanted:
            maps[place] = _scaled_map(location)
        boxes[place] = (location.part, location.chosen)
    mine = sorted(boxes)
    found = gather_boxes([boxes[place] for place in mine], [records[place] for place in mine], policy=policy)
    return collect_boxes(found, mine, ranks=work.ranks), _collect_maps(maps, ranks=work.ranks)


def _remembered(work: _Work, again: _Remembered) -> Iterator[Indicators]:
    place = 0
    for stages in again.maps.batches() if again.maps else ():
        indicators = work.localizer.project([each.to(work.reader.device) for each in stages])
        yield indicators, again.share[place : place + len(indicators)]
        place += len(indicators)


def _collect_maps(maps: Mapping[int, Tensor], *, ranks: Ranks) -> Tensor:
    """Put the maps of all processes under one another by their places; (N, h, w)."""
    grid = ranks.largest(*next(iter(maps.values())).shape if maps else (0, 0))
    mine = torch.stack([*maps.values()]) if maps else torch.empty(0, *grid, dtype=torch.float16)
    places = ranks.gather_uneven(torch.tensor([*maps], dtype=torch.int64))
    return ranks.gather_uneven(mine)[places.argsort()]


def fit_records(index: ImageIndex, settings: LocalizeConfig, *, seed: int) -> tuple[ImageRecord, ...]:
    """Return the photographs of the fit: of the set split, as many as set, drawn by the seed, in index order."""
    records = index.usable("train" if settings.fit_split == "train" else None)
    if 0 < settings.fit_images < len(records):
        order = torch.randperm(len(records), generator=generator_for(seed, "localize-fit"))
        return tuple(records[place] for place in sorted(order[: settings.fit_images].tolist()))
    return records


def _sample(count: int, *, seed: int) -> list[int]:
    order = torch.randperm(count, generator=generator_for(seed, "indicators"))
    return sorted(order[:_SAMPLES].tolist())


def _scaled_map(location: Location) -> Tensor:
    """Scale an indicator map by its largest magnitude to [-1, 1]."""
    values = torch.as_tensor(location.indicator, dtype=torch.float32)
    return (values / values.abs().max().clamp(min=torch.finfo(torch.float32).tiny)).half()


def _write_boxes(path: Path, records: Sequence[ImageRecord], found: FoundBoxes, *, policy: CropPolicy) -> None:
    columns: dict[str, Any] = {"path": pa.array([record.path for record in records], pa.string())}
    for part, boxes in (("object", found.object_xyxy), ("crop", found.crop_xyxy)):
        for place, side in enumerate(_SIDES):
            columns[f"{part}_{side}"] = pa.array(boxes[:, place].tolist(), pa.int32())
    columns["score"] = pa.array(found.score, pa.float32())
    columns["area_frac"] = pa.array(found.area_frac, pa.float32())
    columns["fallback"] = pa.array(found.fallback, pa.bool_())
    columns["width_px"] = pa.array([record.width_px for record in records], pa.int32())
    columns["height_px"] = pa.array([record.height_px for record in records], pa.int32())
    write_table(path, pa.table(columns), kind="boxes", metadata={"policy": policy})


def _describe_fit(localizer: Localizer) -> dict[str, Any]:
    last = localizer.directions_[-1]
    return {
        "images": localizer.images_,
        "explained_frac": last.explained_frac,
        "sign_rule": localizer.settings.sign_rule,
        "sign_margins": dict(last.margins),
    }


def _as_jpeg(path: Path) -> Path:
    """Give a path the suffix of what is written; others keep theirs within the name, so that no two paths meet."""
    return path if path.suffix.lower() in _JPEG_SUFFIXES else path.with_name(f"{path.name}.jpg")
