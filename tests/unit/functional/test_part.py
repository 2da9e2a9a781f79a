import numpy as np
import numpy.typing as npt
import pytest

from leadpp.functional.part import (
    CUT_RATES,
    Part,
    cell_edges,
    cut_box,
    find_part,
    largest_part,
    min_max,
    part_box,
    read_box,
    search_box,
)
from tests.oracles.localization import flood_largest_part, pixel_cut_axis, upsampled


def grid(*rows: str) -> npt.NDArray[np.bool_]:
    return np.array([[cell == "#" for cell in row] for row in rows])


def part(*rows: str) -> Part:
    return Part(mask=grid(*rows), usable=True)


def test_largest_part_of_random_masks_is_the_flooded_one() -> None:
    rng = np.random.default_rng(0)
    for density in (0.2, 0.4, 0.6, 0.8):
        for _ in range(30):
            mask = rng.random((7, 9)) < density
            np.testing.assert_array_equal(largest_part(mask), flood_largest_part(mask))


def test_first_of_equal_parts_wins_and_corners_do_not_touch() -> None:
    np.testing.assert_array_equal(largest_part(grid("..##", "##..")), grid("..##", "...."))
    np.testing.assert_array_equal(largest_part(grid("#..", ".#.", ".#.")), grid("...", ".#.", ".#."))


def test_largest_part_of_nothing_is_nothing() -> None:
    assert not largest_part(grid("..", "..")).any()


def test_min_max_looks_at_values_from_zero_up() -> None:
    scaled = min_max(np.array([[-4.0, 1.0], [2.0, 5.0]]))
    assert scaled is not None
    np.testing.assert_allclose(scaled, [[-1.25, 0.0], [0.25, 1.0]])


@pytest.mark.parametrize("values", [[[-1.0, -2.0]], [[3.0, 3.0]], [[0.0, -1.0]]])
def test_maps_without_a_range_give_the_whole_map(values: list[list[float]]) -> None:
    indicator = np.array(values)
    assert min_max(indicator) is None
    found = find_part(indicator, threshold=0.0)
    assert found.mask.all()
    assert not found.usable


def test_threshold_is_a_share_of_the_range_and_exclusive() -> None:
    indicator = np.array([[0.0, 1.0, 2.0, 4.0]])
    assert find_part(indicator, threshold=0.0).mask.tolist() == [[False, True, True, True]]
    assert find_part(indicator, threshold=0.25).mask.tolist() == [[False, False, True, True]]
    assert find_part(indicator * 7, threshold=0.25).mask.tolist() == [[False, False, True, True]]


def test_rectangle_of_a_part_is_scaled_to_the_photograph() -> None:
    found = part_box(part("....", ".##.", ".#..", "...."), width_px=100, height_px=40)
    assert found.box_xyxy == (25, 10, 75, 30)
    assert found.area_frac == pytest.approx(0.25)
    assert found.score == pytest.approx(-0.25)
    assert not found.fallback


def test_rectangle_of_a_part_has_at_least_a_pixel() -> None:
    assert part_box(part("...#", "....", "....", "...."), width_px=1, height_px=2).box_xyxy == (0, 0, 1, 1)


def test_rectangle_of_no_part_is_the_whole_photograph_and_touches_four_borders() -> None:
    found = part_box(find_part(np.zeros((3, 3)), threshold=0.0), width_px=30, height_px=60)
    assert (found.box_xyxy, found.fallback) == ((0, 0, 30, 60), True)
    assert found.score == pytest.approx(-1.08)


