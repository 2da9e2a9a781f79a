"""Localize, embed and evaluate in several processes give what they give in one."""

import json
import shutil
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from leadpp import pipeline
from leadpp.io.artifacts import read_table, read_tensors
from tests.distributed.processes import Processes, leadpp, started
from tools.draw_demo import CLASSES, draw_photos, write_teacher

pytestmark = pytest.mark.slow

_SETTINGS = """\
networks: world
teacher: {model: "local-dir:ROOT/teacher"}
input: {size: 48, workers: 0}
localize: {size: 64, batch_size: 2}
train: {epochs: 1, batch_size: 6, device: cpu, precision: fp32}
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
    write_teacher(out / "teacher")
    (out / "settings.yaml").write_text(_SETTINGS.replace("ROOT", out.as_posix()), encoding="utf-8")
    return out


def words(ground: Path, run: Path, *, data: Path | None = None) -> list[object]:
    return ["--data", data or ground / "photos", "--run", run, "--config", ground / "settings.yaml"]


@pytest.fixture(scope="module")
def straight(ground: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole run of one process, which is this one."""
    run: Path = tmp_path_factory.mktemp("straight") / "run"
    alone(ground / "photos", run, ground, stages=pipeline.STAGES, names=ground / "names.txt")
    return run


def alone(data: Path, run: Path, ground: Path, *, stages: Sequence[str], names: Path | None = None) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the others
    try:
        pipeline.run(data, run, config=ground / "settings.yaml", stages=stages, texts=pipeline.Texts(names=names))
    finally:
        torch.set_num_threads(threads)


def unmade(straight: Path, run: Path, *, keep: Collection[str] = ()) -> Path:
    """Copy a run without what localize, evaluate and report have made, but what is to be kept."""
    shutil.copytree(straight, run)
    for name in set(_MADE).difference(keep):
        (run / name).unlink()
    shutil.rmtree(run / "embeddings")
    return run


@pytest.fixture(scope="module")
def shared(ground: Path, straight: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What three processes make of the same run, and what was said; the third has no batch of test photographs."""
    run = unmade(straight, tmp_path_factory.mktemp("shared") / "run")
    ended = leadpp("run", *words(ground, run), count=3)
    assert [each.code for each in ended] == [0, 0, 0], ended
    assert [each.out + each.err for each in ended[1:]] == ["", ""]
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
    for run in (tmp_path / "alone", tmp_path / "shared"):
        shutil.copytree(straight / "checkpoints", run / "checkpoints")
        shutil.copy(straight / "prototypes.safetensors", run)
    alone(flat, tmp_path / "alone", ground, stages=("localize", "evaluate"))
    told = [flat, tmp_path / "shared", ground / "settings.yaml", "localize", "evaluate"]
    with started(["-m", "tests.distributed.stages", *told], count=3) as processes:
        assert [each.code for each in processes.wait()] == [0, 0, 0]
    for name in ("boxes.parquet", "photographs.csv", "embeddings/teacher-embedding-crop-train.npy"):
        assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name


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
    told = ["evaluate", *words(ground, run, data=data), "--evaluate.encoders", "student,frozen"]
    with started(["-m", "leadpp", *told], count=2) as processes:
        until_half_done(processes)
        last.unlink()
        ended = processes.wait()
    assert [each.code for each in ended] == [2, 2]
    (line,) = [line for each in ended for line in each.err.splitlines() if "error" in line]
    assert line.startswith("leadpp: error: (process 1 of 2) ")
    assert last.name in line
    assert nothing_half_written(run)


def test_when_one_is_killed_the_other_ends(ground: Path, straight: Path, tmp_path: Path) -> None:
    run = unmade(straight, tmp_path / "run", keep=("boxes.parquet",))
    told = ["evaluate", *words(ground, run), "--evaluate.encoders", "student,frozen"]
    with started(["-m", "leadpp", *told], count=2) as processes:
        until_half_done(processes)
        processes.kill(1)
        ended = processes.wait(timeout_s=60)
    assert [each.code for each in ended] == [2, -signal.SIGKILL]
    (line,) = [line for line in ended[0].err.splitlines() if "error" in line]
    assert line.startswith("leadpp: error: ")
    assert "process" in line
    assert "Traceback" not in ended[0].err
    assert nothing_half_written(run)


def figures(value: Any, name: str = "") -> Iterator[Any]:  # noqa: ANN401 - JSON of any shape
    """Yield every number of a document, in order."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if isinstance(value, int | float):
        yield value
    for key, part in parts:
        yield from figures(part, f"{name}.{key}")
