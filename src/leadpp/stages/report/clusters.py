"""The section of clusters: what lies together where nobody has said what is what."""

from collections import Counter
from typing import Any

import torch

from leadpp.stages.report.material import Bank, Material
from leadpp.stages.report.objects import caption, thumbnail
from leadpp.stages.report.wording import decimals, percent

_SHOWN = 8
_ENCODERS = ("student", "teacher")


def clusters(material: Material) -> dict[str, Any]:
    """Show the most typical photographs of the largest clusters, and what student and teacher call them."""
    rows, bank = material.photographs, material.first_bank()
    members: dict[int, list[int]] = {}
    for place, record in enumerate(bank.records):
        members.setdefault(rows[record.path]["cluster"], []).append(place)
    largest = sorted(members, key=lambda number: (-len(members[number]), number))[: material.config.report.queries]
    return {
        "clusters": [_card(material, bank, number, members[number]) for number in largest],
        "count": len(members),
        "of": bank.name,
        "named": bool(_namers(material)),
    }


def cluster_name(material: Material, number: int) -> str:
    """Name a cluster by its number and what most of its photographs are called, by the teacher if there is one."""
    namers = _namers(material)
    if not namers:
        return f"cluster {number}"
    return f"cluster {number} \N{MIDDLE DOT} {_most(material, number, namers[-1])[0]}"


def _namers(material: Material) -> list[str]:
    """Who has named the photographs."""
    some = next(iter(material.photographs.values()), {})
    return [who for who in _ENCODERS if f"name_{who}" in some]


def _most(material: Material, number: int, who: str) -> tuple[str, float]:
    """Return the commonest name in a cluster and its share."""
    names = [row[f"name_{who}"] for row in material.photographs.values() if row["cluster"] == number]
    name, count = Counter(names).most_common(1)[0]
    return name, count / len(names)


def _card(material: Material, bank: Bank, number: int, places: list[int]) -> dict[str, Any]:
    namers = _namers(material)
    most = {who: _most(material, number, who) for who in namers}
    return {
        "name": f"Cluster {number}",
        "size": len(places),
        "called": [(who, name, percent(share)) for who, (name, share) in most.items()],
        "photographs": [_photograph(material, bank, place, namers) for place in _typical(bank, places)],
    }


def _typical(bank: Bank, places: list[int]) -> list[int]:
    """Return the photographs nearest to the mean direction, the nearest first."""
    features = bank.features[places]
    order = torch.argsort(features @ features.mean(dim=0), descending=True, stable=True)
    return [places[row] for row in order[:_SHOWN].tolist()]


def _photograph(material: Material, bank: Bank, place: int, namers: list[str]) -> dict[str, Any]:
    record = bank.records[place]
    row = material.photographs[record.path]
    names = [(who, row[f"name_{who}"], decimals(row[f"score_{who}"], 2)) for who in namers]
    return {"picture": thumbnail(material, bank, place), "caption": caption(record), "names": names}
