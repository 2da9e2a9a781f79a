"""Boxes as half-open ``xyxy`` rows in pixels: overlap, growth, and from the object box to the crop box.

Sizes of photographs are numbers, or tensors of shape (N,) where each box lies in a photograph of its own.
"""

from typing import Literal

import torch
from torch import Tensor

CropPolicy = Literal["square", "car", "aircraft", "tight"]

_SIDE_FACTORS = {"car": (1.1, 1.3), "aircraft": (3.0, 4.0)}
"""What the reference multiplies the width and the height of an object box by."""


def box_area(boxes_xyxy: Tensor) -> Tensor:
    """Return areas in square pixels, 0 for empty and inverted boxes; (N, 4) -> (N,)."""
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).clamp(min=0)
    return sides[:, 0] * sides[:, 1]


def box_iou(first_xyxy: Tensor, second_xyxy: Tensor) -> Tensor:
    """Overlap of each pair as a share of its union; (N, 4), (N, 4) -> (N,).

    Args:
        first_xyxy: One box of each pair.
        second_xyxy: The other box of each pair.

    Returns:
        From 0 for boxes apart to 1 for equal ones; 0 where both are empty.
    """
    if first_xyxy.shape != second_xyxy.shape:
        raise ValueError(f"boxes are compared in pairs, got {len(first_xyxy)} and {len(second_xyxy)}")
    first, second = first_xyxy.double(), second_xyxy.double()
    shared = box_area(torch.cat([first[:, :2].maximum(second[:, :2]), first[:, 2:].minimum(second[:, 2:])], dim=1))
    union = box_area(first) + box_area(second) - shared
    return torch.where(union > 0, shared / union.clamp(min=torch.finfo(union.dtype).tiny), 0.0)


def round_boxes(boxes_xyxy: Tensor, *, height_px: Tensor | int, width_px: Tensor | int) -> Tensor:
    """Round to whole pixels inside the photograph, at least one pixel wide and high; (N, 4) -> (N, 4) int64."""
    limit = _limits(boxes_xyxy, height_px=height_px, width_px=width_px).long()
    whole = boxes_xyxy.round().long()
    low = whole[:, :2].clamp(min=0).minimum(limit - 1)
    return torch.cat([low, whole[:, 2:].minimum(limit).maximum(low + 1)], dim=1)


def policy_boxes(boxes_xyxy: Tensor, *, policy: CropPolicy, height_px: Tensor | int, width_px: Tensor | int) -> Tensor:
    """Turn object boxes into crop boxes as the reference does for each of its data sets.

    ``square`` (birds, dogs, anything else): a square of side min(max(w, h), W, H) about the centre. ``car``: the width
    times 1.1, the height times 1.3. ``aircraft``: times 3 and times 4, which is nearly the whole photograph. ``tight``
    keeps the box. A box that would leave the photograph is shifted inside, never shrunk.

    Args:
        boxes_xyxy: Boxes of whole pixels inside their photographs, shape (N, 4).
        policy: The rule.
        height_px: Height H of the photographs.
        width_px: Width W of the photographs.

    Returns:
        Shape (N, 4), int64.
    """
    boxes = boxes_xyxy.long()
    if policy == "tight":
        return boxes
    limit = _limits(boxes, height_px=height_px, width_px=width_px)
    sides = boxes[:, 2:] - boxes[:, :2]
    if policy == "square":
        cut = sides.amax(dim=1, keepdim=True).minimum(limit.amin(dim=1, keepdim=True)).expand(-1, 2)
    else:
        grown = (sides.double() * sides.new_tensor(_SIDE_FACTORS[policy], dtype=torch.float64)).ceil()
        cut = grown.long().clamp(min=2).minimum(limit)
    origin = (boxes[:, :2] + boxes[:, 2:] - cut).div(2, rounding_mode="floor")
    origin = origin.clamp(min=0).minimum(limit - cut)
    return torch.cat([origin, origin + cut], dim=1)


def _limits(boxes_xyxy: Tensor, *, height_px: Tensor | int, width_px: Tensor | int) -> Tensor:
    """Return (W, H) of each box's photograph, shape (N, 2)."""
    count = boxes_xyxy.shape[0]
    sizes = [torch.as_tensor(side, device=boxes_xyxy.device).expand(count) for side in (width_px, height_px)]
    return torch.stack(sizes, dim=1).to(boxes_xyxy.dtype)
