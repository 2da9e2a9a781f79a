"""Descriptions that pass, and a language model that writes them."""

import re

from tests.llm_server import Asked, Told

_SIDES = ("upper", "lower", "left", "right", "front", "hind")
_COLOURS = ("brown", "grey", "black", "white", "yellow", "pink", "green")


def description(name: str, variant: int = 0) -> str:
    """Return a text of about 60 words on what can be seen, different for each variant."""
    side, colour = _SIDES[variant % len(_SIDES)], _COLOURS[variant % len(_COLOURS)]
    return (
        f"The {name} has a slim body with a rounded head and a short {colour} tail. Its back is dark brown with pale "
        f"streaks, and the {side} wing shows two white bars. The throat and breast are pale grey, the belly white with "
        "fine black spots. The bill is short, pointed and yellow. The legs are pink, and a thin white ring surrounds "
        "the dark eye."
    )


def class_of(asked: Asked) -> str:
    """Return the class that a request, made by the shipped prompt, is about."""
    found = re.search(r"^Describe how this looks: (.*) \(.*\)\.$", asked.words, re.MULTILINE)
    assert found is not None, asked.words
    return found[1]


def describer(asked: Asked) -> str | Told:
    """Answer with a good description, another one where there are some already."""
    return description(class_of(asked), variant=asked.words.count("slim body"))
