"""One iteration of training, from a batch to new weights; it is queued on the device and not waited for.

The one exception: a BatchNorm without momentum asks the device how many batches it has seen, here as in PyTorch itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from leadpp.data.views import finish_views
from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.engine.descent import Descent
from leadpp.engine.lessons import Lessons
from leadpp.engine.memory import Undo, ran_out, take_smaller_parts
from leadpp.engine.plan import LoopPlan
from leadpp.engine.record import Figures
from leadpp.engine.step import Moment, Scores, StepPlan, Views, remember, score_step
from leadpp.errors import LeadppError
from leadpp.functional.objective import Objective, TermName, total
from leadpp.models.learner import Learner
from leadpp.models.outcome import StudentAverage
from leadpp.models.parts import Parts


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What there is to tell of an iteration, on its way from the device."""

    names: tuple[str, ...]
    values: Tensor
    """One for each name, on the CPU; they are there when ``ready`` is."""
    ready: torch.cuda.Event | None
    """None where the device does not work behind our back."""
    rate: float
    """Rate of learning of the heads."""
    embedding: Tensor
    """Of the first view that was encoded, those of all processes, (B, D), on the device."""
    losses: Mapping[TermName, Tensor]
    """Of each sample of this process, by term, (B,) each, on the device."""
    samples: Tensor | None
    """Places of the photographs among those for training, (B,); None where the batch does not say."""

    def figures(self) -> Figures:
        """Wait until the device is done with the iteration, and return its figures."""
        if self.ready is not None:
            self.ready.synchronize()
        values: list[float] = self.values.tolist()
        return dict(zip(self.names, values, strict=True)) | {"learning_rate": self.rate}

    def odd_samples(self) -> list[int]:
        """Return the places of the photographs that have a loss which is not finite; none where places are unknown."""
        if self.samples is None or not self.losses:
            return []
        whole = torch.stack([loss.isfinite() for loss in self.losses.values()]).all(dim=0)
        odd: list[int] = self.samples[~whole.to(self.samples.device)].tolist()
        return odd


class _Scored(NamedTuple):
    """A batch whose gradient has been found."""

    scores: Scores
    parts: Mapping[TermName, Tensor]
    loss: Tensor


class Iteration:
    """Scores a batch, follows the gradient and remembers the keys.

    Args:
        learner: Query encoder, key encoder and queues.
        objective: What is minimised.
        order: The order of events.
        loop: How fast and how carefully.
        lessons: Teachers and prototypes; None learns without.
        ranks: The processes that learn together, each from its share of a batch.

    Attributes:
        descent: Moves the weights.
        average: The moving average of the student, if there is to be one.
        parts: In how many parts the encoders take a batch since memory ran out last; whoever tells of it sets it to 0.
    """

    def __init__(
        self,
        learner: Learner,
        *,
        objective: Objective,
        order: StepPlan,
        loop: LoopPlan,
        lessons: Lessons | None,
        ranks: Ranks = ALONE,
    ) -> None:
        self._learner, self._objective, self._order, self._lessons = learner, objective, order, lessons
        self._ranks = ranks
        self._wanted = objective.views(taught=lessons is not None)
        self.descent = Descent(learner, loop, ranks=ranks)
        self._undo = Undo(learner, key_weights=order.key_update == "forward")
        self.parts: Parts = 0
        self._reason = ""
        self.average = StudentAverage(learner.student, decay=loop.average_decay) if loop.average_decay > 0 else None

    def run(self, batch: Mapping[str, Tensor], *, step: int, epoch: int, steps_per_epoch: int) -> Told:
        """Learn from one batch.

        Args:
            batch: Views by name, (B, 3, S, S), and ``index`` where the teacher's answers are remembered.
            step: How many iterations there were before.
            epoch: Pass over the photographs, from 0; decides which of several remembered answers is meant.
            steps_per_epoch: For the schedule.

        Raises:
            LeadppError: Memory ran out, and the parts in which the batch is taken cannot be smaller.
        """
        device = self._learner.device
        on_device = finish_views(batch, self._wanted, device)
        rate = self.descent.prepare(step, steps_per_epoch=steps_per_epoch)
        samples = batch["index"].to(device, non_blocking=True) if "index" in batch else None
        if self._ranks.alone:
            self._undo.remember()
        moment = Moment(epoch=epoch, step=step)
        while (found := self._try(on_device, samples, moment)) is None:
            self._make_room(rows=len(next(iter(on_device.values()))))
            moment = replace(moment, again=True)
        scores, parts, loss = found
        norm = self.descent.clip()
        self.descent.move()
        if self.average is not None:
            self.average.update(self._learner.student)
        remember(self._learner, scores.pending, ranks=self._ranks)
        return _tell(scores, parts, self._ranks, loss=loss, norm=norm, rate=rate, samples=batch.get("index"))

    def _try(self, views: Views, samples: Tensor | None, moment: Moment) -> _Scored | None:
        """Score a batch and find the gradient; None if memory ran out.

        With several processes the error goes on: the others are amid the same step, and wait for this one's words.
        """
        try:
            scores = score_step(
                self._learner,
                views,
                objective=self._objective,
                plan=self._order,
                lessons=self._lessons,
                samples=samples,
                moment=moment,
                ranks=self._ranks,
            )
            parts = self._objective.reduce(scores.terms, shares=self._ranks.count)
            loss = total(parts)
            self.descent.differentiate(loss)
            return _Scored(scores, parts, loss)
        except RuntimeError as error:
            if not (ran_out(error) and self._ranks.alone):
                raise
            self._reason = str(error).split("\n", maxsplit=1)[0]
        return None

    def _make_room(self, *, rows: int) -> None:
        self._undo.restore()
        self.parts = take_smaller_parts(self._learner, rows=rows)
        if self.parts == 0:
            raise LeadppError(
                f"{self._learner.device} has too little memory for a batch of {rows}, although it is taken in the "
                f"smallest parts ({self._reason}); lower train.batch_size or input.size, or set train.precision bf16"
            )


def _tell(
    scores: Scores,
    parts: Mapping[TermName, Tensor],
    ranks: Ranks,
    *,
    loss: Tensor,
    norm: Tensor,
    rate: float,
    samples: Tensor | None,
) -> Told:
    """Send what there is to tell of all processes on its way from the device, all at once."""
    told: dict[str, Tensor] = {"loss": loss, **dict(parts.items())}
    if scores.lesson is not None:
        told |= {
            "contrast_weight": scores.terms.contrast_weight.mean() / ranks.count,
            "distill_weight": scores.terms.distill_weight.mean() / ranks.count,
            "teacher_entropy": scores.lesson.entropy.mean() / ranks.count,
        }
    values = ranks.sum(torch.stack([value.detach().to(loss.dtype) for value in told.values()]))
    told |= {"gradient_norm": norm}  # of the sum of gradients, the same in every process
    values = torch.cat([values, norm.detach().to(loss.dtype)[None]])
    ready = None
    if values.is_cuda:
        stream = torch.cuda.current_stream(values.device)  # that of the current device may be another's
        values = values.to("cpu", non_blocking=True)  # to page-locked memory, so that nothing waits here
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch types it not
        ready.record(stream)
    embedding = ranks.gather(next(iter(scores.queries.values())).embedding.detach())
    return Told(
        names=tuple(told),
        values=values,
        ready=ready,
        rate=rate,
        embedding=embedding,
        losses={name: value.detach() for name, value in scores.terms.losses.items()},
        samples=samples,
    )
