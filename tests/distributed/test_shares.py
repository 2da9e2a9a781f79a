"""Localize, embed and evaluate in several processes give what they give in one."""

import json
import shutil
import signal
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from leadpp.io.artifacts import read_table, read_tensors
from tests.distributed.processes import Processes, leadpp, started
from tools.draw_demo import CLASSES, draw_photos

pytestmark = pytest.mark.slow

_SETTINGS = """\
networks: world
input: {size: 48, workers: 0}
localize: {size: 64, batch_size: 2}
train: {epochs: 1, batch_size: 8, device: cpu, precision: fp32}
evaluate: {batch_size: 5, probe_views: 1, probe_epochs: 6, kmeans_restarts: 2}
"""
"""Small, and with many batches."""
_MADE = ("boxes.parquet", "localizer.safetensors", "indicators.safetensors", "evaluation.json", "report.html")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 photographs to train and 6 to test, names and settings."""
    out: Path = tmp_path_factory.mktemp("ground")
    draw_photos(out / "photos", train=2, test=1)
    draw_photos(out / "more", train=1, test=0, seed=1)
    (out / "more/train/Red Disc/000.jpg").rename(out / "photos/train/Red Disc/002.jpg")
    (out / "names.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    (out / "settings.yaml").write_text(_SETTINGS, encoding="utf-8")
    return out


def words(ground: Path, run: Path, *, data: Path | None = None) -> list[object]:
    return ["--data", data or ground / "photos", "--run", run, "--config", ground / "settings.yaml"]


@pytest.fixture(scope="module")
def straight(ground: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole run of one process."""
    run: Path = tmp_path_factory.mktemp("straight") / "run"
    (ended,) = leadpp("run", *words(ground, run), "--names", ground / "names.txt", count=1)
    assert ended.code == 0, ended.err
    return run


def unmade(straight: Path, run: Path, *, keep: Collection[str] = ()) -> Path:
    """Copy a run without what localize, evaluate and report have made, but what is to be kept."""
    shutil.copytree(straight, run)
    for name in set(_MADE).difference(keep):
        (run / name).unlink()
    shutil.rmtree(run / "embeddings")
    return run


@pytest.fixture(scope="module", params=[2, 3])
def shared(
    request: pytest.FixtureRequest, ground: Path, straight: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """What several processes make of the same run, and what was said; a third has no batch of test photographs."""
    run = unmade(straight, tmp_path_factory.mktemp("shared") / "run")
    ended = leadpp("run", *words(ground, run), count=request.param)
    assert [each.code for each in ended] == [0] * request.param, ended
    assert [each.out + each.err for each in ended[1:]] == [""] * (request.param - 1)
    return run, ended[0].err


def test_direction_is_the_same_and_so_are_all_boxes(straight: Path, shared: tuple[Path, str]) -> None:
    run, said = shared
    expected, known = read_tensors(straight / "localizer.safetensors", kind="localizer")
    found, told = read_tensors(run / "localizer.safetensors", kind="localizer")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-10)
    assert found["vector_1"] @ expected["vector_1"] == pytest.approx(1, abs=1e-12)
    assert told["images"] == known["images"] == 13
    for stage, other in zip(told["stages"], known["stages"], strict=True):
        assert stage["margins"] == pytest.approx(other["margins"], abs=1e-10)
        assert stage["spread"] == pytest.approx(other["spread"], rel=1e-10)
    boxes = read_table(straight / "boxes.parquet", kind="boxes")[0]
    assert read_table(run / "boxes.parquet", kind="boxes")[0].equals(boxes)
    maps, facts = read_tensors(run / "indicators.safetensors", kind="indicators")
    alone, same = read_tensors(straight / "indicators.safetensors", kind="indicators")
    assert facts["paths"] == same["paths"]
    torch.testing.assert_close(maps["indicators"], alone["indicators"])
    assert "train: unchanged, skipped" in said  # as it is with the same boxes alone


