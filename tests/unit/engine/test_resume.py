"""A training that is broken off anywhere and goes on is the training that was not."""

import json
import math
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from leadpp.engine.plan import LoopPlan
from leadpp.engine.record import Figures
from leadpp.engine.runtime import SilentProgress
from leadpp.engine.saving import CheckpointWriter
from leadpp.engine.stopping import STOP_SIGNALS
from leadpp.engine.trainer import Monitor, Trainer
from leadpp.errors import ArtifactError, CheckpointError, LeadppError
from leadpp.io.checkpoint import read_checkpoint
from leadpp.io.ledger import newest_checkpoint, read_ledger
from leadpp.models.student import Student
from tests.unit.engine.test_trainer import FULL, MOCO, contents, trainer_of
from tests.unit.tiny import tiny_views

PER_EPOCH, EPOCHS = 3, 3
LOOP = LoopPlan(epochs=EPOCHS, batch_size=4, learning_rate=0.1, checkpoint_every=2, checkpoint_keep=2)
TIMES = {"seconds", "images_per_s", "data_wait"}
"""What is told of a training that is not the same the next time."""


@dataclass
class Signalled:
    """Three batches an epoch; a signal comes while one of them is made, or before any if it is the first."""

    at_step: int | None = None
    number: signal.Signals = signal.SIGTERM
    batches_per_epoch: int = PER_EPOCH
    read: list[tuple[int, int]] = field(default_factory=list)

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[dict[str, Tensor]]:
        for batch in range(first, self.batches_per_epoch):
            self.read.append((epoch, batch))
            views: dict[str, Tensor] = dict(tiny_views(place=10 * epoch + batch).items())
            if self.at_step == epoch * self.batches_per_epoch + batch:
                signal.raise_signal(self.number)
            yield views | {"index": torch.arange(4) + 4 * batch}


def measure(student: Student) -> Figures:
    """A figure that goes up and down with the weights."""
    return {"knn": next(student.parameters()).sum().item() % 1}


def training(run: Path, *, loop: LoopPlan = LOOP, monitor: Monitor = measure, spoilt: bool = False) -> Trainer:
    objective = replace(FULL, structure=1.0)
    progress = SilentProgress()
    trainer = trainer_of(run, objective=objective, loop=loop, monitor=monitor, progress=progress)
    if spoilt:  # whatever it starts with, the checkpoint decides
        with torch.no_grad():
            for tensor in trainer.learner.state_dict().values():
                tensor.add_(1)
    return trainer


def notes(trainer: Trainer) -> list[str]:
    progress = trainer._progress
    assert isinstance(progress, SilentProgress)
    return progress.notes


