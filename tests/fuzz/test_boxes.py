"""Laws of box arithmetic, beside whole-number arithmetic in plain Python."""

import math
from fractions import Fraction

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadpp.data.photo import sufficient_scale
from leadpp.functional.boxes import CropPolicy, box_area, box_iou, policy_boxes, round_boxes

settings.register_profile("leadpp", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("leadpp")

SIDES = st.integers(1, 100_000)
Box = tuple[int, int, int, int]


@st.composite
def photographs(draw: st.DrawFn) -> tuple[int, int, Box]:
    """Width, height and a box of at least one pixel inside."""
    width, height = draw(SIDES), draw(SIDES)
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return width, height, (x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height)))


def tensor(*boxes: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float64)


def overlap(first: Box, second: Box) -> Fraction:
    """The overlap by its definition, in fractions."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0, width) * max(0, height)
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (first, second)]
    return Fraction(shared, sum(areas) - shared)


@given(first=photographs(), second=photographs())
def test_overlap(first: tuple[int, int, Box], second: tuple[int, int, Box]) -> None:
    one, two = first[2], second[2]
    iou = box_iou(tensor(one), tensor(two)).item()
    assert math.isclose(iou, float(overlap(one, two)), rel_tol=1e-12, abs_tol=1e-15)
    assert iou == box_iou(tensor(two), tensor(one)).item()
    assert box_iou(tensor(one), tensor(one)).item() == 1
    assert box_area(tensor(one)).item() == (one[2] - one[0]) * (one[3] - one[1])


EDGES = st.floats(-1e9, 1e9)


@given(box=st.tuples(EDGES, EDGES, EDGES, EDGES), width=SIDES, height=SIDES)
def test_any_box_becomes_one_inside_the_photograph(
    box: tuple[float, float, float, float], width: int, height: int
) -> None:
    x0, y0, x1, y1 = round_boxes(tensor(box), height_px=height, width_px=width)[0].tolist()
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    again = round_boxes(tensor((x0, y0, x1, y1)), height_px=height, width_px=width)[0].tolist()
    assert again == [x0, y0, x1, y1]


@given(photograph=photographs(), policy=st.sampled_from(["square", "car", "aircraft", "tight"]))
def test_crops_lie_inside_and_hold_the_box_where_they_can(photograph: tuple[int, int, Box], policy: CropPolicy) -> None:
    width, height, box = photograph
    x0, y0, x1, y1 = policy_boxes(torch.tensor([box]), policy=policy, height_px=height, width_px=width)[0].tolist()
    assert 0 <= x0 < x1 <= width
    assert 0 <= y0 < y1 <= height
    if policy == "square":
        assert x1 - x0 == y1 - y0 == min(max(box[2] - box[0], box[3] - box[1]), width, height)
    for low, high, inner_low, inner_high in ((x0, x1, box[0], box[2]), (y0, y1, box[1], box[3])):
        if high - low >= inner_high - inner_low:
            assert low <= inner_low
            assert high >= inner_high


@given(photograph=photographs(), side=st.integers(1, 1000))
def test_the_scale_is_the_largest_that_suffices(photograph: tuple[int, int, Box], side: int) -> None:
    x0, y0, x1, y1 = photograph[2]
    scale = sufficient_scale([photograph[2]], side_px=side)
    least = min(x1 - x0, y1 - y0)
    assert scale == max([one for one in (1, 2, 4, 8) if least >= one * side], default=1)
