"""The obvious retrieval and ours find the same."""

import pytest
import torch

from benchmarks.bench.retrieval import draw
from benchmarks.bench.retrieval import retrieval as case
from benchmarks.obvious.retrieval import retrieval as obvious
from leadpp.engine.neighbours import retrieval


def test_both_ways_find_the_same() -> None:
    features, labels = draw(300, features=24, classes=20)
    features -= features.mean()  # cosines of both signs
    found = obvious(features, labels)
    assert 0.05 < found["map"] < 0.9
    assert retrieval(features, labels, chunk=77).figures == pytest.approx(found, abs=1e-12)


def test_both_leave_out_what_has_no_class_mate() -> None:
    features, labels = draw(60, features=8, classes=6)
    labels[:3] = torch.tensor([70, 71, 72])
    assert retrieval(features, labels).figures == pytest.approx(obvious(features, labels), abs=1e-12)
    assert obvious(features[:3], labels[:3]) == {}


def test_the_case_measures_both_ways_on_the_same_items() -> None:
    made = case(quick=True)
    assert made.items == 2500
    assert made.target < case(quick=False).target
    assert (case(quick=False).items, case(quick=False).seconds_target) == (5794, 2.5)
