"""The section of names: how good they are, how far their confidence can be believed, and what went into them."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from leadpp.engine.charts import Series, line_chart, number
from leadpp.stages.report.material import Material
from leadpp.stages.report.wording import EN_DASH, is_figure, percent, set_words

_COLUMNS = {
    "naming_accuracy": "right",
    "naming_top5": "in the first 5",
    "naming_cluster_accuracy": "as clusters",
    "semantic_accuracy": "meaning",
    "naming_ece": "ECE",
    "naming_ece_usual": "ECE, as trained",
    "naming_at_80": "right in 80 %",
    "naming_at_50": "right in 50 %",
    "naming_coverage_90": "kept at 90 %",
    "naming_aurc": "AURC",
}
_EXPLAINED = {
    "right": "share of test photographs whose best name is their class",
    "in the first 5": "share whose class is among the five best names",
    "as clusters": "accuracy of the names taken as cluster numbers, under their best one-to-one matching with classes",
    "meaning": "mean cosine between the text vectors of the given and of the true name, each in the template (semantic "
    "accuracy); its zero is what names drawn at random reach, told below the table",
    "ECE": "expected calibration error: how far confidence is from accuracy, at the temperature told below",
    "ECE, as trained": "the same at loss.distillation_temperature",
    "right in 80 %": "accuracy among the 80 % of which the encoder is surest; likewise 50 %",
    "kept at 90 %": "largest share that a threshold of confidence keeps with 90 % of its names right",
    "AURC": "share of wrong names, averaged over all numbers of surest photographs; less is better",
}


def names(material: Material) -> dict[str, Any]:
    """Show the figures of the names of every encoder, their curves, and their commonest mistakes in words."""
    found = material.names
    rows: list[dict[str, Any]] = found["rows"]
    columns = {key: title for key, title in _COLUMNS.items() if any(is_figure(row["figures"].get(key)) for row in rows)}
    chance = {row["figures"].get("semantic_chance") for row in rows} - {None}
    return {
        "knowledge": found["knowledge"],
        "promise": found["promise"] if any(row["calibration"]["fitted"] for row in rows) else "",
        "columns": list(columns.values()),
        "explained": {title: text for title, text in _EXPLAINED.items() if title in columns.values()},
        "rows": [(_title(row), [_cell(row["figures"].get(key)) for key in columns]) for row in rows],
        "chance": percent(max(chance)) if chance else None,
        "temperatures": {_title(row): _temperature(row["calibration"]) for row in rows},
        "charts": [_charts(on, [row for row in rows if row["set"] == on]) for on in _sets(rows)],
        "confusions": {_title(row): [_confusion(one) for one in row["confusions"]] for row in rows},
    }


def _sets(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sets of which there are curves, in the order of the rows."""
    return list(dict.fromkeys(row["set"] for row in rows if "reliability" in row))


def _charts(on: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    coverage = [
        Series(name=row["encoder"], xs=row["coverage"]["share"], ys=row["coverage"]["accuracy"]) for row in rows
    ]
    return {
        "on": set_words(on),
        "reliability": _reliability(rows, on=on),
        "coverage": line_chart(
            coverage,
            label=f"Accuracy against coverage on {set_words(on)}",
            x_label="share of the photographs, the surest first",
            y_limits=(0, 1),
        ),
    }


def _reliability(rows: Sequence[Mapping[str, Any]], *, on: str) -> Markup:
    lines = [_bins(row) for row in rows]
    diagonal = Series(name="as right as sure", xs=(0, 1), ys=(0, 1))
    return line_chart(
        [*lines, diagonal],
        label=f"Reliability of the names on {set_words(on)}",
        x_label="confidence, in bins",
        y_limits=(0, 1),
    )


def _bins(row: Mapping[str, Any]) -> Series:
    """Draw accuracy over confidence in the bins that hold anything."""
    bins = row["reliability"]
    filled = [place for place, count in enumerate(bins["counts"]) if count]
    return Series(
        name=row["encoder"],
        xs=[bins["confidence"][place] for place in filled],
        ys=[bins["accuracy"][place] for place in filled],
    )


def _temperature(calibration: Mapping[str, Any]) -> str:
    return f"{', '.join(map(number, calibration['temperatures']))}: {calibration['how']}"


def _confusion(one: Mapping[str, Any]) -> str:
    return f"{one['true']} is called {one['given']}: {one['count']} of {one['of']}"


def _cell(value: object) -> str:
    return percent(value) if is_figure(value) else EN_DASH


def _title(row: Mapping[str, Any]) -> str:
    return f"{row['encoder']} \N{MIDDLE DOT} {set_words(row['set'])}"
