import re

import pytest

from leadpp.errors import WorldError
from leadpp.world.attributes import OPTIONS, Species
from leadpp.world.describing import Describer, describe, noted
from leadpp.world.families import draw_species

WORDS = {
    "build": "slim slim, slender slim, plump plump, round-bodied plump, stocky stocky, thickset stocky, "
    "long-necked long-necked, swan-necked long-necked",
    "length": "short short, stubby short, medium-length medium, middle-sized medium, long long",
    "bill": "conical conical, cone-shaped conical, straight straight, dagger-straight straight, hooked hooked, "
    "hook-tipped hooked, decurved decurved, down-curved decurved",
    "crown": "cap capped, capped capped, stripes striped, striped striped, crest crested, plain plain, unmarked plain",
    "breast": "plain plain, unmarked plain, streaked streaked, streaks streaked, spotted spotted, spots spotted, "
    "banded banded, bands banded",
    "wing": "no none, one one, single one, two two, double two",
    "back": "plain plain, unmarked plain, streaked streaked, streaks streaked, scaled scaled, scaly scaled, "
    "scales scaled",
    "tail": "square square, square-ended square, rounded rounded, round-tipped rounded, forked forked, "
    "pointed pointed, tapering pointed",
    "colour": "black black, jet-black black, blue-grey slate, slate slate, slate-grey slate, grey grey, ash-grey grey, "
    "white white, snow-white white, brown brown, earth-brown brown, rufous rufous, chestnut-red rufous, buff buff, "
    "sandy buff, olive olive, green green, leaf-green green, blue blue, yellow yellow, lemon-yellow yellow, "
    "orange orange, pink pink, red red, scarlet red",
}
"""What a reader understands by each word."""
MEANING = {topic: dict(pair.strip().split() for pair in text.split(",")) for topic, text in WORDS.items()}
MEANING["ring"] = {**MEANING["colour"], "no": "none"}
MEANING["throat"] = {**MEANING["colour"], "plain": "plain", "unmarked": "plain"}

PARTS = {
    "bill": {"bill_length": "length", "bill_shape": "bill", "bill_colour": "colour"},
    "tail": {"tail_length": "length", "tail_shape": "tail"},
    "crown|cap|crest": {"crown": "crown", "crown_colour": "colour"},
    r"\beye\b": {"eye_ring": "ring"},
    "throat": {"throat_colour": "throat"},
    "belly|underparts": {"under_colour": "colour"},
    "upperparts|back and wings": {"upper_colour": "colour"},
    "legs": {"leg_colour": "colour"},
    "breast": {"breast": "breast"},
    "wing": {"wing_bars": "wing"},
    "back": {"back": "back"},
}
"""Of what part a clause speaks, by the first pattern that is found in it, and what it may say of that."""


def find(clause: str, topic: str) -> str | None:
    found = [MEANING[topic][word] for word in re.findall(r"[a-z-]+", clause) if word in MEANING[topic]]
    assert len(set(found)) <= 1, (clause, topic)
    return found[0] if found else None


def read_clause(clause: str) -> dict[str, str | None]:
    """Understand what is said of one part of a bird."""
    topics = next((topics for pattern, topics in PARTS.items() if re.search(pattern, clause)), {})
    return {attribute: find(clause, topic) for attribute, topic in topics.items()}


def read(text: str, name: str) -> dict[str, str]:
    """Read a description as a person would, with nothing but its words."""
    opening, *sentences = text.removeprefix(f"The {name} is ").split(".")
    first, _, rest = opening.partition(" with ")
    found: dict[str, str | None] = {"build": find(first.lower(), "build")}
    for sentence in [rest, *sentences]:
        for clause in re.split(r"; |, and |, while ", sentence.lower()):
            found.update(read_clause(clause))
    return {attribute: value for attribute, value in found.items() if value is not None}


def visible(species: Species) -> dict[str, str]:
    values = {name: getattr(species, name) for name in OPTIONS}
    if species.crown == "plain":
        del values["crown_colour"]
    return values


def test_a_perfect_describer_tells_every_attribute_as_it_is() -> None:
    for number, species in enumerate(draw_species(150, seed=1)):
        for name in ("", f"Bird {number}"):
            text = describe(species, name=name, seed=2, variant=number, describer=Describer(omission=0, error=0))
            assert read(text, name) == visible(species), text


def test_omissions_and_errors_come_at_the_stated_rates() -> None:
    shown = told = wrong = 0
    for species in draw_species(200, seed=3):
        truth = visible(species)
        for variant in range(6):
            found = read(describe(species, name="X", seed=4, variant=variant), "X")
            found = {name: value for name, value in found.items() if name in truth}
            shown, told = shown + len(truth), told + len(found)
            wrong += sum(truth[name] != value for name, value in found.items())
    assert 1 - told / shown == pytest.approx(0.15, abs=0.02)  # sure to three standard deviations of 0.003 each
    assert wrong / told == pytest.approx(0.03, abs=0.006)


def test_the_text_says_what_was_noted_and_nothing_else() -> None:
    careless = Describer(omission=0.3, error=0.5)
    for species in draw_species(100, seed=5):
        text = describe(species, name="X", seed=6, describer=careless)
        assert read(text, "X") == noted(species, seed=6, describer=careless), text


@pytest.mark.parametrize("omission", [0.0, 0.15, 0.6, 1.0])
def test_length_beginning_and_plain_english(omission: float) -> None:
    for species in draw_species(120, seed=7):
        for name in ("Rufous-bellied Woodhen", ""):
            text = describe(species, name=name, seed=8, describer=Describer(omission=omission))
            assert 40 <= len(text.split()) <= 75
            assert text.count(name) == 1 or not name
            assert text.startswith(f"The {name} is a" if name else "A")
            assert not re.search(r"  | [,.;]|\ba [aeio]|\ban [^aeiou]|,,|\.\.", text.replace("a one", "")), text
            assert all(sentence[0].isupper() for sentence in text.removesuffix(".").split(". "))


def test_seed_variant_and_looks_decide() -> None:
    species, other = draw_species(2, seed=9)
    text = describe(species, name="X", seed=0)
    assert text == describe(species.seen(), name="X", seed=0)
    variants = {describe(species, name="X", seed=seed, variant=v) for seed in range(2) for v in range(20)}
    assert len(variants) == 40
    assert text in variants
    assert describe(other, name="X", seed=0) != text


@pytest.mark.parametrize("rates", [{"omission": -0.1}, {"error": 1.1}, {"error": float("nan")}])
def test_rates_are_shares(rates: dict[str, float]) -> None:
    with pytest.raises(WorldError, match="from 0 to 1"):
        Describer(**rates)
