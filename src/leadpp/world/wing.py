"""Wings, folded and spread."""

from collections.abc import Callable, Iterator

import numpy as np

from leadpp.world.anatomy import Frame
from leadpp.world.attributes import Species
from leadpp.world.curves import Points, floats, mix, ribbon, rotate, smooth
from leadpp.world.patches import Patch
from leadpp.world.plumage import Coat

_DARK = (26, 22, 22)
_TIPS = (
    (1.48, 0.22),
    (1.36, 0.33),
    (1.20, 0.43),
    (1.02, 0.50),
    (0.84, 0.53),
    (0.66, 0.54),
    (0.48, 0.54),
    (0.30, 0.53),
    (0.12, 0.48),
)
"""Ends of the flight feathers of a spread wing, from the outermost."""
_BARS = {"none": (), "one": (0.40,), "two": (0.29, 0.49)}


def folded_wing(species: Species, frame: Frame, coat: Coat) -> Iterator[Patch]:
    """Paint the folded wing: coverts in the upper colour, flight feathers darker, bars across."""
    lift = frame.roll * 0.7
    t = floats([0.06, 0.10, 0.30, 0.60, 0.90, 1.0, 0.80, 0.55, 0.28])
    v = floats([0.0, -0.36, -0.62, -0.62, -0.55, 0.25, 0.42, 0.46, 0.36]) - lift
    knots = frame.at(frame.start + (1 - frame.start) * t, v)
    knots[5] += (knots[5] - frame.at(frame.body(0.8), v[5])) * 0.55
    outline = smooth(knots)
    yield Patch([outline + floats([0.0, 0.05])], mix(coat.under, _DARK, 0.6), within="torso", opacity=0.5)
    yield Patch([outline], coat.flight, name="wing")
    coverts = np.concatenate([smooth(knots[[8, 0, 1, 2]], closed=False), _bar(frame, 0.56, lift)])
    yield Patch([coverts], coat.upper, within="wing", name="coverts")
    lines = _feathers(frame, lift)
    yield Patch(ribbon(lines, 0.012), mix(coat.flight, _DARK, 0.6), within="wing", opacity=0.8)
    yield Patch(
        ribbon(lines - floats([0, 0.03]), 0.010),
        mix(coat.upper, (240, 236, 226), 0.3),
        within="wing",
        opacity=0.5,
    )
    bars = [ribbon(_bar(frame, place, lift), 0.046) for place in _BARS[species.wing_bars]]
    edges = [ribbon(_bar(frame, place, lift), 0.075) for place in _BARS[species.wing_bars]]
    yield Patch(edges, mix(coat.flight, _DARK, 0.5), within="wing", opacity=coat.marks)
    yield Patch(bars, coat.bar, within="wing", opacity=coat.marks)


def _bar(frame: Frame, place: float, lift: float) -> Points:
    v = np.linspace(-0.7, 0.55, 7, dtype=np.float32)
    return frame.at(frame.body(place) + 0.07 * (1 - (v * 1.5) ** 2) * (1 - frame.start), v - lift)


def _feathers(frame: Frame, lift: float) -> Points:
    """Return the edges of the flight feathers, which draw together towards the wing's tip; (5, 5, 2)."""
    root = np.linspace(-0.42, 0.30, 5, dtype=np.float32)[:, None]
    along = np.linspace(0, 1, 5, dtype=np.float32)
    return frame.at(frame.body(0.58 + 0.42 * along), root + (0.15 - 0.6 * root) * along - lift)


def flying_wing(species: Species, frame: Frame, coat: Coat, *, gait: float, near: bool) -> Iterator[Patch]:
    """Paint one spread wing, up or down with ``gait``; bars run along it, as they do across the folded one."""
    shoulder = frame.at(frame.body(0.12), -0.55 if near else -0.75)
    raised = -2.15 + 0.75 * gait if near else -1.35 + 0.6 * gait
    span = 1.45
    lead = smooth([(0, 0.0), (0.35, -0.16), (0.75, -0.12), (1.15, -0.02), (1.5, 0.12)], closed=False)
    fingers = []
    for k, (x, y) in enumerate(_TIPS):
        fingers += [(x + 0.045, y - 0.02), (x, y), (x - 0.06, y - (0.09 if k < 4 else 0.035))]
    outline = np.concatenate([lead, floats(fingers)])
    name = "near" if near else "far"
    side = floats([1, -1])

    def place(points: Points) -> Points:
        local = np.asarray(points, np.float32) * (span / 1.5) * side
        return rotate(local, raised) + shoulder

    dim = 0.0 if near else 0.22
    yield Patch([place(outline)], mix(coat.flight, _DARK, dim), name=name)
    coverts = np.concatenate([lead[:17], smooth([(1.12, 0.12), (0.8, 0.26), (0.4, 0.30), (0.0, 0.26)], closed=False)])
    yield Patch([place(coverts)], mix(coat.upper, _DARK, dim), within=name, name="coverts" if near else "")
    shafts = ribbon(place(floats([[(0.15 + 0.12 * k, 0.15), (0.12 + 0.16 * k, 0.6)] for k in range(8)])), 0.012)
    yield Patch(shafts, mix(coat.flight, _DARK, 0.6), within=name, opacity=0.6)
    if near and species.back != "plain":
        yield Patch(_covert_marks(species, place), coat.back_mark, within="coverts", opacity=0.9 * coat.marks)
    rows = {"none": (), "one": (0.25,), "two": (0.13, 0.30)}[species.wing_bars]
    bars = [
        ribbon(place(smooth([(1.1, y - 0.08), (0.7, y), (0.35, y + 0.02), (0.05, y)], closed=False)), 0.045)
        for y in rows
    ]
    yield Patch(bars, mix(coat.bar, _DARK, dim), within=name, opacity=coat.marks)


def _covert_marks(species: Species, place: Callable[[Points], Points]) -> Points:
    """Return the marks of the back where they go on over the coverts of a spread wing."""
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(0.1, 1.15, 8), (0.0, 0.13, 0.26)))
    if species.back == "streaked":
        x, y = x[y < 0.2], y[y < 0.2]
        return ribbon(
            place(floats(np.stack([np.stack([x, x + 0.01], 1), np.stack([y - 0.04, y + 0.14], 1)], -1))), 0.026
        )
    angles = np.linspace(0.25, np.pi - 0.25, 6)
    arcs = np.stack([x[:, None] + 0.06 * np.cos(angles), y[:, None] - 0.04 + 0.06 * np.sin(angles)], -1)
    return ribbon(place(floats(arcs)), 0.018)
