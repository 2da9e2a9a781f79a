"""What the figures say of each claim: paired differences, their spread over seeds, and a verdict by a stated rule."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.stats import t as student_t

from benchmarks.claims.rows import REFERENCE

Verdict = Literal["holds", "does not hold", "cannot be told"]
Rule = Literal["better", "harmless"]

METRICS: Mapping[str, str] = {
    "knn": "kNN",
    "probe_heldout": "probe",
    "rank1": "Rank-1",
    "map": "mAP",
    "purity10": "purity@10",
    "cluster_accuracy": "cluster acc.",
    "naming": "naming",
}
"""Metrics of the tables, and what they are called."""

FEATURE_METRICS = tuple(name for name in METRICS if name != "naming")
"""Metrics that every encoder has, with a teacher or without."""

CONFIDENCE = 0.95
MARGIN = 0.01
"""How much worse still counts as harmless: one point, about what one seed moves."""

RULE = f"""\
Differences are paired: both rows of a seed share world, split, boxes, first weights and draws. A claim of several
metrics is judged by the mean of their differences. Over the seeds the {CONFIDENCE:.0%} t interval of the mean
difference is taken. A claim of *better* holds if the interval lies above 0, does not hold if it lies below 0, and else
cannot be told. A claim of *no harm* holds if the interval lies above -{MARGIN:g}, does not hold if it lies below 0
otherwise, and else cannot be told. A claim about every metric holds if it holds for each, and does not if it does not
for one. One seed tells nothing. With three seeds the interval is the mean ± 2.48 standard deviations, so small effects
stay untold: that is the price of few seeds, not a verdict on the method."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Mean of paired differences, and what is known of it."""

    mean: float
    """Their mean."""
    spread: float
    """Their standard deviation over seeds (n - 1); NaN for one seed."""
    low: float
    """Lower end of the confidence interval of the mean; minus infinity for one seed."""
    high: float
    """Upper end."""
    count: int
    """Seeds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One sentence about two rows."""

    sentence: str
    """What is claimed."""
    first: str
    """The row of which something is claimed."""
    second: str
    """The row that it is compared with."""
    metrics: tuple[str, ...] = FEATURE_METRICS
    """By which metrics."""
    rule: Rule = "better"
    """Whether it shall be better, or only do no harm."""
    every: bool = False
    """Whether every metric must show it, not their mean alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A claim with its verdict."""

    claim: Claim
    verdict: Verdict
    overall: Interval
    """Of the mean over the metrics."""
    by_metric: Mapping[str, Interval]
    """Of each metric that both rows have."""


def _better(sentence: str, first: str, second: str, *more: str) -> Claim:
    return Claim(sentence=sentence, first=first, second=second, metrics=(*FEATURE_METRICS, *more))


def _harmless(title: str, row: str) -> tuple[Claim, Claim]:
    return (
        Claim(sentence=f"{title} does no harm against no teacher", first=row, second="contrast", rule="harmless"),
        Claim(
            sentence=f"{title} does no harm against the frozen backbone", first=row, second="frozen", rule="harmless"
        ),
    )


CLAIMS: tuple[Claim, ...] = (
    _better("Boxes help", REFERENCE, "no-boxes", "naming"),
    _better("Without a teacher, contrast with boxes and neighbourhoods beats MoCo", "contrast", "moco"),
    _better("True boxes would help more", "true-boxes", REFERENCE, "naming"),
    _better("The teacher helps", REFERENCE, "contrast"),
    _better("LEAD++ beats distillation alone", REFERENCE, "distillation", "naming"),
    _better("Entropy weighting helps", REFERENCE, "no-entropy", "naming"),
    _better("The cross term helps", REFERENCE, "no-cross", "naming"),
    _better("Attention alignment helps", REFERENCE, "no-alignment", "naming"),
    _better("Keeping neighbourhoods helps", REFERENCE, "no-structure", "naming"),
    _better("A consensus of the teacher's answers helps", REFERENCE, "raw-answers", "naming"),
    _better("Views that keep colours and most of the object help", REFERENCE, "strong-views", "naming"),
    _better("LEAD++ beats LEAD (one context, no neighbourhoods)", REFERENCE, "lead", "naming"),
    _better("LEAD++ beats MoCo", REFERENCE, "moco"),
    _better("LEAD++ beats the frozen backbone", REFERENCE, "frozen"),
    *(
        Claim(
            sentence=f"{title} is not below the frozen backbone on any metric, by more than {MARGIN}",
            first=row,
            second="frozen",
            rule="harmless",
            every=True,
        )
        for title, row in (
            ("LEAD++", REFERENCE),
            ("LEAD++ without a teacher", "contrast"),
            ("LEAD++ with a weak teacher (noise of strength 3)", "noisy-3"),
        )
    ),
    Claim(sentence="The student passes its teacher in naming", first=REFERENCE, second="teacher", metrics=("naming",)),
    _better("The student's features pass its teacher's", REFERENCE, "teacher"),
    _better("Descriptions beat names", REFERENCE, "names", "naming"),
    *_harmless("A teacher with random prototypes", "random-words"),
    *_harmless("A teacher with descriptions of wrong species", "wrong-words"),
    *(
        claim
        for strength in (1, 2, 3, 4)
        for claim in _harmless(f"A teacher with noise of strength {strength}", f"noisy-{strength}")
    ),
    _better("Our defaults beat the faithful `paper`", REFERENCE, "paper", "naming"),
)
"""Every claim, in the order of the page."""


def paired_interval(differences: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Return the two-sided t interval of the mean of paired differences.

    Args:
        differences: One a seed, at least one.
        confidence: Share of such intervals that hold the true mean.
    """
    count = len(differences)
    mean = math.fsum(differences) / count
    if count == 1:
        return Interval(mean=mean, spread=math.nan, low=-math.inf, high=math.inf, count=1)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in differences) / (count - 1))
    reach = float(student_t.ppf((1 + confidence) / 2, count - 1)) * spread / math.sqrt(count)
    return Interval(mean=mean, spread=spread, low=mean - reach, high=mean + reach, count=count)


def verdict_of(interval: Interval, *, rule: Rule) -> Verdict:
    """Apply the rule of :data:`RULE` to one interval."""
    if interval.low > (0 if rule == "better" else -MARGIN):
        return "holds"
    return "does not hold" if interval.high < 0 else "cannot be told"


def judge(claim: Claim, figures: Mapping[str, Mapping[int, Mapping[str, float]]]) -> Judged | None:
    """Judge a claim.

    Args:
        claim: What is claimed.
        figures: Metrics by row and seed.

    Returns:
        The verdict; None where the rows share no seed or no metric of the claim.
    """
    first, second = figures.get(claim.first, {}), figures.get(claim.second, {})
    seeds = sorted(first.keys() & second.keys())
    metrics = [name for name in claim.metrics if all(name in rows[seed] for rows in (first, second) for seed in seeds)]
    if not seeds or not metrics:
        return None
    gaps = {name: [first[seed][name] - second[seed][name] for seed in seeds] for name in metrics}
    by_metric = {name: paired_interval(values) for name, values in gaps.items()}
    means = [math.fsum(values) / len(metrics) for values in zip(*gaps.values(), strict=True)]
    overall = paired_interval(means)
    if not claim.every:
        verdict = verdict_of(overall, rule=claim.rule)
    else:
        each = {verdict_of(interval, rule=claim.rule) for interval in by_metric.values()}
        verdict = "holds" if each == {"holds"} else "does not hold" if "does not hold" in each else "cannot be told"
    return Judged(claim=claim, verdict=verdict, overall=overall, by_metric=by_metric)
