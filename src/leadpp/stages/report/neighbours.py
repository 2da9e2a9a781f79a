"""Sections of the embedding: retrieval examples, confused classes, and maps in the plane."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from leadpp.data.index import ImageRecord
from leadpp.data.naming import natural_key
from leadpp.engine.charts import Cloud, cloud_map
from leadpp.engine.neighbours import nearest
from leadpp.engine.pictures import Picture
from leadpp.engine.projection import Method, project
from leadpp.errors import DataError
from leadpp.functional.metrics import neighbour_vote
from leadpp.functional.randomness import derive_seed
from leadpp.stages.report.clusters import cluster_name
from leadpp.stages.report.material import Absent, Bank, Material
from leadpp.stages.report.objects import caption, thumbnail
from leadpp.stages.report.wording import decimals, percent

_SHOWN = 8
_MAP_ITEMS = 2500
_KNN, _TEMPERATURE = 10, 0.07


def retrieval(material: Material) -> dict[str, Any]:
    """Show photographs with their nearest others; with labels half of them are ones whose nearest is wrong, if any."""
    bank = material.first_bank()
    if len(bank.records) < 2:
        raise Absent("There is one photograph to compare: it has no neighbours.")
    cosines, places = _joined(nearest(bank.features, k=_SHOWN))
    if not material.index.labelled:
        return _plain_retrieval(material, bank, cosines, places)
    classes = material.classes_of(bank.records)
    right = classes[places] == classes[:, None]
    rows = [
        {**_query(material, bank, query), "found": _found(material, bank, cosines[query], places[query], right[query])}
        for query in _queries(material, right)
    ]
    return {"rows": rows, "of": bank.name, "wrong_share": percent((~right[:, 0]).double().mean().item())}


def _plain_retrieval(material: Material, bank: Bank, cosines: Tensor, places: Tensor) -> dict[str, Any]:
    """Show neighbours that nobody can call right or wrong."""
    unknown = [None] * places.shape[1]
    rows = [
        {**_query(material, bank, query), "found": _found(material, bank, cosines[query], places[query], unknown)}
        for query in material.pick(material.config.report.queries, of=len(bank.records), purpose="queries")
    ]
    return {"rows": rows, "of": bank.name, "wrong_share": None}


def confusion(material: Material) -> dict[str, Any]:
    """Show which of the worst classes are taken for which, by the vote of the nearest training photographs."""
    if not material.index.labelled:
        raise Absent("The photographs have no labels, so it is not known which are confused.")
    test = material.first_bank()
    train = material.bank(test.encoder, test.feature, test.set, "train")
    if train is None:
        raise Absent(f"No embeddings of the training photographs ({test.name}): evaluate makes them.")
    counts = _confusion_counts(material, train, test)
    totals = counts.sum(dim=1)
    recall = counts.diag().double() / totals.clamp(min=1)
    present = [number for number in range(len(counts)) if totals[number] > 0]
    worst = sorted(present, key=lambda number: (float(recall[number]), number))[: material.config.report.worst_classes]
    names = material.index.classes
    return {
        "of": test.name,
        "names": [names[number] for number in worst],
        "rows": [_confusion_row(names, counts[number], number, worst) for number in worst],
        "classes": len(present),
        "perfect": sum(float(recall[number]) == 1 for number in present),
    }


def maps(material: Material) -> dict[str, Any]:
    """Lay the test photographs out in the plane, before training and after; without labels all, by their clusters."""
    shown = material.first_bank()
    banks = [shown]
    if shown.encoder == "student":
        banks += [bank for bank in [material.bank("frozen", "gap", shown.set, "test")] if bank is not None]
    keep = material.pick(_MAP_ITEMS, of=len(shown.records), purpose="map")
    if len(keep) < 2:
        raise Absent("A map needs at least two photographs.")
    groups = _groups(material, [shown.records[place] for place in keep])
    drawn = [_map(material, bank, keep, groups) for bank in banks]
    return {
        "maps": drawn,
        "shown": len(keep),
        "of": len(shown.records),
        "labelled": material.index.labelled,
        "method": drawn[0]["method"],
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbour:
    """One picture of a retrieval row."""

    picture: Picture
    caption: str
    cosine: str
    right: bool | None
    """Whether it is of the query's class; None where nobody knows."""


