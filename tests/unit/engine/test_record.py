import importlib.util
import json
import math
import re
from pathlib import Path

import pytest
import torch

from leadpp.engine.record import EpochMeter, MetricsLog
from leadpp.errors import ArtifactError
from leadpp.functional.spectrum import effective_rank


def lines(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(autouse=True)
def no_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_lines_of_a_training(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write("step", epoch=1, step=1, values={"loss": 0.5})
    log.write("monitor", epoch=1, step=1, values={"knn": math.nan, "far": math.inf})
    assert lines(tmp_path) == [
        {"event": "step", "epoch": 1, "step": 1, "loss": 0.5},
        {"event": "monitor", "epoch": 1, "step": 1, "knn": None, "far": None},
    ]
    assert not (tmp_path / "tensorboard").exists()


def test_a_new_training_starts_a_new_log(tmp_path: Path) -> None:
    MetricsLog(tmp_path).write("step", epoch=1, step=1, values={"loss": 0.5})
    MetricsLog(tmp_path).write("step", epoch=1, step=1, values={"loss": 0.25})
    assert [line["loss"] for line in lines(tmp_path)] == [0.25]


def test_going_on_drops_what_is_done_again(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in (1, 2, 3, 4):
        log.write("step", epoch=1, step=step, values={})
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('[1]\n{"step": "2"}\n{"event": "st')
    MetricsLog(tmp_path, since_step=3).write("step", epoch=2, step=4, values={})
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    assert lines(tmp_path)[-1]["epoch"] == 2


def test_a_log_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(ArtifactError, match=r"metrics\.jsonl: cannot read the log"):
        MetricsLog(tmp_path)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


@pytest.mark.usefixtures("board")
def test_tensorboard_gets_the_same(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = MetricsLog(tmp_path)
    for step in (1, 2, 3):
        log.write("step", epoch=1, step=step, values={"loss": step / 2, "rate": 0.25})
    again = MetricsLog(tmp_path, since_step=2)
    again.write("step", epoch=2, step=3, values={"loss": 8.0})
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in shown.Scalars("step/loss")] == [(1, 0.5), (2, 1.0), (3, 8.0)]
    assert [event.step for event in shown.Scalars("step/rate")] == [1, 2]


@pytest.mark.usefixtures("board")
def test_losing_tensorboard_is_one_note(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    notes: list[str] = []
    log = MetricsLog(tmp_path, notify=notes.append)
    for step in (1, 2):
        log.write("step", epoch=1, step=step, values={"loss": 0.5})
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]
    assert len(notes) == 1
    assert re.search("tensorboard: cannot write: .*; training goes on without TensorBoard", notes[0])


def test_means_of_an_epoch() -> None:
    meter = EpochMeter()
    rows = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    meter.add({"loss": 1.0, "learning_rate": 0.1}, rows[:3])
    meter.add({"loss": 3.0, "learning_rate": 0.2}, rows[3:])
    summary = meter.summary()
    assert (summary["loss"], summary["learning_rate"]) == (2.0, 0.2)
    assert summary["images_per_s"] == pytest.approx(6 / summary["seconds"])
    assert summary["effective_rank"] == pytest.approx(effective_rank(rows))
    assert meter.latest == {"loss": 3.0, "learning_rate": 0.2}


def test_rank_is_of_the_newest_thousand() -> None:
    meter = EpochMeter()
    for _ in range(3):
        meter.add({"learning_rate": 0.1}, torch.ones(512, 2))
    for _ in range(2):
        meter.add({"learning_rate": 0.1}, torch.eye(2).repeat(256, 1))
    assert meter.summary()["effective_rank"] == pytest.approx(2, rel=1e-4)
