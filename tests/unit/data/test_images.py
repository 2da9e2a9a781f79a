"""The reader of photographs, on files whose pixels are known before they are written."""

import io
import os
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from leadpp.data.images import FORMATS, ImageError, decode_image, inspect_image, read_image
from leadpp.io.artifacts import file_digest
from tests.unit.data.native import photo_bytes, write_photo

# What a camera stores for an upright picture, by the definition of each orientation.
Pixels = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: upright[::-1, ::-1],
    4: np.flipud,
    5: lambda upright: upright.transpose(1, 0, 2),
    6: np.rot90,
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


def save_grey(path: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Path:
    Image.fromarray(values).save(path)
    return path


def grey_of(path: Path) -> list[int]:
    picture = read_image(path)
    assert picture.mode == "RGB"
    pixels = np.asarray(picture)
    assert (pixels == pixels[..., :1]).all()
    return [int(value) for value in pixels[..., 0].ravel()]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", sorted(STORED))
def test_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    stored = np.ascontiguousarray(STORED[orientation](upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(stored).save(path, exif=exif, lossless=True)
    assert np.array_equal(np.asarray(read_image(path)), upright)
    assert inspect_image(path)[:2] == (5, 3)


def test_damaged_exif_leaves_the_picture_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\x12\x01" * 9
    Image.new("RGB", (6, 4), "red").save(path, exif=exif)
    assert read_image(path).size == (6, 4)


def test_unknown_orientation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    Image.new("RGB", (6, 4), "red").save(tmp_path / "photo.png", exif=exif)
    assert read_image(tmp_path / "photo.png").size == (6, 4)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    path = save_grey(tmp_path / f"grey{suffix}", np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16))
    assert grey_of(path) == [0, 1, 128, 255]


def test_dark_16_bit_grey_stays_dark(tmp_path: Path) -> None:
    path = save_grey(tmp_path / "dark.png", np.array([[0, 200]], dtype=np.uint16))
    assert grey_of(path) == [0, 1]


def test_big_endian_16_bit_grey(tmp_path: Path) -> None:
    (tmp_path / "grey.pgm").write_bytes(b"P5 2 1 65535\n" + struct.pack(">2H", 128 * 257, 65535))
    assert grey_of(tmp_path / "grey.pgm") == [128, 255]
    (tmp_path / "dark.pgm").write_bytes(b"P5 2 1 65535\n" + struct.pack(">2H", 0, 200))
    assert grey_of(tmp_path / "dark.pgm") == [0, 1]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.0, 255.0]], dtype=np.float32), [0, 100, 255]),
        (np.array([[np.nan, 0.0, 255.0]], dtype=np.float32), [0, 0, 255]),
        (np.array([[-10.0, 0.0, 10.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0, 7, 255]], dtype=np.int32), [0, 7, 255]),
        (np.array([[0, 257, 65535]], dtype=np.int32), [0, 1, 255]),
        (np.array([[0, 500_000, 1_000_000]], dtype=np.int32), [0, 128, 255]),
        (np.array([[5, 5]], dtype=np.int32), [5, 5]),
    ],
)
def test_deep_grey_takes_the_range_that_its_values_need(
    tmp_path: Path, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]], expected: list[int]
) -> None:
    assert grey_of(save_grey(tmp_path / "deep.tif", values)) == expected


def test_transparent_parts_become_white(tmp_path: Path) -> None:
    colours = np.array([[[255, 0, 0, 255], [0, 0, 0, 0], [0, 0, 255, 51]]], dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "alpha.png")
    expected = [[255, 0, 0], [255, 255, 255], [204, 204, 255]]
    assert np.asarray(read_image(tmp_path / "alpha.png"))[0].tolist() == expected


def test_grey_with_alpha(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[10, 255], [10, 0]]], dtype=np.uint8)).save(tmp_path / "la.png")
    assert grey_of(tmp_path / "la.png") == [10, 255]


