"""The colours of one bird: those of its species, with age, sex and contrast."""

from dataclasses import dataclass

from leadpp.world.attributes import PALETTE, Species
from leadpp.world.curves import mix
from leadpp.world.individual import Individual

Colour = tuple[float, float, float]

_WASH = (176, 164, 148)
_INK = (38, 30, 28)
_CREAM = (246, 240, 224)


@dataclass(frozen=True, kw_only=True, slots=True)
class Coat:
    """What is painted with what."""

    upper: Colour
    under: Colour
    flight: Colour
    """Primaries and tail: the upper colour, darker."""
    cheek: Colour
    crown: Colour
    throat: Colour
    breast_mark: Colour
    back_mark: Colour
    bar: Colour
    ring: Colour
    bill: Colour
    leg: Colour
    marks: float
    """Opacity of the markings."""


def brightness(colour: Colour) -> float:
    """Return the luma of a colour, 0 to 255."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def coat_of(species: Species, individual: Individual) -> Coat:
    """Paint a species as this individual wears it."""

    def plumage(word: str) -> Colour:
        return mix(PALETTE[word], _WASH, individual.pale)

    upper, under = plumage(species.upper_colour), plumage(species.under_colour)
    crown, dark = plumage(species.crown_colour), brightness(upper) < 95
    cheek = mix(mix(upper, under, 0.62), _CREAM, 0.15)
    if max(abs(a - b) for a, b in zip(cheek, crown, strict=True)) < 70:
        cheek = mix(upper, _INK, 0.35) if brightness(crown) > 95 else mix(cheek, _CREAM, 0.6)
    return Coat(
        upper=upper,
        under=under,
        flight=mix(upper, _INK, 0.38),
        cheek=upper if species.crown == "plain" else cheek,
        crown=crown,
        throat=under if species.throat_colour == "plain" else plumage(species.throat_colour),
        breast_mark=mix(under, _INK, 0.85),
        back_mark=mix(upper, _CREAM, 0.62) if dark else mix(upper, _INK, 0.72),
        bar=mix(_CREAM, upper, 0.05),
        ring=PALETTE["white"] if species.eye_ring == "white" else PALETTE["yellow"],
        bill=PALETTE[species.bill_colour],
        leg=PALETTE[species.leg_colour],
        marks=1 - individual.weak,
    )
