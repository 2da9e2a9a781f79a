"""The one reader of photographs: any mode and orientation becomes an upright RGB picture, or a reason why not."""

import contextlib
import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from leadpp.data.places import Place, checksum_of, read_place
from leadpp.errors import DataError

MOST_PIXELS = 128_000_000
"""The most pixels that are decoded of one photograph where nobody says: 0.5 GB of memory, and as much for each copy."""

LIMIT_WORDS = "which input.max_megapixels allows"
"""The end of the reason of files that are refused by this limit alone."""

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

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF")
"""The formats that Pillow may take a file for; none of them is handed to another program."""

_JPEG_TIMES = 2
"""By how much a JPEG file may exceed the most pixels: half of its sides are then the most that is decoded. Not by more,
because its decoder holds six bytes for each whole pixel where the file comes in several scans."""
_BYTES_A_PIXEL = 8
"""What the largest file takes for each pixel: four channels of 16 bits, not compressed."""

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

    def __init__(self, path: Place, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason

    def __reduce__(self) -> tuple[type["ImageError"], tuple[Path, str]]:
        """Let the error cross process borders, which rebuild it from its arguments."""
        path = str(self).removesuffix(f": {self.reason}")
        return type(self), (Path(path), self.reason)


class _TooManyPixelsError(Exception):
    """A header names more pixels than may be decoded; the message says how many."""


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
    least_scale: int = 1
    """By how much its sides have to be divided when it is decoded."""


def read_image(path: Place, *, cut_bottom_px: int = 0) -> Image.Image:
    """Read a photograph as it should be looked at; a JPEG file of more than :data:`MOST_PIXELS` at half its sides.

    The orientation of its EXIF data is applied. Grey values of more than 8 bits are scaled to 0..255, not clipped;
    transparent parts become white; CMYK and YCCK are converted without colour profiles; of an animation the first
    frame is taken. No warning is emitted.

    Args:
        path: A file, or a member of an archive, of any of the formats behind :data:`IMAGE_SUFFIXES`, whatever its own
            suffix.
        cut_bottom_px: Rows that are cut off the lower edge of the upright picture, such as FGVC-Aircraft's banner.

    Returns:
        A loaded picture in mode RGB.

    Raises:
        ImageError: No file, no regular file, no image, damaged or truncated, changed while it was read, or more
            pixels than may be decoded (which is found in the header, before anything is).
    """
    return decode_image(path, cut_bottom_px=cut_bottom_px).picture


def decode_image(
    path: Place, *, cut_bottom_px: int = 0, scale: int = 1, most_pixels: int = MOST_PIXELS, size_bytes: int = 0
) -> Decoded:
    """Read a photograph as :func:`read_image` does; a JPEG file may be decoded at a fraction of its size.

    Args:
        path: As for :func:`read_image`.
        cut_bottom_px: As for :func:`read_image`, in rows of the whole picture.
        scale: 1, 2, 4 or 8: by how much the decoder may divide width and height, rounding up. Files of other formats
            are decoded whole.
        most_pixels: The most that may be decoded. A JPEG file may have up to twice as many, and is then decoded at
            half its sides if not at less; other files are refused.
        size_bytes: The size that the file must have, 0 where any will do.

    Raises:
        ImageError: As :func:`read_image`.
    """
    content = _content(path, most_bytes=_BYTES_A_PIXEL * max(most_pixels, MOST_PIXELS))
    if size_bytes not in (0, len(content)):
        raise ImageError(path, "was changed since it was indexed; make the index again")
    return _decode(path, content, cut_bottom_px=cut_bottom_px, scale=scale, most_pixels=most_pixels)


def inspect_image(path: Place, cut_bottom_px: int = 0, most_pixels: int = MOST_PIXELS) -> Inspection:
    """Decode a file once to learn whether it can be used.

    Args:
        path: The file, or the member of an archive.
        cut_bottom_px: As for :func:`read_image`.
        most_pixels: As for :func:`decode_image`.

    Returns:
        Width and height of the upright picture after the cut (0 and 0 where it cannot be read), the BLAKE2b digest of
        the file's bytes (empty where they cannot be had), the reason why it cannot be read, or None, and by how much
        its sides have to be divided. Digest and picture are of the very same bytes.
    """
    checksum = ""
    try:
        content = _content(path, most_bytes=_BYTES_A_PIXEL * most_pixels)
        checksum = checksum_of(content)
        decoded = _decode(path, content, cut_bottom_px=cut_bottom_px, scale=1, most_pixels=most_pixels)
    except ImageError as error:
        return Inspection(0, 0, checksum, error.reason)
    return Inspection(decoded.width_px, decoded.height_px, checksum, None, decoded.scale)


def _content(path: Place, *, most_bytes: int) -> bytes:
    try:
        return read_place(path, most_bytes=most_bytes)
    except (OSError, MemoryError) as error:
        raise ImageError(path, _reason(error)) from error


def _decode(path: Place, content: bytes, *, cut_bottom_px: int, scale: int, most_pixels: int) -> Decoded:
    try:
        with _pillow_refuses(_JPEG_TIMES * most_pixels), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            whole = image.size
            taken = _reduce(image, max(scale, _least_scale(image, most_pixels)))
            image.load()
            orientation = _orientation(image)
            picture = _to_rgb(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, _TooManyPixelsError) as error:
        raise ImageError(path, _too_many(error, most_pixels)) from error
    except _DECODER_FAILURES as error:
        raise ImageError(path, _reason(error, content)) from error
    return _cut(_turned(picture, whole, taken, orientation), cut_bottom_px, path)


@contextlib.contextmanager
def _pillow_refuses(pixels: int) -> Iterator[None]:
    """Have Pillow refuse more pixels than these, in headers and in frames, and say nothing else.

    Its limit and its warnings are of the whole process; they are put back.
    """
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS = pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _least_scale(image: Image.Image, most_pixels: int) -> int:
    pixels = image.width * image.height
    if pixels <= most_pixels:
        return 1
    if isinstance(image, JpegImageFile):
        return _JPEG_TIMES
    raise _TooManyPixelsError(f"{image.width:,} x {image.height:,} pixels of {image.format}")


def _too_many(error: Exception, most_pixels: int) -> str:
    found = f"{error}, " if isinstance(error, _TooManyPixelsError) else ""
    times = 1 if found else _JPEG_TIMES
    return f"{found}more than {times * most_pixels / 1e6:g} megapixels, {LIMIT_WORDS}"


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


def _cut(decoded: Decoded, cut_bottom_px: int, path: Place) -> Decoded:
    if cut_bottom_px == 0:
        return decoded
    if cut_bottom_px >= decoded.height_px:
        raise ImageError(path, f"only {decoded.height_px} rows, of which {cut_bottom_px} are to be cut off")
    picture, height = decoded.picture, decoded.height_px - cut_bottom_px
    rows = min(picture.height, math.ceil(height / decoded.scale + decoded.offset_px[1]))
    return decoded._replace(picture=picture.crop((0, 0, picture.width, rows)), height_px=height)


def _reason(error: BaseException, content: bytes | None = None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    if content == b"":
        return "empty file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    detail = " ".join(str(error).split()) or type(error).__name__
    return f"damaged ({detail[:120]})"
