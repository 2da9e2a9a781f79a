import copy
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from leadpp.engine.lessons import Lessons, Space
from leadpp.engine.plan import LoopPlan
from leadpp.engine.runtime import SilentProgress
from leadpp.engine.step import StepPlan
from leadpp.engine.trainer import Monitor, Trainer
from leadpp.engine.waiting import Reading
from leadpp.errors import CheckpointError, LeadppError
from leadpp.functional.objective import Objective
from leadpp.functional.schedule import learning_rate
from leadpp.io.artifacts import write_tensors
from leadpp.io.checkpoint import read_checkpoint
from leadpp.io.ledger import keep_newest, newest_checkpoint
from leadpp.models.student import Student
from tests.progress import WatchedProgress
from tests.unit.tiny import TinyTeacher, tiny_learner, tiny_prototypes, tiny_views

FULL = Objective(distillation_temperature=0.5)
SPACE = Space(teacher=TinyTeacher(), prototypes=tiny_prototypes())
MOCO = Objective(global_object=0, object_object=0, alignment=0, distillation=0, contrast_weighting="one")
LOOP = LoopPlan(epochs=4, batch_size=4, learning_rate=0.1, checkpoint_every=2, checkpoint_keep=2)


@dataclass
class TinyBatches:
    """Two batches an epoch, another pair in every epoch."""

    batches_per_epoch: int = 2

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[dict[str, Tensor]]:
        for batch in range(first, self.batches_per_epoch):
            yield dict(tiny_views(place=10 * epoch + batch).items())


@dataclass
class Interrupted:
    """Ctrl-C in the middle of an epoch."""

    at_epoch: int
    batches_per_epoch: int = 2

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[dict[str, Tensor]]:
        for number, batch in enumerate(TinyBatches().epoch(epoch, first=first), start=first):
            if epoch == self.at_epoch and number == 1:
                raise KeyboardInterrupt
            yield batch


def trainer_of(
    run: Path,
    *,
    objective: Objective = FULL,
    loop: LoopPlan = LOOP,
    queue_size: int = 8,
    progress: SilentProgress | None = None,
    monitor: Monitor | None = None,
    metadata: dict[str, object] | None = None,
    reading: Reading | None = None,
) -> Trainer:
    return Trainer(
        tiny_learner(objective, queue_size=queue_size, keep_first=loop.anchor > 0 or loop.blend < 1),
        objective=objective,
        order=StepPlan(key_momentum=0.9),
        loop=loop,
        lessons=Lessons((SPACE,)) if objective.asks_teacher() else None,
        run=run,
        metadata={"backbone": "tiny", "seed": 1} if metadata is None else metadata,
        progress=progress or SilentProgress(),
        monitor=monitor,
        reading=reading,
    )


def events(run: Path, kind: str) -> list[dict[str, float]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == kind]


