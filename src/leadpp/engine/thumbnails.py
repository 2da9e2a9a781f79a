"""Small pictures of photographs for pages, with boxes; large JPEG files are decoded at a fraction of their size."""

from collections.abc import Sequence
from pathlib import Path

from leadpp.data.images import decode_image
from leadpp.data.index import ImageRecord
from leadpp.data.photo import sufficient_scale
from leadpp.engine.pictures import Picture, shrink


def thumbnail(
    record: ImageRecord, *, root: Path, side_px: int, box_xyxy: Sequence[int] | None = None, cut: bool = False
) -> Picture:
    """Make a picture whose longer side is at most ``side_px``.

    Args:
        record: A usable photograph.
        root: Folder that its path starts from.
        side_px: Longest side.
        box_xyxy: Where its object is, in pixels of the photograph.
        cut: Show the box alone, instead of drawing it.

    Raises:
        DataError: It cannot be read any more.
    """
    whole = (0, 0, record.width_px, record.height_px)
    x0, y0, x1, y1 = box_xyxy or whole
    shown = (x0, y0, x1, y1) if cut else whole
    scale = sufficient_scale([shown], side_px=2 * side_px)
    decoded = decode_image(root / record.path, cut_bottom_px=record.cut_bottom_px, scale=scale)
    (left, top), rate = decoded.offset_px, decoded.scale
    corners = (x0 / rate + left, y0 / rate + top, x1 / rate + left, y1 / rate + top)
    if cut:
        return shrink(decoded.picture, side_px=side_px, crop=corners)
    return shrink(decoded.picture, side_px=side_px, boxes=[("object", corners)] if box_xyxy else ())
