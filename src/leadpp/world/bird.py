"""A whole bird, from the tail to the wing."""

from collections.abc import Iterator

import numpy as np

from leadpp.world.anatomy import Frame, frame_of
from leadpp.world.attributes import Species
from leadpp.world.curves import Points, ellipse, floats, mix, ribbon, rotate
from leadpp.world.head import head_patches
from leadpp.world.individual import Individual
from leadpp.world.patches import Patch
from leadpp.world.plumage import Coat, coat_of
from leadpp.world.wing import flying_wing, folded_wing

_TAILS = {"short": 0.34, "medium": 0.72, "long": 1.2}
_DARK = (26, 22, 22)


def bird_patches(species: Species, individual: Individual) -> list[Patch]:
    """Return everything that is painted of a bird, in the order of painting, in bird coordinates."""
    frame, coat = frame_of(species, individual), coat_of(species, individual)
    rng = np.random.Generator(np.random.PCG64(individual.texture))
    flying = individual.pose == "flying"
    patches: list[Patch] = []
    if flying:
        patches += flying_wing(species, frame, coat, gait=individual.gait, near=False)
    patches += legs(frame, coat, gait=individual.gait, flying=flying)
    patches += tail(species, frame, coat)
    patches += torso(species, frame, coat)
    patches += breast_marks(species, frame, coat, rng)
    if not flying:
        patches += folded_wing(species, frame, coat)
    patches += back_marks(species, frame, coat, areas=("mantle",) if flying else ("mantle", "coverts"))
    patches += head_patches(species, frame, coat)
    if flying:
        patches += flying_wing(species, frame, coat, gait=individual.gait, near=True)
    return patches


def tail(species: Species, frame: Frame, coat: Coat) -> Iterator[Patch]:
    """Paint the tail: a fan of feathers whose ends make its shape."""
    length = _TAILS[species.tail_length] * (0.85 if frame.roll else 1.0)
    root, before = frame.at(0.97, 0.0), frame.at(0.80, 0.0)
    direction = float(np.arctan2(*(root - before)[::-1]))
    u = np.linspace(-1, 1, 13, dtype=np.float32)
    ends = {
        "square": 1.0 + 0.0 * u,
        "rounded": 1.0 - 0.42 * np.abs(u) ** 2.2 * min(1.0, 0.62 / length),
        "forked": 1.0 - 0.5 * (1 - np.abs(u)) ** 0.9,
        "pointed": 1.0 - 0.55 * np.abs(u) ** 0.9,
    }[species.tail_shape]
    spread = 0.17 + 0.05 * length + (0.05 if species.tail_shape == "forked" else 0.0)
    tip = np.stack([0.15 + length * ends, spread * u * (0.55 if species.tail_shape == "pointed" else 1.0)], 1)
    outline = np.concatenate([[[0, -0.09]], tip, [[0, 0.09]]]).astype(np.float32)
    yield Patch([rotate(outline, direction) + root], coat.flight, name="tail")
    shade = mix(coat.flight, _DARK, 0.55)
    lines = floats([[(0, 0.03 * side), (0.15 + length, spread * side)] for side in (-0.7, -0.3, 0.1, 0.5)])
    yield Patch(ribbon(rotate(lines, direction) + root, 0.011), shade, within="tail", opacity=0.7)


def legs(frame: Frame, coat: Coat, *, gait: float, flying: bool) -> Iterator[Patch]:
    """Paint two legs with their toes; in flight they trail."""
    for side, shade in ((1, 0.28), (-1, 0.0)):
        hip = frame.at(frame.body(0.52 + 0.07 * side), 0.75)
        swing = 0.10 * side + 0.06 * (gait - 0.5)
        if flying:
            foot = hip + floats([-0.42 - 0.1 * gait, 0.40 + 0.06 * side])
            toes = [(-0.16, 0.05), (-0.12, 0.12)]
        else:
            foot = floats([hip[0] + swing, frame.at(frame.body(0.4), 1.0)[1] + frame.legs])
            toes = [(0.20, 0.03), (0.13, 0.07), (-0.12, 0.03)]
        knee = (hip + foot) / 2 + floats([-0.05, 0.0])
        bones = np.stack([(hip, knee), (knee, foot), *((foot, foot + floats(toe)) for toe in toes)])
        widths = [(0.05, 0.038), (0.038, 0.038)] + [(0.03, 0.018)] * len(toes)
        yield Patch(ribbon(bones, widths), mix(coat.leg, _DARK, shade))