def told(run: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def assert_same(run: Path, expected: Path, *, epochs: int = EPOCHS) -> None:
    name = f"checkpoints/epoch-{epochs:04d}.safetensors"
    one, other = contents(expected / name), contents(run / name)
    assert other.keys() == one.keys()
    assert [key for key, tensor in one.items() if not torch.equal(tensor, other[key])] == []
    assert told(run) == told(expected)


CAREFUL: dict[str, dict[str, Any]] = {
    "plain": {},
    "careful": {
        "head_warmup_epochs": 0.75,
        "clip_norm": 1.0,
        "average_decay": 0.5,
        "blend": 0.25,
        "anchor": 0.5,
        "backbone_rate": 0.5,
    },
    "fp16": {"precision": "fp16", "average_decay": 0.5},
}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs without a break, by name of their settings."""
    runs = {name: tmp_path_factory.mktemp("straight") for name in CAREFUL}
    for name, run in runs.items():
        training(run, loop=replace(LOOP, **CAREFUL[name])).fit(Signalled())
    return runs


@pytest.mark.parametrize("name", CAREFUL)
def test_broken_off_at_every_step(straight: dict[str, Path], tmp_path: Path, name: str) -> None:
    loop = replace(LOOP, **CAREFUL[name])
    for step in range(1, EPOCHS * PER_EPOCH):
        run = tmp_path / str(step)
        with pytest.raises(SystemExit) as left:
            training(run, loop=loop).fit(Signalled(at_step=step))
        assert left.value.code == 128 + signal.SIGTERM
        trainer = training(run, loop=loop, spoilt=True)
        assert trainer.resume() == step // PER_EPOCH
        assert (trainer.step, trainer.amid_epoch) == (step, step % PER_EPOCH > 0)
        batches = Signalled()
        trainer.fit(batches)
        assert batches.read[0] == divmod(step, PER_EPOCH)  # nothing is read again
        assert_same(run, straight[name])


def test_broken_off_after_every_step(straight: dict[str, Path], tmp_path: Path) -> None:
    name = "careful"
    for step in range(1, EPOCHS * PER_EPOCH):
        trainer = training(tmp_path, loop=replace(LOOP, **CAREFUL[name]), spoilt=step > 1)
        trainer.resume()
        with pytest.raises(SystemExit):
            trainer.fit(Signalled(at_step=step))
        assert notes(trainer)[-1].startswith("SIGTERM: training is saved up to epoch ")
    last = training(tmp_path, loop=replace(LOOP, **CAREFUL[name]), spoilt=True)
    last.resume()
    last.fit(Signalled())
    assert_same(tmp_path, straight[name])


def test_broken_off_while_it_is_measured(straight: dict[str, Path], tmp_path: Path) -> None:
    def interrupted(student: Student) -> Figures:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the signal ends the measuring at once")

    with pytest.raises(KeyboardInterrupt):
        training(tmp_path, monitor=interrupted).fit(Signalled())
    trainer = training(tmp_path, spoilt=True)
    assert trainer.resume() == 1
    trainer.fit(Signalled())
    assert_same(tmp_path, straight["plain"])


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_codes(tmp_path: Path, number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    expected = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(expected) as left:
        training(tmp_path).fit(Signalled(at_step=1, number=number))
    if isinstance(left.value, SystemExit):
        assert left.value.code == 128 + number
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before
    assert training(tmp_path).resume() == 0
    newest = newest_checkpoint(tmp_path / "checkpoints")
    assert newest is not None
    assert newest.name == "epoch-0000-step-00000001.safetensors"


def test_nothing_is_saved_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        training(tmp_path).fit(Signalled(at_step=0, number=signal.SIGINT))
    assert newest_checkpoint(tmp_path / "checkpoints") is None


def test_a_second_interrupt_waits_for_nothing(tmp_path: Path) -> None:
    @dataclass
    class Twice(Signalled):
        def epoch(self, epoch: int, *, first: int = 0) -> Iterator[dict[str, Tensor]]:
            for number, views in enumerate(super().epoch(epoch, first=first)):
                if number == 1:
                    trainer._stop.signal = signal.SIGTERM
                    signal.raise_signal(signal.SIGINT)
                yield views

    trainer = training(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(Twice())
    assert trainer._stop.urgent
    assert newest_checkpoint(tmp_path / "checkpoints") is None


def test_another_thread_leaves_signals_alone(tmp_path: Path) -> None:
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(training(tmp_path).fit(Signalled())["steps"]))
    thread.start()
    thread.join()
    assert done == [EPOCHS * PER_EPOCH]


def names(run: Path) -> list[str]:
    return [path.stem.removeprefix("epoch-") for path in sorted((run / "checkpoints").glob("epoch*"))]


def test_checkpoints_by_steps(straight: dict[str, Path], tmp_path: Path) -> None:
    loop = replace(LOOP, checkpoint_every=2, checkpoint_unit="steps", checkpoint_keep=0)
    trainer = training(tmp_path, loop=loop)
    trainer._writer = PatientWriter(tmp_path / "checkpoints", fixed=("first.",))
    trainer.fit(Signalled())
    steps = ["0000-step-00000002", "0001-step-00000004", "0002", "0002-step-00000008", "0003"]
    assert sorted(names(tmp_path)) == steps
    assert_same(tmp_path, straight["plain"])
    for earlier in steps[:-1]:  # each of them leads to the same end
        run = tmp_path / earlier
        (run / "checkpoints").mkdir(parents=True)
        (run / "metrics.jsonl").write_bytes((tmp_path / "metrics.jsonl").read_bytes())
        file = f"epoch-{earlier}.safetensors"
        os.link(tmp_path / "checkpoints" / file, run / "checkpoints" / file)
        pointer = {"kind": "last-checkpoint", "schema": 1, "file": file}
        (run / "checkpoints/last.json").write_text(json.dumps(pointer), encoding="utf-8")
        resumed = training(run, spoilt=True)
        resumed.resume()
        resumed.fit(Signalled())
        assert_same(run, straight["plain"])


class PatientWriter(CheckpointWriter):
    """Is never found busy, so that no checkpoint comes late."""

    @property
    def busy(self) -> bool:
        self.settle()
        return False


def test_every_second_and_the_best_are_kept(tmp_path: Path) -> None:
    values = iter([0.3, 0.5, 0.2, 0.4, 0.1, 0.5])
    loop = replace(
        LOOP, epochs=6, checkpoint_every=1, checkpoint_keep=1, checkpoint_keep_every=3, checkpoint_best="knn"
    )
    training(tmp_path, loop=loop, monitor=lambda _: {"knn": next(values)}).fit(Signalled())
    assert names(tmp_path) == ["0002", "0003", "0006"]
    ledger = read_ledger(tmp_path / "checkpoints")
    assert ledger is not None
    assert ledger.best == {"file": "epoch-0002.safetensors", "figure": "knn", "value": 0.5, "epoch": 2}
    assert set(ledger.known) == {f"epoch-000{epoch}.safetensors" for epoch in (2, 3, 6)}


def test_the_best_is_saved_though_none_is_due(tmp_path: Path) -> None:
    values = iter([0.3, 0.5, 0.2, 0.1])
    loop = replace(LOOP, epochs=4, checkpoint_every=4, checkpoint_keep=1, checkpoint_best="knn")
    training(tmp_path, loop=loop, monitor=lambda _: {"knn": next(values)}).fit(Signalled())
    assert names(tmp_path) == ["0002", "0004"]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(straight: dict[str, Path], tmp_path: Path) -> None:
    loop = replace(LOOP, checkpoint_every=1, checkpoint_keep=3)
    training(tmp_path, loop=loop).fit(Signalled())
    last, second, first = sorted((tmp_path / "checkpoints").glob("epoch*"), reverse=True)
    content = bytearray(last.read_bytes())
    content[-100] ^= 1  # one bit of one weight
    last.write_bytes(content)
    second.write_bytes(second.read_bytes()[:-1])
    trainer = training(tmp_path, loop=loop, spoilt=True)
    assert trainer.resume() == 1
    assert notes(trainer) == [
        f"{last}: it is damaged, its checksum is not the one noted when it was written; going on from {first.name}, "
        "which is whole"
    ]
    trainer.fit(Signalled())
    assert_same(tmp_path, straight["plain"])
    for path in (tmp_path / "checkpoints").glob("epoch*"):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"epoch-0003\.safetensors: it is damaged"):
        training(tmp_path).resume()


def test_a_damaged_pointer_is_made_again(straight: dict[str, Path], tmp_path: Path) -> None:
    training(tmp_path, loop=replace(LOOP, epochs=2)).fit(Signalled())
    (tmp_path / "checkpoints/last.json").write_text("{", encoding="utf-8")
    trainer = training(tmp_path)
    assert trainer.resume() == 2
    assert "last.json: cannot be read" in notes(trainer)[0]
    assert "going on from epoch-0002.safetensors" in notes(trainer)[0]


def test_a_checkpoint_that_cannot_be_written_ends_the_training(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file", encoding="utf-8")
    loop = replace(LOOP, checkpoint_every=1, checkpoint_unit="steps")
    with pytest.raises(ArtifactError, match="checkpoints: cannot write: a file stands where a folder is meant"):
        training(tmp_path, loop=loop).fit(Signalled())


def test_photographs_of_a_loss_that_is_not_finite_are_named(tmp_path: Path) -> None:
    trainer = training(tmp_path)
    trainer._photographs = [f"{place}.jpg" for place in range(12)]
    calls: list[int] = []

    def spoil(module: object, inputs: object, output: Tensor) -> Tensor | None:
        calls.append(0)
        return output * torch.tensor([1, math.nan, 1, 1])[:, None] if len(calls) == 5 else None

    trainer.learner.student.projector.register_forward_hook(spoil)
    with pytest.raises(LeadppError, match=r"step 3: .*loss.* became NaN or infinite \(at '9\.jpg'\); lower"):
        trainer.fit(Signalled())
    assert newest_checkpoint(tmp_path / "checkpoints") is None


def test_what_is_saved_and_waited_for_is_told(tmp_path: Path) -> None:
    results = trainer_of(tmp_path, objective=MOCO, loop=replace(LOOP, checkpoint_every=1)).fit(Signalled())
    assert results["checkpoints"] == EPOCHS
    assert 0 < results["checkpoint_wait_s"] < 60
    newest = newest_checkpoint(tmp_path / "checkpoints")
    assert newest is not None
    assert "meter" not in read_checkpoint(newest).sections
