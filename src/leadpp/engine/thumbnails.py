"""Small pictures of photographs for pages, with boxes; large JPEG files are decoded at a fraction of their size."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from leadpp.data.index import ImageRecord
from leadpp.data.photo import sufficient_scale
from leadpp.data.reading import decode_photograph
from leadpp.engine.pictures import Corners, Picture, shrink


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
    picture, corners = _read(record, root=root, side_px=side_px, box_xyxy=box_xyxy, whole=not cut)
    if cut:
        return shrink(picture, side_px=side_px, crop=corners)
    return shrink(picture, side_px=side_px, boxes=[("object", corners)] if box_xyxy else ())


def cut_out(record: ImageRecord, *, root: Path, side_px: int, box_xyxy: Sequence[int] | None = None) -> Image.Image:
    """Cut a box out of a photograph, or take all of it, with the longer side at most ``side_px``; RGB.

    Raises:
        DataError: It cannot be read any more.
    """
    picture, corners = _read(record, root=root, side_px=side_px, box_xyxy=box_xyxy, whole=False)
    part = picture.crop((round(corners[0]), round(corners[1]), round(corners[2]), round(corners[3])))
    part.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    return part


def _read(
    record: ImageRecord, *, root: Path, side_px: int, box_xyxy: Sequence[int] | None, whole: bool
) -> tuple[Image.Image, Corners]:
    """Decode a photograph as small as will do, and return the corners of the box in it."""
    all_of_it = (0, 0, record.width_px, record.height_px)
    x0, y0, x1, y1 = box_xyxy or all_of_it
    scale = sufficient_scale([all_of_it if whole else (x0, y0, x1, y1)], side_px=2 * side_px)
    decoded = decode_photograph(record, root=root, scale=scale)
    (left, top), rate = decoded.offset_px, decoded.scale
    return decoded.picture, (x0 / rate + left, y0 / rate + top, x1 / rate + left, y1 / rate + top)
