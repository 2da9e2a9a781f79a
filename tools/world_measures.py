"""How good the shipped networks are on open species, which took no part in making them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from leadpp.models.backbone import create_backbone
from leadpp.models.teacher import load_teacher
from leadpp.world.describing import describe
from leadpp.world.families import draw_species, species_names
from tools.world_corpus import Corpus, draw_corpus
from tools.world_views import cut, square_regions

SPECIES, SEED, FAMILY = 40, 0, 5
"""Of the measured world; its seed is one of those that are for tuning, not for reporting."""
FURTHER_SEEDS = (1, 2, 3)
"""Of further such worlds, as one world's species may be easier to read about than another's."""
DESCRIPTIONS = 3
"""Of each species, where the mean of several is measured."""
_SIZE = 96
_BATCH = 128


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Exam:
    """Pictures and texts of open species."""

    views: dict[str, Tensor]
    """``whole`` pictures and the squares about the birds, ``crop``; float (N, 3, 96, 96)."""
    labels: Tensor
    """Species of each picture, (N,)."""
    descriptions: tuple[str, ...]
    """One a species, with its name, as a world's folder has them."""
    further: tuple[tuple[str, ...], ...]
    """Further descriptions: for each variant, one a species."""
    names: tuple[str, ...]
    """In the sentence that names alone are put into."""


def draw_exam(path: Path, *, per_species: int, seed: int = SEED, size: int = 128, processes: int = 1) -> Exam:
    """Draw the measured world, or that of another seed, into the array file ``path``."""
    species = draw_species(SPECIES, seed=seed)
    corpus = draw_corpus(path, species, counts=[per_species] * SPECIES, seed=seed, size=size, processes=processes)
    names = species_names(species, seed=seed)
    first, *further = (
        tuple(describe(one, name=name, seed=seed, variant=number) for one, name in zip(species, names, strict=True))
        for number in range(DESCRIPTIONS)
    )
    return Exam(
        views={kind: squeezed(corpus, kind=kind) for kind in ("whole", "crop")},
        labels=corpus.labels,
        descriptions=first,
        further=tuple(further),
        names=tuple(f"a photo of a {name}." for name in names),
    )


def squeezed(corpus: Corpus, *, kind: str) -> Tensor:
    """Return the pictures at the networks' size, ``whole`` or the square about the bird (``crop``)."""
    pictures = corpus.pictures(torch.arange(len(corpus.labels)))
    side = pictures.shape[-1]
    whole = torch.tensor([0.0, 0.0, side, side]).expand(len(pictures), 4)
    regions = whole if kind == "whole" else square_regions(corpus.boxes_xyxy, side=side)
    return cut(pictures, regions, size=_SIZE)


def measure_backbone(name: str, exam: Exam) -> dict[str, float]:
    """Return leave-one-out Rank-1 and 10-NN accuracy of the pooled features, on whole pictures and crops.

    Args:
        name: As in settings, for instance ``"builtin:world-backbone"``.
        exam: The pictures.
    """
    network = create_backbone(name)
    answer = {}
    for kind, pixels in exam.views.items():
        features = _in_batches(lambda some: network(some).mean(dim=(2, 3)), pixels)
        answer[f"rank1_{kind}"] = round(rank1(features, exam.labels), 4)
        answer[f"knn_{kind}"] = round(knn(features, exam.labels), 4)
    return answer


