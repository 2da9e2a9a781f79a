"""Two runs of one seed are the same; one that was touched is found out; a report of both is a line each."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from leadpp import pipeline
from leadpp.io.artifacts import read_tensors, write_tensors
from leadpp.io.ledger import keep_newest, newest_checkpoint
from tests.integration.conftest import Cli

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every stage done."""
    run: Path = tmp_path_factory.mktemp("whole") / "run"
    texts = pipeline.Texts(names=demo / "names.txt")
    pipeline.run(demo / "photos", run, config=demo / "settings.yaml", texts=texts)
    return run


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    return run


def test_a_run_made_again_is_the_same(demo: Path, whole: Path, tmp_path: Path, cli: Cli) -> None:
    again = tmp_path / "again"
    words = ["--data", demo / "photos", "--config", demo / "settings.yaml", "--input.workers", "1"]
    assert cli("run", *words, "--run", again, "--names", demo / "names.txt")[0] == 0
    code, out, err = cli("compare", whole, again)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "weights: identical",
        "queues: identical",
        "optimizer: identical",
        "progress: identical",
        "metrics: identical",
        "the runs are identical",
    ]
    assert json.loads(cli("compare", whole, again, "--json")[1])["identical"] is True
    for name in ("boxes.parquet", "prototypes.safetensors"):
        assert (again / name).read_bytes() == (whole / name).read_bytes()


def test_another_seed_is_another_training(demo: Path, whole: Path, copied: Path, cli: Cli) -> None:
    words = ["--data", demo / "photos", "--run", copied, "--seed", "9"]
    assert cli("train", *words)[0] == 0
    code, out, _ = cli("compare", whole, copied)
    assert code == 1
    assert out.splitlines()[-1] == "the runs differ"
    assert "weights: differ, first in student." in out
    assert "metrics: differ, first in line 1, loss: " in out


def test_the_first_difference_has_a_name_and_a_size(whole: Path, copied: Path, cli: Cli) -> None:
    path = newest_checkpoint(copied / "checkpoints")
    assert path is not None
    tensors, metadata = read_tensors(path, kind="checkpoint")
    tensors["queues.object.keys"][1, 2] += 0.25
    tensors["optimizer.0.momentum_buffer"] = torch.zeros(3)
    metadata["state"]["step"] += 2
    write_tensors(path, tensors, kind="checkpoint", metadata=metadata)
    code, _, err = cli("compare", whole, copied)
    assert code == 2
    assert "it is damaged, its checksum is not the one noted" in err
    keep_newest(path.parent, path, keep=0)
    log = copied / "metrics.jsonl"
    log.write_text(log.read_text().rpartition("\n{")[0] + "\n")
    code, out, _ = cli("compare", whole, copied, "--json")
    assert code == 1
    parts: dict[str, dict[str, Any]] = json.loads(out)["parts"]
    assert parts["weights"]["first"] is None
    assert parts["queues"]["first"]["name"] == "queues.object.keys"
    assert parts["queues"]["first"]["largest"] == pytest.approx(0.25)
    assert parts["queues"]["first"]["what"].startswith("1 of ")
    assert "[3] of torch.float32" in parts["optimizer"]["first"]["what"]
    assert parts["progress"]["first"] | {"what": ""} == {"name": "state.step", "what": "", "largest": 2}
    assert "only the first run has it" in parts["metrics"]["first"]["what"]


def test_a_run_says_what_it_was_made_from(whole: Path, cli: Cli, demo: Path) -> None:
    code, out, err = cli("verify", whole)
    assert (code, err) == (0, ""), out
    lines = out.splitlines()
    assert [line.partition(":")[0] for line in lines[:-2]] == list(pipeline.STAGES)
    assert lines[-2].endswith(": made again from its files and settings")
    assert f"{demo / 'names.txt'} " in lines[1]
    assert "boxes.parquet " in lines[2]
    assert "prototypes.safetensors " in lines[2]
    assert "checkpoints/epoch-0002.safetensors " in lines[3]
    assert lines[-1].endswith(" files checked: all as written")


@pytest.mark.parametrize(
    "name",
    [
        "boxes.parquet",
        "prototypes.safetensors",
        "checkpoints/epoch-0002.safetensors",
        "metrics.jsonl",
        "evaluation.json",
        "report.html",
    ],
)
def test_a_changed_file_is_found(copied: Path, cli: Cli, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    code, out, _ = cli("verify", copied)
    assert code == 1
    assert [line for line in out.splitlines() if line.startswith(f"trouble: {name}: is not what ")]
    (copied / name).unlink()
    assert f"trouble: {name}: is gone" in cli("verify", copied)[1]


def test_a_stage_that_was_run_again_leaves_later_ones_behind(copied: Path, demo: Path, cli: Cli) -> None:
    words = ["--data", demo / "photos", "--run", copied]
    assert cli("localize", *words, "--localize.threshold", "0.3")[0] == 0
    code, out, _ = cli("verify", copied)
    assert code == 1
    assert "trouble: train: was made from another boxes.parquet than localize has written since" in out


def test_figures_of_an_evaluation_that_did_not_end_are_no_trouble(copied: Path, cli: Cli) -> None:
    memory = json.loads((copied / "stages.json").read_text(encoding="utf-8"))
    del memory["stages"]["evaluate"], memory["stages"]["report"]
    (copied / "stages.json").write_text(json.dumps(memory), encoding="utf-8")
    code, out, _ = cli("verify", copied)
    assert code == 0, out
    assert "evaluate: not finished" in out


def test_photographs_that_were_changed_leave_all_stages_behind(
    copied: Path, demo: Path, tmp_path: Path, cli: Cli
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(demo / "photos", photos)
    memory = json.loads((copied / "stages.json").read_text())
    memory["data"]["path"] = str(photos)  # the folder was moved
    (copied / "stages.json").write_text(json.dumps(memory))
    next(iter(sorted(photos.rglob("*.jpg")))).unlink()
    assert cli("localize", "--data", photos, "--run", copied)[0] == 0
    code, out, _ = cli("verify", copied)
    assert code == 1
    assert "trouble: train: was made from other photographs than the run has now" in out
    assert "trouble: localize" not in out


def test_what_cannot_be_known_is_said(copied: Path, tmp_path: Path, cli: Cli) -> None:
    path = copied / "stages.json"
    memory = json.loads(path.read_text())
    for stage in memory["stages"].values():
        del stage["files"], stage["made_from"], stage["code"]
    path.write_text(json.dumps(memory))
    code, out, _ = cli("verify", copied, "--json")
    found = json.loads(out)
    assert (code, found["files"]) == (0, 1)  # the checkpoint, by its own ledger
    assert "report: digests not recorded, an older version made it" in found["notes"]
    assert "not recorded" in cli("verify", copied)[1]
    assert cli("verify", tmp_path)[0] == 2
    assert cli("compare", copied, tmp_path)[0] == 2
