"""Calibration by its definitions, item by item."""

import math
from collections.abc import Sequence


def slow_confidence(cosines: Sequence[Sequence[float]], temperature: float) -> float:
    total = 0.0
    for row in cosines:
        powers = [math.exp((value - max(row)) / temperature) for value in row]
        total += max(powers) / sum(powers)
    return total / len(cosines)


def slow_calibration_error(confidence: Sequence[float], right: Sequence[bool], *, bins: int) -> float:
    """Each item goes to the bin [b / bins, (b + 1) / bins), and 1 to the last."""
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        here = [
            (sure, hit)
            for sure, hit in zip(confidence, right, strict=True)
            if low <= sure < high or (number == bins - 1 and sure == 1)
        ]
        if here:
            gap = sum(sure for sure, _ in here) / len(here) - sum(hit for _, hit in here) / len(here)
            total += abs(gap) * len(here) / len(confidence)
    return total


def slow_risks(confidence: Sequence[float], right: Sequence[bool]) -> list[float]:
    """Share of wrong answers among the k most confident, for answers that are all of different confidence."""
    ranked = [hit for _, hit in sorted(zip(confidence, right, strict=True), key=lambda pair: -pair[0])]
    return [1 - sum(ranked[:k]) / k for k in range(1, len(ranked) + 1)]