def contents(path: Path) -> dict[str, Tensor]:
    sections = read_checkpoint(path).sections
    return {f"{section}.{name}": tensor for section, state in sections.items() for name, tensor in state.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four epochs without a break."""
    run: Path = tmp_path_factory.mktemp("straight")
    trainer_of(run).fit(TinyBatches())
    return run


@pytest.mark.parametrize("break_at", [2, 3])
def test_a_resumed_training_is_the_same_training(finished: Path, tmp_path: Path, break_at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer_of(tmp_path).fit(Interrupted(at_epoch=break_at))
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == [
        "epoch-0002.safetensors",
        "last.json",
    ]
    trainer = trainer_of(tmp_path)
    with torch.no_grad():
        for weight in trainer.learner.parameters():
            weight.add_(1)  # whatever it starts with, the checkpoint decides
    assert trainer.resume() == 2
    results = trainer.fit(TinyBatches())
    expected, found = contents(finished / results["checkpoint"]), contents(tmp_path / results["checkpoint"])
    assert found.keys() == expected.keys()
    assert {"student", "key", "queues", "optimizer"} == {name.partition(".")[0] for name in found}
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
    assert (results["epochs"], results["steps"], results["images"]) == (4, 8, 16)
    for kind in ("step", "epoch"):
        straight, broken = events(finished, kind), events(tmp_path, kind)
        assert [line["loss"] for line in broken] == [line["loss"] for line in straight]


CAREFUL: dict[str, dict[str, Any]] = {
    "rates": {"backbone_rate": 0.5, "layer_decay": 0.5},
    "anchor": {"anchor": 0.5},
    "structure": {"structure": 1.0},
    "heads first": {"head_warmup_epochs": 2.5, "clip_norm": 1.0},
    "average": {"average_decay": 0.5},
    "blend": {"blend": 0.25},
    "average, blended": {"average_decay": 0.5, "blend": 0.25},
}
"""Settings with something to remember between two parts of a training."""


def careful(settings: dict[str, Any]) -> tuple[Objective, LoopPlan]:
    of_loss = {name: value for name, value in settings.items() if name in {"structure"}}
    of_loop = {name: value for name, value in settings.items() if name not in of_loss}
    return replace(FULL, **of_loss), replace(LOOP, epochs=3, **of_loop)


@pytest.mark.parametrize("name", CAREFUL)
def test_two_epochs_and_one_are_three(tmp_path: Path, name: str) -> None:
    objective, plan = careful(CAREFUL[name])
    straight = trainer_of(tmp_path / "straight", objective=objective, loop=plan).fit(TinyBatches())
    with pytest.raises(KeyboardInterrupt):
        trainer_of(tmp_path / "parts", objective=objective, loop=plan).fit(Interrupted(at_epoch=2))
    trainer = trainer_of(tmp_path / "parts", objective=objective, loop=plan)
    with torch.no_grad():
        for tensor in trainer.learner.state_dict().values():
            tensor.add_(1)
    assert trainer.resume() == 2
    parts = trainer.fit(TinyBatches())
    expected, found = (contents(tmp_path / run / straight["checkpoint"]) for run in ("straight", "parts"))
    assert found.keys() == expected.keys()
    assert [key for key, tensor in found.items() if not torch.equal(tensor, expected[key])] == []
    assert parts["terms"] == straight["terms"]


def test_what_is_given_away_is_measured_and_kept_beside_the_student(tmp_path: Path) -> None:
    measured: list[dict[str, Tensor]] = []

    def monitor(student: Student) -> dict[str, float]:
        measured.append(copy.deepcopy(student.state_dict()))
        return {"knn": 0.5}

    plan = replace(LOOP, epochs=1, blend=0.25)
    trainer = trainer_of(tmp_path, loop=plan, monitor=monitor)
    began = copy.deepcopy(trainer.learner.student.state_dict())
    trainer.fit(TinyBatches())
    trained = trainer.learner.student.state_dict()
    (result,) = measured
    saved = read_checkpoint(tmp_path / "checkpoints/epoch-0001.safetensors").sections
    for name, tensor in result.items():
        share = 0.25 if name.startswith("backbone.") else 1.0
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, share * trained[name] + (1 - share) * began[name])
        assert torch.equal(saved["result"][name], tensor)
        assert torch.equal(saved["student"][name], trained[name])


def test_a_plain_training_gives_away_its_student(finished: Path) -> None:
    assert "result" not in read_checkpoint(finished / "checkpoints/epoch-0004.safetensors").sections


def test_groups_of_the_optimizer_may_not_change(finished: Path) -> None:
    with pytest.raises(CheckpointError, match=r"trained with train\.backbone_rate 1\.0, this training has 0\.5"):
        trainer_of(finished, loop=replace(LOOP, backbone_rate=0.5)).resume()


def test_checkpoints_from_before_a_setting_go_on(finished: Path, tmp_path: Path) -> None:
    whole = read_checkpoint(finished / "checkpoints/epoch-0004.safetensors")
    lacking = {name: value for name, value in whole.metadata.items() if name not in YOUNGER}
    assert len(whole.metadata) - len(lacking) == len(YOUNGER)
    older = tmp_path / "checkpoints/epoch-0004.safetensors"
    tensors = {f"{section}.{key}": value for section, state in whole.sections.items() for key, value in state.items()}
    write_tensors(older, tensors, kind="checkpoint", metadata=lacking | {"sections": list(whole.sections)})
    keep_newest(older.parent, older, keep=0)
    assert trainer_of(tmp_path).resume() == 4
    with pytest.raises(CheckpointError, match=r"train\.layer_decay 1\.0, this training has 0\.9"):
        trainer_of(tmp_path, loop=replace(LOOP, layer_decay=0.9)).resume()


YOUNGER = {
    "loss.structure", "train.backbone_rate", "train.layer_decay", "train.head_warmup_epochs", "train.anchor",
    "train.average_decay", "train.blend",
}  # fmt: skip
"""Settings that older checkpoints do not tell of."""


def test_a_finished_training_has_nothing_to_resume(finished: Path) -> None:
    before = contents(finished / "checkpoints/epoch-0004.safetensors")
    trainer = trainer_of(finished)
    assert trainer.resume() == 4
    results = trainer.fit(TinyBatches())
    assert (results["images"], results["steps"]) == (0, 8)
    assert results["terms"]["loss"] == pytest.approx(events(finished, "epoch")[-1]["loss"])
    assert contents(finished / results["checkpoint"]).keys() == before.keys()


def test_resume_without_a_checkpoint_starts_anew(tmp_path: Path) -> None:
    assert trainer_of(tmp_path).resume() == 0


IDENTITY: dict[str, object] = {
    "backbone": "tiny",
    "embedding_dim": 5,
    "attention_channels": 4,
    "attention_scaling": "image",
    "batchnorm": "train",
    "input_size": 32,
    "batch_size": 4,
    "seed": 1,
    "fingerprint": "f",
    "prototypes": "p",
    "teacher": "t",
}


@pytest.mark.parametrize("name", IDENTITY)
def test_what_may_not_change_between_two_parts(tmp_path: Path, name: str) -> None:
    trainer_of(tmp_path, loop=replace(LOOP, epochs=1), metadata=IDENTITY).fit(TinyBatches(batches_per_epoch=1))
    assert trainer_of(tmp_path, metadata=IDENTITY | {"preset": "another"}).resume() == 1
    spelt = {"input_size": "input.size", "batch_size": "train.batch_size"}.get(name, name)
    message = f"trained with {spelt} {IDENTITY[name]!r}, this training has 'other'"
    with pytest.raises(CheckpointError, match=message):
        trainer_of(tmp_path, metadata=IDENTITY | {name: "other"}).resume()


def test_another_objective_or_queue_is_another_training(finished: Path) -> None:
    with pytest.raises(CheckpointError, match=r"trained with loss\.alpha 0\.5, this training has 0\.25"):
        trainer_of(finished, objective=replace(FULL, alpha=0.25)).resume()
    with pytest.raises(CheckpointError, match=r"'global\.keys' has shape \(8, 5\), expected \(12, 5\)"):
        trainer_of(finished, queue_size=12).resume()


@pytest.mark.parametrize(("before", "after"), [("fp32", "fp16"), ("fp16", "fp32"), ("fp16", "fp16")])
def test_precision_may_change(tmp_path: Path, before: Literal["fp32", "fp16"], after: Literal["fp32", "fp16"]) -> None:
    trainer_of(tmp_path, loop=replace(LOOP, epochs=1, precision=before)).fit(TinyBatches())
    trainer = trainer_of(tmp_path, loop=replace(LOOP, epochs=2, precision=after))
    assert trainer.resume() == 1
    results = trainer.fit(TinyBatches())
    scaler = read_checkpoint(tmp_path / results["checkpoint"]).metadata["scaler"]
    steps_at_this_scale = 4 if before == after else 2
    assert scaler.get("_growth_tracker") == (None if after == "fp32" else steps_at_this_scale)


def test_momentum_and_decay_may_change(tmp_path: Path) -> None:
    trainer_of(tmp_path, objective=MOCO, loop=replace(LOOP, epochs=1)).fit(TinyBatches())
    trainer = trainer_of(
        tmp_path, objective=MOCO, loop=replace(LOOP, epochs=2, momentum=0.0, weight_decay=0.0, schedule="step")
    )
    trainer.resume()
    before = copy.deepcopy(trainer.learner.student)
    trainer.fit(TinyBatches(batches_per_epoch=1))
    for name, weight in trainer.learner.student.named_parameters():
        if weight.grad is not None:
            expected = before.get_parameter(name) - 0.1 * 0.1**2 * weight.grad
            torch.testing.assert_close(weight, expected, rtol=1e-6, atol=1e-8)


def test_one_step_by_hand(tmp_path: Path) -> None:
    """SGD with momentum and decay, from the gradients of the total; BatchNorm in training mode."""
    trainer = trainer_of(tmp_path, objective=MOCO, loop=replace(LOOP, epochs=1, schedule="step"))
    before = copy.deepcopy(trainer.learner.student)
    trainer.fit(TinyBatches(batches_per_epoch=1))
    decayed = 0
    for name, weight in trainer.learner.student.named_parameters():
        start = before.get_parameter(name)
        if weight.grad is None:
            assert torch.equal(weight, start), name
        else:
            rate = 0.1 * 0.1**2  # a single epoch is past both milestones
            torch.testing.assert_close(weight, start - rate * (weight.grad + 5e-4 * start), rtol=1e-5, atol=1e-7)
            decayed += 1
    assert decayed == 8  # all but the three of the attention head, which no term of MoCo uses
    assert trainer.learner.queue("global").fill == 4


def test_rates_follow_the_schedule(finished: Path) -> None:
    expected = [
        learning_rate("cosine-step", step, steps_per_epoch=2, epochs=4, warmup_epochs=1, peak=0.1) for step in range(8)
    ]
    assert [line["learning_rate"] for line in events(finished, "step")] == expected


def test_what_is_told(finished: Path) -> None:
    step, epoch = events(finished, "step")[-1], events(finished, "epoch")[-1]
    terms = ["global_global", "global_object", "object_object", "distillation", "alignment"]
    assert step["loss"] == pytest.approx(sum(step[name] for name in terms))
    assert 0 <= step["data_wait"] < 1
    assert step["contrast_weight"] + step["distill_weight"] == pytest.approx(1)
    assert 0 < step["teacher_entropy"] <= 1
    assert (step["epoch"], step["step"], epoch["epoch"], epoch["step"]) == (4, 8, 4, 8)
    assert epoch["queue_fill_global"] == epoch["queue_fill_object"] == 1
    assert events(finished, "epoch")[0]["queue_fill_global"] == 1
    assert 1 <= epoch["effective_rank"] <= 5
    last_two = [line["loss"] for line in events(finished, "step")[-2:]]
    assert epoch["loss"] == pytest.approx(sum(last_two) / 2)


def test_progress_shows_rate_terms_and_total(tmp_path: Path) -> None:
    watcher = WatchedProgress()
    results = trainer_of(tmp_path, progress=watcher, loop=replace(LOOP, epochs=2)).fit(TinyBatches())
    (piece,) = watcher.pieces
    assert (piece.what, piece.unit, piece.done, piece.total) == ("training", "images", 16, 16)
    assert piece.shown[0] == "epoch 1/2"  # figures are told one step late
    assert piece.shown[1].startswith("epoch 2/2, loss ")
    assert "distillation " in piece.shown[1]
    assert piece.shown[-1].startswith(f"epoch 2/2, loss {events(tmp_path, 'step')[-1]['loss']:.3f}")
    assert [note[:12] for note in watcher.notes] == ["  epoch 1/2:", "  epoch 2/2:"]
    assert f"loss {results['terms']['loss']:.4f}" in watcher.notes[-1]


def test_monitor(tmp_path: Path) -> None:
    calls: list[bool] = []

    def monitor(student: Student) -> dict[str, float]:
        calls.append(student.training)
        return {"knn": 0.5 + 0.1 * len(calls)}

    plan = replace(LOOP, epochs=5, monitor_every=2)
    watcher = WatchedProgress()
    results = trainer_of(tmp_path, loop=plan, monitor=monitor, progress=watcher).fit(TinyBatches())
    assert calls == [False] * 3
    assert ["knn" in note for note in watcher.notes] == [False, True, False, True, True]
    assert [(line["epoch"], line["knn"]) for line in events(tmp_path, "monitor")] == [(2, 0.6), (4, 0.7), (5, 0.8)]
    assert results["monitor"] == {"knn": 0.8}
    assert trainer_of(tmp_path / "b", loop=replace(plan, monitor_every=0), monitor=monitor).fit(TinyBatches())
    assert len(calls) == 3


def test_measuring_does_not_disturb(finished: Path, tmp_path: Path) -> None:
    @torch.no_grad()
    def monitor(student: Student) -> dict[str, float]:
        return {"mean": student(torch.ones(2, 3, 11, 11)).feature.mean().item()}

    trainer_of(tmp_path, monitor=monitor).fit(TinyBatches())
    assert [line["loss"] for line in events(tmp_path, "step")] == [line["loss"] for line in events(finished, "step")]


def test_checkpoints_that_are_kept(tmp_path: Path) -> None:
    def names() -> list[str]:
        return [path.name for path in sorted((tmp_path / "checkpoints").glob("epoch*"))]

    trainer_of(tmp_path, loop=replace(LOOP, epochs=5, checkpoint_every=1)).fit(TinyBatches())
    assert names() == ["epoch-0004.safetensors", "epoch-0005.safetensors"]
    metadata = read_checkpoint(tmp_path / "checkpoints/epoch-0005.safetensors").metadata
    assert (metadata["epoch"], metadata["step"], metadata["backbone"]) == (5, 10, "tiny")
    # A new training in the same folder leaves no checkpoint of the old one beside its own.
    trainer_of(tmp_path, loop=replace(LOOP, epochs=6, checkpoint_every=6)).fit(TinyBatches())
    assert names() == ["epoch-0006.safetensors"]
    assert newest_checkpoint(tmp_path / "checkpoints") == tmp_path / "checkpoints/epoch-0006.safetensors"


def test_a_loss_that_is_not_finite_stops_before_a_checkpoint_has_it(tmp_path: Path) -> None:
    trainer_of(tmp_path, loop=replace(LOOP, epochs=2)).fit(TinyBatches())
    stored = (tmp_path / "checkpoints/epoch-0002.safetensors").read_bytes()
    trainer = trainer_of(tmp_path)
    with torch.no_grad():
        trainer.learner.student.projector.get_parameter("0.weight").fill_(math.nan)
    with pytest.raises(
        LeadppError, match=r"epoch 1, step 1: .*loss.* became NaN or infinite.*lower train\.learning_rate"
    ):
        trainer.fit(TinyBatches())
    assert (tmp_path / "checkpoints/epoch-0002.safetensors").read_bytes() == stored
    assert not events(tmp_path, "step")


@pytest.mark.parametrize("at_step", [1, 2, 3, 4])
def test_a_step_that_is_not_finite_is_named_and_not_saved(tmp_path: Path, at_step: int) -> None:
    """Figures are told one step late, and before the last step of an epoch ends it."""

    def monitor(student: Student) -> dict[str, float]:
        assert all(weight.isfinite().all() for weight in student.parameters())
        return {}

    trainer = trainer_of(tmp_path, loop=replace(LOOP, checkpoint_every=1), monitor=monitor)
    calls: list[int] = []

    def spoil(module: object, inputs: object, output: Tensor) -> Tensor | None:
        calls.append(0)
        return output * math.nan if len(calls) == 2 * at_step else None  # two query views a step

    trainer.learner.student.projector.register_forward_hook(spoil)
    epoch = (at_step + 1) // 2
    with pytest.raises(LeadppError, match=rf"epoch {epoch}, step {at_step}: .*loss"):
        trainer.fit(TinyBatches())
    assert [line["step"] for line in events(tmp_path, "step")] == list(range(1, at_step))
    assert len(events(tmp_path, "epoch")) == epoch - 1
    newest = newest_checkpoint(tmp_path / "checkpoints")
    assert (newest is None) if epoch == 1 else (newest is not None and newest.name == "epoch-0001.safetensors")


def test_a_gradient_that_is_not_finite_stops_too(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, objective=MOCO)
    trainer.learner.student.projector.register_full_backward_hook(
        lambda module, into, out: (into[0] * math.inf,)  # type: ignore[index]
    )
    with pytest.raises(LeadppError, match="epoch 1, step 1: gradient_norm became NaN or infinite"):
        trainer.fit(TinyBatches())


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    plan = replace(LOOP, epochs=1, weight_decay=0.0, clip_norm=1e-3, schedule="step")
    trainer = trainer_of(tmp_path, loop=plan)
    trainer.fit(TinyBatches(batches_per_epoch=1))
    squares = [weight.grad.square().sum() for weight in trainer.learner.student.parameters() if weight.grad is not None]
    assert torch.stack(squares).sum().sqrt().item() == pytest.approx(1e-3, rel=1e-3)
    assert events(tmp_path, "step")[0]["gradient_norm"] > 0.1


def test_fp16_scales_gradients_and_stores_the_scale(tmp_path: Path) -> None:
    plan = replace(LOOP, epochs=1, precision="fp16")
    trainer_of(tmp_path, loop=plan).fit(TinyBatches())
    metadata = read_checkpoint(tmp_path / "checkpoints/epoch-0001.safetensors").metadata
    assert metadata["scaler"]["scale"] > 1
    trainer = trainer_of(tmp_path, loop=replace(plan, epochs=2))
    assert trainer.resume() == 1
    exact = trainer_of(tmp_path / "exact", loop=replace(plan, precision="fp32"))
    exact.fit(TinyBatches())
    norms = [events(run, "step")[0]["gradient_norm"] for run in (tmp_path, tmp_path / "exact")]
    assert norms[0] == pytest.approx(norms[1], rel=0.05)


@dataclass
class SlowBatches:
    """Batches that are not there when they are asked for."""

    batches_per_epoch: int = 30

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[dict[str, Tensor]]:
        for batch in TinyBatches(self.batches_per_epoch).epoch(epoch, first=first):
            time.sleep(0.005)
            yield batch


def test_waiting_is_told_and_advice_given_once(tmp_path: Path) -> None:
    plan = replace(LOOP, epochs=3)
    for reading, count in ((Reading(workers=0, cores=4), 1), (Reading(workers=3, cores=4, cached=True), 0), (None, 0)):
        watcher = WatchedProgress()
        trainer_of(tmp_path, loop=plan, objective=MOCO, progress=watcher, reading=reading).fit(SlowBatches())
        advice = [note for note in watcher.notes if "waits for photographs" in note]
        assert len(advice) == count
        assert all("input.workers 3, input.cache ram or disk" in note for note in advice)
    assert "waiting" not in watcher.pieces[0].shown[0]
    assert watcher.pieces[0].shown[-1].split(", ")[-1].startswith("waiting ")
    assert all(0.05 < line["data_wait"] < 1 for line in events(tmp_path, "epoch"))
    assert all(0 < line["data_wait"] < 1 for line in events(tmp_path, "step"))
