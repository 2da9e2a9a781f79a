"""The demo on a world of a few birds with networks of random weights: all of the road, none of the knowledge."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from leadpp import pipeline
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import ConfigError
from leadpp.io.artifacts import read_json
from leadpp.pipeline.memory import Memory
from tests.integration.conftest import Cli
from tests.integration.test_road import EVALUATION_KEYS
from tests.progress import WatchedProgress
from tools.draw_demo import write_backbone, write_teacher

WORLD = {"species": 3, "per_species": 8, "size": 48, "seed": 5}
FLAGS = ("--species", 3, "--per-species", 8, "--size", 48, "--seed", 5)
ROWS = ["backbone", "teacher", "moco", "lead++"]


def interrupted_at(word: str) -> WatchedProgress:
    """Press Ctrl-C when a piece of work is begun whose name holds a word."""
    return WatchedProgress(stop=lambda piece: word in piece.what)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("networks")
    backbone = f"local-dir:{write_backbone(out / 'backbone')}"
    return {
        "input": {"size": 32, "workers": 0},
        "localize": {"backbone": backbone, "size": 64},
        "student": {"backbone": backbone},
        "teacher": {"model": f"local-dir:{write_teacher(out / 'teacher')}"},
        "train": {"epochs": 1, "batch_size": 4},
        "evaluate": {"probe_epochs": 2, "probe_views": 1, "kmeans_restarts": 1},
        "report": {"projection": "pca", "samples": 2, "queries": 2},
    }


@pytest.fixture(scope="module")
def finished(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent") / "demo"
    pipeline.demo(folder, world=WORLD, settings=settings)
    return folder


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    assert (code, out, len(err.splitlines())) == (2, "", 1), err
    assert all(word in err for word in words), err


@pytest.mark.slow
def test_a_finished_demo_prints_its_rows_at_once(finished: Path, cli: Cli) -> None:
    code, out, err = cli("demo", "--run", finished, "--json")
    assert code == 0, err
    rows = json.loads(out)
    assert [row["row"] for row in rows] == ROWS
    assert {row["set"] for row in rows} == {"crop"}
    for row in rows:
        assert [key for key in EVALUATION_KEYS if key not in row] == []
    assert "naming_teacher" in rows[1]
    assert "naming_student" in rows[3]
    assert not {"naming_student", "naming_teacher"} & {*rows[0], *rows[2]}
    assert err.splitlines() == [f"report: {finished / 'lead++' / 'report.html'}"]
    code, out, _ = cli("demo", "--run", finished, *FLAGS)
    assert code == 0
    assert all(word in out for word in (*ROWS, "nothing about photographs", "report.html"))
    steps = next(line for line in out.splitlines() if line.startswith("took: ")).removeprefix("took: ").split(" · ")
    assert [step.split()[0] for step in steps] == "world localize prototypes train evaluate moco report".split()


@pytest.mark.slow
def test_both_runs_crop_alike_and_differ_in_the_objective(finished: Path) -> None:
    ours, moco = finished / "lead++", finished / "moco"
    assert (ours / "boxes.parquet").read_bytes() == (moco / "boxes.parquet").read_bytes()
    assert Memory(ours).stages["localize"] == Memory(moco).stages["localize"]
    configs = [pipeline.resolve_config(run, settings={}, config=None) for run in (ours, moco)]
    assert [config.preset for config in configs] == ["lead++", "moco"]
    assert {config.networks for config in configs} == {"world"}
    assert {config.seed for config in configs} == {WORLD["seed"]}
    assert (configs[0].train, configs[0].augment) == (configs[1].train, configs[1].augment), "trained as carefully"
    assert configs[1].loss.structure == 0
    assert configs[0].student == configs[1].student
    assert {row["encoder"] for row in read_json(moco / "evaluation.json", kind="evaluation")["rows"]} == {"student"}


@pytest.mark.slow
def test_the_report_shows_all_rows_and_what_they_do_not_say(finished: Path) -> None:
    page = (finished / "lead++" / "report.html").read_text()
    assert all(f"<dt>{name}</dt>" in page for name in ROWS)
    assert "moco · gap" in page
    assert "say nothing about photographs" in page


@pytest.mark.slow
def test_only_what_changed_is_done_again(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "demo"))
    progress = SilentProgress()
    before = pipeline.demo(folder)["rows"]
    found = pipeline.demo(folder, settings={"evaluate": {"probe_epochs": 3}}, progress=progress)
    assert [row["protocol"]["probe"]["epochs"] for row in found["rows"]] == [3, 3, 3, 3]
    assert [row["map"] for row in found["rows"]] == [row["map"] for row in before]
    for step in ("[1/7] world", "[2/7] localize", "[3/7] prototypes", "[4/7] train", "[6/7] moco, train"):
        assert f"{step}: unchanged, skipped" in progress.notes
    assert {note.split(": done")[0] for note in progress.notes if ": done in" in note} == {
        "[5/7] evaluate",
        "[6/7] moco, evaluate",
        "[7/7] report",
    }
    assert pipeline.demo(folder)["rows"] == found["rows"]


@pytest.mark.slow
def test_an_interrupted_demo_goes_on_and_ends_as_any_other(
    finished: Path, settings: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "demo"
    for word in ("draw", "student, whole, test"):
        with pytest.raises(KeyboardInterrupt):
            pipeline.demo(folder, world=WORLD, settings=settings, progress=interrupted_at(word))
    progress = SilentProgress()
    found = pipeline.demo(folder, world=WORLD, settings=settings, progress=progress)
    assert "[4/7] train: unchanged, skipped" in progress.notes
    names = ("row", "knn", "map", "probe_last", "nmi")
    assert [[row[name] for name in names] for row in found["rows"]] == [
        [row[name] for name in names] for row in pipeline.demo(finished)["rows"]
    ]


@pytest.mark.slow
def test_a_demo_of_another_world_is_refused(finished: Path, cli: Cli) -> None:
    refused(cli("demo", "--run", finished, "--species", 4), "species 3, not 4", "another folder")
    refused(cli("demo", "--run", finished, "--seed", 6), "seed 5, not 6")


def test_wrong_input_is_one_line(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    refused(cli("demo", "--run", tmp_path / "full"), "not empty", "holds no demo")
    refused(cli("demo", "--run", tmp_path / "full" / "mine.txt"), "a file stands")
    refused(cli("demo", "--run", tmp_path / "new", "--train.epoch", 3), "--train.epochs")
    refused(cli("demo", "--run", tmp_path / "new", "--evaluate.sets", "whole"), "evaluate.sets", "leadpp run")
    refused(cli("demo", "--run", tmp_path / "new", "--preset", "moco"), "--preset")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("flag", "value"), [("--species", 1), ("--per-species", -1), ("--size", 31), ("--seed", -1), ("--species", "many")]
)
def test_a_world_that_is_too_small_is_refused(flag: str, value: object, tmp_path: Path, cli: Cli) -> None:
    refused(cli("demo", "--run", tmp_path / "demo", flag, value), flag, str(value))
    assert not (tmp_path / "demo").exists()


def test_a_world_with_too_many_species_is_refused(tmp_path: Path, cli: Cli) -> None:
    refused(cli("demo", "--run", tmp_path / "demo", "--species", 100_001), "at most 100,000 species", "combinations")
    assert not (tmp_path / "demo").exists()


def test_a_world_that_was_not_drawn_binds_nothing(settings: dict[str, Any], tmp_path: Path) -> None:
    for world in (WORLD | {"species": 4}, WORLD):
        with pytest.raises(KeyboardInterrupt):
            pipeline.demo(tmp_path / "demo", world=world, settings=settings, progress=interrupted_at("draw"))


def test_a_missing_shipped_network_is_found_before_anything_is_drawn(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leadpp.models.builtin.networks_folder", lambda: tmp_path / "none")
    refused(cli("demo", "--run", tmp_path / "demo"), "broken install", "reinstall")
    assert not (tmp_path / "demo").exists()


def test_settings_of_the_rows_themselves_are_not_to_be_had(tmp_path: Path) -> None:
    for settings in ({"preset": "moco"}, {"teacher": {"use": "no"}}, {"evaluate": {"encoders": ["student"]}}):
        with pytest.raises(ConfigError, match="what the rows of the demo differ in"):
            pipeline.demo(tmp_path / "demo", settings=settings)
