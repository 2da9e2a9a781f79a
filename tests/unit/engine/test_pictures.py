"""Pictures are decoded again and compared with what they were made of."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from leadpp.engine.pictures import Picture, data_uri, overlay, shrink, view_picture


def decode(uri: str) -> Image.Image:
    kind, _, payload = uri.partition(",")
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(payload))).convert("RGB")


@pytest.fixture
def photo() -> Image.Image:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", (200, 100), (220, 30, 30))
    picture.paste((30, 30, 220), (100, 0, 200, 100))
    return picture


def mean_rgb(picture: Image.Image, box: tuple[int, int, int, int]) -> list[float]:
    values: list[float] = np.asarray(picture.crop(box), dtype=float).mean(axis=(0, 1)).tolist()
    return values


def test_a_small_picture_keeps_shape_content_and_boxes(photo: Image.Image) -> None:
    small = shrink(photo, side_px=50, boxes=[("object", (100, 20, 200, 80))])
    assert (small.width_px, small.height_px) == (50, 25)
    assert decode(small.uri).size == (50, 25)
    assert small.boxes == (("object", (25.0, 5.0, 50.0, 20.0)),)
    assert mean_rgb(decode(small.uri), (0, 0, 20, 25)) == pytest.approx([220, 30, 30], abs=12)


def test_a_crop_shows_its_part_and_moves_the_boxes(photo: Image.Image) -> None:
    small = shrink(photo, side_px=30, crop=(120, 0, 180, 60), boxes=[("true", (140, 10, 160, 30))])
    assert (small.width_px, small.height_px) == (30, 30)
    assert small.boxes == (("true", (10.0, 5.0, 20.0, 15.0)),)
    assert mean_rgb(decode(small.uri), (0, 0, 30, 30)) == pytest.approx([30, 30, 220], abs=12)


def test_small_photographs_are_not_blown_up(photo: Image.Image) -> None:
    assert shrink(photo, side_px=900).width_px == 200


def test_a_thin_photograph_keeps_a_pixel() -> None:
    assert shrink(Image.new("RGB", (900, 1)), side_px=30).height_px == 1


def test_a_view_is_shown_the_right_way_round() -> None:
    view = torch.zeros(3, 16, 16, dtype=torch.uint8)
    view[0, :8] = 200
    picture = view_picture(view, side_px=16)
    assert isinstance(picture, Picture)
    assert mean_rgb(decode(picture.uri), (0, 0, 16, 7))[0] > 150
    assert mean_rgb(decode(picture.uri), (0, 9, 16, 16))[0] < 50


def test_an_overlay_lights_where_the_indicator_is_positive(photo: Image.Image) -> None:
    lit = overlay(photo, torch.tensor([[-1.0, 2.0], [-3.0, 2.0]]))
    dark, bright = mean_rgb(lit, (0, 0, 60, 100)), mean_rgb(lit, (150, 0, 200, 100))
    assert max(dark) < 60
    assert max(bright) > 120
    assert np.ptp(dark) < 25


def test_an_overlay_of_a_map_without_object_is_dark(photo: Image.Image) -> None:
    assert max(mean_rgb(overlay(photo, torch.full((3, 3), -1.0)), (0, 0, 200, 100))) < 60


def test_a_data_uri_holds_the_picture(photo: Image.Image) -> None:
    assert decode(data_uri(photo)).size == photo.size
