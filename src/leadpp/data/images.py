"""The one reader of photographs: any mode and orientation becomes an upright RGB picture, or a reason why not."""

import hashlib
import struct
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                image.load()
                upright = _upright(_to_rgb(image), image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageError(path, f"more than {Image.MAX_IMAGE_PIXELS:,} pixels, which is not safe to decode") from error
    except _DECODER_FAILURES as error:
        raise ImageError(path, _reason(path, error)) from error
    return _cut(upright, cut_bottom_px, path) if cut_bottom_px else upright


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
    return image.convert("RGB")


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


def _upright(picture: Image.Image, source: Image.Image) -> Image.Image:
    """Apply the orientation of the EXIF data; data that cannot be read leave the picture as it is."""
    try:
        orientation = source.getexif().get(ExifTags.Base.Orientation)
    except _DECODER_FAILURES:
        return picture
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return picture if method is None else picture.transpose(method)


def _cut(picture: Image.Image, cut_bottom_px: int, path: Path) -> Image.Image:
    if cut_bottom_px >= picture.height:
        raise ImageError(path, f"only {picture.height} rows, of which {cut_bottom_px} are to be cut off")
    return picture.crop((0, 0, picture.width, picture.height - cut_bottom_px))


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