@pytest.mark.parametrize(("cells", "size_px"), [(14, 448), (10, 320), (7, 100), (5, 3), (9, 31)])
def test_cell_edges_are_where_nearest_neighbours_change(cells: int, size_px: int) -> None:
    shown = [pixel * cells // size_px for pixel in range(size_px)]
    expected = [sum(cell < edge for cell in shown) for edge in range(cells + 1)]
    assert cell_edges(cells, size_px).tolist() == expected


@pytest.mark.parametrize("size_px", [48, 50])
def test_cuts_follow_from_the_pixels_of_the_upsampled_part(size_px: int) -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        mask = flood_largest_part(rng.random((6, 6)) < 0.45)
        if not mask.any():
            continue
        rows, columns = np.nonzero(upsampled(mask, size_px))
        for rate in CUT_RATES:
            x0, x1 = pixel_cut_axis(columns.tolist(), rate, size_px, 90)
            y0, y1 = pixel_cut_axis(rows.tolist(), rate, size_px, 61)
            box = cut_box(Part(mask=mask, usable=True), cut_rate=rate, size_px=size_px, width_px=90, height_px=61)
            assert box == (x0, y0, x1, y1)


@pytest.mark.parametrize(
    ("box", "read"),
    [
        ((10, 10, 40, 30), (10, 10, 50, 40)),
        ((50, 40, 51, 41), (50, 40, 100, 80)),
        ((51, 40, 51, 41), (51, 40, 52, 41)),
        ((50, 40, 60, 50), (50, 40, 60, 50)),
        ((0, 0, 0, 30), (0, 0, 1, 30)),
        ((100, 80, 100, 80), (99, 79, 100, 80)),
    ],
)
def test_reference_reading_takes_some_corners_for_sizes(
    box: tuple[int, int, int, int], read: tuple[int, int, int, int]
) -> None:
    assert read_box(box, width_px=100, height_px=80, reading="reference") == read


def test_plain_reading_only_gives_a_pixel_to_empty_boxes() -> None:
    assert read_box((10, 10, 40, 30), width_px=100, height_px=80, reading="xyxy") == (10, 10, 40, 30)
    assert read_box((100, 5, 100, 5), width_px=100, height_px=80, reading="xyxy") == (99, 5, 100, 6)


def test_search_takes_the_smallest_candidate_that_touches_least() -> None:
    middle = search_box(part("......", "..##..", "..##..", "......"), size_px=96, width_px=600, height_px=400)
    assert (middle.cut_rate, middle.fallback) == (0.85, False)
    # The part is 32 x 48 of 96 pixels, its centre of mass at (47.5, 47.5): 27 x 40 pixels from (33, 27).
    assert middle.box_xyxy == (206, 113, 375, 279)
    assert middle.score == pytest.approx(-169 * 166 / 240_000)


@pytest.mark.parametrize(
    ("rows", "touched"),
    [
        (("#...", "....", "....", "...."), 2),
        (("....", "....", "####", "...."), 2),
        (("....", ".##.", "....", "...."), 0),
    ],
)
def test_each_touched_border_costs(rows: tuple[str, ...], touched: int) -> None:
    found = part_box(part(*rows), width_px=80, height_px=80)
    assert found.score == pytest.approx(-found.area_frac - 0.02 * touched)


def test_borders_are_touched_within_one_pixel() -> None:
    wide = part_box(part("....", ".##.", "....", "...."), width_px=4, height_px=80)
    assert wide.box_xyxy == (1, 20, 3, 40)
    assert wide.score == pytest.approx(-wide.area_frac - 0.04)
    high = part_box(part("....", ".#..", ".#..", "...."), width_px=80, height_px=4)
    assert high.box_xyxy == (20, 1, 40, 3)
    assert high.score == pytest.approx(-high.area_frac - 0.04)


def test_search_rejects_what_is_too_small_or_too_large() -> None:
    whole = search_box(Part(mask=np.ones((4, 4), dtype=bool), usable=True), size_px=64, width_px=64, height_px=64)
    assert (whole.cut_rate, whole.area_frac < 0.8, whole.fallback) == (0.85, True, False)
    tiny = np.zeros((40, 40), dtype=bool)
    tiny[20, 20] = True
    speck = search_box(Part(mask=tiny, usable=True), size_px=400, width_px=400, height_px=400)
    assert (speck.cut_rate, speck.fallback) == (1.05, True)


def test_search_without_a_part_is_a_fallback_even_where_a_candidate_is_valid() -> None:
    found = search_box(find_part(np.zeros((4, 4)), threshold=0.0), size_px=64, width_px=64, height_px=64)
    assert found.fallback


def test_reading_changes_the_search() -> None:
    near_corner = part("#...", "....", "....", "....")
    boxes = {
        reading: search_box(near_corner, size_px=64, width_px=64, height_px=64, reading=reading)
        for reading in ("xyxy", "reference")
    }
    centre = part("....", ".#..", "....", "....")
    meant = search_box(centre, size_px=64, width_px=64, height_px=64)
    misread = search_box(centre, size_px=64, width_px=64, height_px=64, reading="reference")
    assert boxes["xyxy"].box_xyxy == boxes["reference"].box_xyxy
    assert misread.area_frac > 2 * meant.area_frac
