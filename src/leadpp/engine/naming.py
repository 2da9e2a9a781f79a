"""Names: what embeddings are called by the prototypes, and how good those names are where labels are known.

Shape letters: `N` photographs, `V` names, `C` classes, `D` embedding, `E` text vectors.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from leadpp.engine.answers import answer
from leadpp.engine.neighbours import unit_rows
from leadpp.functional.calibration import BINS, coverage_curve, reliability, semantic_accuracy
from leadpp.functional.distillation import Distribution
from leadpp.functional.metrics import first_items, hungarian_accuracy, top_k_accuracy

COVERAGES = (0.8, 0.5)
"""Shares of the surest photographs whose accuracy is told, besides all of them."""
_WANTED = 0.9
_POINTS = 101
_CONFUSIONS = 10
_CLUSTERS = "the true count of classes (k-means is told it)"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Vocabulary:
    """The names that can be given, and what is known of the true ones."""

    spaces: tuple[Tensor, ...]
    """Prototypes, one set for each teacher, unit rows, each (V, D) with the D of its space."""
    names: tuple[str, ...]
    """V names."""
    classes: tuple[str, ...]
    """C true names."""
    place_of_class: tuple[int, ...] | None = None
    """Place of each class among the names, C of them; None where names and classes are two lists of their own."""
    name_vectors: Tensor | None = None
    """Text vectors of the names alone, each in the sentence of the template, unit rows, shape (V, E)."""
    class_vectors: Tensor | None = None
    """Text vectors of the true names in the same sentence, unit rows, shape (C, E)."""


def name_answers(
    embeddings: Sequence[Tensor], spaces: Sequence[Tensor], *, temperatures: Sequence[float]
) -> Distribution:
    """Say of N photographs which of V names they have.

    Args:
        embeddings: Of any length, one a space, each (N, D) with the D of its space.
        spaces: Prototypes, unit rows, each (V, D).
        temperatures: One a space.
    """
    return answer([unit_rows(each) for each in embeddings], spaces, temperatures=temperatures)


def naming_figures(
    embeddings: Sequence[Tensor],
    labels: Tensor,
    vocabulary: Vocabulary,
    *,
    temperatures: Sequence[float],
    usual: Sequence[float],
) -> dict[str, float]:
    """Measure the names that one encoder gives.

    Args:
        embeddings: Of N photographs, one a space, each (N, D).
        labels: Their class numbers, shape (N,).
        vocabulary: The names.
        temperatures: At which confidence is told, one a space.
        usual: ``loss.distillation_temperature``, for comparison, one a space.

    Returns:
        ``naming_cluster_accuracy``: of the names taken as cluster numbers, under the best one-to-one matching with the
        classes. With text vectors ``semantic_accuracy`` and ``semantic_chance``, what names drawn at random from the
        list reach. Where names and classes are one list also ``naming_accuracy``, ``naming_top5``, ``naming_ece`` and
        ``naming_ece_usual``
        (expected calibration error at ``temperatures`` and at ``usual``), ``naming_at_80`` and ``naming_at_50``
        (accuracy of the surest 80 and 50 %), ``naming_coverage_90`` (largest share that a threshold keeps at an
        accuracy of 90 %) and ``naming_aurc`` (area under the risk-coverage curve; less is better).
    """
    said = name_answers(embeddings, vocabulary.spaces, temperatures=temperatures)
    given = _best(said.log_probs)
    figures = {"naming_cluster_accuracy": hungarian_accuracy(given, labels), **_semantic(given, labels, vocabulary)}
    if vocabulary.place_of_class is None:
        return figures
    true = torch.tensor(vocabulary.place_of_class)[labels]
    confidence, right = said.probs.gather(1, given[:, None])[:, 0], given == true
    loose = name_answers(embeddings, vocabulary.spaces, temperatures=usual).probs.amax(dim=1)
    curve = coverage_curve(confidence, right)
    return figures | {
        "naming_accuracy": curve.accuracy_at(1.0),
        "naming_top5": top_k_accuracy(said.log_probs, true, k=5),
        "naming_ece": reliability(confidence, right).error,
        "naming_ece_usual": reliability(loose, right).error,
        **{f"naming_at_{round(100 * share)}": curve.accuracy_at(share) for share in COVERAGES},
        f"naming_coverage_{round(100 * _WANTED)}": curve.coverage_at(_WANTED),
        "naming_aurc": curve.risk_area,
    }


def naming_details(
    embeddings: Sequence[Tensor], labels: Tensor, vocabulary: Vocabulary, *, temperatures: Sequence[float]
) -> dict[str, Any]:
    """Gather what a page shows of the names: curves and the commonest mistakes.

    Args:
        embeddings: Of N photographs, one a space, each (N, D).
        labels: Their class numbers, shape (N,).
        vocabulary: The names.
        temperatures: At which confidence is told, one a space.

    Returns:
        ``confidence``, the mean; ``confusions``, objects of ``true``, ``given``, ``count`` and ``of``, the commonest
        first; and where names and classes are one list ``reliability`` (``counts``, ``confidence`` and ``accuracy`` of
        each bin) and ``coverage`` (``share`` and ``accuracy``).
    """
    said = name_answers(embeddings, vocabulary.spaces, temperatures=temperatures)
    given = _best(said.log_probs)
    confidence = said.probs.gather(1, given[:, None])[:, 0]
    details: dict[str, Any] = {
        "confidence": float(confidence.double().mean()),
        "confusions": _confusions(given.tolist(), labels.tolist(), vocabulary),
    }
    if vocabulary.place_of_class is None:
        return details
    right = given == torch.tensor(vocabulary.place_of_class)[labels]
    bins, curve = reliability(confidence, right), coverage_curve(confidence, right)
    shares = [place / (_POINTS - 1) for place in range(1, _POINTS)]
    return details | {
        "reliability": {
            "bins": BINS,
            "counts": bins.counts.tolist(),
            "confidence": bins.confidence.tolist(),
            "accuracy": bins.accuracy.tolist(),
        },
        "coverage": {"share": shares, "accuracy": [curve.accuracy_at(share) for share in shares]},
    }


def knowledge(*, match: str, names: int, classes: int, texts: str) -> dict[str, str]:
    """Say which knowledge went into names and clusters; figures that were given more cannot be held against others.

    Args:
        match: ``text.match``.
        names: How many names there are.
        classes: How many true classes.
        texts: How their texts came to be.
    """
    given = {
        "exact": f"true names: one for each of the {classes} classes of the data, and no other",
        "subset": f"true names: those of the {classes} classes of the data, picked out of a longer list",
        "free": f"a list of its own: {names} names, matched to none of the {classes} true classes",
    }
    return {
        "names": given[match],
        "texts": texts or "unknown",
        "clusters": _CLUSTERS,
        "temperature": "no labels: how sure the teacher is of the training photographs",
    }


def knowledge_without_names(*, texts: str) -> dict[str, str]:
    """Say the same where nothing was named.

    Args:
        texts: How the texts came to be that a teacher compared pictures with; empty where there were none.
    """
    return {"names": "none", "texts": texts or "none", "clusters": _CLUSTERS}


def _best(scores: Tensor) -> Tensor:
    """Return the best of V names for each photograph, the first of equal ones; (N, V) -> (N,)."""
    return first_items(scores, k=1)[1][:, 0]


def _semantic(given: Tensor, labels: Tensor, vocabulary: Vocabulary) -> dict[str, float]:
    names, classes = vocabulary.name_vectors, vocabulary.class_vectors
    if names is None or classes is None:
        return {}
    chance = names.mean(dim=0, keepdim=True).expand(len(labels), -1)
    return {
        "semantic_accuracy": semantic_accuracy(names[given], classes[labels]),
        "semantic_chance": semantic_accuracy(chance, classes[labels]),
    }


def _confusions(given: Sequence[int], labels: Sequence[int], vocabulary: Vocabulary) -> list[dict[str, Any]]:
    own, of = vocabulary.place_of_class, Counter(labels)
    pairs = Counter(
        (label, name) for label, name in zip(labels, given, strict=True) if own is None or own[label] != name
    )
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:_CONFUSIONS]
    return [
        {"true": vocabulary.classes[label], "given": vocabulary.names[name], "count": count, "of": of[label]}
        for (label, name), count in ranked
    ]
