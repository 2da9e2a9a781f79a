"""Charts are read back from their SVG and held against the data."""

import math
import re
import xml.etree.ElementTree as ET

import pytest
from markupsafe import Markup

from leadpp.engine.charts import Cloud, Series, cloud_map, heat_map, histogram, line_chart, number, shorten, ticks

EVIL = '<script>alert("x")</script>'


def parse(chart: Markup) -> ET.Element:
    return ET.fromstring(f"<div>{chart}</div>")  # noqa: S314 - our own output


def polyline(chart: Markup, place: int = 0) -> list[tuple[float, float]]:
    points = [line.attrib["points"] for line in parse(chart).iter("polyline")][place]
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())]


def texts(chart: Markup, kind: str) -> list[tuple[float, float, str]]:
    found = [one for one in parse(chart).iter("text") if one.attrib.get("class") == kind]
    return [(float(one.attrib["x"]), float(one.attrib["y"]), one.text or "") for one in found]


def test_a_line_stands_where_the_labels_of_its_axes_say() -> None:
    chart = line_chart([Series(name="a", xs=[0, 1, 4], ys=[10, 30, 20])], label="l", x_label="step")
    (x0, t0), (x1, t1) = [(x, float(t)) for x, _, t in texts(chart, "x")][:2]
    (y0, v0), (y1, v1) = [(y - 3.5, float(t)) for _, y, t in texts(chart, "y")][:2]
    for (x, y), (true_x, true_y) in zip(polyline(chart), [(0, 10), (1, 30), (4, 20)], strict=True):
        assert t0 + (x - x0) * (t1 - t0) / (x1 - x0) == pytest.approx(true_x, abs=0.02)
        assert v0 + (y - y0) * (v1 - v0) / (y1 - y0) == pytest.approx(true_y, abs=0.2)


def test_larger_values_are_drawn_higher() -> None:
    points = polyline(line_chart([Series(name="a", xs=[0, 1, 2], ys=[-3, -1, -2])], label="l", x_label="x"))
    assert points[1][1] < points[2][1] < points[0][1]


def test_values_that_are_not_finite_are_left_out() -> None:
    series = Series(name="a", xs=[0, 1, 2, 3], ys=[1.0, math.nan, math.inf, 2.0])
    assert len(polyline(line_chart([series], label="l", x_label="x"))) == 2


def test_long_lines_are_averaged_in_stretches() -> None:
    series = Series(name="a", xs=list(range(1000)), ys=[place % 2 for place in range(1000)])
    points = polyline(line_chart([series], label="l", x_label="x", y_limits=(0, 1)))
    assert len(points) == 200
    assert [y for _, y in points[:-1]] == pytest.approx([points[1][1]] * 199, abs=0.2 * 164 + 1)
    assert points[0][0] < points[-1][0]


@pytest.mark.parametrize("values", [[0.0, 0.0], [5.0, 5.0], [1e-20, 1e-20], [-2.0, -2.0]])
def test_constant_lines_have_an_axis_too(values: list[float]) -> None:
    chart = line_chart([Series(name="a", xs=[0, 1], ys=values)], label="l", x_label="x")
    labels = [text for _, _, text in texts(chart, "y")]
    assert len(set(labels)) == len(labels) >= 2
    assert all(math.isfinite(y) for _, y in polyline(chart))


def test_one_point_is_a_dot() -> None:
    chart = line_chart([Series(name="a", xs=[3], ys=[7])], label="l", x_label="x")
    assert len(list(parse(chart).iter("circle"))) == 1


@pytest.mark.parametrize("limits", [(9.8e-5, 1.02e-4), (1000.0, 1001.0), (0.99991, 0.99999), (-1.0, 1.0), (0, 1e6)])
def test_no_two_ticks_have_the_same_label(limits: tuple[float, float]) -> None:
    chart = line_chart([Series(name="a", xs=[0, 1], ys=list(limits))], label="l", x_label="x")
    labels = [text for _, _, text in texts(chart, "y")]
    assert len(set(labels)) == len(labels) >= 2
    assert max(map(len, labels)) <= 9


def test_several_lines_have_a_legend_and_own_colours() -> None:
    two = [Series(name="first", xs=[0, 1], ys=[0, 1]), Series(name="second", xs=[0, 1], ys=[1, 0])]
    root = parse(line_chart(two, label="l", x_label="x"))
    assert [item.find("i").attrib["class"] for item in root.iter("li")] == ["s0", "s1"]  # type: ignore[union-attr]
    assert [line.attrib["class"] for line in root.iter("polyline")] == ["s0", "s1"]
    assert not list(parse(line_chart(two[:1], label="l", x_label="x")).iter("li"))


def test_bars_are_as_high_as_their_counts() -> None:
    chart = histogram([4, 0, 2], [0.0, 0.5, 1.0, 1.5], label="l", x_label="x")
    bars = list(parse(chart).iter("rect"))
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights == pytest.approx([heights[0], 0, heights[0] / 2], abs=0.2)
    assert heights[0] > 100
    assert bars[2].find("title").text == "1 to 1.5: 2"  # type: ignore[union-attr]


