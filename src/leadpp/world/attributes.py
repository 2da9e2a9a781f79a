"""What a species is: one value for each attribute that a field guide would name."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Final

PALETTE: Final[Mapping[str, tuple[int, int, int]]] = MappingProxyType(
    {
        "black": (28, 28, 32),
        "slate": (84, 94, 108),
        "grey": (142, 146, 150),
        "white": (240, 240, 234),
        "brown": (112, 76, 50),
        "rufous": (170, 82, 38),
        "buff": (214, 182, 134),
        "olive": (110, 116, 54),
        "green": (62, 134, 66),
        "blue": (52, 98, 180),
        "yellow": (232, 200, 50),
        "orange": (232, 130, 40),
        "pink": (226, 150, 150),
        "red": (190, 42, 40),
    }
)
"""Colour words and their RGB values under neutral light."""

OPTIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "build": ("slim", "plump", "stocky", "long-necked"),
        "bill_length": ("short", "medium", "long"),
        "bill_shape": ("conical", "straight", "hooked", "decurved"),
        "bill_colour": ("black", "grey", "yellow", "orange", "red"),
        "crown": ("plain", "capped", "striped", "crested"),
        "crown_colour": ("black", "slate", "white", "rufous", "blue", "yellow", "red"),
        "eye_ring": ("none", "white", "yellow"),
        "throat_colour": ("plain", "black", "white", "rufous", "yellow", "red"),
        "breast": ("plain", "streaked", "spotted", "banded"),
        "wing_bars": ("none", "one", "two"),
        "back": ("plain", "streaked", "scaled"),
        "upper_colour": ("black", "slate", "grey", "brown", "rufous", "olive", "green", "blue"),
        "under_colour": ("grey", "white", "buff", "rufous", "yellow", "orange", "pink"),
        "tail_length": ("short", "medium", "long"),
        "tail_shape": ("square", "rounded", "forked", "pointed"),
        "leg_colour": ("black", "grey", "yellow", "orange", "pink"),
    }
)
"""Attribute -> the values it can take. A throat that is ``plain`` has the colour of the underparts; ``crown_colour`` is
seen where ``crown`` is not ``plain``."""

COMBINATIONS: Final = prod(map(len, OPTIONS.values()))
"""How many different sets of attributes there are."""


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Species:
    """The attributes of one species; see :data:`OPTIONS` for the values of each."""

    build: str
    """Outline of the body."""
    bill_length: str
    """Length of the bill against the head."""
    bill_shape: str
    """Form of the bill."""
    bill_colour: str
    """Colour of the bill."""
    crown: str
    """What the top of the head carries."""
    crown_colour: str
    """Colour of cap, stripes or crest."""
    eye_ring: str
    """Ring round the eye."""
    throat_colour: str
    """Colour of the throat, or ``plain``."""
    breast: str
    """Markings of breast and flanks."""
    wing_bars: str
    """Pale bars across the folded wing."""
    back: str
    """Markings of the back."""
    upper_colour: str
    """Colour of back, wings and tail."""
    under_colour: str
    """Colour of breast and belly."""
    tail_length: str
    """Length of the tail against the body."""
    tail_shape: str
    """Form of the tail's end."""
    leg_colour: str
    """Colour of the legs."""

    def __post_init__(self) -> None:
        for name, value in self.values().items():
            if value not in OPTIONS[name]:
                raise ValueError(f"{name} must be one of {', '.join(OPTIONS[name])}, got {value!r}")

    def values(self) -> dict[str, str]:
        """Return the attributes by name, in the order of :data:`OPTIONS`."""
        return {name: getattr(self, name) for name in OPTIONS}

    def seen(self) -> "Species":
        """Return the species as an eye would note it: an attribute that does not show has its first value."""
        return dataclasses.replace(self, crown_colour=OPTIONS["crown_colour"][0]) if self.crown == "plain" else self

    def key(self) -> int:
        """Return a 62-bit number that is the same for species that look the same, in any process and version."""
        text = "|".join(self.seen().values().values())
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 2

    def differences(self, other: "Species") -> tuple[str, ...]:
        """Return the names of the attributes in which two species can be told apart."""
        mine, theirs = self.seen().values(), other.seen().values()
        return tuple(name for name in OPTIONS if mine[name] != theirs[name])
