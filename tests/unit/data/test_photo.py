"""Reduced photographs: found in every orientation, near to what the whole ones show, and only where they suffice."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps

from leadpp.data.images import Decoded, ImageError, decode_image, read_image
from leadpp.data.index import ImageRecord
from leadpp.data.photo import Box, Photo, sufficient_scale
from leadpp.data.views import EvalSet, ProbeSet, SampleKey, ViewSet
from leadpp.errors import DataError

WIDTH, HEIGHT = 403, 309  # neither divides by 2, 4 or 8


def draw(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Draw a picture that is smooth, and different at every place."""
    noise = np.random.default_rng(3).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def save(path: Path, picture: Image.Image, *, orientation: int = 1, mode: str = "RGB") -> Path:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture.convert(mode).save(path, quality=95, exif=exif)
    return path


def record_of(path: Path, *, cut: int = 0) -> ImageRecord:
    picture = read_image(path, cut_bottom_px=cut)
    return ImageRecord(
        path=path.name,
        label=None,
        split="train",
        width_px=picture.width,
        height_px=picture.height,
        cut_bottom_px=cut,
        checksum="",
    )


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one.float() - other.float()).abs().mean().item()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_boxes_are_found_in_a_reduced_photograph_of_any_orientation(
    tmp_path: Path, orientation: int, scale: int
) -> None:
    path = save(tmp_path / "a.jpg", draw(), orientation=orientation)
    whole, reduced = decode_image(path), decode_image(path, scale=scale)
    assert (reduced.width_px, reduced.height_px) == whole.picture.size == (whole.width_px, whole.height_px)
    assert reduced.scale == scale
    assert reduced.picture.size == (-(-whole.width_px // scale), -(-whole.height_px // scale))
    box: Box = (61, 43, 263, 250)
    expected = Photo.of(whole).square(box, side_px=24)
    found = Photo.of(reduced).square(box, side_px=24)
    assert distance(found, expected) < 1.2
    # The test sees a shift of one pixel of the whole photograph.
    moved = Photo.of(whole).square((box[0] + 2, box[1] - 2, box[2] + 2, box[3] - 2), side_px=24)
    assert distance(moved, expected) > distance(found, expected)


def test_the_banner_is_cut_off_a_reduced_photograph_too(tmp_path: Path) -> None:
    picture = draw()
    picture.paste((255, 0, 255), (0, HEIGHT - 21, WIDTH, HEIGHT))
    for orientation in (1, 3, 6):
        path = save(tmp_path / "a.jpg", ImageOps.exif_transpose(picture), orientation=1)
        turned = {1: picture, 3: picture.rotate(180), 6: picture.rotate(90, expand=True)}[orientation]
        path = save(tmp_path / "a.jpg", turned, orientation=orientation)
        whole, reduced = (decode_image(path, cut_bottom_px=21, scale=scale) for scale in (1, 4))
        assert (reduced.width_px, reduced.height_px) == whole.picture.size == (WIDTH, HEIGHT - 21)
        squares = [Photo.of(one).square((0, 0, WIDTH, HEIGHT - 21), side_px=32) for one in (whole, reduced)]
        assert distance(*squares) < 2.0
    with pytest.raises(ImageError, match="only 309 rows, of which 309"):
        decode_image(path, cut_bottom_px=HEIGHT, scale=4)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_files_are_reduced_as_well(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / "a.jpg", draw(), mode=mode)
    whole, reduced = decode_image(path), decode_image(path, scale=4)
    assert reduced.picture.mode == "RGB"
    box = (10, 10, 390, 300)
    assert distance(*(Photo.of(one).square(box, side_px=40) for one in (whole, reduced))) < 1.0


def test_other_formats_and_tiny_files_are_decoded_whole(tmp_path: Path) -> None:
    draw().save(tmp_path / "a.png")
    save(tmp_path / "b.jpg", draw(5, 40))
    for name, size in (("a.png", (WIDTH, HEIGHT)), ("b.jpg", (5, 40))):
        decoded = decode_image(tmp_path / name, scale=8)
        assert (decoded.scale, decoded.picture.size) == (1, size)


@pytest.mark.parametrize(
    ("least", "scale"), [(50, 1), (99, 1), (100, 1), (199, 1), (200, 2), (399, 2), (400, 4), (800, 8), (5000, 8)]
)
def test_the_scale_leaves_every_box_the_pixels_that_its_view_needs(least: int, scale: int) -> None:
    boxes = [(0, 0, 6000, 6000), (3, 4, 3 + least, 6000), (0, 0, 6000, least + 1)]
    assert sufficient_scale(boxes, side_px=100) == scale


def test_a_snapped_box_is_off_by_half_a_pixel_at_most(tmp_path: Path) -> None:
    levels = torch.arange(100, dtype=torch.uint8).view(1, 100, 1).expand(80, 100, 3).contiguous()
    photo = Photo(levels, scale=4)
    for x0 in range(40, 48):
        exact = photo.square((x0, 0, x0 + 240, 240), side_px=60)
        snapped = photo.square((x0, 0, x0 + 240, 240), side_px=60, snap=True)
        assert (exact.int() - snapped.int()).abs().max() <= 1


def test_a_box_of_less_than_a_reduced_pixel_still_has_a_picture() -> None:
    photo = Photo(torch.full((10, 10, 3), 7, dtype=torch.uint8), scale=8)
    assert torch.equal(photo.square((9, 9, 11, 11), side_px=4, snap=True), torch.full((3, 4, 4), 7, dtype=torch.uint8))


def test_a_picture_keeps_its_levels_when_pillows_is_gone() -> None:
    picture = draw()
    expected = torch.from_numpy(np.array(picture))
    photo = Photo.of(Decoded(picture, *picture.size))
    del picture
    draw().rotate(90)  # takes memory that was free
    assert torch.equal(photo.levels[..., :3], expected)


def test_a_photograph_that_needs_no_reduction_is_seen_as_from_a_lossless_copy(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", draw())
    read_image(path).save(tmp_path / "a.png")
    for size, same in ((200, True), (20, False)):
        samples = [
            [
                ViewSet([record_of(file)], root=tmp_path, size=size, seed=0)[SampleKey(0, 0)]["global_1"],
                ProbeSet([record_of(file)], root=tmp_path, size=size, seed=0, view=0)[0]["image"],
                EvalSet([record_of(file)], root=tmp_path, size=size, fit="squeeze")[0]["image"],
            ]
            for file in (path, tmp_path / "a.png")
        ]
        for one, other in zip(*samples, strict=True):
            assert torch.equal(one, other) == same
            assert distance(one, other) < 3.0


def test_a_changed_size_is_found_in_the_header_of_a_reduced_photograph(tmp_path: Path) -> None:
    record = record_of(save(tmp_path / "a.jpg", draw()))
    save(tmp_path / "a.jpg", draw(WIDTH + 1, HEIGHT))
    with pytest.raises(DataError, match="404 x 309 pixels, the index has 403 x 309"):
        EvalSet([record], root=tmp_path, size=20, fit="squeeze")[0]
