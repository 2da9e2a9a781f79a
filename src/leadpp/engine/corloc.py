"""How well boxes meet the true ones, beside guesses that look at nothing."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from leadpp.data.index import ImageRecord
from leadpp.functional.boxes import box_iou, round_boxes

_CORLOC_IOU = 0.5


def measure_boxes(records: Sequence[ImageRecord], object_xyxy: Tensor, crop_xyxy: Tensor) -> dict[str, Any]:
    """Hold boxes against the true ones, beside two guesses that look at nothing.

    Args:
        records: The photographs.
        object_xyxy: Their object boxes, shape (N, 4).
        crop_xyxy: Their crop boxes, shape (N, 4).

    Returns:
        ``protocol`` and, of the test photographs with true boxes (of all with true boxes if there are no such test
        photographs), ``corloc`` (share with IoU of at least 0.5), ``mean_iou``, ``crop_mean_iou`` and ``baselines``:
        ``whole``, the whole photograph, and ``centred``, a centred box of the mean size (as shares of width and
        height) of the training photographs' true boxes. Without true boxes only ``protocol``.
    """
    boxed = [place for place, record in enumerate(records) if record.true_box_xyxy is not None]
    test = [place for place in boxed if records[place].split == "test"]
    places = test or boxed
    if not places:
        return {"protocol": {"measured_on": "no photograph has a true box", "images": 0}}
    train = [place for place in boxed if records[place].split == "train"]
    chosen = [records[place] for place in places]
    truth = _true_boxes(chosen)
    sized = [records[place] for place in train or boxed]
    width, height = _mean_sides(sized)
    guesses = {"whole": _centred(chosen, width_frac=1.0, height_frac=1.0)}
    guesses["centred"] = _centred(chosen, width_frac=width, height_frac=height)
    return {
        **_overlap(object_xyxy[places], truth),
        "crop_mean_iou": float(box_iou(crop_xyxy[places], truth).mean()),
        "baselines": {name: _overlap(boxes, truth) for name, boxes in guesses.items()},
        "protocol": {
            "measured_on": "test photographs with true boxes" if test else "all photographs with true boxes",
            "images": len(places),
            "corloc": f"share with IoU >= {_CORLOC_IOU}",
            "centred": f"mean size of {len(sized)} true boxes ({'training' if train else 'all'} photographs): "
            f"{width:.3f} of the width, {height:.3f} of the height",
        },
    }


def _overlap(boxes_xyxy: Tensor, truth_xyxy: Tensor) -> dict[str, float]:
    overlap = box_iou(boxes_xyxy, truth_xyxy)
    return {"corloc": float((overlap >= _CORLOC_IOU).double().mean()), "mean_iou": float(overlap.mean())}


def _true_boxes(records: Sequence[ImageRecord]) -> Tensor:
    return torch.tensor([record.true_box_xyxy for record in records], dtype=torch.float64)


def _sizes(records: Sequence[ImageRecord]) -> Tensor:
    """Return width and height of each photograph, shape (N, 2)."""
    return torch.tensor([(record.width_px, record.height_px) for record in records], dtype=torch.float64)


def _mean_sides(records: Sequence[ImageRecord]) -> tuple[float, float]:
    """Return the mean width and height of true boxes as shares of their photographs'."""
    boxes = _true_boxes(records)
    width, height = ((boxes[:, 2:] - boxes[:, :2]) / _sizes(records)).mean(dim=0).tolist()
    return width, height


def _centred(records: Sequence[ImageRecord], *, width_frac: float, height_frac: float) -> Tensor:
    """Return a centred box in each photograph, whole pixels, shape (N, 4)."""
    sizes = _sizes(records)
    half = sizes * torch.tensor([width_frac, height_frac], dtype=torch.float64) / 2
    boxes = torch.cat([sizes / 2 - half, sizes / 2 + half], dim=1)
    return round_boxes(boxes, height_px=sizes[:, 1], width_px=sizes[:, 0])
