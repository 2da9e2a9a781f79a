"""Charts as inline SVG, drawn so that the page's style sheet decides about their colours.

Text stays text, classes such as ``s0`` and ``axis`` take their colours from the page (so that light and dark both
work), and every name that comes from outside is escaped.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 12, 34
_POINTS = 240
_TINTS = 10

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A named line."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cloud:
    """The points of one class in a map."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Frame:
    """Data limits and the size of the drawing in pixels."""

    x_limits: tuple[float, float]
    y_limits: tuple[float, float]
    width: int
    height: int

    def x(self, value: float) -> float:
        low, high = self.x_limits
        return round(_LEFT + (value - low) / (high - low) * (self.width - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.y_limits
        return round(self.height - _BOTTOM - (value - low) / (high - low) * (self.height - _TOP - _BOTTOM), 1)


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    x_label: str,
    y_limits: tuple[float, float] | None = None,
    width: int = 400,
    height: int = 210,
) -> Markup:
    """Draw lines over a common axis; longer ones than can be seen are averaged in equal stretches.

    Args:
        series: At least one line with at least one finite point; points that are not finite are left out.
        label: What the chart shows, for those who cannot see it.
        x_label: Name of the horizontal axis.
        y_limits: Fixed limits of the vertical axis; None takes those of the data.
        width: Of the drawing, in pixels.
        height: Of the drawing, in pixels.
    """
    lines = [_thin(_finite(one)) for one in series]
    frame = _Frame(
        _limits([x for xs, _ in lines for x in xs]),
        y_limits or _padded(_limits([y for _, ys in lines for y in ys])),
        width,
        height,
    )
    marks = [_line(frame, xs, ys, number) for number, (xs, ys) in enumerate(lines)]
    body = Markup("").join([_axes(frame, x_label=x_label), *marks])
    return _legend([one.name for one in series]) + _svg(body, label=label, width=width, height=height)


def histogram(
    counts: Sequence[int],
    edges: Sequence[float],
    *,
    label: str,
    x_label: str,
    curves: Sequence[Series] = (),
    width: int = 620,
    height: int = 260,
) -> Markup:
    """Draw bars of counts, with curves over them whose values run from 0 to 1 over the full height.

    Args:
        counts: One a bar.
        edges: Borders of the bars, one more than there are bars.
        label: What the chart shows, for those who cannot see it.
        x_label: Name of the horizontal axis.
        curves: Lines from 0 to 1 in the same horizontal units.
        width: Of the drawing, in pixels.
        height: Of the drawing, in pixels.
    """
    frame = _Frame((edges[0], edges[-1]), (0, max(1, *counts) * 1.05), width, height)
    bars = [
        Markup('<rect class="bar" x="{}" y="{}" width="{}" height="{}"><title>{} to {}: {}</title></rect>').format(
            frame.x(low) + 0.5,
            frame.y(count),
            max(0.5, round(frame.x(high) - frame.x(low) - 1, 1)),
            round(frame.y(0) - frame.y(count), 1),
            number(low),
            number(high),
            count,
        )
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
    ]
    scaled = _Frame(frame.x_limits, (0, 1.05), width, height)
    lines = [_line(scaled, one.xs, one.ys, place + 1) for place, one in enumerate(curves)]
    body = Markup("").join([_axes(frame, x_label=x_label), *bars, *lines])
    legend = _legend([one.name for one in curves], first=1)
    return legend + _svg(body, label=label, width=width, height=height)


def cloud_map(clouds: Sequence[Cloud], *, label: str, side: int = 460, named: int = 24) -> Markup:
    """Draw a map of points, one colour a class; hovering over a class shows its name and dims the others.

    Args:
        clouds: The classes.
        label: What the map shows, for those who cannot see it.
        side: Width and height in pixels.
        named: Up to this many classes are also named at the middle of their points.
    """
    xs = [x for cloud in clouds for x, _ in cloud.points]
    ys = [y for cloud in clouds for _, y in cloud.points]
    (left, right), (low, high) = _limits(xs), _limits(ys)
    scale = (side - 24) / max(right - left, high - low)

    def place(x: float, y: float) -> tuple[float, float]:
        across = side / 2 + (x - (left + right) / 2) * scale
        return round(across, 1), round(side / 2 - (y - (low + high) / 2) * scale, 1)

    groups = []
    names = []
    for turn, cloud in enumerate(clouds):
        dots = Markup("").join(
            Markup('<circle cx="{}" cy="{}" r="{}"/>').format(*place(x, y), 3 if len(xs) < 1500 else 2)
            for x, y in cloud.points
        )
        groups.append(Markup('<g style="--hue:{}"><title>{}</title>{}</g>').format(_hue(turn), cloud.name, dots))
        if len(clouds) <= named and cloud.points:
            middle = place(_median([x for x, _ in cloud.points]), _median([y for _, y in cloud.points]))
            names.append(Markup('<text x="{}" y="{}">{}</text>').format(*middle, shorten(cloud.name, 24)))
    body = Markup('{}<g class="names">{}</g>').format(Markup("").join(groups), Markup("").join(names))
    return _svg(body, label=label, width=side, height=side, kind="map")


def heat_map(
    cells: Sequence[Sequence[float]], names: Sequence[str], *, label: str, side: int = 720, named: int = 60
) -> Markup:
    """Draw a square table of values as tints, stronger for larger ones, with the scale under it.

    Args:
        cells: One row a name, each with one value a name; values that are not finite are left blank.
        names: Of the rows and, in the same order, of the columns; hovering over a row shows its name.
        label: What the map shows, for those who cannot see it.
        side: Width of the drawing in pixels.
        named: Up to this many rows also have their names beside them.
    """
    limits = _limits([value for row in cells for value in row if math.isfinite(value)])
    margin = 150 if len(names) <= named else 0
    scale = (side - margin) / len(names)
    tints = [
        Markup('<path class="t{}" d="{}"/>').format(tint, "".join(runs))
        for tint, runs in enumerate(_runs(cells, limits))
    ]
    row = Markup('<rect class="row" y="{}" width="{}" height="1"><title>{}</title></rect>')
    rows = [row.format(place, len(names), name) for place, name in enumerate(names)]
    beside = Markup('<text class="y" x="{}" y="{}">{}</text>')
    labels = [
        beside.format(margin - 6, round((place + 0.5) * scale + 3.5, 1), shorten(name, 24))
        for place, name in enumerate(names if margin else ())
    ]
    table = Markup('<g transform="translate({} 0) scale({:.5g})"><rect class="ground" width="{n}" height="{n}"/>{}</g>')
    body = table.format(margin, scale, Markup("").join([*tints, *rows]), n=len(names))
    bottom = side - margin
    key = _tint_key(limits, left=margin, top=bottom + 10)
    return _svg(body + Markup("").join([*labels, key]), label=label, width=side, height=bottom + 24, kind="chart heat")


def number(value: float) -> str:
    """Write a figure with as many digits as a reader needs.

    >>> number(0.123456), number(12345.6), number(0.00002)
    ('0.123', '12,346', '2e-5')
    """
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        text = f"{value:,.0f}"
    elif abs(value) < 0.001:
        text = f"{value:.0e}".replace("e-0", "e-")
    else:
        text = f"{value:.3g}"
    return MINUS + text[1:] if value < 0 else text


def shorten(name: str, length: int) -> str:
    """Cut a name that is longer than ``length`` and mark the cut."""
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"


def ticks(low: float, high: float, *, count: int = 4) -> list[float]:
    """Return round numbers from ``low`` to ``high``, about ``count`` steps apart.

    >>> ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.8)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]


def _svg(body: Markup, *, label: str, width: int, height: int, kind: str = "chart") -> Markup:
    return Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        kind, width, height, label, body
    )


def _runs(cells: Sequence[Sequence[float]], limits: tuple[float, float]) -> list[list[str]]:
    """Outline, for each tint, the cells that have it; neighbours in a row are one outline."""
    runs: list[list[str]] = [[] for _ in range(_TINTS)]
    for y, row in enumerate(cells):
        for tint, cell in itertools.groupby(enumerate(row), key=lambda cell: _tint(cell[1], limits)):
            places = [x for x, _ in cell]
            if tint is not None:
                runs[tint].append(f"M{places[0]} {y}h{len(places)}v1h-{len(places)}z")
    return runs


def _tint(value: float, limits: tuple[float, float]) -> int | None:
    low, high = limits
    return min(int((value - low) / (high - low) * _TINTS), _TINTS - 1) if math.isfinite(value) else None


def _tint_key(limits: tuple[float, float], *, left: int, top: float) -> Markup:
    """Draw all tints from left to right, with the least and the largest value at their ends."""
    square = Markup('<rect class="t{}" x="{}" y="{}" width="14" height="10"/>')
    squares = [square.format(tint, left + 44 + 14 * tint, top) for tint in range(_TINTS)]
    low, high = (
        Markup('<text x="{}" y="{}">{}</text>').format(x, top + 9, number(value))
        for x, value in zip((left, left + 50 + 14 * _TINTS), limits, strict=True)
    )
    return low + Markup("").join(squares) + high


def _legend(names: Sequence[str], *, first: int = 0) -> Markup:
    if len(names) < 2:
        return Markup("")
    items = [
        Markup('<li><i class="s{}"></i>{}</li>').format((first + place) % 6, name) for place, name in enumerate(names)
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def _axes(frame: _Frame, *, x_label: str) -> Markup:
    parts = []
    for value, text in _labelled_ticks(*frame.y_limits):
        height = frame.y(value)
        line = Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>')
        parts.append(line.format(_LEFT, frame.width - _RIGHT, height, height))
        parts.append(Markup('<text class="y" x="{}" y="{}">{}</text>').format(_LEFT - 6, height + 3.5, text))
    for value, text in _labelled_ticks(*frame.x_limits):
        place = Markup('<text class="x" x="{}" y="{}">{}</text>')
        parts.append(place.format(frame.x(value), frame.height - _BOTTOM + 14, text))
    parts.append(
        Markup('<text class="x name" x="{}" y="{}">{}</text>').format(
            (frame.width + _LEFT - _RIGHT) / 2, frame.height - 4, x_label
        )
    )
    return Markup('<g class="axis">{}</g>').format(Markup("").join(parts))


def _labelled_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Write ticks with just as many digits as tell them apart."""
    values = ticks(low, high)
    style = "g" if max(map(abs, values), default=0.0) >= 0.001 else "e"
    texts = [number(value) for value in values]
    for digits in range(1, 12):
        if len(set(texts)) == len(texts):
            break
        texts = [f"{value:,.{digits}{style}}".replace("e-0", "e-").replace("-", MINUS) for value in values]
    return list(zip(values, texts, strict=True))


def _line(frame: _Frame, xs: Sequence[float], ys: Sequence[float], place: int) -> Markup:
    if len(xs) == 1:
        dot = Markup('<circle class="s{}" cx="{}" cy="{}" r="3"/>')
        return dot.format(place % 6, frame.x(xs[0]), frame.y(ys[0]))
    points = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in zip(xs, ys, strict=True))
    return Markup('<polyline class="s{}" points="{}"/>').format(place % 6, points)


def _finite(series: Series) -> tuple[list[float], list[float]]:
    pairs = [(x, y) for x, y in zip(series.xs, series.ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
    return [x for x, _ in pairs], [y for _, y in pairs]


def _thin(line: tuple[list[float], list[float]]) -> tuple[list[float], list[float]]:
    xs, ys = line
    stretch = -(-len(xs) // _POINTS)
    if stretch <= 1:
        return line
    starts = range(0, len(xs), stretch)
    return [_mean(xs[s : s + stretch]) for s in starts], [_mean(ys[s : s + stretch]) for s in starts]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    around = abs(low) * 0.1 or 0.5
    return low - around, high + around


def _padded(limits: tuple[float, float]) -> tuple[float, float]:
    low, high = limits
    margin = (high - low) * 0.06
    return (0.0 if 0 <= low < (high - low) * 0.5 else low - margin), high + margin


def _hue(place: int) -> int:
    # The golden angle keeps any number of neighbours in the list apart.
    return round(place * 137.508) % 360


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
