"""Read the photographs of records, and see that they still are what the index says."""

from pathlib import Path

from PIL import Image

from leadpp.data.images import Decoded, decode_image
from leadpp.data.photo import Photo
from leadpp.data.records import ImageRecord
from leadpp.errors import DataError


def read_photograph(record: ImageRecord, *, root: Path) -> Image.Image:
    """Read the photograph of a record, upright, RGB and cut as the record says.

    One that may be decoded at half its sides only is enlarged again, so that boxes mean what they say.

    Raises:
        DataError: It cannot be read, or is not of the size that the index has.
    """
    decoded = decode_photograph(record, root=root)
    if decoded.scale == 1:
        return decoded.picture
    (left, top), scale = decoded.offset_px, decoded.scale
    box = (left, top, left + decoded.width_px / scale, top + decoded.height_px / scale)
    return decoded.picture.resize((decoded.width_px, decoded.height_px), Image.Resampling.BILINEAR, box=box)


def read_photo(record: ImageRecord, *, root: Path, scale: int = 1) -> Photo:
    """Read the photograph of a record for pictures to be cut from it.

    Args:
        record: Says where it is, of what size, and what is cut off.
        root: Folder that the record's path starts from.
        scale: 1, 2, 4 or 8: by how much a JPEG decoder may divide width and height; the record's least is kept to.

    Raises:
        DataError: As :func:`read_photograph`.
    """
    return Photo.of(decode_photograph(record, root=root, scale=scale))


def decode_photograph(record: ImageRecord, *, root: Path, scale: int = 1) -> Decoded:
    """Decode the photograph of a record, as :func:`read_photo` does.

    Raises:
        DataError: As :func:`read_photograph`.
    """
    path = record.place(root)
    decoded = decode_image(
        path,
        cut_bottom_px=record.cut_bottom_px,
        scale=max(scale, record.least_scale),
        most_pixels=record.width_px * (record.height_px + record.cut_bottom_px),
        size_bytes=record.size_bytes,
    )
    if (decoded.width_px, decoded.height_px) != (record.width_px, record.height_px):
        raise DataError(
            f"{path}: {decoded.width_px} x {decoded.height_px} pixels, the index has {record.width_px} x "
            f"{record.height_px}; the file was changed, make the index again"
        )
    return decoded
