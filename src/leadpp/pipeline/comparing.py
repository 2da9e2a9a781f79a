"""Runs beside one another: boxes that are lent, rows of a common table, and what a report shows of other runs."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leadpp.errors import ArtifactError
from leadpp.io.artifacts import read_json, replacing, write_json
from leadpp.pipeline.job import COMPARISON
from leadpp.pipeline.memory import Memory

Row = dict[str, Any]

_LENT = ("localizer.safetensors", "boxes.parquet", "indicators.safetensors")


def lend_boxes(source: Path, run: Path) -> None:
    """Give a run the boxes of another one of the same photographs, so that both crop alike.

    Args:
        source: A run whose localize is finished.
        run: The run that is to have them; what it has of its own gives way.

    Raises:
        ArtifactError: The source has no boxes, or the disk refused.
    """
    lent = Memory(source).stages.get("localize")
    if lent is None:
        raise ArtifactError(f"{source}: has no finished boxes to lend; run localize there first")
    memory = Memory(run)
    if memory.stages.get("localize") == lent and all((run / name).is_file() for name in _LENT):
        return
    memory.forget("localize")
    for name in (*_LENT, "index.parquet"):  # the index saves reading the photographs again
        with replacing(run / name) as partial:
            shutil.copyfile(source / name, partial)
    memory.restore("localize", lent)


def pick_row(rows: Sequence[Mapping[str, Any]], *, name: str, encoder: str, feature: str, set_name: str) -> Row:
    """Return one row of an evaluation under a name of its own, which comes first, as ``row``.

    Raises:
        ArtifactError: The evaluation has no such row.
    """
    wanted = (encoder, feature, set_name)
    for row in rows:
        if (row["encoder"], row["feature"], row["set"]) == wanted:
            return {"row": name, **row}
    raise ArtifactError(f"the evaluation has no row of {', '.join(wanted)}, which the row {name!r} is made of")


def read_evaluation(run: Path) -> list[Row]:
    """Return the rows of a run's ``evaluation.json``.

    Raises:
        ArtifactError: It is missing or damaged.
    """
    rows: list[Row] = read_json(run / "evaluation.json", kind="evaluation")["rows"]
    return rows


def write_comparison(run: Path, others: Mapping[str, Path], *, note: str = "") -> None:
    """Write ``comparison.json``: what the report of a run shows of the students of other runs.

    Args:
        run: The run whose report is to show the others.
        others: Name -> evaluated run folder of each.
        note: What a reader must know of all the figures.

    Raises:
        ArtifactError: An evaluation is missing or damaged, or the disk refused.
    """
    runs = [{"row": name, "rows": _students(folder), "monitor": _monitor(folder)} for name, folder in others.items()]
    write_json(run / COMPARISON, {"note": note, "runs": runs}, kind="comparison")


def _students(run: Path) -> list[Row]:
    return [row for row in read_evaluation(run) if row["encoder"] == "student"]


def _monitor(run: Path) -> list[dict[str, Any]]:
    """Return the lines that the watching of a training left in its log; none without a log."""
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    found = []
    for text in lines:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # torn by a crash
            continue
        if isinstance(line, dict) and line.get("event") == "monitor":
            found.append(line)
    return found
