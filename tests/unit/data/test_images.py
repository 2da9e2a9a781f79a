"""The reader of photographs, on files whose pixels are known before they are written."""

import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from leadpp.data.images import ImageError, decode_image, inspect_image, read_image
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
    Image.fromarray(np.array([[[10, 255], [10, 0]]], dtype=np.uint8), "LA").save(tmp_path / "la.png")
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


@pytest.mark.parametrize("side", [10_000, 100_000])
def test_bombs_are_refused_without_decoding(tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: ImageFile.ImageFile) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    data = zlib.compress(b"")
    chunk = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    (tmp_path / "bomb.png").write_bytes(png_header(side, side) + chunk)
    assert inspect_image(tmp_path / "bomb.png").reason == "more than 89,478,485 pixels, which is not safe to decode"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty file"), (b"hello, world", "not an image"), (b"%!PS-Adobe", "not an image")]
)
def test_what_is_no_image(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "photo.jpg").write_bytes(content)
    assert inspect_image(tmp_path / "photo.jpg").reason == reason
    with pytest.raises(ImageError, match=f"photo.jpg: {reason}$"):
        read_image(tmp_path / "photo.jpg")


def test_files_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert inspect_image(tmp_path / "gone.jpg") == (0, 0, "", "no such file or directory")
    assert inspect_image(tmp_path) == (0, 0, "", "is a directory")
    path = write_photo(tmp_path / "photo.jpg")

    def refuse(*args: object, **keywords: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert inspect_image(path) == (0, 0, "", "permission denied")


def test_memory_that_runs_out_and_files_that_go_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_photo(tmp_path / "photo.jpg")

    def hunger(self: Image.Image) -> None:
        raise MemoryError

    def vanish(self: Image.Image) -> None:
        path.unlink()
        raise ValueError("file is closed")

    monkeypatch.setattr(ImageFile.ImageFile, "load", hunger)
    assert inspect_image(path).reason == "not enough memory to decode it"
    monkeypatch.setattr(ImageFile.ImageFile, "load", vanish)
    assert inspect_image(path).reason == "gone while it was read"


def test_inspection_tells_size_and_checksum(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "photo.jpg", width=30, height=20)
    assert inspect_image(path) == (30, 20, file_digest(path), None)


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
