"""Ctrl-C and a full disk in every stage: nothing half-written, and the same command goes on."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from leadpp import pipeline
from leadpp.engine.runtime import SilentProgress
from tests.integration.conftest import Cli

T = TypeVar("T")


class Interrupting(SilentProgress):
    """Presses Ctrl-C at the second item of the n-th piece of work."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._left = at

    def track(
        self,
        items: Iterable[T],
        *,
        total: int,
        what: str,
        unit: str = "images",
        size: Callable[[T], int] | None = None,
        describe: Callable[[], str] | None = None,
    ) -> Iterator[T]:
        del total, what, unit, size, describe
        self._left -= 1
        for number, item in enumerate(items):
            if number >= 1 and self._left <= 0:
                raise KeyboardInterrupt
            yield item


@pytest.mark.slow
def test_an_interrupted_run_goes_on_from_every_place(demo: Path, tmp_path: Path) -> None:
    run, at = tmp_path / "run", 1
    texts = pipeline.Texts(names=demo / "names.txt")
    finished: list[str] = []
    for _ in range(60):
        progress = Interrupting(at)
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


@pytest.mark.slow
def test_a_full_disk_is_one_line(demo: Path, tmp_path: Path, cli: Cli) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        code, out, err = cli(
            "run", "--data", demo / "photos", "--run", tmp_path / "run", "--config", demo / "settings.yaml"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (code, out) == (2, "")
    assert "cannot write" in err.splitlines()[-1]
    assert not list((tmp_path / "run").rglob("*.partial"))
