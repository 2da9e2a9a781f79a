"""Which species live in a world: families of look-alikes, far from each other, and what they are called."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import numpy as np

from leadpp.errors import WorldError
from leadpp.world.attributes import COMBINATIONS, OPTIONS, Species
from leadpp.world.chance import Chance

Share = Literal["open", "reserved"]
"""``reserved`` combinations make the shipped networks, ``open`` ones are for everybody's worlds."""

FOUNDERS_DIFFER: Final = 5
"""Founders of two families differ in at least so many attributes."""
MEMBERS_DIFFER: Final = (1, 2)
"""Least and most attributes in which a member differs from its family's founder."""

_CROWNS: Final = len(OPTIONS["crown"]) * len(OPTIONS["crown_colour"])
_CROWNS_SEEN: Final = _CROWNS - len(OPTIONS["crown_colour"]) + 1
SHARE_SIZE: Final = COMBINATIONS // _CROWNS * _CROWNS_SEEN // 2
"""About how many combinations that look different belong to one share: half of all."""
MOST_SPECIES: Final = 100_000
"""Beyond, families that lie far enough apart are hard to find, and names run out."""
_TRIES: Final = 10_000


def share_of(species: Species) -> Share:
    """Say for which use a combination of attributes is set apart; half of all are reserved."""
    return "reserved" if species.key() & 1 else "open"


def check_species(count: int) -> None:
    """Check that there is room for so many species.

    Raises:
        WorldError: There is not.
    """
    if count > MOST_SPECIES:
        raise WorldError(
            f"a world holds at most {MOST_SPECIES:,} species, got {count:,}: of the {SHARE_SIZE:,} combinations of "
            "attributes no more can be put into families that lie apart"
        )


