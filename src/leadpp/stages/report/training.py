"""Sections of the road: what each stage found, and the curves of training; times are not shown, they differ."""

from collections.abc import Mapping, Sequence
from typing import Any

from leadpp.engine.charts import Series, line_chart, number, shorten
from leadpp.engine.record import TIMES
from leadpp.stages.report.material import Absent, Material
from leadpp.stages.report.wording import is_figure, shown

_TITLES = {
    "loss": "loss",
    "knn": "kNN on held-out labels",
    "purity10": "purity@10 on held-out labels",
    "global_global": "whole with whole",
    "global_object": "whole with object",
    "object_object": "object with object",
    "distillation": "distillation",
    "alignment": "attention alignment",
    "structure": "structure, what was alike at first",
    "effective_rank": "effective rank of the embedding",
    "teacher_entropy": "entropy of the teacher",
    "contrast_weight": "weight of contrast, w_c",
    "distill_weight": "weight of distillation, w_d",
    "learning_rate": "learning rate",
    "gradient_norm": "norm of the gradient",
}
_SHOWN = 9
_NOT_CURVES = {"event", "epoch", "step"} | TIMES
_COURSE = {"train": TIMES | {"images", "checkpoints", "checkpoint_wait_s"}}
"""What is told of a stage that depends on the machine, and on where it was broken off; not on what it found."""


def stages(material: Material) -> dict[str, Any]:
    """Make the table of stages: what each found."""
    found = [(name, stage) for name, stage in material.stages.items() if name != "report"]
    if not found:
        raise Absent("No stages.json: leadpp run and each stage's command make it.")
    return {"stages": [{"name": name, "summary": _summary(name, stage.get("summary"))} for name, stage in found]}


def curves(material: Material) -> dict[str, Any]:
    """Make one small chart for each quantity that training wrote down."""
    steps = [line for line in material.metrics if line.get("event") == "step"]
    epochs = [line for line in material.metrics if line.get("event") == "epoch"]
    monitors = [line for line in material.metrics if line.get("event") == "monitor"]
    others = {run["row"]: run["monitor"] for run in material.comparison["runs"]}
    told = {key for line in steps for key in line} - {"epoch"}
    rest = [{key: value for key, value in line.items() if key not in told} for line in epochs]
    charts = [
        *_charts(monitors, across="epoch", ours=material.config.preset, others=others),
        *_charts(steps, across="step"),
        *_charts(rest, across="epoch"),
    ]
    if not charts:
        raise Absent("metrics.jsonl holds no figures yet: train writes them.")
    order = {name: place for place, name in enumerate(_TITLES)}
    charts.sort(key=lambda chart: order.get(chart["key"], len(order)))
    return {"charts": charts[:_SHOWN], "more": charts[_SHOWN:]}


def _charts(
    lines: Sequence[Mapping[str, Any]],
    *,
    across: str,
    ours: str = "",
    others: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> list[dict[str, Any]]:
    """Make a chart of each figure of the lines, with the same figure of other runs beside it."""
    found = {key for line in lines for key, value in line.items() if is_figure(value)} - _NOT_CURVES
    charts = []
    for key in sorted(found):
        series = _series(lines, key, across=across, name=ours or key)
        beside = [_series(told, key, across=across, name=name) for name, told in (others or {}).items()]
        title = _TITLES.get(key, key.replace("_", " "))
        chart = line_chart([series, *filter(_drawn, beside)], label=f"{title} over {across}s", x_label=across)
        charts.append({"key": key, "title": title, "last": number(series.ys[-1]), "chart": chart})
    return charts


def _series(lines: Sequence[Mapping[str, Any]], key: str, *, across: str, name: str) -> Series:
    points = [(line.get(across, place), line[key]) for place, line in enumerate(lines) if is_figure(line.get(key))]
    return Series(name=name, xs=[float(x) for x, _ in points], ys=[float(y) for _, y in points])


def _drawn(series: Series) -> bool:
    return bool(series.xs)


def _summary(name: str, summary: object) -> str:
    if not isinstance(summary, Mapping):
        return ""
    plain = {
        key: value
        for key, value in summary.items()
        if key not in _COURSE.get(name, ()) and (is_figure(value) or isinstance(value, str))
    }
    return shorten(" · ".join(f"{key.replace('_', ' ')} {shown(value)}" for key, value in plain.items()), 220)
