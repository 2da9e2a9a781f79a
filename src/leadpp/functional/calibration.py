"""Calibration: how sure an answer says it is, beside how often it is right; and which answers are worth keeping.

Shape letters: `N` items, `C` classes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 15
"""Bins of equal width in which confidence is compared with accuracy, as Guo et al. (2017) have them."""

_LIMITS = (1e-4, 1e2)
_HALVINGS = 60
_FLAT = 1e-9


@dataclass(frozen=True, slots=True)
class MatchedTemperature:
    """A temperature, and the mean confidence that it gives."""

    value: float
    """Divides the cosines."""
    reached: float
    """Mean confidence at that temperature; differs from what was wanted where that is out of reach."""


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence beside accuracy in bins of equal width from 0 to 1; of empty bins both are 0."""

    counts: Tensor
    """Items in each bin, int64, shape (bins,)."""
    confidence: Tensor
    """Mean confidence in each bin, float64, shape (bins,)."""
    accuracy: Tensor
    """Share of right answers in each bin, float64, shape (bins,)."""

    @property
    def error(self) -> float:
        """Expected calibration error: the gap between both, averaged over items; from 0 to 1."""
        gaps = (self.confidence - self.accuracy).abs()
        return float((gaps * self.counts).sum() / self.counts.sum())


@dataclass(frozen=True, slots=True)
class CoverageCurve:
    """Accuracy among the k most confident answers, for every k from 1 to N."""

    accuracy: Tensor
    """float64, shape (N,); among equally confident answers each counts as their mean, the expectation over orders."""
    cuts: Tensor
    """Whether a threshold can keep just the first k: not within equally confident answers; bool, shape (N,)."""

    @property
    def risk_area(self) -> float:
        """AURC (Geifman et al. 2019): the mean, over k, of the share of wrong answers among the k most confident."""
        return float((1 - self.accuracy).mean())

    def accuracy_at(self, coverage: float) -> float:
        """Accuracy of that share of the items, the most confident; at least one of them is looked at."""
        count = len(self.accuracy)
        kept = min(count, max(1, math.ceil(coverage * count - 1e-9)))  # a third of 300 is 100, whatever floats say
        return float(self.accuracy[kept - 1])

    def coverage_at(self, accuracy: float) -> float:
        """Return the largest share that a threshold can keep with at least that accuracy; 0 where none can."""
        enough = (self.cuts & (self.accuracy >= accuracy - 1e-12)).nonzero()
        return 0.0 if len(enough) == 0 else (int(enough[-1]) + 1) / len(self.accuracy)


def mean_confidence(cosines: Tensor, *, temperature: float) -> float:
    """Mean, over rows, of the largest probability of softmax(cosines / temperature), (N, C); from 1 / C to 1."""
    logits = cosines.double() / temperature
    return float((logits.amax(dim=1) - logits.logsumexp(dim=1)).exp().mean())


def match_confidence(cosines: Tensor, *, target: float, usual: float) -> MatchedTemperature:
    """Find the temperature at which the mean confidence is a given one; no label is asked for.

    The largest probability of a row is 1 / (sum over j of exp((c_j - c_max) / T)): it falls as T grows, so that at most
    one temperature fits, and bisection finds it. Only the mean is brought into line: a single answer may be as far from
    its truth as before, and where the target is too sure, so is what is matched to it.

    Args:
        cosines: Of each item with each class, shape (N, C) with N, C >= 1.
        target: The mean confidence that is wanted, from 0 to 1.
        usual: What is returned where every temperature gives the same: one class, or cosines that are all alike.

    Returns:
        The temperature, from 0.0001 to 100; where the target is out of reach, the end of that range that comes nearest.
    """
    return match_by(lambda temperature: mean_confidence(cosines, temperature=temperature), target=target, usual=usual)


def match_by(confidence: Callable[[float], float], *, target: float, usual: float) -> MatchedTemperature:
    """Find a temperature, or a factor of several, at which a mean confidence is a given one, by bisection.

    Args:
        confidence: Mean confidence at a temperature; continuous, and less at 100 than at 0.0001. Where it does not fall
            all the way, one of the temperatures that fit is found.
        target: As :func:`match_confidence`.
        usual: Likewise.

    Returns:
        As :func:`match_confidence`.
    """
    low, high = _LIMITS
    surest, least_sure = map(confidence, _LIMITS)
    if surest - least_sure < _FLAT:
        return MatchedTemperature(usual, confidence(usual))
    if target >= surest:
        return MatchedTemperature(low, surest)
    if target <= least_sure:
        return MatchedTemperature(high, least_sure)
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        sure = confidence(middle) > target
        low, high = (middle, high) if sure else (low, middle)
    found = math.sqrt(low * high)
    return MatchedTemperature(found, confidence(found))


def reliability(confidence: Tensor, right: Tensor, *, bins: int = BINS) -> Reliability:
    """Sort answers into bins by their confidence, and hold it against the share of right ones (Naeini et al. 2015).

    Args:
        confidence: Probability that each answer gives itself, from 0 to 1, shape (N,) with N >= 1.
        right: Whether each answer is right, bool, shape (N,).
        bins: How many; a confidence on a border belongs to the upper bin, and 1 to the last.
    """
    sure = confidence.double().cpu()
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]
    place = torch.bucketize(sure, edges, right=True)
    counts = place.bincount(minlength=bins)
    items = counts.clamp(min=1)
    return Reliability(
        counts=counts,
        confidence=place.bincount(weights=sure, minlength=bins) / items,
        accuracy=place.bincount(weights=right.double().cpu(), minlength=bins) / items,
    )


def coverage_curve(confidence: Tensor, right: Tensor) -> CoverageCurve:
    """Tell how accurate the surest answers are, for every number of them (El-Yaniv and Wiener 2010).

    Args:
        confidence: Any score that is higher for surer answers, shape (N,) with N >= 1.
        right: Whether each answer is right, bool, shape (N,).
    """
    order = confidence.argsort(descending=True, stable=True)
    ranked, hits = confidence[order].cpu(), right[order].double().cpu()
    starts = torch.ones(len(hits), dtype=torch.bool)
    starts[1:] = ranked[1:] != ranked[:-1]
    groups = starts.cumsum(dim=0) - 1  # of equally confident answers
    shares = groups.bincount(weights=hits) / groups.bincount()
    kept = torch.arange(1, len(hits) + 1, dtype=torch.float64)
    return CoverageCurve(accuracy=shares[groups].cumsum(dim=0) / kept, cuts=starts.roll(-1))


def semantic_accuracy(given: Tensor, true: Tensor) -> float:
    """Mean cosine between the text vectors of the names that were given and of the true names.

    It asks how near a name is in meaning where names and classes are not one list, as work on classification without a
    vocabulary does (Conti et al. 2023; Liu et al. 2024). Its zero is not 0: read it beside what random names give.

    Args:
        given: Unit rows, the name of each item, shape (N, D).
        true: Unit rows, the true name of each item, shape (N, D).

    Returns:
        From -1 to 1, and 1 where all names are right.
    """
    return float((given.double() * true.double()).sum(dim=1).mean())
