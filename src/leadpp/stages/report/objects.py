"""Sections of photographs: boxes over them, and the views that the student learns from."""

import dataclasses
from typing import Any

import torch

from leadpp.data.index import ImageRecord
from leadpp.data.reading import read_photograph
from leadpp.data.transforms import training_recipe
from leadpp.data.views import SampleKey, ViewSet
from leadpp.engine.pictures import Corners, Picture, overlay, shrink, view_picture
from leadpp.functional.boxes import box_iou
from leadpp.functional.objective import VIEW_NAMES
from leadpp.stages.report.material import Absent, Bank, Material
from leadpp.stages.report.wording import EN_DASH, decimals, percent

_PHOTO_PX = 300
_VIEW_PX = 132
_THUMBNAIL_PX = 116
_RESULTS = {"corloc": "CorLoc", "mean_iou": "mean IoU", "crop_mean_iou": "mean IoU of crops"}


def boxes(material: Material) -> dict[str, Any]:
    """Show photographs with their boxes, the true ones too where they are known, and the indicator map."""
    records, found = material.usable, material.boxes
    if not records:
        raise Absent("There are no photographs that can be read.")
    overlaps = _overlaps(material)
    cards = [_box_card(material, place, overlaps.get(place)) for place in _chosen(material, overlaps)]
    return {
        "cards": cards,
        "results": _results(material),
        "has_truth": bool(overlaps),
        "has_maps": any(card["map"] is not None for card in cards),
        "fallbacks": int(found.fallback.sum()),
        "count": len(records),
    }


def views(material: Material) -> dict[str, Any]:
    """Show what is cut from some photographs in the first epoch, and the four views that come of it."""
    places = [place for place, record in enumerate(material.usable) if record.split == "train"]
    if not places:
        raise Absent("There are no training photographs.")
    records = [material.usable[place] for place in places]
    try:
        crops = material.boxes.crop_xyxy[places]
    except Absent:
        crops = None
    samples = ViewSet(
        records,
        root=material.index.root,
        size=material.config.input.size,
        seed=material.config.seed,
        crop_boxes_xyxy=crops,
        recipe=training_recipe(**dataclasses.asdict(material.config.augment)),
    )
    chosen = material.pick(material.config.report.samples, of=len(records), purpose="views")
    return {"cards": [_view_card(material, samples, index) for index in chosen], "has_boxes": crops is not None}


def caption(record: ImageRecord) -> str:
    """Name a photograph by its class, or by its file where it has none."""
    return record.label if record.label is not None else record.path.rsplit("/", 1)[-1]


def thumbnail(material: Material, bank: Bank, place: int) -> Picture:
    """Show what the encoder saw: the crop where crops were embedded."""
    record = bank.records[place]
    photo = read_photograph(record, root=material.index.root)
    return shrink(photo, side_px=_THUMBNAIL_PX, crop=_crop(material, record) if bank.set == "crop" else None)


def _crop(material: Material, record: ImageRecord) -> Corners | None:
    try:
        return _corners(material.boxes.crop_xyxy[material.place_of[record.path]])
    except Absent:
        return None


def _view_card(material: Material, samples: ViewSet, index: int) -> dict[str, Any]:
    key = SampleKey(0, index)
    drawn, sample = samples.draw(key), samples[key]
    photo = read_photograph(samples.records[index], root=samples.root)
    frames: list[tuple[str, Corners]] = [(name.replace("_", "-"), drawn[name].crop_xyxy) for name in VIEW_NAMES]
    return {
        "caption": caption(samples.records[index]),
        "photo": shrink(photo, side_px=_VIEW_PX, boxes=frames),
        "views": [
            (name.replace("_", " "), name.replace("_", "-"), view_picture(sample[name], side_px=_VIEW_PX))
            for name in VIEW_NAMES
        ],
    }


def _box_card(material: Material, place: int, overlap: float | None) -> dict[str, Any]:
    record = material.usable[place]
    photo = read_photograph(record, root=material.index.root)
    rows: list[tuple[str, Corners]] = [
        (kind, _corners(tensor[place]))
        for kind, tensor in (("crop", material.boxes.crop_xyxy), ("object", material.boxes.object_xyxy))
    ]
    if record.true_box_xyxy is not None:
        rows.insert(0, ("true", record.true_box_xyxy))
    indicator = material.indicators.get(record.path)
    return {
        "caption": caption(record),
        "iou": None if overlap is None else decimals(overlap, 2),
        "good": overlap is None or overlap >= 0.5,
        "fallback": bool(material.boxes.fallback[place]),
        "photo": shrink(photo, side_px=_PHOTO_PX, boxes=rows),
        "map": None if indicator is None else shrink(overlay(photo, indicator), side_px=_PHOTO_PX, boxes=rows[-1:]),
    }


def _corners(box: torch.Tensor) -> Corners:
    x0, y0, x1, y1 = (float(edge) for edge in box)
    return x0, y0, x1, y1


def _overlaps(material: Material) -> dict[int, float]:
    """IoU of the object box with the true one, by place, where it is known."""
    places = [place for place, record in enumerate(material.usable) if record.true_box_xyxy is not None]
    if not places:
        return {}
    true = torch.tensor([material.usable[place].true_box_xyxy for place in places], dtype=torch.float64)
    overlaps: list[float] = box_iou(material.boxes.object_xyxy[places].double(), true).tolist()
    return dict(zip(places, overlaps, strict=True))


def _chosen(material: Material, overlaps: dict[int, float]) -> list[int]:
    """Draw photographs (those with a map, if any has one); a quarter are the worst where true boxes are known."""
    candidates = [p for p, record in enumerate(material.usable) if record.path in material.indicators]
    candidates = candidates or list(range(len(material.usable)))
    count = material.config.report.samples
    judged = sorted((place for place in candidates if place in overlaps), key=lambda place: overlaps[place])
    worst = judged[: count // 4]
    others = [place for place in candidates if place not in worst]
    drawn = material.pick(count - len(worst), of=len(others), purpose="boxes")
    return [others[number] for number in drawn] + worst


def _results(material: Material) -> list[tuple[str, list[str]]]:
    """CorLoc and IoU of the boxes beside those of the trivial guesses, as localize measured them."""
    summary = material.stages.get("localize", {}).get("summary") or {}
    if "corloc" not in summary:
        return []
    guesses = {"found boxes": summary, **{f"guess: {name}": row for name, row in summary.get("baselines", {}).items()}}
    return [
        (
            name,
            [
                percent(row[key]) if key == "corloc" else decimals(row[key], 3) if key in row else EN_DASH
                for key in _RESULTS
            ],
        )
        for name, row in guesses.items()
    ]
