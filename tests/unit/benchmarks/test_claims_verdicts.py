import math
from collections.abc import Sequence

import pytest
import torch
from scipy import stats

from benchmarks.claims.rows import BY_NAME
from benchmarks.claims.verdicts import CLAIMS, MARGIN, METRICS, Claim, Interval, judge, paired_interval, verdict_of
from leadpp.functional.randomness import generator_for


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_the_interval_is_scipys_of_the_paired_t_test(count: int) -> None:
    first, second = torch.rand(2, count, generator=generator_for(4, "pairs"), dtype=torch.float64)
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    interval = paired_interval((first - second).tolist())
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.mean == pytest.approx((first - second).mean().item())
    assert interval.spread == pytest.approx(stats.tstd((first - second).tolist()))


def test_one_seed_tells_nothing() -> None:
    interval = paired_interval([0.4])
    assert math.isnan(interval.spread)
    assert verdict_of(interval, rule="better") == verdict_of(interval, rule="harmless") == "cannot be told"


def between(low: float, high: float) -> Interval:
    return Interval(mean=(low + high) / 2, spread=1.0, low=low, high=high, count=3)


@pytest.mark.parametrize(
    ("low", "high", "better", "harmless"),
    [
        (0.001, 0.2, "holds", "holds"),
        (-0.001, 0.2, "cannot be told", "holds"),
        (0.0, 0.0, "cannot be told", "holds"),
        (-MARGIN / 2, -MARGIN / 4, "does not hold", "holds"),
        (-0.05, 0.2, "cannot be told", "cannot be told"),
        (-0.05, -0.001, "does not hold", "does not hold"),
    ],
)
def test_the_rule(low: float, high: float, better: str, harmless: str) -> None:
    assert verdict_of(between(low, high), rule="better") == better
    assert verdict_of(between(low, high), rule="harmless") == harmless


def table(
    first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]
) -> dict[str, dict[int, dict[str, float]]]:
    """Two rows of kNN and mAP; one pair a seed."""
    rows = {"a": first, "b": second}
    return {
        name: {seed: {"knn": knn, "map": mean} for seed, (knn, mean) in enumerate(values)}
        for name, values in rows.items()
    }


AB = Claim(sentence="a beats b", first="a", second="b", metrics=("knn", "map", "naming"))


def test_a_claim_is_judged_by_the_mean_of_the_metrics_that_both_rows_have() -> None:
    judged = judge(AB, table([(0.5, 0.4), (0.6, 0.5), (0.7, 0.9)], [(0.3, 0.4), (0.2, 0.5), (0.4, 0.7)]))
    assert judged is not None
    assert set(judged.by_metric) == {"knn", "map"}
    expected = stats.ttest_1samp([0.1, 0.2, 0.25], 0).confidence_interval(0.95)
    assert (judged.overall.low, judged.overall.high) == pytest.approx((expected.low, expected.high))
    assert judged.verdict == "cannot be told"


def test_seeds_are_paired_not_pooled() -> None:
    near = judge(AB, table([(0.1, 0.1), (0.5, 0.5), (0.9, 0.9)], [(0.09, 0.09), (0.49, 0.48), (0.89, 0.89)]))
    assert near is not None
    assert near.verdict == "holds"
    lonely = table([(0.1, 0.1), (0.5, 0.5)], [(0.2, 0.2)])
    only = judge(AB, lonely)
    assert only is not None
    assert only.overall.count == 1


def test_a_claim_about_every_metric_needs_every_metric() -> None:
    every = Claim(sentence="a is harmless", first="a", second="b", metrics=("knn", "map"), rule="harmless", every=True)
    mixed = table([(0.9, 0.3), (0.9, 0.3), (0.9, 0.301)], [(0.1, 0.5), (0.1, 0.5), (0.1, 0.5)])
    judged = judge(every, mixed)
    assert judged is not None
    assert judged.verdict == "does not hold"
    assert judged.overall.low > 0
    fine = judge(every, table([(0.3, 0.3), (0.4, 0.4)], [(0.3, 0.3), (0.4, 0.4)]))
    assert fine is not None
    assert fine.verdict == "holds"


def test_rows_that_are_not_there_are_not_judged() -> None:
    assert judge(AB, {"a": {0: {"knn": 1.0}}}) is None
    assert judge(AB, {"a": {0: {"knn": 1.0}}, "b": {1: {"knn": 1.0}}}) is None
    assert judge(AB, {"a": {0: {"knn": 1.0}}, "b": {0: {"map": 1.0}}}) is None


def test_claims_name_rows_and_metrics_that_exist() -> None:
    assert {claim.first for claim in CLAIMS} | {claim.second for claim in CLAIMS} <= set(BY_NAME)
    assert {metric for claim in CLAIMS for metric in claim.metrics} == set(METRICS)
    assert len({claim.sentence for claim in CLAIMS}) == len(CLAIMS)
