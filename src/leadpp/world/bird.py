"""A whole bird, from the tail to the wing."""

from collections.abc import Iterator

import numpy as np

from leadpp.world.anatomy import Frame, frame_of
from leadpp.world.attributes import Species
from leadpp.world.curves import Points, ellipse, mix, ribbon, rotate, smooth, stroke
from leadpp.world.head import head_patches
from leadpp.world.individual import Individual
from leadpp.world.patches import Patch
from leadpp.world.plumage import Coat, coat_of
from leadpp.world.wing import flying_wing, folded_wing

_TAILS = {"short": 0.34, "medium": 0.72, "long": 1.3}
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
    shafts = [
        rotate(stroke((0, 0.03 * side), (0.15 + length, spread * side), width=0.022), direction) + root
        for side in (-0.7, -0.3, 0.1, 0.5)
    ]
    yield Patch(shafts, mix(coat.flight, _DARK, 0.55), within="tail", opacity=0.7)


def legs(frame: Frame, coat: Coat, *, gait: float, flying: bool) -> Iterator[Patch]:
    """Paint two legs with their toes; in flight they trail."""
    for side, shade in ((1, 0.28), (-1, 0.0)):
        hip = frame.at(frame.body(0.52 + 0.07 * side), 0.75)
        swing = 0.10 * side + 0.06 * (gait - 0.5)
        if flying:
            foot = hip + np.float32([-0.42 - 0.1 * gait, 0.40 + 0.06 * side])
            toes = ((-0.16, 0.05), (-0.12, 0.12))
        else:
            foot = np.float32([hip[0] + swing, frame.at(frame.body(0.4), 1.0)[1] + frame.legs])
            toes = ((0.20, 0.03), (0.13, 0.07), (-0.12, 0.03))
        knee = (hip + foot) / 2 + np.float32([-0.05, 0.0])
        bones = [stroke(hip, knee, width=0.10, taper=0.75), stroke(knee, foot, width=0.075)]
        bones += [stroke(foot, foot + np.float32(toe), width=0.06, taper=0.6) for toe in toes]
        yield Patch(bones, mix(coat.leg, _DARK, shade))


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
        marks = [
            ribbon(frame.at(frame.body(t) - 0.03 * (v - 0.4) ** 2, v), 0.042) for t in (0.0, 0.13, 0.26, 0.39, 0.52)
        ]
    else:
        marks = []
        for row, t in enumerate(np.linspace(-0.06, 0.6, 6)):
            for v in np.arange(-0.25 - frame.roll + 0.15 * (row % 2), 0.98, 0.31):
                jitter = rng.normal(0, 0.02, 2)
                place, ahead = frame.at([frame.body(t + jitter[0]), frame.body(t + jitter[0] + 0.09)], v + jitter[1])
                if species.breast == "spotted":
                    marks.append(ellipse(place, across=0.058, down=0.052, corners=10))
                else:
                    marks.append(ribbon(np.stack([place, (place + ahead) / 2, ahead]), (0.012, 0.036, 0.012)))
    yield Patch(marks, coat.breast_mark, within="torso", opacity=0.92 * coat.marks)


def back_marks(species: Species, frame: Frame, coat: Coat, *, areas: tuple[str, ...]) -> Iterator[Patch]:
    """Paint streaks or scales on mantle and wing coverts."""
    if species.back == "plain":
        return
    marks: list[Points] = []
    for row, t in enumerate(np.linspace(0.02, 0.74, 7)):
        for v in np.arange(-0.95 + 0.14 * (row % 2), 0.12 - frame.roll, 0.28):
            place, ahead = frame.at([frame.body(t), frame.body(t + 0.11)], v)
            if species.back == "streaked":
                marks.append(ribbon(np.stack([place, (place + ahead) / 2, ahead]), (0.014, 0.034, 0.014)))
            else:
                marks.append(_scale(place, ahead))
    for area in areas:
        yield Patch(marks, coat.back_mark, within=area, opacity=0.9 * coat.marks)


def _scale(place: Points, ahead: Points) -> Points:
    """Return the fringe of one feather, open towards the head."""
    along = (ahead - place) / max(float(np.hypot(*(ahead - place))), 1e-6)
    angles = np.linspace(-1.35, 1.35, 6) + np.arctan2(along[1], along[0])
    arc = place + 0.085 * np.stack([np.cos(angles), np.sin(angles)], 1)
    return ribbon(arc.astype(np.float32), (0.010, 0.022, 0.026, 0.026, 0.022, 0.010))
