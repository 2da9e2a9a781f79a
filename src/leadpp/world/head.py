"""The head: bill, crown, throat and eye."""

from collections.abc import Iterator

import numpy as np

from leadpp.world.anatomy import Frame
from leadpp.world.attributes import Species
from leadpp.world.curves import Points, ellipse, floats, mix, ribbon, smooth
from leadpp.world.patches import Patch
from leadpp.world.plumage import Coat

_BILL_LENGTHS = {"short": 0.55, "medium": 1.1, "long": 2.1}
_BILL_WIDTHS = {"conical": 0.44, "straight": 0.21, "hooked": 0.33, "decurved": 0.23}
_EYE = (0.36, -0.08)


def head_patches(species: Species, frame: Frame, coat: Coat) -> Iterator[Patch]:
    """Paint the head over the body."""
    yield from bill(species, frame, coat)
    skull = frame.of_head(ellipse((0, 0), across=1.0, down=0.98, corners=28))
    yield Patch([skull], coat.cheek if species.crown != "plain" else coat.upper, name="head")
    yield from throat(species, frame, coat)
    yield from crown(species, frame, coat)
    yield from eye(species, frame, coat)


def bill(species: Species, frame: Frame, coat: Coat) -> Iterator[Patch]:
    """Paint the bill; it begins inside the head, which covers its root."""
    length, width = _BILL_LENGTHS[species.bill_length], _BILL_WIDTHS[species.bill_shape]
    s = np.linspace(0, 1, 9, dtype=np.float32)
    x = 0.72 + (length + 0.28) * s
    drop = 0.10 + 0.0 * s
    half = width * (1 - s) ** (0.9 if species.bill_shape == "conical" else 0.6) + 0.03
    if species.bill_shape == "decurved":
        drop = drop + (0.22 + 0.34 * length) * s**2.2
    if species.bill_shape == "hooked":
        half = width * (1 - s**3) ** 0.7 + 0.05
        drop = drop + 0.42 * np.clip((s - 0.55) / 0.45, 0, 1) ** 1.6
        x = x - 0.16 * np.clip((s - 0.8) / 0.2, 0, 1)
    middle = np.stack([x, drop], 1).astype(np.float32)
    outline = frame.of_head(ribbon(middle, half))
    yield Patch([outline], coat.bill, name="bill")
    gape = frame.of_head(ribbon(middle + floats([0, 0.03]), 0.035))
    shade = mix(coat.bill, (20, 18, 20), 0.5)
    yield Patch([gape], shade, within="bill", opacity=0.7)


def throat(species: Species, frame: Frame, coat: Coat) -> Iterator[Patch]:
    """Paint the bib from the bill down to the upper breast."""
    if species.throat_colour == "plain":
        return
    low = frame.at([frame.start * 0.55, frame.start * 0.95], [0.96, 0.98])
    back = frame.at([frame.start * 0.9, frame.start * 0.55], [0.30 - frame.roll, 0.30 - frame.roll])
    chin = frame.of_head([(1.02, 0.22), (0.85, 0.68)])
    cheek = frame.of_head([(0.15, 0.42), (0.62, 0.20)])
    bib = smooth(np.concatenate([chin, low, back, cheek]))
    edge = bib + (bib - bib.mean(0)) * 0.16
    for area in ("torso", "head"):
        yield Patch([edge], mix(coat.throat, (24, 20, 20), 0.5), within=area, opacity=0.6)
    for area in ("torso", "head"):
        yield Patch([bib], coat.throat, within=area)


def crown(species: Species, frame: Frame, coat: Coat) -> Iterator[Patch]:
    """Paint cap, stripes or crest."""
    cap = smooth(
        [(1.05, -0.34), (0.85, -0.8), (0.1, -1.25), (-0.9, -0.95), (-1.15, -0.1), (-0.75, -0.02), (0.0, -0.44)]
    )
    if species.crown == "capped":
        yield Patch([frame.of_head(cap)], coat.crown, within="head")
        return
    if species.crown == "striped":
        arcs = [_arc(0.92, 0.13), _arc(0.20, 0.12)]
        yield Patch([frame.of_head(arc) for arc in arcs], coat.crown, within="head")
    if species.crown == "crested":
        crest = smooth(
            [(0.75, -0.62), (0.2, -1.05), (-0.5, -1.45), (-1.45, -1.75), (-1.05, -1.15), (-0.98, -0.55), (-0.3, -0.62)]
        )
        yield Patch([frame.of_head(crest)], coat.crown)


def _arc(height: float, half: float) -> Points:
    x = np.linspace(-1.2, 1.1, 9, dtype=np.float32)
    y = -height * (1 - 0.55 * (x - 0.1) ** 2) + (0.02 if height < 0.5 else 0.0)
    return ribbon(np.stack([x, y], 1).astype(np.float32), half)


def eye(species: Species, frame: Frame, coat: Coat) -> Iterator[Patch]:
    """Paint the eye with its ring and the light in it."""
    if species.eye_ring != "none":
        yield Patch([frame.of_head(ellipse(_EYE, across=0.37, down=0.36))], mix(coat.cheek, (24, 20, 20), 0.55))
        yield Patch([frame.of_head(ellipse(_EYE, across=0.32, down=0.31))], coat.ring)
    else:
        yield Patch([frame.of_head(ellipse(_EYE, across=0.24, down=0.23))], mix(coat.upper, (60, 50, 46), 0.6))
    yield Patch([frame.of_head(ellipse(_EYE, across=0.18, down=0.18))], (16, 12, 12))
    yield Patch(
        [frame.of_head(ellipse((_EYE[0] + 0.06, _EYE[1] - 0.07), across=0.07, down=0.07, corners=8))], (250, 250, 250)
    )