def torso(species: Species, frame: Frame, coat: Coat) -> Iterator[Patch]:
    """Paint the body in the colour below and the colour above."""
    t = np.linspace(0, 1, 25, dtype=np.float32)
    outline = np.concatenate([frame.at(t, -1.0), frame.at(t[::-1], 1.0)])
    yield Patch([outline], coat.under, name="torso")
    edge = np.interp(t, [0, frame.start, 0.75, 1.0], [-0.05, -0.10, 0.0, 0.5]).astype(np.float32) - frame.roll
    mantle = np.concatenate([frame.at(t, -1.1), frame.at(t[::-1], edge[::-1])])
    yield Patch([mantle], coat.upper, within="torso", name="mantle")
    belly = np.concatenate([frame.at(t[8:23], 0.55), frame.at(t[22:7:-1], 1.05)])
    yield Patch([belly], mix(coat.under, _DARK, 0.25), within="torso", opacity=0.35)


def breast_marks(species: Species, frame: Frame, coat: Coat, rng: np.random.Generator) -> Iterator[Patch]:
    """Paint streaks, spots or bands on breast and flanks."""
    if species.breast == "plain":
        return
    if species.breast == "banded":
        v = np.linspace(-0.2 - frame.roll, 1.0, 7, dtype=np.float32)
        t = frame.body(np.linspace(0.0, 0.52, 5, dtype=np.float32))[:, None] - 0.03 * (v - 0.4) ** 2
        marks = ribbon(frame.at(t, v), 0.042)
    else:
        spotted = species.breast == "spotted"
        t, v = _rows(6 if spotted else 4, first=-0.06, last=0.6, top=-0.25 - frame.roll, step=0.31, shift=0.15)
        t, v = floats(t + rng.normal(0, 0.02, t.shape)), floats(v + rng.normal(0, 0.02, t.shape))
        if spotted:
            spot = 0.012 + 0.1 * float(np.hypot(frame.spine[:, 2], frame.spine[:, 3]).max())
            marks = frame.at(frame.body(t), v)[:, None] + ellipse((0, 0), across=spot, down=spot, corners=10)
        else:
            marks = _streaks(frame, t, v, reach=0.25)
    yield Patch(marks, coat.breast_mark, within="torso", opacity=0.92 * coat.marks)


def back_marks(species: Species, frame: Frame, coat: Coat, *, areas: tuple[str, ...]) -> Iterator[Patch]:
    """Paint streaks or scales on mantle and wing coverts."""
    if species.back == "plain":
        return
    rows = 4 if species.back == "streaked" else 7
    t, v = _rows(rows, first=0.02, last=0.74, top=-0.95, step=0.28, shift=0.14)
    t, v = t[v < 0.12 - frame.roll], v[v < 0.12 - frame.roll]
    if species.back == "streaked":
        marks = _streaks(frame, t, v, reach=0.25)
    else:
        place, ahead = frame.at(frame.body(t), v), frame.at(frame.body(t + 0.1), v)
        angles = np.arctan2(*np.moveaxis(ahead - place, -1, 0)[::-1])[:, None] + np.linspace(-1.35, 1.35, 6)
        arcs = place[:, None] + 0.085 * np.stack([np.cos(angles), np.sin(angles)], -1)
        marks = ribbon(floats(arcs), (0.010, 0.022, 0.026, 0.026, 0.022, 0.010))
    for area in areas:
        yield Patch(marks, coat.back_mark, within=area, opacity=0.9 * coat.marks)


def _rows(rows: int, *, first: float, last: float, top: float, step: float, shift: float) -> tuple[Points, Points]:
    """Return places (along, across) of marks in rows, every other row shifted."""
    t = np.linspace(first, last, rows, dtype=np.float32)[:, None]
    v = np.arange(top, 0.98, step, dtype=np.float32) + shift * (np.arange(rows)[:, None] % 2)
    inside = v < 0.98
    return floats(np.broadcast_to(t, v.shape)[inside]), floats(v[inside])


def _streaks(frame: Frame, t: Points, v: Points, *, reach: float) -> Points:
    ways = frame.at(frame.body(t[:, None] + reach * floats([0, 0.5, 1])), v[:, None])
    return ribbon(ways, (0.012, 0.030, 0.012))
