"""The whole road on drawn photographs: what is promised of the run folder, the results and the skipping of stages."""

import json
import shutil
from pathlib import Path

import pytest

from leadpp import pipeline
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import DataError
from tests.integration.conftest import Cli

EVALUATION_KEYS = (
    "knn knn200 probe_last probe_heldout rank1 rank5 map map_at_r purity10 cluster_accuracy nmi ari protocol"
).split()


@pytest.fixture(scope="module")
def finished(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "first"
    pipeline.run(
        demo / "photos", run, config=demo / "settings.yaml", texts=pipeline.Texts(names=str(demo / "names.txt"))
    )
    return run


def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.mark.slow
def test_the_run_folder_has_everything(finished: Path) -> None:
    promised = (
        "config.yaml env.json index.parquet localizer.safetensors boxes.parquet descriptions.csv "
        "prototypes.safetensors checkpoints metrics.jsonl evaluation.json report.html stages.json"
    ).split()
    assert [name for name in promised if not (finished / name).exists()] == []
    assert not list(finished.rglob("*.partial"))


@pytest.mark.slow
def test_results_have_the_promised_keys_and_unchanged_stages_are_skipped(finished: Path, demo: Path, cli: Cli) -> None:
    code, out, err = cli("localize", "--data", demo / "photos", "--run", finished, "--json")
    assert code == 0
    assert "localize: unchanged, skipped" in err
    localized = json.loads(out)
    assert {"corloc", "mean_iou", "crop_mean_iou", "images", "fallbacks"} <= localized.keys()
    code, out, err = cli("evaluate", "--data", demo / "photos", "--run", finished, "--json")
    assert (code, "evaluate: unchanged, skipped" in err) == (0, True)
    rows = json.loads(out)
    assert [(row["encoder"], row["feature"], row["set"]) for row in rows][:4] == [
        ("student", "gap", "whole"),
        ("student", "gap", "crop"),
        ("student", "attention", "whole"),
        ("student", "attention", "crop"),
    ]
    assert {(row["encoder"], row["set"]) for row in rows} >= {
        (encoder, where) for encoder in ("frozen", "teacher") for where in ("whole", "crop")
    }
    for row in rows:
        assert [key for key in EVALUATION_KEYS if key not in row] == []
    assert {"naming_teacher", "naming_student"} <= rows[0].keys()


@pytest.mark.slow
def test_only_what_changed_runs_again(finished: Path, demo: Path, tmp_path: Path) -> None:
    run = copied(finished, tmp_path)
    progress = SilentProgress()
    results = pipeline.run(demo / "photos", run, settings={"evaluate": {"probe_epochs": 3}}, progress=progress)
    notes = "\n".join(progress.notes)
    assert "localize: unchanged, skipped" in notes
    assert "train: unchanged, skipped" in notes
    assert "evaluate: done" in notes
    assert "report: done" in notes
    assert results["evaluate"][0]["protocol"]["probe"]["epochs"] == 3


@pytest.mark.slow
def test_a_run_keeps_its_settings_unless_told_otherwise(finished: Path) -> None:
    kept = pipeline.resolve_config(finished, settings={"train": {"momentum": 0.5}}, config=None)
    assert (kept.input.size, kept.train.momentum) == (32, 0.5)
    assert pipeline.resolve_config(finished, settings={"preset": "moco"}, config=None).input.size == 224
    assert pipeline.resolve_config(finished, settings={"networks": "world"}, config=None).input.size == 96


@pytest.mark.slow
def test_a_run_of_other_data_is_refused(finished: Path, flat: Path) -> None:
    before = (finished / "index.parquet").read_bytes()
    with pytest.raises(DataError, match="belongs to the data in"):
        pipeline.run(flat, finished)
    assert (finished / "index.parquet").read_bytes() == before


@pytest.mark.slow
def test_the_same_data_elsewhere_is_welcome(finished: Path, demo: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(demo / "photos", tmp_path / "moved")
    progress = SilentProgress()
    pipeline.run(Path(moved), copied(finished, tmp_path), stages=("localize",), progress=progress)
    assert "localize: unchanged, skipped" in "\n".join(progress.notes)


@pytest.mark.slow
def test_stage_by_stage_gives_the_same_student(finished: Path, demo: Path, tmp_path: Path, cli: Cli) -> None:
    run = tmp_path / "run"
    words = ("--data", demo / "photos", "--run", run)
    assert cli("localize", *words, "--config", demo / "settings.yaml", "--write-crops")[0] == 0
    assert len(list((run / "crops").rglob("*.jpg"))) == 54
    assert cli("prototypes", "build", *words, "--names", demo / "names.txt", "--json")[0] == 0
    code, out, _ = cli("train", *words, "--json")
    assert (code, json.loads(out)["epochs"]) == (0, 2)
    code, out, _ = cli("evaluate", *words, "--json")
    assert code == 0
    whole = json.loads((finished / "evaluation.json").read_text())["rows"]
    assert [row["knn"] for row in json.loads(out)] == [row["knn"] for row in whole]
    assert cli("report", *words)[0] == 0


@pytest.mark.slow
def test_a_flat_folder_without_labels_or_words(flat: Path, demo: Path, tmp_path: Path, cli: Cli) -> None:
    run = tmp_path / "run"
    code, out, err = cli("run", "--data", flat, "--run", run, "--config", demo / "settings.yaml", "--json")
    assert code == 0, err
    results = json.loads(out)
    assert "no labels: features, clusters and names are written, nothing is measured" in err
    evaluated = results["evaluate"]
    assert (evaluated["images"], evaluated["clusters"], evaluated["named"]) == (18, 3, False)
    assert len((run / "photographs.csv").read_text().splitlines()) == 19
    assert not (run / "evaluation.json").exists()
    assert {"Neighbours", "Map", "Clusters"}.isdisjoint(results["report"]["missing"])
    assert {"Figures", "Confusion"} <= set(results["report"]["missing"])
    assert "without a teacher" in err
    assert "corloc" not in results["localize"]
    assert (run / "report.html").exists()
    code, out, err = cli("evaluate", "--data", flat, "--run", run)
    assert (code, out) == (2, "")
    assert "needs labels" in err
    code, out, err = cli("run", "--data", flat, "--run", run)
    assert (code, "evaluate: unchanged, skipped" in err) == (0, True)
    assert "evaluate: images 18, clusters 3" in out


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["lead", "moco", "paper"])
def test_every_preset_runs(preset: str, demo: Path, tmp_path: Path, cli: Cli) -> None:
    code, out, err = cli(
        "run", "--data", demo / "photos", "--run", tmp_path / "run", "--config", demo / "settings.yaml",
        "--preset", preset, "--names", demo / "names.txt", "--train.epochs", 1, "--train.queue-size", 16,
        "--localize.size", 96, "--localize.fit-size", 0, "--evaluate.probe-views", 1, "--json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["train"]["epochs"] == 1


@pytest.mark.slow
def test_words_and_boxes_given_once_are_remembered(demo: Path, tmp_path: Path, cli: Cli) -> None:
    photos = Path(shutil.copytree(demo / "photos", tmp_path / "photos"))
    boxes = (photos / "bboxes.csv").rename(tmp_path / "boxes.csv")
    names = Path(shutil.copy(demo / "names.txt", tmp_path / "names.txt"))
    words = ("--data", photos, "--run", tmp_path / "run", "--input.workers", 0)
    first = (*words, "--config", demo / "settings.yaml", "--boxes", boxes)
    assert cli("localize", *first)[0] == 0
    assert cli("prototypes", "build", *words, "--names", names)[0] == 0
    code, out, err = cli("localize", *words, "--json")
    assert (code, "unchanged, skipped" in err) == (0, True)
    assert "corloc" in json.loads(out)
    code, _, err = cli("prototypes", "build", *words)
    assert (code, "unchanged, skipped" in err) == (0, True)
    code, _, err = cli("prototypes", "build", *words, "--text.template", "a drawing of a {}.")
    assert (code, "prototypes: done" in err) == (0, True)
    names.unlink()
    code, _, err = cli("prototypes", "build", *words)
    assert (code, "give --names again" in err) == (2, True)
    names.write_text("one\ntwo\n")
    code, _, err = cli("run", *words)
    assert (code, "localize" in err) == (2, False)
    boxes.unlink()
    code, _, err = cli("localize", *words)
    assert (code, "give --boxes again" in err) == (2, True)


@pytest.mark.slow
def test_crops_are_written_without_localizing_again(finished: Path, demo: Path, tmp_path: Path, cli: Cli) -> None:
    run = copied(finished, tmp_path)
    code, _, err = cli("localize", "--data", demo / "photos", "--run", run, "--write-crops")
    assert (code, "localize: unchanged, skipped" in err) == (0, True)
    assert len(list((run / "crops").rglob("*.jpg"))) == 54