def _query(material: Material, bank: Bank, place: int) -> dict[str, Any]:
    return {"picture": thumbnail(material, bank, place), "caption": caption(bank.records[place])}


def _found(material: Material, bank: Bank, cosines: Tensor, places: Tensor, right: Iterable[Any]) -> list[Neighbour]:
    return [
        Neighbour(
            picture=thumbnail(material, bank, int(place)),
            caption=caption(bank.records[int(place)]),
            cosine=decimals(float(cosine), 2),
            right=None if good is None else bool(good),
        )
        for cosine, place, good in zip(cosines, places, right, strict=True)
    ]


def _queries(material: Material, right: Tensor) -> list[int]:
    """Draw queries: up to half with a wrong nearest neighbour, the rest with a right one as far as there are."""
    count = material.config.report.queries
    wrong = (~right[:, 0]).nonzero().flatten().tolist()
    good = right[:, 0].nonzero().flatten().tolist()
    few = min(len(wrong), max(count // 2, count - len(good)))
    drawn_good = [good[place] for place in material.pick(count - few, of=len(good), purpose="right queries")]
    return drawn_good + [wrong[place] for place in material.pick(few, of=len(wrong), purpose="wrong queries")]


def _confusion_counts(material: Material, train: Bank, test: Bank) -> Tensor:
    """Count how often class i is taken for class j, (C, C)."""
    classes = len(material.index.classes)
    known, true = material.classes_of(train.records), material.classes_of(test.records)
    if not len(known):
        raise DataError("the training embeddings hold no photographs; run evaluate again")
    cosines, places = _joined(nearest(test.features, train.features, k=_KNN))
    elected = neighbour_vote(cosines, known[places], temperature=_TEMPERATURE, classes=classes)
    return (true * classes + elected).bincount(minlength=classes * classes).reshape(classes, classes)


def _confusion_row(names: tuple[str, ...], counts: Tensor, number: int, worst: list[int]) -> dict[str, Any]:
    total = int(counts.sum())
    shown = [int(counts[column]) for column in worst]
    return {
        "name": names[number],
        "recall": percent(int(counts[number]) / total),
        "cells": [
            {"count": count, "share": round(count / total, 3), "strong": count > total / 2, "right": column == number}
            for count, column in zip(shown, worst, strict=True)
        ],
        "others": total - sum(shown),
        "total": total,
    }


def _groups(material: Material, records: list[ImageRecord]) -> list[str]:
    """Name the colour of each photograph: its class, or its cluster where there are no labels."""
    if material.index.labelled:
        return [record.label or "no label" for record in records]
    numbers = [material.photographs[record.path]["cluster"] for record in records]
    names = {number: cluster_name(material, number) for number in set(numbers)}
    return [names[number] for number in numbers]


def _map(material: Material, bank: Bank, keep: list[int], groups: list[str]) -> dict[str, Any]:
    seed = derive_seed(material.config.seed, "report map")
    places, method = project(bank.features[keep], method=material.config.report.projection, seed=seed)
    members: dict[str, list[tuple[float, float]]] = {}
    for name, (x, y) in zip(groups, places.tolist(), strict=True):
        members.setdefault(name, []).append((x, y))
    ranks = {name: rank for rank, name in enumerate((*material.index.classes, "no label"))}
    order = sorted(members, key=lambda name: (ranks.get(name, -1), natural_key(name)))
    clouds = [Cloud(name=name, points=members[name]) for name in order]
    return {
        "title": bank.name,
        "before": bank.encoder == "frozen",
        "method": _METHODS[method],
        "chart": cloud_map(clouds, label=f"Map of {bank.name}"),
    }


_METHODS: dict[Method, str] = {"tsne": "t-SNE", "pca": "the first two principal components"}


def _joined(blocks: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    cosines, places = zip(*blocks, strict=True)
    return torch.cat(cosines), torch.cat(places)
