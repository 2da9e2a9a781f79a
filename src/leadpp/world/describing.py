"""What an attentive describer writes about a species: plain English, now and then an omission or a mistake."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from leadpp.errors import WorldError
from leadpp.world.attributes import OPTIONS, Species
from leadpp.world.chance import Chance

FEWEST_WORDS: Final = 40
MOST_WORDS: Final = 75
_TRIES: Final = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Describer:
    """How careful the describer is."""

    omission: float = 0.15
    """Share of the attributes that show but are not told."""
    error: float = 0.03
    """Share of the told attributes whose value is a wrong one."""

    def __post_init__(self) -> None:
        for name, rate in (("omission", self.omission), ("error", self.error)):
            if not 0 <= rate <= 1:
                raise WorldError(f"the describer's rate of {name} must be from 0 to 1, got {rate}")


CAREFUL: Final = Describer()
"""The rates of every world unless others are asked for."""


def noted(species: Species, *, seed: int, variant: int = 0, describer: Describer = CAREFUL) -> dict[str, str]:
    """Return the attributes that a description tells, as the describer has them, right or wrong.

    Each attribute that shows is left out or mistaken independently of the others. The colour of a crown that is
    taken to be plain is not told.
    """
    chance = Chance(seed, "notes", species.key(), variant)
    notes: dict[str, str] = {}
    for name, value in species.values().items():
        omitted, wrong = chance.happens(describer.omission), chance.happens(describer.error)
        other = chance.choice([option for option in OPTIONS[name] if option != value])
        if not omitted:
            notes[name] = other if wrong else value
    if species.crown == "plain" or notes.get("crown") == "plain":
        notes.pop("crown_colour", None)
    return notes


def describe(species: Species, *, name: str, seed: int, variant: int = 0, describer: Describer = CAREFUL) -> str:
    """Describe a species in 40 to 75 words.

    Args:
        species: What is described.
        name: Stands once at the beginning; with ``""`` the text is about "a bird".
        seed: Decides, with the looks of the species and the variant, what is told and how.
        variant: Number of the description, for several of one species.
        describer: Rates of omissions and errors.

    Returns:
        Sentences of plain English. Each attribute is said with the part that it belongs to.
    """
    notes = noted(species, seed=seed, variant=variant, describer=describer)
    for attempt in range(_TRIES):
        chance = Chance(seed, "words", species.key(), variant, attempt)
        text = _compose(notes, name, chance)
        if len(text.split()) <= MOST_WORDS:
            break
    for remark in chance.shuffled(_REMARKS):
        if len(text.split()) >= FEWEST_WORDS:
            break
        text = f"{text} {remark}"
    return text


_COLOURS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "black": ("black", "jet-black"),
        "slate": ("slate", "slate-grey", "dark blue-grey"),
        "grey": ("grey", "ash-grey"),
        "white": ("white", "snow-white"),
        "brown": ("brown", "earth-brown"),
        "rufous": ("rufous", "chestnut-red"),
        "buff": ("buff", "sandy"),
        "olive": ("olive", "dull olive"),
        "green": ("green", "leaf-green"),
        "blue": ("blue", "bright blue"),
        "yellow": ("yellow", "lemon-yellow"),
        "orange": ("orange", "bright orange"),
        "pink": ("pink", "rosy pink"),
        "red": ("red", "scarlet"),
    }
)
_LENGTHS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"short": ("short", "stubby"), "medium": ("medium-length", "middle-sized"), "long": ("long", "very long")}
)
_BUILDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "slim": ("slim", "slender"),
        "plump": ("plump", "round-bodied"),
        "stocky": ("stocky", "thickset"),
        "long-necked": ("long-necked", "swan-necked"),
    }
)
_BILLS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "conical": ("conical", "cone-shaped"),
        "straight": ("straight", "dagger-straight"),
        "hooked": ("hooked", "hook-tipped"),
        "decurved": ("decurved", "down-curved"),
    }
)
_TAILS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "square": ("square", "square-ended"),
        "rounded": ("rounded", "round-tipped"),
        "forked": ("forked", "deeply forked"),
        "pointed": ("pointed", "tapering"),
    }
)
_REMARKS: Final = (
    "Male and female look much alike, and young birds are only a little duller.",
    "It is met alone or in pairs and seldom stays in one place for long.",
    "Seen well, it is hard to mistake for anything else in its range.",
    "The voice is a short series of clear notes, given at any hour.",
    "It keeps to cover when disturbed and returns after a few minutes.",
    "Worn birds in late summer can look somewhat different from fresh ones.",
)

_Clause = tuple[str, str]  # as a thing that it has ("a long bill"), and as a sentence ("the bill is long")


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _bill(notes: Mapping[str, str], chance: Chance) -> _Clause:
    words = [
        chance.choice(table[notes[name]])
        for name, table in (("bill_length", _LENGTHS), ("bill_shape", _BILLS), ("bill_colour", _COLOURS))
        if name in notes
    ]
    return _with_article(f"{', '.join(words)} bill"), f"the bill is {_listed(words)}"


def _tail(notes: Mapping[str, str], chance: Chance) -> _Clause:
    words = [
        chance.choice(table[notes[name]])
        for name, table in (("tail_length", _LENGTHS), ("tail_shape", _TAILS))
        if name in notes
    ]
    return _with_article(f"{', '.join(words)} tail"), f"the tail is {_listed(words)}"


def _crown(notes: Mapping[str, str], chance: Chance) -> _Clause:
    colour = chance.choice(_COLOURS[notes["crown_colour"]]) if "crown_colour" in notes else ""
    tint = f"{colour} " if colour else ""
    forms: dict[str, tuple[_Clause, ...]] = {
        "plain": (
            ("a plain crown", "the crown is plain"),
            ("an unmarked crown", "the crown is unmarked"),
        ),
        "capped": (
            (_with_article(f"{tint}cap"), f"the head wears {_with_article(tint + 'cap')}"),
            (f"{_with_article(tint + 'cap')} on the crown", f"the crown is capped{' in ' * bool(tint)}{colour}"),
        ),
        "striped": (
            (f"{tint}stripes on the crown", f"the crown is striped{' with ' * bool(tint)}{colour}"),
            (f"a crown with {tint}stripes", f"{tint}stripes run along the crown"),
        ),
        "crested": (
            (_with_article(f"{tint}crest"), f"the head carries {_with_article(tint + 'crest')}"),
            (f"{_with_article(tint + 'crest')} on the head", f"{_with_article(tint + 'crest')} tops the head"),
        ),
    }
    told_colour: tuple[_Clause, ...] = ((_with_article(f"{tint}crown"), f"the crown is {colour}"),)
    return chance.choice(forms[notes["crown"]] if "crown" in notes else told_colour)


def _eye_ring(notes: Mapping[str, str], chance: Chance) -> _Clause:
    if notes["eye_ring"] == "none":
        return chance.choice(
            (("no eye ring", "there is no eye ring"), ("no ring round the eye", "the eye has no ring"))
        )
    colour = chance.choice(_COLOURS[notes["eye_ring"]])
    return chance.choice(
        (
            (_with_article(f"{colour} eye ring"), f"the eye ring is {colour}"),
            (f"{_with_article(colour)} ring round the eye", f"{_with_article(colour)} ring circles the eye"),
        )
    )


def _throat(notes: Mapping[str, str], chance: Chance) -> _Clause:
    if notes["throat_colour"] == "plain":
        word = chance.choice(("plain", "unmarked"))
        return f"{_with_article(word)} throat", f"the throat is {word}"
    colour = chance.choice(_COLOURS[notes["throat_colour"]])
    return _with_article(f"{colour} throat"), f"the throat is {colour}"


def _breast(notes: Mapping[str, str], chance: Chance) -> _Clause:
    forms: dict[str, tuple[_Clause, ...]] = {
        "plain": (("a plain breast", "the breast is plain"), ("an unmarked breast", "the breast is unmarked")),
        "streaked": (
            ("a streaked breast", "the breast is boldly streaked"),
            ("dark streaks on the breast", "dark streaks run down the breast"),
        ),
        "spotted": (
            ("a spotted breast", "the breast is boldly spotted"),
            ("dark spots on the breast", "dark spots cover the breast"),
        ),
        "banded": (
            ("a banded breast", "the breast is boldly banded"),
            ("dark bands on the breast", "dark bands cross the breast"),
        ),
    }
    return chance.choice(forms[notes["breast"]])


def _back(notes: Mapping[str, str], chance: Chance) -> _Clause:
    forms: dict[str, tuple[_Clause, ...]] = {
        "plain": (("a plain back", "the back is plain"), ("an unmarked back", "the back is unmarked")),
        "streaked": (
            ("a streaked back", "the back is streaked"),
            ("a back with long streaks", "streaks run down the back"),
        ),
        "scaled": (("a scaled back", "the back looks scaled"), ("a scaly back", "scales pattern the back")),
    }
    return chance.choice(forms[notes["back"]])


def _wing_bars(notes: Mapping[str, str], chance: Chance) -> _Clause:
    forms: dict[str, tuple[_Clause, ...]] = {
        "none": (("no wing bars", "the wing has no bars"), ("no bars on the wing", "there are no wing bars")),
        "one": (
            ("one wing bar", "the wing has one pale bar"),
            ("a single wing bar", "a single pale bar marks the wing"),
        ),
        "two": (("two wing bars", "the wing has two pale bars"), ("a double wing bar", "two pale bars mark the wing")),
    }
    return chance.choice(forms[notes["wing_bars"]])


def _coloured(attribute: str, *parts: str) -> Callable[[Mapping[str, str], Chance], _Clause]:
    """Make the clause of a part that has nothing but a colour; the parts are words for it in the plural."""

    def clause(notes: Mapping[str, str], chance: Chance) -> _Clause:
        colour, part = chance.choice(_COLOURS[notes[attribute]]), chance.choice(parts)
        return f"{colour} {part}", f"the {part} are {colour}"

    return clause


_PARTS: Final[tuple[tuple[tuple[str, ...], Callable[[Mapping[str, str], Chance], _Clause]], ...]] = (
    (("bill_length", "bill_shape", "bill_colour"), _bill),
    (("crown", "crown_colour"), _crown),
    (("eye_ring",), _eye_ring),
    (("throat_colour",), _throat),
    (("breast",), _breast),
    (("under_colour",), _coloured("under_colour", "underparts", "breast and belly")),
    (("upper_colour",), _coloured("upper_colour", "upperparts", "back and wings")),
    (("back",), _back),
    (("wing_bars",), _wing_bars),
    (("tail_length", "tail_shape"), _tail),
    (("leg_colour",), _coloured("leg_colour", "legs", "legs and feet")),
)
"""What is told of each part of the bird, and how."""


def _compose(notes: Mapping[str, str], name: str, chance: Chance) -> str:
    clauses = [
        clause(notes, chance)
        for attributes, clause in chance.shuffled(_PARTS)
        if any(one in notes for one in attributes)
    ]
    build = f"{chance.choice(_BUILDS[notes['build']])} " if "build" in notes else ""
    kind = chance.choice(("bird", "species"))
    opening = f"The {name} is {_with_article(build + kind)}" if name else _with_article(build + kind).capitalize()
    if clauses:
        opening = f"{opening} with {clauses.pop()[0]}"
    sentences = [f"{opening}."]
    while clauses:
        size = min(len(clauses), 1 + chance.below(3))
        sentences.append(_sentence([clauses.pop() for _ in range(size)], chance))
    return " ".join(sentences)


def _sentence(clauses: Sequence[_Clause], chance: Chance) -> str:
    """Join one to three clauses in one of several ways."""
    (thing, first), *others = clauses
    opening = chance.choice((first, first, f"it has {thing}", f"it shows {thing}"))
    if not others:
        text = opening
    elif len(others) == 1:
        text = opening + chance.choice(("; ", ", and ", ", while ")) + others[0][1]
    else:
        text = f"{opening}; {others[0][1]}, and {others[1][1]}"
    return f"{text[0].upper()}{text[1:]}."