def draw_species(count: int, *, seed: int, share: Share = "open", family_size: int = 5) -> tuple[Species, ...]:
    """Draw families of species.

    The founder of a family is any combination of the share that is far from the founders before it; the members differ
    from it in one or two attributes that show. The first species of a larger count are those of a smaller one.

    Args:
        count: How many species; the last family is smaller if the family size does not divide it.
        seed: Decides all.
        share: From which half of the combinations.
        family_size: Species of a family, with its founder.

    Returns:
        Family by family, each with its founder first; no two look the same.

    Raises:
        WorldError: A count below 1, or more species than there are combinations.
    """
    if count < 1 or family_size < 1:
        raise WorldError(f"a world needs at least 1 species in families of at least 1, got {count} and {family_size}")
    check_species(count)
    families = -(-count // family_size)
    species = [
        member
        for number, founder in enumerate(_founders(families, seed, share))
        for member in _family(founder, Chance(seed, "family", number), share, family_size)
    ]
    return tuple(species[:count])


def _founders(count: int, seed: int, share: Share) -> Iterator[Species]:
    codes = np.empty((count, len(OPTIONS)), dtype=np.int8)
    for number in range(count):
        chance = Chance(seed, "founder", number)
        for _ in range(_TRIES):
            founder = Species(**{name: chance.choice(values) for name, values in OPTIONS.items()})
            code = [OPTIONS[name].index(value) for name, value in founder.seen().values().items()]
            differences = (codes[:number] != np.array(code, dtype=np.int8)).sum(axis=1)
            if share_of(founder) == share and (differences >= FOUNDERS_DIFFER).all():
                break
        else:
            raise WorldError(
                f"no room for more than {number:,} families that differ in {FOUNDERS_DIFFER} attributes; "
                "ask for fewer species or larger families"
            )
        codes[number] = code
        yield founder


def _family(founder: Species, chance: Chance, share: Share, size: int) -> list[Species]:
    low, high = MEMBERS_DIFFER
    members = [founder.seen()]  # the founder itself keeps the colour that a member's crown may show
    failures = 0
    while len(members) < size:
        changed = chance.shuffled(list(OPTIONS))[: low + chance.below(high - low + 1)]
        member = dataclasses.replace(founder, **{name: _other(name, founder, chance) for name in changed}).seen()
        if low <= len(founder.differences(member)) <= high and share_of(member) == share and member not in members:
            members.append(member)
            failures = 0
            continue
        failures += 1
        if failures == _TRIES:
            raise WorldError(
                f"no family has {size:,} species that differ from its founder in {low} or {high} attributes; "
                "ask for smaller families"
            )
    return members


def _other(name: str, species: Species, chance: Chance) -> str:
    return chance.choice([value for value in OPTIONS[name] if value != species.values()[name]])


_GROUPS: Final = tuple(
    first + second
    for first in "Wood Reed Marsh Thorn Hill Mist Dusk Bell Wind Stone Fern Brook Heath Moss Dawn Vale".split()
    for second in "hen lark finch wren piper thrush tit chat warbler tanager shrike bunting".split()
)
_PLAIN_EPITHETS: Final = tuple(
    "Common Lesser Greater Northern Southern Eastern Western Island Mountain Lowland River Desert Coastal".split()
)
_PEOPLE: Final = tuple(
    first + second + last
    for first in "Ar Bel Cor Dav El Fen Gar Hal Jor Kel Lor Mar Nor Or Per Ras Sel Tor Ul Ver Wen Zan".split()
    for second in ("an", "e", "i", "o", "u", "ev", "il", "om")
    for last in ("ard", "bert", "dell", "lin", "mond", "ner", "ric", "son", "ton", "vik", "well", "wick")
)
_ATTRIBUTE_NAME_SHARE: Final = 0.6


def species_names(species: Sequence[Species], *, seed: int) -> tuple[str, ...]:
    """Invent names such as "Rufous-bellied Woodhen" and "Keldell's Mosschat".

    A name tells one true attribute of the species or none, as English bird names do; neighbours in a family share the
    second word.

    Returns:
        One name a species, no two the same.

    Raises:
        WorldError: So many species that the names run out.
    """
    taken: set[str] = set()
    names: list[str] = []
    groups = Chance(seed, "groups").shuffled(_GROUPS)
    families = 0
    founder: Species | None = None
    for number, one in enumerate(species):
        if founder is None or len(founder.differences(one)) > MEMBERS_DIFFER[1]:
            founder, families = one, families + 1
        # With more families than words the words come round again; the first word then tells the species apart.
        name = _new_name(one, groups[(families - 1) % len(groups)], Chance(seed, "name", number), taken)
        taken.add(name)
        names.append(name)
    return tuple(names)


def _new_name(species: Species, group: str, chance: Chance, taken: set[str]) -> str:
    telling = chance.shuffled(_telling_epithets(species))
    plain = chance.shuffled(_PLAIN_EPITHETS)
    people = [f"{chance.choice(_PEOPLE)}'s" for _ in range(_TRIES // 100)]
    first, second = (telling, plain) if chance.happens(_ATTRIBUTE_NAME_SHARE) else (plain, telling)
    for epithet in (*first[:2], *second[:2], *people):
        if f"{epithet} {group}" not in taken:
            return f"{epithet} {group}"
    raise WorldError(f"no more names after {len(taken):,} species; ask for fewer")


def _telling_epithets(species: Species) -> list[str]:
    """First words that each tell one attribute."""
    build = {"slim": "Slender", "plump": "Plump", "stocky": "Stocky", "long-necked": "Long-necked"}
    bill = {"conical": "Cone", "straight": "Straight", "hooked": "Hook", "decurved": "Curve"}
    crown = {"plain": "plain-crowned", "capped": "capped", "striped": "stripe-crowned", "crested": "crested"}
    breast = {"plain": "Plain", "streaked": "Streak", "spotted": "Spot", "banded": "Band"}
    back = {"plain": "Plain", "streaked": "Streak", "scaled": "Scale"}
    tail = {"square": "Square", "rounded": "Round", "forked": "Fork", "pointed": "Point"}
    words = [
        build[species.build],
        f"{bill[species.bill_shape]}-billed",
        crown[species.crown].capitalize(),
        f"{breast[species.breast]}-breasted",
        f"{back[species.back]}-backed",
        f"{tail[species.tail_shape]}-tailed",
        f"{species.bill_colour.capitalize()}-billed",
        f"{species.upper_colour.capitalize()}-winged",
        f"{species.under_colour.capitalize()}-bellied",
        f"{species.leg_colour.capitalize()}-legged",
    ]
    if species.eye_ring != "none":
        words.append(f"{species.eye_ring.capitalize()}-eyed")
    if species.throat_colour != "plain":
        words.append(f"{species.throat_colour.capitalize()}-throated")
    if species.wing_bars != "none":
        words.append(f"{species.wing_bars.capitalize()}-barred")
    return words
