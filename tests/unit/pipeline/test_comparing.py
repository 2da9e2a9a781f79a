"""Runs beside one another, from files whose content is known."""

import json
from pathlib import Path
from typing import Any

import pytest

from leadpp.errors import ArtifactError
from leadpp.io.artifacts import read_json, write_json
from leadpp.pipeline.comparing import lend_boxes, pick_row, read_evaluation, write_comparison
from leadpp.pipeline.demonstrating import closing_rows
from leadpp.pipeline.memory import Memory

LENT = ("localizer.safetensors", "boxes.parquet", "indicators.safetensors", "index.parquet")


def rows(*, knn: float, encoders: tuple[str, ...] = ("student", "frozen", "teacher")) -> list[dict[str, Any]]:
    """Rows as evaluate gives them, each with a figure of its own."""
    features = {"student": ("gap", "attention"), "frozen": ("gap",), "teacher": ("embedding",)}
    places = [(e, feature, set_) for e in encoders for feature in features[e] for set_ in ("whole", "crop")]
    return [
        {"encoder": encoder, "feature": feature, "set": set_, "knn": knn + place / 100}
        for place, (encoder, feature, set_) in enumerate(places)
    ]


@pytest.fixture
def localized(tmp_path: Path) -> Path:
    run = tmp_path / "first"
    run.mkdir()
    for name in LENT:
        (run / name).write_text(f"first {name}")
    Memory(run).remember("localize", fingerprint="f", seconds=2.0, summary={"corloc": 0.5})
    return run


def test_the_closing_table_takes_four_rows_of_two_evaluations() -> None:
    found = closing_rows({"lead++": rows(knn=0.1), "moco": rows(knn=0.5, encoders=("student",))})
    assert [(row["row"], row["encoder"], row["feature"], row["set"], round(row["knn"], 2)) for row in found] == [
        ("backbone", "frozen", "gap", "crop", 0.15),
        ("teacher", "teacher", "embedding", "crop", 0.17),
        ("moco", "student", "gap", "crop", 0.51),
        ("lead++", "student", "gap", "crop", 0.11),
    ]
    assert all(next(iter(row)) == "row" for row in found)


def test_a_row_that_is_not_there_is_named() -> None:
    with pytest.raises(ArtifactError, match="no row of teacher, embedding, crop"):
        pick_row(rows(knn=0, encoders=("student",)), name="x", encoder="teacher", feature="embedding", set_name="crop")


def test_lent_boxes_are_those_of_the_source(localized: Path, tmp_path: Path) -> None:
    run = tmp_path / "second"
    lend_boxes(localized, run)
    assert [(run / name).read_text() for name in LENT] == [f"first {name}" for name in LENT]
    assert Memory(run).stages == Memory(localized).stages


def test_boxes_are_lent_again_only_where_they_differ(localized: Path, tmp_path: Path) -> None:
    run = tmp_path / "second"
    lend_boxes(localized, run)
    (run / "index.parquet").write_text("its own by now")
    lend_boxes(localized, run)
    assert (run / "index.parquet").read_text() == "its own by now"
    (localized / "boxes.parquet").write_text("better")
    Memory(localized).remember("localize", fingerprint="g", seconds=2.0, summary={})
    lend_boxes(localized, run)
    assert (run / "boxes.parquet").read_text() == "better"
    (run / "boxes.parquet").unlink()
    lend_boxes(localized, run)
    assert (run / "boxes.parquet").read_text() == "better"


def test_a_run_without_boxes_has_none_to_lend(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    with pytest.raises(ArtifactError, match="run localize there first"):
        lend_boxes(tmp_path / "first", tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_a_comparison_holds_the_other_students_and_how_they_were_watched(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    write_json(other / "evaluation.json", {"rows": rows(knn=0.5)}, kind="evaluation")
    lines = [{"event": "step", "loss": 1.0}, {"event": "monitor", "epoch": 1, "knn": 0.25}]
    (other / "metrics.jsonl").write_text("\n".join([*map(json.dumps, lines), '{"event": "mon']))
    write_comparison(ours, {"moco": other}, note="drawn")
    found = read_json(ours / "comparison.json", kind="comparison")
    assert found["note"] == "drawn"
    assert [run["row"] for run in found["runs"]] == ["moco"]
    assert found["runs"][0]["rows"] == read_evaluation(other)[:4]
    assert found["runs"][0]["monitor"] == [lines[1]]
