"""Each stage runs again for what decides its result, and for nothing else."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from leadpp.config import build_config
from leadpp.data.index import ImageIndex, ImageRecord
from leadpp.io.artifacts import write_table
from leadpp.io.ledger import keep_newest
from leadpp.pipeline import Job, Texts
from leadpp.pipeline.fingerprints import fingerprint
from leadpp.pipeline.memory import Memory

STAGES = ("localize", "prototypes", "train", "evaluate", "report")


def record(name: str, *, split: Any, checksum: str = "c", label: str = "x", **more: Any) -> ImageRecord:  # noqa: ANN401
    return ImageRecord(
        path=f"{split}/{name}.jpg", label=label, split=split, width_px=40, height_px=30, checksum=checksum, **more
    )


INDEX = ImageIndex(
    root=Path("photos"),
    source="folder",
    classes=("x", "y"),
    records=(record("a", split="train"), record("b", split="train", label="y"), record("c", split="test")),
    split_origin="given",
)


def write_boxes(run: Path, *, train_edge: int = 20, test_edge: int = 20) -> None:
    edges = [train_edge, train_edge, test_edge]
    columns: dict[str, list[Any]] = {"path": [item.path for item in INDEX.records]}
    for part in ("object", "crop"):
        columns |= {f"{part}_x0": [0] * 3, f"{part}_y0": [0] * 3, f"{part}_x1": edges, f"{part}_y1": [9] * 3}
    columns |= {"score": [0.0] * 3, "area_frac": [0.1] * 3, "fallback": [False] * 3}
    write_table(run / "boxes.parquet", pa.table(columns | {"width_px": [40] * 3, "height_px": [30] * 3}), kind="boxes")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with boxes, prototypes, checkpoints, local networks and words."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    for epoch in (1, 2):
        (folder / "checkpoints" / f"epoch-{epoch:04}.safetensors").write_text("weights")
    keep_newest(folder / "checkpoints", folder / "checkpoints" / "epoch-0002.safetensors", keep=0)
    (folder / "prototypes.safetensors").write_text("vectors")
    write_boxes(folder)
    for name in ("student", "teacher", "localizer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(name)
    (tmp_path / "names.txt").write_text("x\ny\n")
    return folder


def job(run: Path, settings: dict[str, Any] | None = None, texts: Texts | None = None) -> Job:
    networks = {
        "localize": {"backbone": f"local-dir:{run.parent / 'localizer'}"},
        "student": {"backbone": f"local-dir:{run.parent / 'student'}"},
        "teacher": {"model": f"local-dir:{run.parent / 'teacher'}"},
    }
    return Job(
        data=Path("photos"),
        run=run,
        config=build_config(networks, settings or {}),
        texts=texts or Texts(names=run.parent / "names.txt"),
    )


def changed(run: Path, change: Callable[[], tuple[Job, ImageIndex]]) -> set[str]:
    """Name the stages whose fingerprint is another after the change."""
    before = {name: fingerprint(job(run), INDEX, name) for name in STAGES}
    after_job, after_index = change()
    return {name for name in STAGES if fingerprint(after_job, after_index, name) != before[name]}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"seed": 5}, {"localize", "prototypes", "train", "evaluate", "report"}),
        ({"deterministic": True}, {"localize", "prototypes", "train", "evaluate", "report"}),
        ({"deterministic": False}, set()),
        ({"localize": {"threshold": 0.3}}, {"localize", "report"}),
        ({"localize": {"fit_images": 3}}, {"localize", "report"}),
        ({"localize": {"batch_size": 3}}, set()),
        ({"localize": {"keep_gb": 0.5}}, set()),
        ({"text": {"template": "{}"}}, {"prototypes", "evaluate", "report"}),
        ({"teacher": {"normalization": "imagenet"}}, {"prototypes", "train", "evaluate", "report"}),
        ({"teacher": {"balance": 0.25}}, {"train", "report"}),
        ({"teacher": {"fit": "squeeze"}}, {"train", "report"}),
        ({"teacher": {"pretrained": "other"}}, {"prototypes", "train", "evaluate", "report"}),
        (
            {"teacher": {"models": ["ViT-B-16:openai", "ViT-L-14:openai"]}},
            {"prototypes", "train", "evaluate", "report"},
        ),
        ({"input": {"size": 96}}, {"train", "evaluate", "report"}),
        ({"input": {"workers": 3}}, {"report"}),
        ({"input": {"cache": "ram", "cache_limit_gb": 2.0, "augment": "device"}}, {"report"}),
        ({"augment": {"hue": 0.25}}, {"train", "report"}),
        ({"loss": {"alpha": 0.3}}, {"train", "report"}),
        ({"train": {"epochs": 3}}, {"train", "report"}),
        ({"train": {"device": "cpu"}}, set()),
        ({"train": {"monitor_every": 7}}, set()),
        ({"train": {"compile": True}}, set()),
        ({"student": {"batchnorm": "train"}}, {"train", "evaluate", "report"}),
        ({"checkpoint": {"keep": 9}}, {"report"}),
        ({"evaluate": {"probe_epochs": 3}}, {"evaluate", "report"}),
        ({"evaluate": {"chunk": 3}}, set()),
        ({"report": {"samples": 3}}, {"report"}),
        ({"llm": {"model": "m", "base_url": "http://127.0.0.1:1/v1", "per_class": 3}}, set()),
    ],
)
def test_settings(run: Path, settings: dict[str, Any], expected: set[str]) -> None:
    assert changed(run, lambda: (job(run, settings), INDEX)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("localizer/model.safetensors", {"localize"}),
        ("student/model.safetensors", {"train", "evaluate"}),
        ("teacher/model.safetensors", {"prototypes", "train", "evaluate"}),
        ("names.txt", {"prototypes"}),
        ("run/prototypes.safetensors", {"train", "evaluate"}),
        ("run/checkpoints/epoch-0002.safetensors", {"evaluate"}),
        ("run/checkpoints/epoch-0001.safetensors", set()),
    ],
)
def test_files(run: Path, name: str, expected: set[str]) -> None:
    def change() -> tuple[Job, ImageIndex]:
        (run.parent / name).write_text("changed")
        return job(run), INDEX

    assert changed(run, change) == expected


def test_boxes_of_training_photographs_matter_to_training_and_those_of_test_do_not(run: Path) -> None:
    def rewrite(**edges: int) -> Callable[[], tuple[Job, ImageIndex]]:
        def change() -> tuple[Job, ImageIndex]:
            write_boxes(run, **edges)
            return job(run), INDEX

        return change

    assert changed(run, rewrite(test_edge=21)) == {"evaluate"}
    assert changed(run, rewrite(train_edge=21)) == {"train", "evaluate"}


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ((*INDEX.records[:2], record("c", split="test", checksum="d")), {"localize", "evaluate", "report"}),
        ((record("a", split="train", checksum="d"), *INDEX.records[1:]), {"localize", "train", "evaluate", "report"}),
        (
            (dataclasses.replace(INDEX.records[0], true_box_xyxy=(0, 0, 5, 5)), *INDEX.records[1:]),
            {"localize", "evaluate", "report"},
        ),
        ((dataclasses.replace(INDEX.records[0], mtime_ns=7), *INDEX.records[1:]), set()),
    ],
)
def test_photographs(run: Path, records: tuple[ImageRecord, ...], expected: set[str]) -> None:
    assert changed(run, lambda: (job(run), dataclasses.replace(INDEX, records=records))) == expected


def test_the_data_set_decides_the_crop_policy(run: Path) -> None:
    assert changed(run, lambda: (job(run), dataclasses.replace(INDEX, source="cars"))) == {"localize"}


def test_the_role_of_a_file_matters(run: Path) -> None:
    texts = Texts(descriptions=run.parent / "names.txt")
    assert changed(run, lambda: (job(run, texts=texts), INDEX)) == {"prototypes"}


def test_the_same_files_elsewhere_are_the_same(run: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(run.parent, tmp_path / "moved")) / "run"
    for name in ("train", "evaluate"):
        first = fingerprint(job(run, {"student": {"backbone": "local-dir:a"}}), INDEX, name)
        assert (
            fingerprint(
                job(
                    moved,
                    {
                        "student": {"backbone": "local-dir:a"},
                        "teacher": {"model": f"local-dir:{run.parent / 'teacher'}"},
                    },
                ),
                INDEX,
                name,
            )
            == first
        )


def test_ones_own_factory_is_known_by_its_source(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "mine.py"
    source.write_text("one = 1\n")
    settings = {"teacher": {"factory": "mine:teacher"}}
    first = fingerprint(job(run, settings), INDEX, "train")
    source.write_text("one = 2\n")
    assert fingerprint(job(run, settings), INDEX, "train") != first
    other = {"teacher": {"factory": "leadpp.errors:teacher"}}
    assert fingerprint(job(run, other), INDEX, "train") == fingerprint(job(run, other), INDEX, "train")
    gone = {"teacher": {"factory": "no.such.module:teacher"}}
    assert fingerprint(job(run, gone), INDEX, "train") != first


def test_the_bytes_of_every_teacher_count(run: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_text("one")
    settings = {
        "teacher": {"models": [f"local-dir:{tmp_path / 'student'}", f"ViT-B-16:{tmp_path / 'weights.pt'}"]},
    }
    turned = {"teacher": {"models": settings["teacher"]["models"][::-1]}}
    for name in ("prototypes", "train", "evaluate"):
        found = [fingerprint(job(run, settings), INDEX, name), fingerprint(job(run, turned), INDEX, name)]
        for file in ("weights.pt", "student/model.safetensors"):
            (tmp_path / file).write_text(f"changed for {name}")
            found.append(fingerprint(job(run, settings), INDEX, name))
        assert len(set(found)) == 4


def test_a_student_without_teacher_or_boxes_does_not_care_for_them(run: Path) -> None:
    alone = {"preset": "moco"}
    first = fingerprint(job(run, alone), INDEX, "train")
    write_boxes(run, train_edge=22)
    (run / "prototypes.safetensors").write_text("changed")
    assert fingerprint(job(run, alone), INDEX, "train") == first


def test_the_report_follows_every_stage(run: Path) -> None:
    def change() -> tuple[Job, ImageIndex]:
        Memory(run).remember("train", fingerprint="f", seconds=1, summary={})
        return job(run), INDEX

    assert changed(run, change) == {"report"}


def test_the_report_follows_the_runs_beside_it(run: Path) -> None:
    def change() -> tuple[Job, ImageIndex]:
        (run / "comparison.json").write_text("others")
        return job(run), INDEX

    assert changed(run, change) == {"report"}
    assert changed(run, lambda: ((run / "comparison.json").write_text("more"), (job(run), INDEX))[1]) == {"report"}


def test_what_decides_the_confidence_of_names_counts_where_there_are_names(run: Path) -> None:
    plain = fingerprint(job(run), INDEX, "evaluate")
    for change in ({"loss": {"distillation_temperature": 0.5}}, {"name": {"fit_images": 5}}):
        assert fingerprint(job(run, change), INDEX, "evaluate") != plain
    for change in ({"name": {"top": 3}}, {"name": {"unsure": 0.1}}, {"discover": {"below": 0.5}}):
        assert fingerprint(job(run, change), INDEX, "evaluate") == plain
    (run / "prototypes.safetensors").unlink()
    warm = job(run, {"loss": {"distillation_temperature": 0.5}})
    assert fingerprint(warm, INDEX, "evaluate") == fingerprint(job(run), INDEX, "evaluate")
