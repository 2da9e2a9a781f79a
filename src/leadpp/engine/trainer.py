"""The training loop: steps, schedule, checkpoints, and what is told about them."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, get_args

from torch import Tensor, nn

from leadpp.engine.iteration import Iteration, Told
from leadpp.engine.lessons import Lessons
from leadpp.engine.plan import LoopPlan
from leadpp.engine.record import EpochMeter, Figures, MetricsLog
from leadpp.engine.runtime import Progress
from leadpp.engine.step import StepPlan
from leadpp.engine.waiting import MUCH, Reading, WaitMeter, advise
from leadpp.errors import CheckpointError, LeadppError
from leadpp.functional.objective import Objective, TermName
from leadpp.io.checkpoint import (
    checkpoint_path,
    keep_newest,
    newest_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from leadpp.models.learner import Learner
from leadpp.models.outcome import blend_student
from leadpp.models.student import Student

_IDENTITY = frozenset(
    {"backbone", "embedding_dim", "further_dims", "attention_channels", "attention_scaling", "batchnorm"}
    | {"input_size", "augment", "batch_size", "seed", "fingerprint", "prototypes", "teacher", "teacher_view"}
)
"""What must be the same for a training to go on, besides the objective; the rate and the number of epochs, for
instance, may change."""
_GROUPING = ("backbone_rate", "layer_decay", "head_warmup_epochs", "anchor", "average_decay", "blend")
"""Settings of the loop that decide which weights share a group of the optimizer, and what a checkpoint holds."""
_SINCE: dict[str, Any] = {
    "augment": {},
    "further_dims": [],
    "teacher_view": "augmented",
    "loss.structure": 0.0,
    "loss.structure_teacher": 0.0,
    "train.backbone_rate": 1.0,
    "train.layer_decay": 1.0,
    "train.head_warmup_epochs": 0.0,
    "train.anchor": 0.0,
    "train.average_decay": 0.0,
    "train.blend": 1.0,
}
"""What younger settings were, in effect, in checkpoints that do not tell of them."""
_SPELT = {"teacher_view": "teacher.view", "input_size": "input.size", "batch_size": "train.batch_size"}
"""Settings whose names in checkpoints are not those that the user knows."""
_TERMS: tuple[TermName, ...] = get_args(TermName)

Monitor = Callable[[Student], Figures]


class Batches(Protocol):
    """Batches of views, epoch by epoch."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one epoch."""
        ...

    def epoch(self, epoch: int, /) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of an epoch, counted from 0: views by name, uint8 (B, 3, S, S)."""
        ...


class Trainer:
    """Trains a learner; everything it knows after an epoch is in the checkpoint, so that it can go on from there.

    Args:
        learner: Query encoder, key encoder and queues.
        objective: What is minimised.
        order: The order of events in a step.
        loop: How long, how fast and how carefully.
        lessons: Teachers and prototypes; None learns without.
        run: The run folder; ``checkpoints/`` and ``metrics.jsonl`` are written in it.
        metadata: What checkpoints say about the learner besides epoch and step.
        progress: Who is told.
        monitor: Measures the student between epochs, in evaluation mode.
        reading: How photographs reach the device, for advice when training waits for them; None gives none.
    """

    def __init__(
        self,
        learner: Learner,
        *,
        objective: Objective,
        order: StepPlan,
        loop: LoopPlan,
        lessons: Lessons | None,
        run: Path,
        metadata: Mapping[str, Any],
        progress: Progress,
        monitor: Monitor | None = None,
        reading: Reading | None = None,
    ) -> None:
        self.learner = learner
        self._objective, self._loop = objective, loop
        self._run, self._folder, self._metadata = run, run / "checkpoints", dict(metadata)
        self._progress, self._monitor, self._reading = progress, monitor, reading
        self._iteration = Iteration(learner, objective=objective, order=order, loop=loop, lessons=lessons)
        self._descent, self._average = self._iteration.descent, self._iteration.average
        self._state = _State()
        self._meter, self._waiting = EpochMeter(), WaitMeter(learner.device)
        self._untold: Told | None = None
        self._keep_older = False  # checkpoints of an earlier training give way to the first of this one

    def resume(self) -> int:
        """Load the newest checkpoint of the run folder, if there is one, and return its epoch (0: from the start).

        Raises:
            CheckpointError: It is damaged, or of another training: another network, objective, teacher, seed, batch,
                data set or queue size, for instance.
        """
        path = newest_checkpoint(self._folder)
        if path is None:
            return 0
        checkpoint = read_checkpoint(path)
        for name, expected in self._identity().items():
            found = checkpoint.metadata.get(name, _SINCE.get(name))
            if found != expected:
                raise CheckpointError(
                    f"{path}: it was trained with {_SPELT.get(name, name)} {found!r}, this training has {expected!r}; "
                    "give it the same, or train from the start (without --resume)"
                )
        for name, module in self._modules().items():
            checkpoint.load_module(name, module)
        checkpoint.load_optimizer(self._descent.optimizer)
        if scale := checkpoint.metadata["scaler"]:  # none where it was not fp16
            self._descent.scaler.load_state_dict(scale)
        self._state = _State(**checkpoint.metadata["state"])
        self._keep_older = True
        return self._state.epoch

    def fit(self, batches: Batches) -> dict[str, Any]:
        """Train to the last epoch.

        Returns:
            Ready for JSON: epochs and steps in all, images, seconds and images_per_s of this call, terms (means of the
            last epoch), monitor (its last figures) and checkpoint (its path within the run folder).

        Raises:
            LeadppError: The loss or its gradient is not finite, or the disk refused. Checkpoints stay as they were.
        """
        per_epoch, started = batches.batches_per_epoch, time.perf_counter()
        epochs_left = max(0, self._loop.epochs - self._state.epoch)
        log = MetricsLog(self._run, since_step=self._state.step, notify=self._progress.note)
        images = 0
        for views in self._progress.track(
            self._stream(batches),
            total=epochs_left * per_epoch * self._loop.batch_size,
            what="training",
            size=_rows,
            describe=self._describe,
        ):
            told = self._iteration.run(views, step=self._state.step, epoch=self._state.epoch, steps_per_epoch=per_epoch)
            self._waiting.done()
            self._tell(log)  # of the step before, while the device is busy with this one
            self._untold = told
            self._state.step += 1
            images += _rows(views)
            if self._state.step % per_epoch == 0:
                self._tell(log)
                self._end_epoch(log)
        return self._results(images=images, seconds=time.perf_counter() - started)

    def _stream(self, batches: Batches) -> Iterator[dict[str, Tensor]]:
        for epoch in range(self._state.epoch, self._loop.epochs):
            self._meter = EpochMeter()
            self.learner.train()
            yield from self._waiting.watch(batches.epoch(epoch))

    def _tell(self, log: MetricsLog) -> None:
        """Fetch the figures of the newest step that has not been told of, check them, and write them down.

        Raises:
            LeadppError: One of them is not finite. The weights have moved since, but no checkpoint has them.
        """
        if self._untold is None:
            return
        told, self._untold = self._untold, None
        step, figures = self._state.step, told.figures()
        self._check_finite(figures, step=step)
        self._meter.add(figures, told.embedding)
        waited = {"data_wait": self._waiting.settle()}
        log.write("step", epoch=self._state.epoch + 1, step=step, values=figures | waited)
        self._advise(epoch_ends=False)

    def _check_finite(self, figures: Figures, *, step: int) -> None:
        # With fp16 the scaler meets gradients that overflow by leaving the step out and scaling less.
        watched = set(figures) - ({"gradient_norm"} if self._descent.scaler.is_enabled() else set())
        odd = sorted(name for name in watched if not math.isfinite(figures[name]))
        if odd:
            raise LeadppError(
                f"epoch {self._state.epoch + 1}, step {step}: {', '.join(odd)} became NaN or "
                "infinite; lower train.learning_rate or set train.clip_norm (5, say), and train again or --resume from "
                "the last checkpoint, which stays as it was"
            )

    def _end_epoch(self, log: MetricsLog) -> None:
        state, loop = self._state, self._loop
        state.epoch += 1
        share = self._waiting.share
        summary = self._meter.summary() | self._queue_fill() | ({} if share is None else {"data_wait": share})
        log.write("epoch", epoch=state.epoch, step=state.step, values=summary)
        state.terms = {name: value for name, value in summary.items() if name in {"loss", *_TERMS}}
        last = state.epoch == loop.epochs
        measured: Figures = {}
        if self._monitor is not None and loop.monitor_every and (state.epoch % loop.monitor_every == 0 or last):
            self.learner.eval()
            state.monitor = measured = dict(self._monitor(self._result()))
            log.write("monitor", epoch=state.epoch, step=state.step, values=measured)
        if state.epoch % loop.checkpoint_every == 0 or last:
            self._save()
        self._progress.note(self._line(summary, measured))
        self._advise(epoch_ends=True)

    def _advise(self, *, epoch_ends: bool) -> None:
        """Say once what would help, if training waits for its data and anything would."""
        if self._reading is None or not self._waiting.too_much(epoch_ends=epoch_ends):
            return
        if helps := advise(self._reading):
            self._progress.note(
                f"training waits for photographs more than {MUCH:.0%} of the time; what may help: {', '.join(helps)}"
            )
        self._reading = None

    def _save(self) -> None:
        path = checkpoint_path(self._folder, epoch=self._state.epoch)
        metadata = self._metadata | self._identity()
        metadata |= {
            "epoch": self._state.epoch,
            "step": self._state.step,
            "state": dataclasses.asdict(self._state),
            "scaler": self._descent.scaler.state_dict(),
        }
        result = {} if self._gives_itself() else {"result": self._result()}
        save_checkpoint(path, modules=self._modules() | result, optimizer=self._descent.optimizer, metadata=metadata)
        keep_newest(self._folder, path, keep=self._loop.checkpoint_keep if self._keep_older else 1)
        self._keep_older = True

    def _identity(self) -> dict[str, Any]:
        objective = {f"loss.{name}": value for name, value in dataclasses.asdict(self._objective).items()}
        if not self._objective.uses("structure"):
            del objective["loss.structure_temperature"], objective["loss.structure_teacher"]
        settings = {f"train.{name}": getattr(self._loop, name) for name in _GROUPING}
        known = {name: value for name, value in sorted(self._metadata.items()) if name in _IDENTITY}
        return known | objective | settings

    def _modules(self) -> dict[str, nn.Module]:
        learner = self.learner
        kept: dict[str, nn.Module] = {} if learner.kept_first is None else {"first": learner.kept_first}
        if self._average is not None:
            kept["average"] = self._average
        return {"student": learner.student, "key": learner.key, "queues": learner.queues, **kept}

    def _gives_itself(self) -> bool:
        return self._average is None and self._loop.blend == 1

    def _result(self) -> Student:
        """Return the student that is measured and given away: the average if there is one, blended if so planned."""
        student = self.learner.student if self._average is None else self._average.student
        if self._loop.blend == 1:
            return student
        return blend_student(student, self.learner.first, share=self._loop.blend)

    def _queue_fill(self) -> Figures:
        """Return the share of each queue that holds real keys."""
        queues = {name: self.learner.queue(name) for name in self._objective.queues()}
        return {f"queue_fill_{name}": queue.fill / queue.size for name, queue in queues.items()}

    def _describe(self) -> str:
        latest = self._meter.latest
        words = [f"{name} {latest[name]:.3f}" for name in ("loss", *_TERMS) if name in latest]
        if self._waiting.share is not None:
            words.append(f"waiting {self._waiting.share:.0%}")
        epoch = min(self._state.epoch + 1, self._loop.epochs)  # the last line comes when all are done
        return ", ".join([f"epoch {epoch}/{self._loop.epochs}", *words])

    def _line(self, summary: Figures, measured: Figures) -> str:
        state = self._state
        words = [f"loss {summary['loss']:.4f}", f"{summary['images_per_s']:.1f} images/s"]
        words += [f"{name} {value:.4f}" for name, value in measured.items()]
        return f"  epoch {state.epoch}/{self._loop.epochs}: {', '.join(words)}"

    def _results(self, *, images: int, seconds: float) -> dict[str, Any]:
        newest = newest_checkpoint(self._folder)
        return {
            "epochs": self._state.epoch,
            "steps": self._state.step,
            "images": images,
            "seconds": seconds,
            "images_per_s": images / seconds,
            "precision": self._loop.precision,
            "terms": self._state.terms,
            "monitor": self._state.monitor,
            "checkpoint": newest.relative_to(self._run).as_posix() if newest else None,
        }


@dataclass(kw_only=True)
class _State:
    """How far the training is, and the last figures of its epochs; travels in checkpoints."""

    epoch: int = 0
    step: int = 0
    terms: Figures = field(default_factory=dict)
    monitor: Figures = field(default_factory=dict)


def _rows(views: Mapping[str, Tensor]) -> int:
    return len(next(iter(views.values())))