def test_curves_over_bars_run_from_zero_to_one() -> None:
    curve = Series(name="w", xs=[0, 1], ys=[0, 1])
    chart = histogram([1, 1], [0.0, 0.5, 1.0], label="l", x_label="x", curves=[curve])
    (x0, low), (x1, high) = polyline(chart)
    baseline = next(y - 3.5 for _, y, text in texts(chart, "y") if text == "0")
    assert low == pytest.approx(baseline, abs=0.2)
    assert high < low - 200
    assert x0 < x1


def test_empty_counts_do_not_divide_by_zero() -> None:
    chart = histogram([0, 0], [0.0, 0.5, 1.0], label="l", x_label="x")
    assert [float(bar.attrib["height"]) for bar in parse(chart).iter("rect")] == [0, 0]


def test_a_map_keeps_shape_and_puts_up_up() -> None:
    chart = cloud_map([Cloud(name="a", points=[(0, 0), (10, 0)]), Cloud(name="b", points=[(0, 5)])], label="l")
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in parse(chart).iter("circle")]
    across, up = dots[1][0] - dots[0][0], dots[0][1] - dots[2][1]
    assert across == pytest.approx(2 * up, abs=0.3)
    assert up > 0
    hues = re.findall(r"--hue:(\d+)", chart)
    assert len(set(hues)) == len(hues) == 2


def test_a_map_names_few_classes_and_not_many() -> None:
    clouds = [Cloud(name=f"class {number}", points=[(number, 0)]) for number in range(30)]
    assert "<text" in cloud_map(clouds[:24], label="l")
    assert "<text" not in cloud_map(clouds, label="l")
    assert len(list(parse(cloud_map(clouds, label="l")).iter("title"))) == 30


def test_names_cannot_leave_their_text() -> None:
    evil = Series(name=EVIL, xs=[0, 1], ys=[0, 1])
    charts = [
        line_chart([evil, evil], label=EVIL, x_label=EVIL),
        histogram([1], [0.0, 1.0], label=EVIL, x_label=EVIL, curves=[evil, evil]),
        cloud_map([Cloud(name=EVIL, points=[(0, 0), (1, 1)])], label=EVIL),
    ]
    for chart in charts:
        assert "<script" not in chart
        assert not list(parse(chart).iter("script"))
        assert next(parse(chart).iter("svg")).attrib["aria-label"] == EVIL


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.5, "\N{MINUS SIGN}0.5"), (12345.6, "12,346"), (2e-5, "2e-5"), (3.14159, "3.14"), (64, "64")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("limits", [(0, 1), (0.3, 0.31), (-7, 12), (1e-6, 3e-6), (0, 140), (17, 23_000)])
def test_ticks_are_round_few_and_inside(limits: tuple[float, float]) -> None:
    low, high = limits
    values = ticks(low, high)
    assert 2 <= len(values) <= 9
    assert low - 1e-9 <= values[0]
    assert values[-1] <= high + 1e-9
    step = values[1] - values[0]
    assert step / 10 ** math.floor(math.log10(step * 1.0001)) == pytest.approx(
        min((1, 2, 2.5, 5), key=lambda nice: abs(step / 10 ** math.floor(math.log10(step * 1.0001)) - nice)), rel=1e-6
    )


def test_long_names_are_marked_as_cut() -> None:
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcde…"


def tints(chart: Markup, size: int) -> list[list[int | None]]:
    """Read back which tint each cell of a heat map has."""
    cells: list[list[int | None]] = [[None] * size for _ in range(size)]
    for path in parse(chart).iter("path"):
        for x, y, width in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", path.attrib["d"]):
            for place in range(int(x), int(x) + int(width)):
                assert cells[int(y)][place] is None
                cells[int(y)][place] = int(path.attrib["class"].removeprefix("t"))
    return cells


def test_a_heat_map_has_one_tint_a_cell_stronger_for_larger_values() -> None:
    values = [
        [math.nan, 0.0, 0.31, 1.0],
        [0.0, math.nan, 0.31, 0.99],
        [0.3, 0.3, -math.inf, 0.5],
        [1.0, 1.0, 0.5, 0.09],
    ]
    chart = heat_map(values, ["a", "b", "c", "d"], label="l")
    assert tints(chart, 4) == [[None, 0, 3, 9], [0, None, 3, 9], [3, 3, None, 5], [9, 9, 5, 0]]
    named = [one.text for one in parse(chart).iter("title")]
    assert named == [text for _, _, text in texts(chart, "y")] == ["a", "b", "c", "d"]
    assert [one.text for one in parse(chart).iter("text") if "class" not in one.attrib] == ["0", "1"]


def test_a_large_heat_map_names_its_rows_only_when_pointed_at_and_equal_values_have_a_tint() -> None:
    chart = heat_map([[0.5] * 70 for _ in range(70)], [EVIL] * 70, label=EVIL)
    assert len({tint for row in tints(chart, 70) for tint in row}) == 1
    assert texts(chart, "y") == []
    assert [one.text for one in parse(chart).iter("title")] == [EVIL] * 70
    assert "<script" not in chart
