"""A disk that fails in the middle of each file that a run writes: one line, nothing half-written, and it goes on."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from leadpp import pipeline
from tests.integration.conftest import demo

__all__ = ["demo"]  # the fixture
pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
WORDS = {errno.ENOSPC: "the disk is full", errno.EROFS: "the file system is read-only"}

FULL = {
    "localize": (
        "config.yaml",
        "env.json",
        "index.parquet",
        "localizer.safetensors",
        "boxes.parquet",
        "indicators.safetensors",
        "stages.json",
    ),
    "prototypes": ("prototypes.safetensors",),
    "train": ("metrics.jsonl", "epoch-0001.safetensors", "last.json"),
    "evaluate": (".npy", "evaluation.json"),
    "report": ("report.html",),
}
READ_ONLY = {
    "localize": ("config.yaml", "boxes.parquet"),
    "train": ("epoch-0001.safetensors",),
    "report": ("report.html",),
}
CASES = [
    (stage, name, number)
    for number, files in ((errno.ENOSPC, FULL), (errno.EROFS, READ_ONLY))
    for stage, names in files.items()
    for name in names
]
"""Stage, a file that it writes, and what is wrong with the disk."""


@pytest.fixture(scope="module")
def whole(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every stage done."""
    run: Path = tmp_path_factory.mktemp("whole") / "run"
    texts = pipeline.Texts(names=demo / "names.txt")
    settings = {"checkpoint": {"every": "1"}}
    pipeline.run(demo / "photos", run, config=demo / "settings.yaml", texts=texts, settings=settings)
    return run


Answer = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answer]:
    """Have a process with the failing disk run a command."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("the failing disk is a library in C for Linux, and there is no compiler")
    library = tmp_path_factory.mktemp("disk") / "disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "disk.c", "-ldl"], check=True)
    paths = os.pathsep.join([str(HERE.parents[1]), *sys.path])
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": paths}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.disk"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=HERE.parents[1],
    )
    with process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def answer(told: dict[str, Any]) -> dict[str, Any]:
            stdin.write(json.dumps(told) + "\n")
            stdin.flush()
            found: dict[str, Any] = json.loads(stdout.readline())
            return found

        yield answer
        stdin.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{errno.errorcode[case[2]]}")
def test_a_disk_that_fails(
    whole: Path,
    demo: Path,
    tmp_path: Path,
    ask: Answer,
    case: tuple[str, str, int],
) -> None:
    stage, name, number = case
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    forget(run, stage, name)
    sizes = [path.stat().st_size for path in whole.rglob("*") if path.is_file() and name in path.name]
    command = ["prototypes", "build"] if stage == "prototypes" else [stage]
    told = {
        "words": [*command, "--data", str(demo / "photos"), "--run", str(run)],
        "run": str(run),
        "path": name,
        "after": min(sizes) // 20 if number == errno.ENOSPC else 0,
        "errno": number,
    }
    found = ask(told)
    code, said = found["failing"]
    assert code == 2, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("leadpp: error: ")
    reason = "a file-size limit was reached" if number == errno.ENOSPC and name.endswith("tensors") else WORDS[number]
    assert f"cannot write: {reason}" in said.splitlines()[-1]
    assert found["partial"] == []
    assert found["whole"] == 0  # nothing half-written is taken for whole
    assert found["mended"][0] == 0, found["mended"][1]
    assert content(run / name) == content(whole / name)


def forget(run: Path, stage: str, name: str) -> None:
    """Make a stage have its work to do again; what is written only once is removed."""
    path = run / "stages.json"
    memory = json.loads(path.read_text())
    del memory["stages"][stage]
    for later in ("evaluate", "report"):  # they were made from what is about to be written again
        memory["stages"].pop(later, None)
    path.write_text(json.dumps(memory))
    if name == "index.parquet":
        (run / name).unlink()


def content(path: Path) -> bytes | None:
    """Return the bytes of a file that has no times in it."""
    return path.read_bytes() if path.suffix in (".parquet", ".safetensors", ".npy") and path.is_file() else None