@pytest.mark.parametrize("transparency", [1, b"\xff\x00"])
def test_palette_with_transparency(tmp_path: Path, transparency: int | bytes) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 10, 20, 0, 0, 0])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "palette.png", transparency=transparency)
    assert np.asarray(read_image(tmp_path / "palette.png"))[0].tolist() == [[200, 10, 20], [255, 255, 255]]


def test_palette_and_bilevel(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), (200, 10, 20)).quantize().save(tmp_path / "palette.png")
    assert np.asarray(read_image(tmp_path / "palette.png")).tolist() == [[[200, 10, 20]] * 2] * 2
    Image.new("1", (2, 1), 1).save(tmp_path / "one.png")
    assert grey_of(tmp_path / "one.png") == [255, 255]


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / f"red{suffix}")
    red, green, blue = np.asarray(read_image(tmp_path / f"red{suffix}")).reshape(-1, 3).mean(axis=0)
    assert red > 245
    assert max(green, blue) < 10


def test_ycck(tmp_path: Path) -> None:
    # A CMYK JPEG whose Adobe marker says YCCK: libjpeg turns Y Cb Cr into C M Y, so neutral chroma is grey.
    Image.new("CMYK", (16, 16), (100, 128, 128, 0)).save(tmp_path / "cmyk.jpg", quality=100)
    content = (tmp_path / "cmyk.jpg").read_bytes()
    marker = content.index(b"Adobe") + 11
    assert content[marker] == 0
    (tmp_path / "ycck.jpg").write_bytes(content[:marker] + b"\x02" + content[marker + 1 :])
    pixels = np.asarray(read_image(tmp_path / "ycck.jpg")).astype(int)
    assert read_image(tmp_path / "ycck.jpg").mode == "RGB"
    assert (pixels.max(axis=2) - pixels.min(axis=2)).max() <= 3


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:], lossless=True)
    for name in ("moving.gif", "moving.webp"):
        assert np.asarray(read_image(tmp_path / name))[0, 0].tolist() == [255, 0, 0], name


def test_suffix_does_not_matter(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), (1, 2, 3)).save(tmp_path / "photo.png")
    (tmp_path / "photo.png").rename(tmp_path / "photo.jpg")
    assert np.asarray(read_image(tmp_path / "photo.jpg"))[0, 0].tolist() == [1, 2, 3]


def test_banner_is_cut_off_the_upright_picture(tmp_path: Path) -> None:
    upright = np.random.default_rng(1).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(tmp_path / "photo.png", exif=exif)
    assert np.array_equal(np.asarray(read_image(tmp_path / "photo.png", cut_bottom_px=2)), upright[:4])
    assert inspect_image(tmp_path / "photo.png", 2)[:2] == (4, 4)


def test_cut_of_all_rows_is_refused(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "photo.jpg", height=20)
    assert inspect_image(path, 20).reason == "only 20 rows, of which 20 are to be cut off"
    assert inspect_image(path, 19).reason is None


