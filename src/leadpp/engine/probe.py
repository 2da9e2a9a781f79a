"""Linear probe: how well one linear layer on frozen features tells the classes apart.

As in the paper: SGD with momentum 0.9 and no decay, rate 30, batches of 256 of which a last short one is dropped, 100
epochs, weights from N(0, 0.01), bias 0. Features are brought to unit length, as the reference's are; a rate of 30 makes
no sense at another scale. Each epoch sees one of the cached random views of the training photographs, in turn.

Several rates and weight decays are tried at once, as one layer of all their outputs; which of them counts is decided on
the held-out part of train, and the layer that test sees is trained with that one alone.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import linear, one_hot

from leadpp.engine.neighbours import check_finite, unit_rows
from leadpp.functional.randomness import generator_for

_MOMENTUM = 0.9
_FIRST_SPREAD = 0.01
_DROPS = ((6, 10), (8, 10))
_BLOCK_SCORES = 1 << 24
_SMALLEST_NORM = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeSettings:
    """How a probe is trained; the defaults are the paper's."""

    epochs: int = 100
    """Passes over the training features."""
    rates: tuple[float, ...] = (30.0,)
    """Learning rates to try; each is a tenth after 60 % of the epochs and a hundredth after 80 %."""
    decays: tuple[float, ...] = (0.0,)
    """Weight decays to try, each with each rate; they also pull at the bias, as SGD's do."""
    batch_size: int = 256
    """Features in a step; a smaller training set is one batch."""
    heldout: float = 0.2
    """Share of each training class on which epoch, rate and decay are chosen."""

    @property
    def grid(self) -> tuple["Pace", ...]:
        """Every rate with every decay, the first rate's first."""
        return tuple(Pace(rate=rate, decay=decay) for rate, decay in product(self.rates, self.decays))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """One setting of the probe's SGD."""

    rate: float
    """Learning rate of the first epochs."""
    decay: float
    """Weight decay."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeResult:
    """Accuracies of one probe, each from 0 to 1."""

    test_curve: tuple[float, ...]
    """On test, after each epoch of training on all of train."""
    heldout_curve: tuple[float, ...]
    """On the held-out part of train, after each epoch of training on the rest; empty if no class has two items."""
    heldout_items: int = 0
    """How many items are held out."""
    pace: Pace = Pace(rate=30.0, decay=0.0)
    """The rate and decay of these curves."""
    tried: tuple[tuple[Pace, tuple[float, ...]], ...] = ()
    """Every rate and decay that was tried, with its held-out curve."""

    @property
    def last(self) -> float:
        """Test accuracy after the last epoch."""
        return self.test_curve[-1]

    @property
    def heldout_epoch(self) -> int | None:
        """Epoch, from 1, that the held-out part chose by :func:`latest_good_epoch`; None without such a part."""
        return latest_good_epoch(self.heldout_curve, items=self.heldout_items) if self.heldout_curve else None

    @property
    def heldout(self) -> float | None:
        """Test accuracy at the epoch that the held-out part chose."""
        return None if self.heldout_epoch is None else self.test_curve[self.heldout_epoch - 1]

    @property
    def best_test(self) -> float:
        """Best test accuracy of any epoch: chosen by the test labels, so too good; the reference reports it."""
        return max(self.test_curve)


def latest_good_epoch(curve: Sequence[float], *, items: int) -> int:
    """Return the latest epoch, from 1, whose held-out accuracy is within one standard error of the best.

    The best epoch of a hundred on some hundred items is often an early, lucky one. This is the rule of one standard
    error (Breiman et al., 1984), with the latest epoch, whose rate is lowest, as the plainest choice.
    """
    best = max(curve)
    error = math.sqrt(best * (1 - best) / max(1, items))
    return max(epoch for epoch, value in enumerate(curve, start=1) if value >= best - error)


def linear_probe(
    views: Sequence[Tensor],
    labels: Tensor,
    *,
    fixed: Tensor,
    test: tuple[Tensor, Tensor],
    settings: ProbeSettings,
    seed: int,
    device: torch.device | None = None,
) -> ProbeResult:
    """Train a probe on a part of train to choose epoch, rate and decay, and one on all of train to read it on test.

    Of several rates and decays the one counts that is best on the held-out part, each at its own chosen epoch, and of
    equals the first; without a held-out part the first counts.

    Args:
        views: Features of the training items in V random views, each (N, F); epoch e uses view e mod V.
        labels: Class numbers of the training items, shape (N,).
        fixed: Features of the training items in the test view, shape (N, F); held-out items are judged on these.
        test: Features (M, F) and class numbers (M,) of the test items.
        settings: How to train.
        seed: Decides first weights, orders and the held-out part.
        device: Where to compute; None stays with the features.

    Raises:
        DataError: A feature is not finite.
    """
    place = device or fixed.device
    labels, truth = labels.to(place), test[1].to(place)
    classes = 1 + max(int(labels.max()), int(truth.max()))
    rest, held = stratified_parts(labels.cpu(), share=settings.heldout, generator=generator_for(seed, "probe-heldout"))

    def curves(rows: Tensor, features: Tensor, wanted: Tensor, grid: Sequence[Pace]) -> list[tuple[float, ...]]:
        judged = unit_rows(features.to(place))
        layers = _layers(views, labels, rows=rows, classes=classes, grid=grid, settings=settings, seed=seed)
        right = [_right(judged, wanted, *layer) for layer in layers]
        return [tuple(curve) for curve in (torch.stack(right, dim=1).double() / len(wanted)).tolist()]

    chosen = settings.grid[0]
    heldout_curve: tuple[float, ...] = ()
    tried: tuple[tuple[Pace, tuple[float, ...]], ...] = ()
    if len(held):
        found = curves(rest, fixed[held], labels[held.to(place)], settings.grid)
        tried = tuple(zip(settings.grid, found, strict=True))
        chosen, heldout_curve = max(tried, key=lambda pair: pair[1][latest_good_epoch(pair[1], items=len(held)) - 1])
    return ProbeResult(
        test_curve=curves(torch.arange(len(labels)), test[0], truth, [chosen])[0],
        heldout_curve=heldout_curve,
        heldout_items=len(held),
        pace=chosen,
        tried=tried,
    )


def probe_rate(epoch: int, *, epochs: int, learning_rate: float) -> float:
    """Rate of an epoch, counted from 0: it falls to a tenth when 60 % and again when 80 % of the epochs are done.

    >>> [probe_rate(epoch, epochs=5, learning_rate=30.0) for epoch in range(5)]
    [30.0, 30.0, 30.0, 3.0, 0.3]
    """
    return learning_rate / 10.0 ** sum(epoch * whole >= part * epochs for part, whole in _DROPS)


def stratified_parts(labels: Tensor, *, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split items so that each class gives the same share.

    Args:
        labels: Class numbers, shape (N,), on the CPU.
        share: Part of each class that is held out, rounded, but at least one item; a class of one gives none.
        generator: Decides which.

    Returns:
        Ascending indices of the items that stay and of those held out.
    """
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in sorted(set(labels.tolist())):
        members = (labels == label).nonzero()[:, 0]
        count = min(max(1, round(share * len(members))), len(members) - 1)
        held[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return (~held).nonzero()[:, 0], held.nonzero()[:, 0]


def _lengths(view: Tensor, *, device: torch.device) -> Tensor:
    """What each row of a view is divided by to become a unit row, (N, 1); a view is checked and measured once."""
    check_finite(view)
    lengths: Tensor = view.float().norm(dim=1, keepdim=True)
    return lengths.clamp_(min=_SMALLEST_NORM).to(device)


def _layers(
    views: Sequence[Tensor],
    labels: Tensor,
    *,
    rows: Tensor,
    classes: int,
    grid: Sequence[Pace],
    settings: ProbeSettings,
    seed: int,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Train a layer for each of S paces on some rows; yield weights (S, C, F) and biases (S, C) after each epoch.

    All layers see the same batches, so that a step is one product with S x C outputs; its gradient is written out.
    """
    scales = [_lengths(view, device=labels.device) for view in views]
    first = _FIRST_SPREAD * torch.randn(classes, views[0].shape[1], generator=generator_for(seed, "probe-weights"))
    weight = first.to(labels.device).repeat(len(grid), 1)
    bias = torch.zeros(len(weight), device=labels.device)
    speeds = torch.zeros_like(weight), torch.zeros_like(bias)
    decay = torch.tensor([pace.decay for pace in grid], device=labels.device).repeat_interleave(classes)
    size = min(settings.batch_size, len(rows))
    for epoch in range(settings.epochs):
        rates = [probe_rate(epoch, epochs=settings.epochs, learning_rate=pace.rate) for pace in grid]
        rate = torch.tensor(rates, device=labels.device).repeat_interleave(classes)
        view, scale = views[epoch % len(views)], scales[epoch % len(views)]
        order = rows[torch.randperm(len(rows), generator=generator_for(seed, "probe-order", epoch))]
        for start in range(0, len(rows) - size + 1, size):
            batch = order[start : start + size]
            placed = batch.to(labels.device)
            inputs = view[batch.to(view.device)].to(labels.device).float() / scale[placed]
            scores = linear(inputs, weight, bias).view(size, len(grid), classes)
            slopes = (scores.softmax(dim=2) - one_hot(labels[placed], classes)[:, None]).view(size, -1) / size
            for values, slope, speed in zip(
                (weight, bias), (slopes.T @ inputs, slopes.sum(dim=0)), speeds, strict=True
            ):
                column = (-1, *[1] * (values.ndim - 1))
                speed.mul_(_MOMENTUM).add_(slope).addcmul_(values, decay.view(column))
                values.addcmul_(speed, rate.view(column), value=-1)
        yield weight.view(len(grid), classes, -1), bias.view(len(grid), classes)


def _right(judged: Tensor, wanted: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """How many of the judged items (M, F) each layer names right, (S,)."""
    counts = []
    for start in range(0, len(judged), size := max(1, _BLOCK_SCORES // biases.numel())):
        rows = slice(start, start + size)
        scores = linear(judged[rows], weights.flatten(0, 1), biases.flatten()).view(-1, *biases.shape)
        counts.append((scores.argmax(dim=2) == wanted[rows, None]).sum(dim=0))
    return torch.stack(counts).sum(dim=0)