def test_features_of_every_photograph_are_in_their_rows(straight: Path, shared: tuple[Path, str]) -> None:
    run, _ = shared
    files = sorted(path.relative_to(straight) for path in (straight / "embeddings").iterdir())
    assert sorted(path.relative_to(run) for path in (run / "embeddings").iterdir()) == files
    assert len([path for path in files if path.suffix == ".npy"]) == 20
    for path in files:
        if path.suffix == ".npy":
            expected = np.load(straight / path)
            np.testing.assert_allclose(np.load(run / path), expected, rtol=1e-5, atol=1e-6)
            assert len(np.unique(expected, axis=0)) == len(expected)  # so that another order would be seen
        else:
            table = read_table(straight / path, kind="embeddings")[0]
            assert read_table(run / path, kind="embeddings")[0].equals(table)


def test_every_figure_is_the_same(straight: Path, shared: tuple[Path, str]) -> None:
    run, said = shared
    expected, found = (json.loads((each / "evaluation.json").read_text()) for each in (straight, run))
    assert list(figures(found)) == pytest.approx(list(figures(expected)), abs=1e-5)
    assert [row["encoder"] for row in found["rows"]] == [row["encoder"] for row in expected["rows"]]
    assert "<html" in (run / "report.html").read_text(encoding="utf-8")
    assert said.count("measuring student gap on whole") == 1


def test_there_may_be_more_processes_than_photographs(ground: Path, straight: Path, tmp_path: Path) -> None:
    """Without labels, so that they are embedded."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, path in enumerate(sorted((ground / "photos/test").rglob("*.jpg"))[:2]):
        shutil.copy(path, flat / f"{number}.jpg")
    runs = {count: tmp_path / str(count) for count in (1, 3)}
    for count, run in runs.items():
        shutil.copytree(straight / "checkpoints", run / "checkpoints")
        shutil.copy(straight / "prototypes.safetensors", run)
        stages = ["-m", "tests.distributed.stages", flat, run, ground / "settings.yaml", "localize", "evaluate"]
        with started(stages, count=count) as processes:
            assert [each.code for each in processes.wait(timeout_s=100)] == [0] * count
    for name in ("boxes.parquet", "photographs.csv", "embeddings/teacher-embedding-crop-train.npy"):
        expected = (runs[1] / name).read_bytes()
        assert (runs[3] / name).read_bytes() == expected, name


def until_half_done(processes: Processes) -> None:
    """Wait until some features are measured, and others are not encoded."""
    while "measuring student gap on whole" not in processes.said(0) and processes.children[0].poll() is None:
        time.sleep(0.01)


def nothing_half_written(run: Path) -> bool:
    return not [*run.rglob("*.partial"), *run.glob("evaluation.json")]


def test_a_photograph_that_the_second_cannot_read_is_one_line(ground: Path, straight: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "photos", unmade(straight, tmp_path / "run", keep=("boxes.parquet",))
    shutil.copytree(ground / "photos", data)
    last = max((data / "test").rglob("*.jpg"))
    with started(["-m", "leadpp", "evaluate", *words(ground, run, data=data)], count=2) as processes:
        until_half_done(processes)
        last.unlink()
        ended = processes.wait(timeout_s=60)
    assert [each.code for each in ended] == [2, 2]
    (line,) = [line for each in ended for line in each.err.splitlines() if "error" in line]
    assert line.startswith("leadpp: error: (process 1 of 2) ")
    assert last.name in line
    assert nothing_half_written(run)


@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_is_killed_the_other_ends(ground: Path, straight: Path, tmp_path: Path, killed: int) -> None:
    run = unmade(straight, tmp_path / "run", keep=("boxes.parquet",))
    with started(["-m", "leadpp", "evaluate", *words(ground, run)], count=2) as processes:
        until_half_done(processes)
        processes.kill(killed)
        ended = processes.wait(timeout_s=60)
    codes = [each.code for each in ended]
    assert (codes.pop(killed), codes) == (-signal.SIGKILL, [2])
    (line,) = [line for line in ended[1 - killed].err.splitlines() if "error" in line]
    assert line.startswith(f"leadpp: error: (process {1 - killed} of 2) ")
    assert "Traceback" not in ended[1 - killed].err
    assert nothing_half_written(run)


def figures(value: Any, name: str = "") -> Iterator[Any]:  # noqa: ANN401 - JSON of any shape
    """Yield every number of a document, in order."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, int | float):
        yield value
    for key, part in parts:
        yield from figures(part, f"{name}.{key}")
