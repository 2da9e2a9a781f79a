"""How the report writes numbers and values."""

import math
from collections.abc import Mapping
from typing import TypeGuard

from leadpp.engine.charts import MINUS, number

EN_DASH = "\N{EN DASH}"


def is_figure(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def decimals(value: float, places: int, *, signed: bool = False) -> str:
    """Write a number with so many decimals and a true minus sign.

    >>> decimals(0.512, 2), decimals(1.5, 1, signed=True)
    ('0.51', '+1.5')
    """
    text = f"{value:+.{places}f}" if signed else f"{value:.{places}f}"
    return text.replace("-", MINUS)


def percent(value: float) -> str:
    """Write a share from 0 to 1 in percent, with one decimal."""
    return decimals(100 * value, 1)


def set_words(name: str) -> str:
    """Say of which pictures the figures of a set are.

    >>> set_words("crop"), set_words("whole")
    ('object crops', 'whole photographs')
    """
    return {"whole": "whole photographs", "crop": "object crops"}.get(name, name)


def shown(value: object) -> str:
    """Write any value of a JSON object or a setting on one line.

    >>> shown({"k": 10, "rates": [0.5, None], "in_test": True})
    'k 10, rates 0.5, –, in test yes'
    """
    if value is None:
        return EN_DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {shown(inner)}" for key, inner in value.items()) or "none"
    return str(value) or EN_DASH
