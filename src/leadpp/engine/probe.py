"""Linear probe: how well one linear layer on frozen features tells the classes apart.

As in the paper: SGD with momentum 0.9 and no decay, rate 30, batches of 256 of which a last short one is dropped, 100
epochs, weights from N(0, 0.01), bias 0. Features are brought to unit length, as the reference's are; a rate of 30 makes
no sense at another scale. Each epoch sees one of the cached random views of the training photographs, in turn.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from leadpp.engine.neighbours import unit_rows
from leadpp.functional.randomness import generator_for

_MOMENTUM = 0.9
_FIRST_SPREAD = 0.01
_DROPS = ((6, 10), (8, 10))


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeSettings:
    """How a probe is trained; the defaults are the paper's."""

    epochs: int = 100
    """Passes over the training features."""
    learning_rate: float = 30.0
    """Rate until 60 % of the epochs are done; a tenth of it until 80 %, then a hundredth."""
    batch_size: int = 256
    """Features in a step; a smaller training set is one batch."""
    heldout: float = 0.2
    """Share of each training class on which the epoch is chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeResult:
    """Accuracies of one probe, each from 0 to 1."""

    test_curve: tuple[float, ...]
    """On test, after each epoch of training on all of train."""
    heldout_curve: tuple[float, ...]
    """On the held-out part of train, after each epoch of training on the rest; empty if no class has two items."""
    heldout_items: int = 0
    """How many items are held out."""

    @property
    def last(self) -> float:
        """Test accuracy after the last epoch."""
        return self.test_curve[-1]

    @property
    def heldout_epoch(self) -> int | None:
        """Latest epoch, from 1, whose held-out accuracy is within one standard error of the best.

        The best epoch of a hundred on some hundred items is often an early, lucky one. This is the rule of one standard
        error (Breiman et al., 1984), with the latest epoch, whose rate is lowest, as the plainest choice.
        """
        if not self.heldout_curve:
            return None
        best = max(self.heldout_curve)
        error = math.sqrt(best * (1 - best) / max(1, self.heldout_items))
        return max(epoch for epoch, value in enumerate(self.heldout_curve, start=1) if value >= best - error)

    @property
    def heldout(self) -> float | None:
        """Test accuracy at the epoch that the held-out part chose."""
        return None if self.heldout_epoch is None else self.test_curve[self.heldout_epoch - 1]

    @property
    def best_test(self) -> float:
        """Best test accuracy of any epoch: chosen by the test labels, so too good; the reference reports it."""
        return max(self.test_curve)


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
    """Train one probe on all of train and read it on test, and another on a part of train to choose the epoch.

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

    def curve(rows: Tensor, features: Tensor, wanted: Tensor) -> tuple[float, ...]:
        judged = unit_rows(features.to(place))
        layers = _layers(views, labels, rows=rows, classes=classes, settings=settings, seed=seed)
        return tuple((linear(judged, *layer).argmax(dim=1) == wanted).double().mean().item() for layer in layers)

    return ProbeResult(
        test_curve=curve(torch.arange(len(labels)), test[0], truth),
        heldout_curve=curve(rest, fixed[held], labels[held.to(place)]) if len(held) else (),
        heldout_items=len(held),
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


def _layers(
    views: Sequence[Tensor], labels: Tensor, *, rows: Tensor, classes: int, settings: ProbeSettings, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Train on some rows; yield weight (C, F) and bias (C,) after each epoch."""
    first = _FIRST_SPREAD * torch.randn(classes, views[0].shape[1], generator=generator_for(seed, "probe-weights"))
    weight = first.to(labels.device).requires_grad_()
    bias = torch.zeros(classes, device=labels.device, requires_grad=True)
    optimizer = torch.optim.SGD([weight, bias], lr=settings.learning_rate, momentum=_MOMENTUM)
    size = min(settings.batch_size, len(rows))
    for epoch in range(settings.epochs):
        rate = probe_rate(epoch, epochs=settings.epochs, learning_rate=settings.learning_rate)
        optimizer.param_groups[0]["lr"] = rate
        view = views[epoch % len(views)]
        order = rows[torch.randperm(len(rows), generator=generator_for(seed, "probe-order", epoch))]
        for start in range(0, len(rows) - size + 1, size):
            batch = order[start : start + size]
            inputs = unit_rows(view[batch.to(view.device)].to(labels.device))
            optimizer.zero_grad()
            cross_entropy(linear(inputs, weight, bias), labels[batch.to(labels.device)]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        yield weight.detach(), bias.detach()
