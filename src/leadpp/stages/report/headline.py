"""The section of figures: the headline, the full table with differences to the frozen network, and the protocol.

Where the run was compared with others, their rows stand in the table too, and bars show all of them side by side.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from leadpp.stages.report.material import Absent, Material
from leadpp.stages.report.wording import EN_DASH, decimals, is_figure, percent, set_words, shown

_COLUMNS = {
    "knn": "kNN",
    "probe_heldout": "probe",
    "rank1": "Rank-1",
    "rank5": "Rank-5",
    "map": "mAP",
    "map_at_r": "MAP@R",
    "purity10": "purity@10",
    "cluster_accuracy": "clusters",
    "nmi": "NMI",
    "ari": "ARI",
    "naming_student": "naming",
}
_EXPLAINED = {
    "kNN": "share of test photographs named right by their 10 nearest training photographs",
    "probe": "accuracy of a linear classifier on frozen features, its epoch chosen on a held-out part of train",
    "Rank-1": "share of test photographs whose nearest other test photograph is of their class; Rank-5 among five",
    "mAP": "mean average precision of retrieval inside the test photographs; MAP@R counts the first R only",
    "purity@10": "share of class-mates among the ten nearest",
    "clusters": "accuracy of k-means clusters under the best naming of them; NMI and ARI likewise",
    "naming": "share of photographs whose nearest prototype is their class",
}
_TILES = ("knn", "probe_heldout", "rank1", "map")
_BARRED = ("knn", "probe_heldout", "rank1", "map", "purity10", "cluster_accuracy", "nmi", "naming_student")


def headline(material: Material) -> dict[str, Any]:
    """Make the figures of all encoders side by side, with their differences to the frozen network."""
    if not material.rows:
        raise Absent("evaluation.json has no rows.")
    rows = [{**row, **_named(row)} for row in [*material.rows, *material.beside]]
    columns = {key: title for key, title in _COLUMNS.items() if any(is_figure(row.get(key)) for row in rows)}
    sets = list(dict.fromkeys(row["set"] for row in rows))
    first = "crop" if any(row["set"] == "crop" for row in material.rows) else sets[0]
    groups = [
        {"on": set_words(name), "rows": _group([row for row in rows if row["set"] == name], columns)} for name in sets
    ]
    rest = sorted({key for row in rows for key, value in row.items() if is_figure(value)} - set(_COLUMNS))
    return {
        "tiles": _tiles([row for row in rows if row["set"] == first]),
        "bars": _bars(rows, columns, on=first, ours=material.config.preset) if material.beside else None,
        "note": material.comparison["note"],
        "columns": list(columns.values()),
        "groups": groups,
        "explained": {k: v for k, v in _EXPLAINED.items() if k in columns.values()},
        "rest_columns": rest,
        "rest": [(_title(row), row["set"], [shown(row.get(key)) for key in rest]) for row in rows],
        "hashes": _hashes(rows, ours=material.config.preset),
        "paces": _paces(rows),
        "protocols": _protocols(rows),
    }


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    """Show one column of naming: each encoder's own."""
    own = f"naming_{row['encoder']}"
    return {"naming_teacher": None, own: None, "naming_student": row.get(own)}


def _group(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> list[dict[str, Any]]:
    frozen = next((row for row in rows if row["encoder"] == "frozen"), None)
    best = {key: max((row[key] for row in rows if is_figure(row.get(key))), default=None) for key in columns}
    return [
        {
            "title": _title(row),
            "encoder": row["encoder"],
            "cells": [_cell(row, key, best=best[key], frozen=frozen) for key in columns],
        }
        for row in rows
    ]


def _cell(row: Mapping[str, Any], key: str, *, best: float | None, frozen: Mapping[str, Any] | None) -> dict[str, Any]:
    value = row.get(key)
    if not is_figure(value):
        return {"text": EN_DASH, "best": False, "change": None}
    compared = row["encoder"] == "student" and frozen is not None and is_figure(frozen.get(key))
    return {
        "text": percent(value),
        "best": value == best,
        "change": _change(value, frozen[key]) if compared and frozen is not None else None,
    }


def _tiles(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Show the first of the rows large; they are of the same pictures as the bars, so that no two figures quarrel."""
    first = rows[0]
    frozen = next((row for row in rows if row["encoder"] == "frozen"), None)
    tiles = [
        {
            "name": _COLUMNS[key],
            "text": percent(first[key]),
            "change": _change(first[key], frozen[key])
            if frozen is not None and first is not frozen and is_figure(frozen.get(key))
            else None,
        }
        for key in _TILES
        if is_figure(first.get(key))
    ]
    return {"of": f"{_title(first)}, on {set_words(first['set'])}", "tiles": tiles}


def _bars(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, on: str, ours: str) -> dict[str, Any]:
    """Show what each network makes of the same pictures, one group of bars a figure, this run's student last."""
    own = {"frozen": "backbone", "student": ours}
    named = [
        (row.get("row") or own.get(row["encoder"], row["encoder"]), row)
        for row in rows
        if row["set"] == on and row["feature"] in ("gap", "embedding")
    ]
    named.sort(key=lambda pair: {"backbone": 0, "teacher": 1, ours: 3}.get(pair[0], 2))
    figures = []
    for key in _BARRED:
        there = [(name, row[key]) for name, row in named if is_figure(row.get(key))]
        if key in columns and there:
            best = max(value for _, value in there)
            bars = [
                {"name": name, "text": percent(value), "share": round(100 * value, 1), "best": value == best}
                for name, value in there
            ]
            figures.append({"name": columns[key], "bars": bars})
    return {"on": set_words(on), "ours": ours, "figures": figures}


def _change(value: float, frozen: float) -> dict[str, str]:
    points = round(100 * (value - frozen), 1)
    direction = "same" if points == 0 else "up" if points > 0 else "down"
    return {"text": decimals(points, 1, signed=True), "direction": direction}


def _protocols(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Tell once what all rows share, and by row what they do not."""
    protocols = [row.get("protocol") or {} for row in rows]
    shared = {
        key: shown(value)
        for key, value in protocols[0].items()
        if all(other.get(key) == value for other in protocols[1:])
    }
    own = [
        (f"{_title(row)}, {row['set']}", {key: shown(value) for key, value in protocol.items() if key not in shared})
        for row, protocol in zip(rows, protocols, strict=True)
    ]
    return {"shared": shared, "own": [(name, items) for name, items in own if items]}


def _hashes(rows: Sequence[Mapping[str, Any]], *, ours: str) -> dict[str, str]:
    """Tell of which runs the figures are: by name, this one's first."""
    return {row.get("row", ours): row["run"] for row in rows if row.get("run")}


def _paces(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Tell with which rate and decay each row's probe learnt, where several were tried."""
    probes = {f"{_title(row)}, {row['set']}": (row.get("protocol") or {}).get("probe", {}) for row in rows}
    return {
        name: f"learning rate {probe['learning_rate']:g}, weight decay {probe['weight_decay']:g}, epoch "
        f"{probe.get('heldout_epoch', EN_DASH)}; chosen on {probe['chosen_on']}"
        for name, probe in probes.items()
        if "chosen_on" in probe
    }


def _title(row: Mapping[str, Any]) -> str:
    return f"{row.get('row') or row['encoder']} · {row['feature']}"
