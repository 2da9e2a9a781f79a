"""All figures of one feature: what neighbours, a linear probe, retrieval and clusters say of it.

A library entry: features may come from any network. Figures that cannot be known are absent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from leadpp.engine.clusters import cluster_figures, kmeans
from leadpp.engine.features import FeatureBank
from leadpp.engine.neighbours import Vote, knn_accuracies, retrieval, unit_rows
from leadpp.engine.probe import ProbeResult, ProbeSettings, linear_probe
from leadpp.errors import DataError
from leadpp.functional.metrics import top_k_accuracy
from leadpp.functional.randomness import generator_for

VOTES: Mapping[str, Vote] = {"knn": Vote(k=10, temperature=0.07), "knn200": Vote(k=200, temperature=0.1)}
"""The two settings of weighted k-nearest-neighbour classification that are reported."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureSettings:
    """How features are measured."""

    seed: int = 123
    """Decides the probe's draws and the seeds of the clusters."""
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    """How the probe is trained."""
    chunk: int = 512
    """Most queries compared at a time, fewer in large sets; bounds memory."""
    kmeans_restarts: int = 5
    """Starts of each k-means."""
    device: torch.device | None = None
    """Where to compute; None stays with the features."""


def evaluate_features(
    train: FeatureBank | None,
    test: FeatureBank,
    *,
    train_views: Sequence[Tensor] = (),
    settings: MeasureSettings | None = None,
) -> dict[str, Any]:
    """Measure one feature of labelled items.

    Args:
        train: The items that vote and that the probe learns from; without it there are no ``knn*`` and ``probe_*``.
        test: The items that are judged, retrieved among themselves and clustered.
        train_views: Features of the training items in random views, each (N, F), for the probe; without any it
            learns from ``train`` itself.
        settings: How to measure.

    Returns:
        ``knn``, ``knn200``, ``probe_last``, ``probe_heldout``, ``probe_best_test``; ``rank1``, ``rank5``, ``recall1``,
        ``recall2``, ``recall4``, ``recall8``, ``map``, ``map_at_r``, ``purity10``; ``cluster_accuracy``, ``nmi``,
        ``ari`` of k-means and with ``_spherical`` of spherical k-means; ``counts`` (``train``, ``test``, ``classes``,
        ``queries``, ``queries_left_out``) and ``protocol``.

    Raises:
        DataError: Test is empty or of one class, train is empty or of another width, or a feature is not finite.
    """
    settings = settings or MeasureSettings()
    _check(train, test)
    found = retrieval(_placed(test.features, settings), test.labels, chunk=settings.chunk)
    counts = {"test": len(test), "classes": test.classes}
    counts |= {"queries": found.queries, "queries_left_out": found.queries_left_out}
    figures: dict[str, Any] = dict(found.figures)
    protocol: dict[str, Any] = {"seed": settings.seed, "retrieval": "leave one out in test, cosine"}
    if train is not None:
        probe = _probe(train, test, train_views, settings)
        figures |= _knn(train, test, settings) | _probe_figures(probe)
        counts["train"] = len(train)
        protocol |= {
            name: {"k": min(vote.k, len(train)), "temperature": vote.temperature} for name, vote in VOTES.items()
        }
        protocol["probe"] = _probe_protocol(probe, views=len(train_views), settings=settings.probe, count=len(train))
    figures |= _clusters(test, settings)
    protocol["clusters"] = {
        "k": test.classes,
        "restarts": settings.kmeans_restarts,
        "plain": "features as they are",
        "spherical": "unit rows and centres",
    }
    return {**figures, "counts": counts, "protocol": protocol}


def naming_accuracy(embeddings: Tensor, prototypes: Tensor, labels: Tensor) -> float:
    """Share of items whose nearest prototype is that of their class.

    Args:
        embeddings: Any length, shape (N, D).
        prototypes: One row a class, in the order of the class numbers, shape (C, D).
        labels: Class numbers, shape (N,).

    Returns:
        From 0 to 1; of equally near prototypes the lower class number is named.

    Raises:
        DataError: An embedding is not finite.
    """
    cosines = unit_rows(embeddings) @ unit_rows(prototypes).T.to(embeddings.device)
    return top_k_accuracy(cosines, labels.to(embeddings.device), k=1)


def _check(train: FeatureBank | None, test: FeatureBank) -> None:
    if len(test) == 0:
        raise DataError("evaluation needs test items, found none; give the data a test split")
    if test.classes < 2:
        raise DataError("evaluation needs test items of two classes or more, found one class; add another class")
    if train is None:
        return
    if len(train) == 0:
        raise DataError("evaluation needs training items, found none; give the data a train split")
    if train.features.shape[1] != test.features.shape[1]:
        raise DataError(
            f"features of train are {train.features.shape[1]} wide and those of test {test.features.shape[1]}; "
            "make both with the same network"
        )


def _placed(features: Tensor, settings: MeasureSettings) -> Tensor:
    return features if settings.device is None else features.to(settings.device)


def _knn(train: FeatureBank, test: FeatureBank, settings: MeasureSettings) -> dict[str, float]:
    pairs = [(_placed(bank.features, settings), bank.labels) for bank in (train, test)]
    return knn_accuracies(pairs[0], pairs[1], votes=VOTES, chunk=settings.chunk)


def _probe(train: FeatureBank, test: FeatureBank, views: Sequence[Tensor], settings: MeasureSettings) -> ProbeResult:
    return linear_probe(
        views or (train.features,),
        train.labels,
        fixed=train.features,
        test=(test.features, test.labels),
        settings=settings.probe,
        seed=settings.seed,
        device=settings.device,
    )


def _probe_figures(result: ProbeResult) -> dict[str, float]:
    figures = {"probe_last": result.last, "probe_heldout": result.heldout, "probe_best_test": result.best_test}
    return {name: value for name, value in figures.items() if value is not None}


def _probe_protocol(result: ProbeResult, *, views: int, settings: ProbeSettings, count: int) -> dict[str, Any]:
    protocol: dict[str, Any] = {
        "epochs": settings.epochs,
        "learning_rate": result.pace.rate,
        "weight_decay": result.pace.decay,
        "batch_size": min(settings.batch_size, count),
        "views": views or "the test view",
        "heldout": settings.heldout,
        "features": "unit rows",
    }
    if result.heldout_epoch is not None:
        protocol |= {"heldout_epoch": result.heldout_epoch, "heldout_items": result.heldout_items}
    if len(settings.grid) > 1:
        protocol |= {
            "rates_tried": list(settings.rates),
            "decays_tried": list(settings.decays),
            "chosen_on": f"{result.heldout_items} held-out training photographs, never on test"
            if result.heldout_items
            else "nothing: no class has a photograph to hold out, so the first rate and decay",
        }
    return protocol


def _clusters(test: FeatureBank, settings: MeasureSettings) -> dict[str, float]:
    figures: dict[str, float] = {}
    for suffix, spherical in (("", False), ("_spherical", True)):
        found = kmeans(
            _placed(test.features, settings),
            clusters=test.classes,
            generator=generator_for(settings.seed, "kmeans", int(spherical)),
            spherical=spherical,
            restarts=settings.kmeans_restarts,
        )
        labelled = cluster_figures(found.assignments, test.labels)
        figures |= {f"{name}{suffix}": value for name, value in labelled.items()}
    return figures