@pytest.mark.parametrize("suffix", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000"])
def test_truncated_files_are_damaged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "photo"
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, suffix)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    look = inspect_image(path)
    assert look.reason is not None
    assert look.reason.startswith(("damaged (", "not an image"))
    assert look[:2] == (0, 0)
    assert len(look.checksum) == 32


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("more", [0, 1])
def test_tiny_files_report_the_scale_that_was_asked_for(tmp_path: Path, scale: int, more: int) -> None:
    side = scale + min(more, scale - 1)  # one or two pixels are left, whatever a larger scale would leave
    Image.new("RGB", (side, side), "red").save(tmp_path / "photo.jpg")
    decoded = decode_image(tmp_path / "photo.jpg", scale=scale)
    assert decoded.scale == scale
    assert decoded.picture.size == (-(-side // scale), -(-side // scale))
    assert (decoded.width_px, decoded.height_px) == (side, side)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize("side", [15_000, 100_000])
def test_bombs_are_refused_without_decoding(tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    data = zlib.compress(b"")
    chunk = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    (tmp_path / "bomb.png").write_bytes(png_header(side, side) + chunk)
    found = "15,000 x 15,000 pixels of PNG, more than 128" if side == 15_000 else "more than 256"
    look = inspect_image(tmp_path / "bomb.png")
    assert look.reason == f"{found} megapixels, which input.max_megapixels allows"
    assert look[:2] == (0, 0)


@pytest.mark.parametrize("limit", [1, 2, 999, 1000, 1001, 2000, 2001])
def test_jpeg_files_may_be_twice_as_large_and_are_decoded_at_half_their_sides(tmp_path: Path, limit: int) -> None:
    for suffix in ("jpg", "png"):
        Image.new("RGB", (50, 40), "red").save(tmp_path / f"photo.{suffix}")
    looks = [inspect_image(tmp_path / f"photo.{suffix}", 0, limit) for suffix in ("jpg", "png")]
    assert [look.least_scale for look in looks] == [2 if 1000 <= limit < 2000 else 1, 1]
    assert [look.reason is None for look in looks] == [limit >= 1000, limit >= 2000]
    if limit < 1000:
        return
    for scale in (1, 2, 4):
        decoded = decode_image(tmp_path / "photo.jpg", scale=scale, most_pixels=limit)
        assert decoded.scale == max(scale, looks[0].least_scale)
        assert (decoded.width_px, decoded.height_px) == (50, 40)


def test_the_limit_of_pillow_is_left_as_it_was(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    inspect_image(write_photo(tmp_path / "photo.jpg"))
    inspect_image(tmp_path / "gone.jpg")
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.slow
def test_a_photograph_of_200_megapixels_takes_the_memory_of_fifty(tmp_path: Path) -> None:
    width, height = 16_320, 12_240  # of a telephone
    Image.new("RGB", (width, height), (10, 200, 30)).save(tmp_path / "photo.jpg", quality=50)
    code = "import pathlib, sys; from leadpp.data.images import *; print(inspect_image(pathlib.Path(sys.argv[1])), "
    code += "pathlib.Path('/proc/self/status').read_text())"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "photo.jpg"], capture_output=True, text=True, check=True
    )
    assert f"width_px={width}, height_px={height}" in done.stdout
    assert "reason=None, least_scale=2" in done.stdout
    kilobytes = int(done.stdout.split("VmHWM:")[1].split()[0])
    assert kilobytes < width * height / 1024 + 100_000  # 4 bytes for each pixel of a quarter, and Python


def test_files_that_are_larger_than_their_pixels_explain_are_not_read(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "photo.jpg", width=30, height=20)
    with path.open("ab") as stream:
        stream.truncate(10**12)  # a hole, which takes no room
    look = inspect_image(path)
    assert look.reason == "1000.0 GB, more than the 1.0 GB allowed"
    assert look.checksum == ""


def test_a_photograph_that_was_changed_since_it_was_indexed(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "photo.jpg")
    size = path.stat().st_size
    assert decode_image(path, size_bytes=size).scale == 1
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ImageError, match="was changed since it was indexed"):
        decode_image(path, size_bytes=size)
    path.write_bytes(path.read_bytes()[: size - 1])
    with pytest.raises(ImageError, match="was changed since it was indexed"):
        decode_image(path, size_bytes=size)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"hello, world", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n", "not an image"),
        (b"%PDF-1.4", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>", "not an image"),
        (b"<!doctype html><script>alert(1)</script>", "not an image"),
        (b"\xff\xd8\xff\xe0", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image"),
    ],
)
def test_what_is_no_image(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(content)
    assert inspect_image(tmp_path / "photo.jpg").reason == reason
    with pytest.raises(ImageError, match=f"photo.jpg: {reason}$"):
        read_image(tmp_path / "photo.jpg")


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_no_other_program_is_ever_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands EPS to Ghostscript, and some formats to programs that convert them; none of these is allowed."""

    def start(*words: object, **settings: object) -> None:
        raise AssertionError(f"started {words}")

    for name in ("Popen", "check_call", "check_output", "call", "run"):
        monkeypatch.setattr(subprocess, name, start)
    monkeypatch.setattr(os, "system", start)
    Image.init()
    contents = {name: plugin for name, plugin in Image.OPEN.items() if name not in FORMATS}
    assert {"EPS", "WMF", "MPEG"} <= contents.keys()
    contents.pop("MPO", None)  # which is JPEG, and several of them
    for name in contents:
        stream = io.BytesIO()
        try:
            Image.new("RGB", (8, 8), "red").save(stream, name)
        except (KeyError, OSError, ValueError):
            stream = io.BytesIO(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
        (tmp_path / "photo.jpg").write_bytes(stream.getvalue())
        assert inspect_image(tmp_path / "photo.jpg").reason is not None, name


def test_files_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inspect_image(tmp_path / "gone.jpg") == (0, 0, "", "no such file or directory", 1)
    assert inspect_image(tmp_path) == (0, 0, "", "is a directory", 1)
    os.mkfifo(tmp_path / "pipe.jpg")
    assert inspect_image(tmp_path / "pipe.jpg") == (0, 0, "", "a FIFO, not a regular file", 1)
    path = write_photo(tmp_path / "photo.jpg")

    def refuse(*args: object, **keywords: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    assert inspect_image(path) == (0, 0, "", "permission denied", 1)


def test_memory_that_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_photo(tmp_path / "photo.jpg")

    def hunger(self: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", hunger)
    assert inspect_image(path).reason == "not enough memory to decode it"


def test_extreme_shapes(tmp_path: Path) -> None:
    for width, height in ((1, 1), (1, 100_000), (100_000, 1)):
        Image.new("RGB", (width, height), "red").save(tmp_path / "thin.png")
        assert inspect_image(tmp_path / "thin.png")[:2] == (width, height)
        assert read_image(tmp_path / "thin.png").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("kind", "count", "payload"),
    [
        (2, 4, b"6th\0"),  # text
        (5, 1, struct.pack("<I", 10**9)),  # a fraction beyond the end
        (4, 1, struct.pack("<I", 0x10006)),
        (3, 2**31, struct.pack("<HH", 6, 6)),
        (3, 1, struct.pack("<HH", 0, 0)),
        (3, 1, struct.pack("<HH", 9, 0)),
        (7, 4, b"\6\6\6\6"),
    ],
)
def test_orientations_that_are_none(tmp_path: Path, kind: int, count: int, payload: bytes) -> None:
    entry = struct.pack("<HHI", 0x0112, kind, count) + payload
    lies = b"".join(struct.pack("<HHII", tag, 4, 1, 60_000) for tag in (0x0100, 0x0101))  # sides it does not have
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 3) + lies + entry + b"\0\0\0\0"
    Image.new("RGB", (6, 4), "red").save(tmp_path / "photo.jpg", exif=exif)
    assert inspect_image(tmp_path / "photo.jpg")[:2] == (6, 4)


def test_colour_profiles_are_not_looked_at(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2), (1, 2, 3)).save(tmp_path / "photo.png", icc_profile=b"no profile" * 999)
    assert np.asarray(read_image(tmp_path / "photo.png"))[0, 0].tolist() == [1, 2, 3]


def test_inspection_tells_size_and_checksum(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "photo.jpg", width=30, height=20)
    assert inspect_image(path) == (30, 20, file_digest(path), None, 1)


def test_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(ImageError(Path("a/b.jpg"), "empty file")))  # noqa: S301 - made here
    assert isinstance(error, ImageError)
    assert str(error) == "a/b.jpg: empty file"
    assert error.reason == "empty file"


def test_result_is_loaded_and_independent_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo_bytes("x"))
    picture = read_image(path)
    path.unlink()
    assert picture.getpixel((0, 0)) is not None
