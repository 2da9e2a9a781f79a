"""The training loop: steps, schedule, checkpoints, and what is told about them."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol, get_args

import torch
from torch import Tensor, nn

from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.engine.identity import first_difference, identity
from leadpp.engine.iteration import Iteration, Told
from leadpp.engine.lessons import Lessons
from leadpp.engine.plan import LoopPlan
from leadpp.engine.record import EpochMeter, Figures, MetricsLog
from leadpp.engine.runtime import Progress
from leadpp.engine.saving import CheckpointWriter, Rhythm
from leadpp.engine.step import StepPlan
from leadpp.engine.stopping import Stopped, StopRequest
from leadpp.engine.waiting import MUCH, Reading, WaitMeter, advise
from leadpp.errors import CheckpointError, LeadppError
from leadpp.functional.objective import Objective, TermName
from leadpp.io.checkpoint import Checkpoint, gather_state, read_checkpoint
from leadpp.io.ledger import Keeping, checkpoint_path, newest_checkpoint, read_newest_whole
from leadpp.models.learner import Learner
from leadpp.models.outcome import blend_state, blend_student
from leadpp.models.student import Student

_TERMS: tuple[TermName, ...] = get_args(TermName)
_NAMED = 5
"""How many photographs a message names."""

Monitor = Callable[[Student], Figures]


class OtherTrainingError(CheckpointError):
    """A checkpoint that is whole, but of another training."""


class Batches(Protocol):
    """Batches of views, epoch by epoch."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one epoch."""
        ...

    def epoch(self, epoch: int, /, *, first: int = 0) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of an epoch, counted from 0, from one of them on: views by name, uint8 (B, 3, S, S)."""
        ...


class Trainer:
    """Trains a learner; everything it knows after a step is in a checkpoint, so that it goes on from there bit for bit.

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
        photographs: Names of the photographs by their places, for messages.
        ranks: The processes that train together, each on its share of every batch; the first one writes.
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
        photographs: Sequence[str] = (),
        ranks: Ranks = ALONE,
    ) -> None:
        self.learner, self._ranks = learner, ranks
        self._objective, self._order, self._loop = objective, order, loop
        self._run, self._folder, self._metadata = run, run / "checkpoints", dict(metadata)
        self._progress, self._monitor, self._reading = progress, monitor, reading
        self._photographs = photographs
        self._iteration = Iteration(learner, objective=objective, order=order, loop=loop, lessons=lessons, ranks=ranks)
        self._descent, self._average = self._iteration.descent, self._iteration.average
        self._state = _State()
        self._identity = identity(self._metadata, objective=objective, order=order, loop=loop)
        self._meter, self._waiting = EpochMeter(), WaitMeter(learner.device)
        self._untold: Told | None = None
        self._stop = StopRequest(shared=not ranks.alone)
        self._rhythm, self._writer = Rhythm(loop), CheckpointWriter(self._folder, fixed=("first.",))
        self._saved_step = 0
        self._keep_older = False  # checkpoints of an earlier training give way to the first of this one

    def resume(self) -> int:
        """Load the newest whole checkpoint of the run folder, if there is one; see :attr:`step`.

        Returns:
            How many epochs were finished; 0 also where training begins.

        Raises:
            CheckpointError: All are damaged.
            OtherTrainingError: It is of another training: another network, objective, teacher, seed, batch, data set
                or queue size, for instance.
        """
        checkpoint = self._newest()
        if checkpoint is None:
            return 0
        if "imported" in checkpoint.metadata:
            raise CheckpointError(
                f"{checkpoint.path}: it was imported without the state of a training, so none can go on from it; begin "
                "one in another run folder, with student.backbone local-dir: and the folder backbone beside checkpoints"
            )
        if difference := first_difference(self._identity, checkpoint.metadata):
            raise OtherTrainingError(
                f"{checkpoint.path}: it was trained with {difference}; give it the same, or train from the start "
                "(without --resume)"
            )
        self._load(checkpoint)
        self._keep_older = True
        return self._state.epoch

    def _newest(self) -> Checkpoint | None:
        """Read the checkpoint to go on from; the first process finds out which that is."""
        found: list[Checkpoint] = []

        def find() -> str:
            found.extend(filter(None, [read_newest_whole(self._folder, notify=self._progress.note)]))
            return str(found[0].path) if found else ""

        path = self._ranks.first(find)
        if not path:
            return None
        return found[0] if found else read_checkpoint(Path(path))

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self._state.step

    @property
    def amid_epoch(self) -> bool:
        """Whether the steps that are done end amid an epoch."""
        return self._state.batch > 0

    def fit(self, batches: Batches) -> dict[str, Any]:
        """Train to the last epoch.

        SIGINT (Ctrl-C), SIGTERM and SIGUSR1 are answered at the end of the step: it is saved, and :meth:`resume` goes
        on from there.

        Returns:
            Ready for JSON: epochs and steps in all, images, seconds and images_per_s of this call, terms (means of the
            last epoch), monitor (its last figures), checkpoint (its path within the run folder), checkpoints (how many
            were written in this call) and checkpoint_wait_s (the longest that a step waited for one).

        Raises:
            LeadppError: The loss or its gradient is not finite, or the disk refused. Checkpoints stay as they were.
            KeyboardInterrupt: Ctrl-C came; if it came twice, nothing was saved.
            SystemExit: Another signal came; the code is 128 and its number.
        """
        log = MetricsLog(self._run, since_step=self._state.step, notify=self._progress.note, keeps=self._ranks.leads)
        self._ranks.copy_first(list(gather_state(self._modules(), self._descent.optimizer, {})[0].values()))
        with self._stop.listening():
            try:
                return self._fit(batches, log)
            except Stopped:
                self._save_and_leave(log)
            finally:
                self._writer.close(wait=not self._stop.urgent)

    def _fit(self, batches: Batches, log: MetricsLog) -> dict[str, Any]:
        per_epoch, started, images = batches.batches_per_epoch, time.perf_counter(), 0
        if self._state.unmeasured:
            self._finish_epoch(log)
        for views in self._progress.track(
            self._stream(batches),
            total=self._batches_left(per_epoch) * self._loop.batch_size,
            what="training",
            size=self._rows,
            describe=self._describe,
        ):
            told = self._iteration.run(views, step=self._state.step, epoch=self._state.epoch, steps_per_epoch=per_epoch)
            self._waiting.done()
            self._say_parts()
            self._tell(log)  # of the step before, while the device is busy with this one
            self._untold = told
            self._state.step += 1
            self._state.batch += 1
            images += self._rows(views)
            self._end_step(log, epoch_ends=self._state.batch == per_epoch, first=images == self._rows(views))
        self._writer.settle()
        with self._stop.interruptible():  # a signal may have come when there was no step left
            return self._results(images=images, seconds=time.perf_counter() - started)

    def _say_parts(self) -> None:
        """Say once that memory ran out, after a step that succeeded in smaller parts."""
        parts, self._iteration.parts = self._iteration.parts, 0
        if parts:
            self._progress.note(
                f"memory ran out at step {self._state.step + 1}: from here on the encoders take a batch of "
                f"{self._loop.batch_size} in {parts} parts, each computed again in the backward pass; the result is "
                f"the same, a step takes longer (train.micro_batches {parts} begins so)"
            )

    def _rows(self, views: Mapping[str, Tensor]) -> int:
        """Return how many photographs there are in the whole of a batch."""
        return len(next(iter(views.values()))) * self._ranks.count

    def _batches_left(self, per_epoch: int) -> int:
        epochs = self._loop.epochs - self._state.epoch
        return epochs * per_epoch - self._state.batch if epochs > 0 else 0

    def _stream(self, batches: Batches) -> Iterator[dict[str, Tensor]]:
        for epoch in range(self._state.epoch, self._loop.epochs):
            if not self.amid_epoch:
                self._meter = EpochMeter()
            self.learner.train()
            coming = self._waiting.watch(batches.epoch(epoch, first=self._state.batch))
            while True:
                with self._stop.interruptible():
                    batch = next(coming, None)
                if batch is None:
                    break
                yield batch

    def _end_step(self, log: MetricsLog, *, epoch_ends: bool, first: bool) -> None:
        due = self._rhythm.due(step=self._state.step, epoch=self._state.epoch, epoch_ends=False)
        saves = due and not self._writer.busy and self._ranks.leads  # or at a later step
        signal, saving = self._ranks.largest(self._stop.signal or 0, int(saves and not epoch_ends))
        self._stop.agree(signal)
        if epoch_ends:
            self._tell(log)
            self._close_epoch(log)
            self._finish_epoch(log)
            return
        self._writer.check()
        if saving:
            self._tell(log)
            self._save()
        elif first and self._ranks.leads:
            self._writer.prepare(self._contents()[0])

    def _tell(self, log: MetricsLog) -> None:
        """Fetch the figures of the newest step that has not been told of, check them, and write them down.

        Raises:
            LeadppError: One of them is not finite. The weights have moved since, but no checkpoint has them.
        """
        if self._untold is None:
            return
        told, self._untold = self._untold, None
        step, figures = self._state.step, told.figures()
        self._check_finite(figures, told, step=step)
        self._meter.add(figures, told.embedding)
        waited = {"data_wait": self._waiting.settle()}
        log.write("step", epoch=self._state.epoch + 1, step=step, values=figures | waited)
        self._advise(epoch_ends=False)

    def _check_finite(self, figures: Figures, told: Told, *, step: int) -> None:
        # With fp16 the scaler meets gradients that overflow by leaving the step out and scaling less.
        watched = set(figures) - ({"gradient_norm"} if self._descent.scaler.is_enabled() else set())
        odd = sorted(name for name in watched if not math.isfinite(figures[name]))
        if odd:
            named = self._name_photographs(self._odd_samples(told))
            raise LeadppError(
                f"epoch {self._state.epoch + 1}, step {step}: {', '.join(odd)} became NaN or infinite"
                f"{named}; lower train.learning_rate or set train.clip_norm (5, "
                "say), and train again or --resume from the last checkpoint, which stays as it was"
            )

    def _odd_samples(self, told: Told) -> list[int]:
        """Return the places of the photographs, in any process's share, that have a loss which is not finite."""
        places = torch.tensor(told.odd_samples(), dtype=torch.int64)
        odd: list[int] = self._ranks.gather_uneven(places).tolist()
        return odd

    def _name_photographs(self, places: Sequence[int]) -> str:
        named = [self._photographs[place] for place in places if place < len(self._photographs)]
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        return f" (at {', '.join(map(repr, named[:_NAMED]))}{more})" if named else ""

    def _close_epoch(self, log: MetricsLog) -> None:
        """Write down the means of an epoch whose last step is told."""
        state = self._state
        state.epoch, state.batch, state.unmeasured = state.epoch + 1, 0, True
        share = self._waiting.share
        summary = self._meter.summary() | self._queue_fill() | ({} if share is None else {"data_wait": share})
        log.write("epoch", epoch=state.epoch, step=state.step, values=summary)
        state.terms = {name: value for name, value in summary.items() if name in {"loss", *_TERMS}}

    def _finish_epoch(self, log: MetricsLog) -> None:
        """Measure the student and save it, if either is due; after a resume this may be all that an epoch lacks."""
        state, loop = self._state, self._loop
        last = state.epoch == loop.epochs
        measured: Figures = {}
        if self._monitor is not None and loop.monitor_every and (state.epoch % loop.monitor_every == 0 or last):
            self.learner.eval()
            if self._order.key_bn != "sync":  # each process has statistics of its own; those of the first count
                self._ranks.copy_first([*self.learner.buffers(), *(self._average.buffers() if self._average else ())])
            with self._stop.interruptible():
                measured = dict(self._monitor(self._result()))
            state.monitor = measured
            log.write("monitor", epoch=state.epoch, step=state.step, values=measured)
        state.unmeasured = False
        best = self._new_best(measured)
        if self._rhythm.due(step=state.step, epoch=state.epoch, epoch_ends=True) or last or best is not None:
            self._save(best=best)
        self._progress.note(self._line(measured))
        self._advise(epoch_ends=True)

    def _new_best(self, measured: Figures) -> dict[str, Any] | None:
        """Note and return what makes the student the best so far by the figure that is watched, if it is."""
        name = self._loop.checkpoint_best
        if name not in measured or (self._state.best is not None and measured[name] <= self._state.best):
            return None
        self._state.best = measured[name]
        return {"figure": name, "value": measured[name], "epoch": self._state.epoch}

    def _advise(self, *, epoch_ends: bool) -> None:
        """Say once what would help, if training waits for its data and anything would."""
        if self._reading is None or not self._waiting.too_much(epoch_ends=epoch_ends):
            return
        if helps := advise(self._reading):
            self._progress.note(
                f"training waits for photographs more than {MUCH:.0%} of the time; what may help: {', '.join(helps)}"
            )
        self._reading = None

    def _save_and_leave(self, log: MetricsLog) -> NoReturn:
        """Save where the training is, if that is anywhere, and end as the signal asks."""
        state, signal = self._state, self._stop.signal
        self._tell(log)
        if state.step and state.step != self._saved_step:
            self._save(counts=False)
        self._writer.settle()
        self._ranks.wait()  # a launcher that sees one process end kills the others
        where = f"epoch {state.epoch + 1}, step {state.step}" if self.amid_epoch else f"epoch {state.epoch}"
        saved = (
            f"training is saved up to {where}, --resume goes on from there" if state.step else "nothing was learnt yet"
        )
        self._progress.note(f"{signal.name if signal else 'stopped'}: {saved}")
        self._stop.leave()

    def _save(self, *, best: Mapping[str, Any] | None = None, counts: bool = True) -> None:
        """Have the training saved as it is; what was told of it is finite.

        Args:
            best: What makes it the best so far.
            counts: Whether it is one of the regular checkpoints.
        """
        state, loop = self._state, self._loop
        state.saved += counts
        alone, self._keep_older = not self._keep_older, True
        self._rhythm.saved()
        self._saved_step = state.step
        if not self._ranks.leads:
            return
        path = checkpoint_path(self._folder, epoch=state.epoch, step=state.step if self.amid_epoch else None)
        keeping = Keeping(
            newest=loop.checkpoint_keep,
            for_good=counts and loop.checkpoint_keep_every > 0 and state.saved % loop.checkpoint_keep_every == 0,
            best=best,
            alone=alone,
        )
        tensors, metadata = self._contents()
        self._writer.save(path, tensors, metadata, keeping=keeping, finish=None if self._gives_itself() else self._give)

    def _contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return everything that a checkpoint holds, but what is computed from it."""
        metadata = self._metadata | self._identity
        metadata |= {
            "epoch": self._state.epoch,
            "step": self._state.step,
            "state": dataclasses.asdict(self._state),
            "scaler": self._descent.scaler.state_dict(),
        }
        tensors, described = gather_state(self._modules(), self._descent.optimizer, metadata)
        if self.amid_epoch and self._untold is None:
            described["meter"], tensors["meter.embeddings"] = self._meter.state()
        return tensors, described

    def _give(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute what the training gives away from the copies of a checkpoint's tensors; see :meth:`_result`."""
        prefix = "student." if self._average is None else "average.student."
        student = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        if self._loop.blend != 1:
            first = {name.removeprefix("first."): value for name, value in tensors.items() if name.startswith("first.")}
            student = blend_state(student, first, share=self._loop.blend)
        return {f"result.{name}": value for name, value in student.items()}

    def _load(self, checkpoint: Checkpoint) -> None:
        for name, module in self._modules().items():
            checkpoint.load_module(name, module)
        checkpoint.load_optimizer(self._descent.optimizer)
        if scale := checkpoint.metadata["scaler"]:  # none where it was not fp16
            self._descent.scaler.load_state_dict(scale)
        self._state = _State(**checkpoint.metadata["state"])
        self._saved_step = self._state.step
        if self.amid_epoch:
            embeddings = checkpoint.sections["meter"]["embeddings"].to(self.learner.device)
            self._meter.load(checkpoint.metadata["meter"], embeddings)

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

    def _line(self, measured: Figures) -> str:
        state, rate = self._state, self._meter.rate
        words = [f"loss {state.terms['loss']:.4f}", *([] if rate is None else [f"{rate:.1f} images/s"])]
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
            "checkpoints": self._writer.count,
            "checkpoint_wait_s": round(self._writer.longest_wait_s, 4),
        }


@dataclass(kw_only=True)
class _State:
    """How far the training is, and the last figures of its epochs; travels in checkpoints."""

    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Steps in all."""
    batch: int = 0
    """Steps since the last finished epoch."""
    unmeasured: bool = False
    """Whether the last epoch is finished but for its measuring."""
    saved: int = 0
    """Regular checkpoints so far."""
    best: float | None = None
    """Best value so far of the figure that is watched."""
    terms: Figures = field(default_factory=dict)
    monitor: Figures = field(default_factory=dict)
