"""The one reader of photographs: any mode and orientation becomes an upright RGB picture, or a reason why not."""

import hashlib
import math
import struct
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from leadpp.errors import DataError

IMAGE_SUFFIXES = frozenset(
    {
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    }
)
"""Endings, in lower case, by which a file is taken for a photograph."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")

# What Pillow's decoders are known to raise on damaged files; it has no base class for them.
_DECODER_FAILURES = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)

_Transpose = Image.Transpose
_UPRIGHT = {
    2: _Transpose.FLIP_LEFT_RIGHT,
    3: _Transpose.ROTATE_180,
    4: _Transpose.FLIP_TOP_BOTTOM,
    5: _Transpose.TRANSPOSE,
    6: _Transpose.ROTATE_270,
    7: _Transpose.TRANSVERSE,
    8: _Transpose.ROTATE_90,
}
_TURNED, _FROM_RIGHT, _FROM_BELOW = {5, 6, 7, 8}, {2, 3, 6, 7}, {3, 4, 7, 8}
"""Orientations that exchange width and height, and those whose upright columns or rows start where the file's end."""


class ImageError(DataError):
    """A file that cannot be read as a photograph.

    Attributes:
        reason: Why, in a few words, without the path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[Path, str]]:
        """Let the error cross process borders, which rebuild it from its arguments."""
        path = str(self).removesuffix(f": {self.reason}")
        return type(self), (Path(path), self.reason)


class Decoded(NamedTuple):
    """A photograph as it was decoded: whole, or every side divided by a scale.

    A point (x, y) of the whole upright photograph lies at (x / scale + x0, y / scale + y0) of the picture, where
    (x0, y0) is ``offset_px``: it differs from 0 where a side does not divide and the orientation turned the start of
    the rows or columns to their end.
    """

    picture: Image.Image
    width_px: int
    height_px: int
    scale: int = 1
    offset_px: tuple[float, float] = (0.0, 0.0)


class Inspection(NamedTuple):
    """What one look at a file tells."""

    width_px: int
    height_px: int
    checksum: str
    reason: str | None


def read_image(path: Path, *, cut_bottom_px: int = 0) -> Image.Image:
    """Read a photograph as it should be looked at.

    The orientation of its EXIF data is applied. Grey values of more than 8 bits are scaled to 0..255, not clipped;
    transparent parts become white; CMYK and YCCK are converted without colour profiles; of an animation the first
    frame is taken. No warning is emitted.

    Args:
        path: A file of any of the formats behind :data:`IMAGE_SUFFIXES`, whatever its own suffix.
        cut_bottom_px: Rows that are cut off the lower edge of the upright picture, such as FGVC-Aircraft's banner.

    Returns:
        A loaded picture in mode RGB.

    Raises:
        ImageError: No file, no image, damaged or truncated, or more pixels than Pillow's ``Image.MAX_IMAGE_PIXELS``
            (which is found in the header, before anything is decoded).
    """
    return decode_image(path, cut_bottom_px=cut_bottom_px).picture


def decode_image(path: Path, *, cut_bottom_px: int = 0, scale: int = 1) -> Decoded:
    """Read a photograph as :func:`read_image` does; a JPEG file may be decoded at a fraction of its size.

    Args:
        path: As for :func:`read_image`.
        cut_bottom_px: As for :func:`read_image`, in rows of the whole picture.
        scale: 1, 2, 4 or 8: by how much the decoder may divide width and height, rounding up. Files of other formats
            are decoded whole.

    Raises:
        ImageError: As :func:`read_image`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                whole = image.size
                taken = _reduce(image, scale)
                image.load()
                orientation = _orientation(image)
                picture = _to_rgb(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageError(path, f"more than {Image.MAX_IMAGE_PIXELS:,} pixels, which is not safe to decode") from error
    except _DECODER_FAILURES as error:
        raise ImageError(path, _reason(path, error)) from error
    return _cut(_turned(picture, whole, taken, orientation), cut_bottom_px, path)


def inspect_image(path: Path, cut_bottom_px: int = 0) -> Inspection:
    """Decode a file once to learn whether it can be used.

    Args:
        path: The file.
        cut_bottom_px: As for :func:`read_image`.

    Returns:
        Width and height of the upright picture after the cut (0 and 0 where it cannot be read), the BLAKE2b digest of
        the file's bytes (empty where they cannot be had), and the reason why it cannot be read, or None.
    """
    checksum = ""
    try:
        checksum = _checksum(path)
        image = read_image(path, cut_bottom_px=cut_bottom_px)
    except ImageError as error:
        return Inspection(0, 0, checksum, error.reason)
    return Inspection(image.width, image.height, checksum, None)


def _checksum(path: Path) -> str:
    # The same digest as io.artifacts.file_digest, whose module imports torch: seconds for each reading process.
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise ImageError(path, _reason(path, error)) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_to_bytes(image)).convert("RGB")
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_bytes(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Scale grey values to 0..255 by the range of their depth, or by their own where the depth says nothing."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), posinf=0.0, neginf=0.0)
    low, high = 0.0, float(values.max())
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG")):
        high = 65535.0
    elif values.min() < 0 or high > 65535:
        low = float(values.min())
    else:
        high = next(limit for limit in (1.0, 255.0, 65535.0) if high <= limit)
    scaled = (values - low) * (255.0 / max(high - low, 1e-12))
    return np.rint(scaled).astype(np.uint8)


def _reduce(image: Image.Image, scale: int) -> int:
    """Ask a JPEG decoder for a smaller picture; return by how much it divides."""
    width, height = image.size
    if scale == 1 or min(width, height) < scale or not isinstance(image, JpegImageFile):
        return 1
    image.draft(None, (width // scale, height // scale))
    # Two or three pixels become one at any scale, so those beyond the one that was asked for are not candidates.
    candidates = (taken for taken in (8, 4, 2, 1) if taken <= scale)
    return next(taken for taken in candidates if image.size == (-(-width // taken), -(-height // taken)))


def _orientation(image: Image.Image) -> int:
    """Return the orientation of the EXIF data, 1 (upright) where they cannot be read."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except _DECODER_FAILURES:
        return 1
    return orientation if isinstance(orientation, int) else 1


def _turned(picture: Image.Image, whole: tuple[int, int], scale: int, orientation: int) -> Decoded:
    """Turn a picture upright, and note where the whole photograph's corner came to lie."""
    method = _UPRIGHT.get(orientation)
    upright = picture if method is None else picture.transpose(method)
    width, height = whole[::-1] if orientation in _TURNED else whole
    left = upright.width - width / scale if orientation in _FROM_RIGHT else 0.0
    top = upright.height - height / scale if orientation in _FROM_BELOW else 0.0
    return Decoded(upright, width, height, scale, (left, top))


def _cut(decoded: Decoded, cut_bottom_px: int, path: Path) -> Decoded:
    if cut_bottom_px == 0:
        return decoded
    if cut_bottom_px >= decoded.height_px:
        raise ImageError(path, f"only {decoded.height_px} rows, of which {cut_bottom_px} are to be cut off")
    picture, height = decoded.picture, decoded.height_px - cut_bottom_px
    rows = min(picture.height, math.ceil(height / decoded.scale + decoded.offset_px[1]))
    return decoded._replace(picture=picture.crop((0, 0, picture.width, rows)), height_px=height)


def _reason(path: Path, error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    try:
        size_bytes = path.stat().st_size
    except OSError:
        return "gone while it was read"
    if size_bytes == 0:
        return "empty file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    detail = " ".join(str(error).split()) or type(error).__name__
    return f"damaged ({detail[:120]})"
