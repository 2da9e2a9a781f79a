"""Ctrl-C and a full disk in every stage: nothing half-written, and the same command goes on."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadpp import pipeline
from leadpp.engine.runtime import SilentProgress
from tests.integration.conftest import Cli
from tests.progress import Piece, WatchedProgress


def interrupted_at(number: int) -> WatchedProgress:
    """Press Ctrl-C at the second item of the n-th piece of work, or of the next that has so many."""

    def stop(piece: Piece) -> bool:
        return piece.number >= number and piece.items >= 1

    return WatchedProgress(stop=stop)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_from_every_place(demo: Path, tmp_path: Path) -> None:
    run, at = tmp_path / "run", 1
    texts = pipeline.Texts(names=demo / "names.txt")
    finished: list[str] = []
    for _ in range(60):
        progress = interrupted_at(at)
        try:
            pipeline.run(demo / "photos", run, config=demo / "settings.yaml", texts=texts, progress=progress)
            break
        except KeyboardInterrupt:
            assert not list(run.rglob("*.partial"))
            notes = "\n".join(progress.notes)
            assert all(f"{name}: unchanged, skipped" in notes for name in finished), notes
            before = len(finished)
            finished = [name for name in pipeline.STAGES if f"{name}: done" in notes or f"{name}: unchanged" in notes]
            at = 1 if len(finished) > before else at + 1
    assert (run / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["localize", "train", "evaluate"])
def test_control_c_ends_with_130_and_one_line(demo: Path, tmp_path: Path, cli: Cli, stage: str) -> None:
    words: list[str | Path] = ["--data", demo / "photos", "--run", tmp_path, "--config", demo / "settings.yaml"]
    if stage == "evaluate":
        assert cli("train", *words, "--preset", "moco", "--train.epochs", "1")[0] == 0
    command = [sys.executable, "-m", "leadpp", stage, *map(str, words), "--input.workers", "2"]
    if stage == "train":
        command += ["--preset", "moco", "--train.epochs", "100000"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while process.poll() is None and len(children.read_text().split()) < 2:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers too
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("leadpp: interrupted")
    assert err.count("leadpp: ") == 1
    assert not list(tmp_path.rglob("*.partial"))


@pytest.fixture(scope="module")
def finished(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every stage done."""
    run: Path = tmp_path_factory.mktemp("finished") / "run"
    texts = pipeline.Texts(names=demo / "names.txt")
    pipeline.run(demo / "photos", run, config=demo / "settings.yaml", texts=texts, progress=SilentProgress())
    return run


@contextlib.contextmanager
def largest_file(limit_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a limit, which writers meet as they do a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        ("localize", 5_000, "boxes.parquet"),
        ("train", 3_000, "metrics.jsonl"),
        ("train", 20_000, "epoch-0002.safetensors"),
        ("evaluate", 10_000, ".npy"),
        ("evaluate", 15_000, "evaluation.json"),
        ("report", 100_000, "report.html"),
    ],
    ids=lambda case: f"{case[0]}-{case[2]}",
)
def test_a_full_disk_is_one_line(
    finished: Path, demo: Path, tmp_path: Path, cli: Cli, case: tuple[str, int, str]
) -> None:
    stage, limit_bytes, refused = case
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "stages.json").unlink()  # so that the stage has its work to do again
    with largest_file(limit_bytes):
        code, out, err = cli(stage, "--data", demo / "photos", "--run", run, "--config", demo / "settings.yaml")
    assert (code, out) == (2, "")
    assert f"{refused}: cannot write: " in err.splitlines()[-1]
    assert err.count("leadpp: error") == 1
    assert "Traceback" not in err
    assert not list(run.rglob("*.partial"))