def measure_clip(name: str, exam: Exam) -> dict[str, Any]:
    """Return zero-shot accuracies on whole pictures and crops, Rank-1 of the image tower, and its calibration.

    ``zero_shot`` is by one description a species, ``three_texts`` by the mean of several, ``names_only`` by the name.

    Args:
        name: As in settings, for instance ``"builtin:world-clip"``.
        exam: Pictures and texts.
    """
    teacher: Any = load_teacher(model=name)
    texts, names, several = _read(teacher, exam)
    own = 1 / float(teacher.clip.logit_scale.exp())
    answer: dict[str, Any] = {"own_temperature": round(own, 5)}
    for kind, pixels in exam.views.items():
        images = _in_batches(teacher.encode_images, pixels)
        guess = (images @ texts.T).argmax(dim=1)
        answer[f"zero_shot_{kind}"] = round(_share(guess == exam.labels), 4)
        answer[f"three_texts_{kind}"] = _zero_shot(images, several, exam)
        answer[f"family_{kind}"] = round(_share(guess // FAMILY == exam.labels // FAMILY), 4)
        answer[f"names_only_{kind}"] = _zero_shot(images, names, exam)
        answer[f"rank1_{kind}"] = round(rank1(images, exam.labels), 4)
        answer[f"knn_{kind}"] = round(knn(images, exam.labels), 4)
        answer[f"calibration_{kind}"] = [
            reliability(images @ texts.T, exam.labels, temperature=temperature) for temperature in (0.01, 0.02, own)
        ]
    return answer


def measure_zero_shot(name: str, exam: Exam) -> dict[str, float]:
    """Return the zero-shot accuracies alone, by one description, by the mean of several, and by names.

    Args:
        name: As in settings.
        exam: Pictures and texts.
    """
    teacher: Any = load_teacher(model=name)
    texts = dict(zip(("zero_shot", "names_only", "three_texts"), _read(teacher, exam), strict=True))
    images = {kind: _in_batches(teacher.encode_images, pixels) for kind, pixels in exam.views.items()}
    return {f"{way}_{kind}": _zero_shot(images[kind], rows, exam) for way, rows in texts.items() for kind in images}


def _read(teacher: Any, exam: Exam) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401 - a loaded network
    """Embed one description a species, its name, and the mean of several descriptions; each (C, D)."""
    first = teacher.encode_texts(exam.descriptions)
    every = torch.stack([first, *(teacher.encode_texts(some) for some in exam.further)])
    return first, teacher.encode_texts(exam.names), F.normalize(every.mean(dim=0), dim=1)


def _zero_shot(images: Tensor, texts: Tensor, exam: Exam) -> float:
    return round(_share((images @ texts.T).argmax(dim=1) == exam.labels), 4)


def reliability(cosines: Tensor, labels: Tensor, *, temperature: float) -> dict[str, Any]:
    """Compare the confidence of the likeliest species with how often it is right, in ten bins.

    Args:
        cosines: Of pictures and texts, (N, C).
        labels: The right texts, (N,).
        temperature: Divides the cosines before the softmax.

    Returns:
        ``ece``, the mean distance of both; ``bins``, rows of count, mean confidence and accuracy.
    """
    sure, guess = (cosines / temperature).softmax(dim=1).max(dim=1)
    hit, place = guess == labels, (sure * 10).long().clamp(max=9)
    bins = [
        [int(inside.sum()), round(float(sure[inside].mean()), 4), round(_share(hit[inside]), 4)]
        for inside in (place == number for number in range(10))
        if inside.any()
    ]
    ece = sum(count * abs(confidence - accuracy) for count, confidence, accuracy in bins) / len(labels)
    return {"temperature": round(temperature, 5), "ece": round(ece, 4), "bins": bins}


def rank1(features: Tensor, labels: Tensor) -> float:
    """Return the share of rows whose nearest other row, by cosine, is of the same species; (N, F) -> share."""
    return _share(labels[_cosines_to_others(features).argmax(dim=1)] == labels)


def knn(features: Tensor, labels: Tensor, *, neighbours: int = 10, temperature: float = 0.07) -> float:
    """Return the accuracy of leave-one-out weighted nearest neighbours; (N, F) -> share."""
    near, place = _cosines_to_others(features).topk(neighbours, dim=1)
    votes = torch.zeros(len(labels), int(labels.max()) + 1)
    votes.scatter_add_(1, labels[place], (near / temperature).exp())
    return _share(votes.argmax(dim=1) == labels)


def _cosines_to_others(features: Tensor) -> Tensor:
    unit = F.normalize(features, dim=1)
    return (unit @ unit.T).fill_diagonal_(-2)


def _share(hits: Tensor) -> float:
    return float(hits.float().mean())


@torch.no_grad()
def _in_batches(function: Callable[[Any], Tensor], items: Tensor | Sequence[str]) -> Tensor:
    return torch.cat([function(items[start : start + _BATCH]) for start in range(0, len(items), _BATCH)])
