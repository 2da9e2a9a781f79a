"""How the report writes numbers, times and values."""

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


def duration(seconds: float) -> str:
    """Write a time as a person would say it.

    >>> duration(8.25), duration(75), duration(3725)
    ('8.2 s', '1 min 15 s', '1 h 02 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


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
