"""Find the object in every photograph, and measure how well where true boxes are known."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
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
from leadpp.engine.corloc import measure_boxes
from leadpp.engine.determinism import deterministic_if_asked
from leadpp.engine.locating import (
    BoxReader,
    FoundBoxes,
    Indicators,
    ObjectBoxes,
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
    *, index: ImageIndex, run: Path, config: Config, backbone: Backbone | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Fit the localizer, find the object and the crop box in every usable photograph, and write them to the run.

    Writes ``localizer.safetensors``; ``boxes.parquet``, one row per usable photograph in index order, in which
    ``object_*`` is the rectangle of the part, ``crop_*`` what views are cut from, and ``score``, ``area_frac`` and
    ``fallback`` belong to the box that the crop is made from; and ``indicators.safetensors``, indicator maps of a
    sample of photographs for the report.

    Args:
        index: The photographs.
        run: The run folder.
        config: The settings; ``localize``, ``input.workers``, ``train.device`` and ``seed`` are used.
        backbone: The network, if it is there already; otherwise it is created as the settings say.
        progress: Shows how far it is, and warnings.

    Returns:
        JSON-ready: ``images``, ``fallbacks``, ``fit`` (images, sign margins, share of variance explained),
        ``warnings``, ``policy``, ``protocol``; where true boxes are known also ``corloc`` and ``mean_iou`` of the
        object box, ``crop_mean_iou``, and ``baselines``: the same figures of two guesses.

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
        workers=worker_count(config.input.workers),
        device=pick_device(config.train.device),
    )
    localizer = Localizer((backbone or create_backbone(settings.backbone)).to(reader.device), _settings(settings))
    sample = fit_records(index, settings, seed=config.seed)
    policy = crop_policy(index, settings)
    sampled = _sample(len(records), seed=config.seed)
    run.mkdir(parents=True, exist_ok=True)
    keeps = settings.keep_gb > 0 and localizer.applies_as_fitted and len(sample) > _KEEP_FROM * len(records)
    room = KeptMaps(run, images=len(sample), most_bytes=settings.keep_gb * 1e9) if keeps else nullcontext()
    with room as kept:
        _fit(localizer, sample, reader, kept, progress)
        for warning in localizer.warnings():
            progress.note(warning)
        again = _Remembered(sample, kept) if kept and kept.images else _Remembered()
        found, maps = _apply(localizer, records, reader, again, policy=policy, sampled=sampled, progress=progress)
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


def _fit(
    localizer: Localizer, sample: Sequence[ImageRecord], reader: BoxReader, kept: KeptMaps | None, progress: Progress
) -> None:
    total = math.ceil(len(sample) / reader.batch_size(localizer.fit_size))
    batches = progress.track(
        reader.batches(sample, size=localizer.fit_size), total=total, what="fitting the localizer", unit="batches"
    )
    localizer.fit((images for images, _ in batches), keep=kept.append if kept else None)
    if kept and kept.refusal:
        progress.note(
            f"the {len(sample)} photographs of the fit go through the network twice, because their feature maps are "
            f"not kept ({kept.refusal}); localize.keep_gb is what they may take, localize.fit_images how many they are"
        )


@dataclass(frozen=True)
class _Remembered:
    """What need not be read and computed again: photographs of the fit, and their feature maps in the same order."""

    records: Sequence[ImageRecord] = ()
    maps: KeptMaps | None = None


def _apply(
    localizer: Localizer,
    records: Sequence[ImageRecord],
    reader: BoxReader,
    again: _Remembered,
    *,
    policy: CropPolicy,
    sampled: Sequence[int],
    progress: Progress,
) -> tuple[FoundBoxes, Tensor]:
    """Locate every object; also return the indicator maps of the sampled places, float16 (N, h, w)."""
    known = {record.path for record in again.records}
    others = [record for record in records if record.path not in known]
    size = reader.batch_size(localizer.settings.size)
    total = math.ceil(len(known) / size) + math.ceil(len(others) / size)
    indicators = chain(_remembered(localizer, again, reader.device), computed_indicators(localizer, others, reader))
    tracked = progress.track(indicators, total=total, what="finding objects", unit="batches")
    wanted = {records[place].path for place in sampled}
    boxes: dict[str, ObjectBoxes] = {}
    maps: dict[str, Tensor] = {}
    for record, location in located(localizer, tracked):
        if record.path in wanted:
            maps[record.path] = _scaled_map(location)
        boxes[record.path] = (location.part, location.chosen)
    found = gather_boxes([boxes[record.path] for record in records], records, policy=policy)
    return found, torch.stack([maps[records[place].path] for place in sampled])


def _remembered(localizer: Localizer, again: _Remembered, device: torch.device) -> Iterator[Indicators]:
    place = 0
    for stages in again.maps.batches() if again.maps else ():
        indicators = localizer.project([each.to(device) for each in stages])
        yield indicators, again.records[place : place + len(indicators)]
        place += len(indicators)


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
