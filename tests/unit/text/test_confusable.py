import math

import pytest
import torch

from leadpp.text.confusable import indistinct_pairs, nearest_pairs, same_pairs, tell_of_pairs
from leadpp.text.prototypes import Prototypes


def _at(*cosines: float) -> Prototypes:
    """A first prototype, and others at these cosines to it, each in a direction of its own."""
    rows = torch.zeros(1 + len(cosines), 1 + len(cosines), dtype=torch.float64)
    rows[0, 0] = 1
    for place, cosine in enumerate(cosines, start=1):
        rows[place, 0], rows[place, place] = cosine, math.sqrt(1 - cosine**2)
    return Prototypes(vectors=rows.float(), names=("auk", "gull", "tern", "wren")[: len(rows)])


def test_the_temperature_decides_who_is_told_apart() -> None:
    made = _at(0.994, 0.98, 0.5)
    for temperature, expected in (
        (0.01, ["gull"]),
        (0.03, ["gull", "tern"]),
        (0.001, []),
        (1.0, ["gull", "tern", "wren"]),
    ):
        pairs = [pair for pair in indistinct_pairs(made, temperature=temperature) if pair.first == "auk"]
        assert [pair.second for pair in pairs] == expected
        assert all(pair.odds < 2 for pair in pairs)
        assert all(pair.odds == pytest.approx(math.exp((1 - pair.cosine) / temperature)) for pair in pairs)


def test_the_same_is_the_same_at_any_temperature() -> None:
    made = _at(0.9995, 0.998)
    for temperature in (1e-5, 0.01, 1.0):
        assert [(pair.first, pair.second) for pair in same_pairs(made, temperature=temperature)] == [("auk", "gull")]
    assert [pair.second for pair in nearest_pairs(made, 2, temperature=0.01)] == ["gull", "tern"]


def test_the_note_names_the_worst_and_counts_the_rest() -> None:
    made = _at(0.9999, 0.9998, 0.9997)
    pairs = indistinct_pairs(made, temperature=0.01)
    assert len(pairs) == 6
    note = tell_of_pairs(pairs, model="", temperature=0.01)
    assert note.startswith(
        "6 pairs of classes are closer than the teacher can tell apart at temperature 0.01: 'auk' and "
    )
    assert "'auk' and 'gull' (cosine 0.9999)" in note
    assert " and 3 more; say in their texts" in note
    one = tell_of_pairs(pairs[:1], model="ViT", temperature=0.5)
    assert one.startswith("1 pair of classes is closer than ViT can tell apart at temperature 0.5: ")
    assert "more;" not in one
