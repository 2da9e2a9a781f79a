"""From other programs' checkpoints to figures and names, by the command line alone."""

import csv
import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from leadpp.functional.randomness import generator_for
from tests.integration.conftest import Cli
from tests.unit.foreign import Momentum, foreign_network, state_of

QUICK = ("--input.size", 32, "--input.workers", 0, "--evaluate.probe-epochs", 2, "--evaluate.probe-views", 1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("foreign") / "model_last.pth"
    model = Momentum(foreign_network(), dim=16, reference=True)
    torch.save({"epoch": 100, "state_dict": state_of(model)}, path)
    return path


def test_the_references_work_is_measured_and_names(
    checkpoint: Path, tiny_world: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run, words = tmp_path / "run", tmp_path / "bird_text_tensor.pt"
    vectors = F.normalize(torch.randn(4, 16, generator=generator_for(8, "texts")), dim=1)
    torch.save(vectors.half(), words)
    code, out, err = cli("import-weights", checkpoint, run, "--json")
    assert code == 0
    assert json.loads(out)["source"] == "reference"
    assert "left out: the key encoder" in err

    road = ("--data", tiny_world, "--run", run)
    names = ("--names", tiny_world / "names.txt")
    assert cli("prototypes", "build", *road, "--prototypes", words, *names, "--json")[0] == 0
    code, out, err = cli("evaluate", *road, *QUICK, "--json")
    assert code == 0, err
    rows = json.loads(out)
    assert [(row["encoder"], row["feature"]) for row in rows] == [("student", "gap"), ("student", "attention")]
    assert all(0 <= row["naming_student"] <= 1 for row in rows)
    assert "checkpoint of the LEAD++ reference, model_last.pth" in rows[0]["protocol"]["imported"]
    assert cli("report", *road)[0] == 0

    photographs = sorted((tiny_world / "test").rglob("*.jpg"))
    code, out, err = cli("name", tiny_world / "test", "--run", run, *QUICK[:4], "--top", 4, "--json")
    assert code == 0, err
    assert "the temperature of the names is not calibrated" in err  # CLIP is not to be had here
    _check_names(run, photographs, names=(tiny_world / "names.txt").read_text().split("\n"), accuracy=rows[0])


def _check_names(run: Path, photographs: list[Path], *, names: list[str], accuracy: dict[str, float]) -> None:
    """Each photograph has a row in every table, with all four names, and the best are as right as evaluate says."""
    document = json.loads((run / "names" / "names.json").read_text())
    assert (document["looked_at"], list(document["by"])) == (
        "whole photographs, because the run has no localizer",
        ["student"],
    )
    with (run / "names" / "names.csv").open(encoding="utf-8", newline="") as stream:
        told = {row["path"]: row for row in csv.DictReader(stream)}
    assert sorted(told) == [str(path) for path in photographs]
    right = 0
    for row in document["photographs"]:
        given = row["student"]["names"]
        assert {one["name"] for one in given} == set(filter(None, names))
        assert sum(one["probability"] for one in given) == pytest.approx(1, abs=1e-4)
        assert told[row["path"]]["name_student"] == given[0]["name"]
        right += given[0]["name"] == Path(row["path"]).parent.name
    assert right / len(photographs) == pytest.approx(accuracy["naming_student"])


def test_mistakes_are_one_line_and_2(checkpoint: Path, tmp_path: Path, cli: Cli) -> None:
    text = tmp_path / "words.txt"
    text.write_text("not a checkpoint\n")
    for words, expected in (
        ((tmp_path / "none.pth", tmp_path / "run"), "no such file"),
        ((tmp_path, tmp_path / "run"), "a folder"),
        ((text, tmp_path / "run"), "checkpoint of torch.save"),
        ((checkpoint, tmp_path), "new or empty"),
        ((checkpoint,), "required: OUT"),
        ((checkpoint, tmp_path / "run", "--text-space", "maybe"), "--text-space"),
    ):
        code, out, err = cli("import-weights", *words)
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert expected in err
    assert [path.name for path in tmp_path.iterdir()] == ["words.txt"]
