"""Stages that are killed without warning go on as if nothing had been; ``benchmarks/soak.py`` is the long form."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.soak import Ground, run_through, soak_describing, soak_stage, soak_training
from leadpp.io.ledger import newest_checkpoint
from tests.integration.conftest import Cli

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ground(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    settings = tmp_path_factory.mktemp("settings") / "settings.yaml"
    text = (demo / "settings.yaml").read_text().replace("train: {epochs: 2", "train: {monitor_every: 10, epochs: 30")
    settings.write_text(text.replace("workers: 0", "workers: 1") + "checkpoint: {every: 2steps, keep: 3}\n")
    return Ground(data=demo / "photos", settings=settings, given=("--names", str(demo / "names.txt")))


@pytest.fixture(scope="module")
def straight(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run: Path = tmp_path_factory.mktemp("straight") / "run"
    run_through(ground, run, ("localize", "prototypes", "train"))
    return run


def test_three_kills_change_nothing(ground: Ground, straight: Path, tmp_path: Path) -> None:
    chance = random.Random(2)  # noqa: S311 - no secrets here
    localized = soak_stage(ground, tmp_path, straight, "localize", kills=1, lasts_s=2.0, chance=chance)
    assert (localized.differences, localized.taken_for_whole) == ([], 0)
    run_through(ground, tmp_path, ("prototypes",))
    found = soak_training(ground, tmp_path, straight, kills=3, chance=chance, within_s=0.3, most=5)
    assert [kill.moment for kill in found.kills] == ["any", "working", "writing"]
    assert found.differences == []
    assert not list(tmp_path.rglob("*.partial"))  # what was left behind is swept


def test_an_asking_that_is_killed_loses_nothing_and_asks_nothing_twice(tmp_path: Path) -> None:
    chance = random.Random(4)  # noqa: S311 - no secrets here
    found = soak_describing(tmp_path, kills=2, chance=chance)
    assert [kill.moment for kill in found.kills] == ["any", "working"]
    assert found.kills[-1].step > 0
    assert (found.differences, found.taken_for_whole, found.asked_again) == ([], 0, 0)
    assert 40 <= found.requests <= 40 + 2 * 4  # and of each kill what was under way


def start(ground: Ground, run: Path, *words: str) -> "subprocess.Popen[str]":
    """Start a training with two reading processes, and wait for its first step."""
    command = [*ground.command("train", run), "--preset", "moco", "--input.workers", "2", *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    log = run / "metrics.jsonl"
    while process.poll() is None and not (log.exists() and log.read_bytes()):
        time.sleep(0.01)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_all_processes_saves_the_step(
    ground: Ground, tmp_path: Path, cli: Cli, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM and terminals signal the reading processes too."""
    code = {signal.SIGTERM: 143, signal.SIGUSR1: 138, signal.SIGINT: 130}[number]
    with start(ground, tmp_path, "--checkpoint.every", "1000", "--train.epochs", "1000") as process:
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert out == ""
    assert "Traceback" not in err
    assert f"{number.name}: training is saved up to epoch " in err
    path = newest_checkpoint(tmp_path / "checkpoints")
    assert path is not None
    assert [each.name for each in (tmp_path / "checkpoints").iterdir() if each.suffix != ".json"] == [path.name]
    step = int(path.stem.rpartition("-step-")[2]) if "-step-" in path.stem else None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # and goes on by itself
    words = ["--data", ground.data, "--run", tmp_path, "--train.epochs", str(int(path.stem[6:10]) + 1)]
    code, _, err = cli("train", *words)
    assert code == 0, err
    assert "SLURM_RESTART_COUNT says that this job was started again" in err
    assert f"after step {step}" in err if step else "going on after epoch" in err


def test_a_restarted_job_of_another_training_begins_anew(
    ground: Ground, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--data", ground.data, "--run", tmp_path, "--config", ground.settings, "--preset", "moco"]
    words += ["--train.epochs", "1", "--input.workers", "0"]
    assert cli("train", *words)[0] == 0
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    code, _, err = cli("train", *words, "--seed", "9")
    assert code == 0
    assert "training from the start: " in err
    assert "it was trained with seed 123, this training has 9" in err
    code, _, err = cli("train", *words, "--seed", "10", "--resume")
    assert code == 2  # asked for, it is a mistake


def test_a_second_interrupt_ends_at_once(ground: Ground, tmp_path: Path) -> None:
    with start(ground, tmp_path, "--train.epochs", "1000") as process:
        newest = newest_checkpoint(tmp_path / "checkpoints")
        os.kill(process.pid, signal.SIGINT)
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("leadpp: interrupted")
    assert newest is None or newest.exists()
