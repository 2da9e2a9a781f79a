"""One training step up to its losses, to be read from top to bottom."""

from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from leadpp.distributed.exchange import gather_over
from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.distributed.statistics import SharedStatistics
from leadpp.engine.lessons import Lesson, Lessons, hear
from leadpp.functional.contrastive import info_nce
from leadpp.functional.distillation import Distribution, adaptive_weights, kl_divergence
from leadpp.functional.gradcam import alignment_loss, grad_cam, scale_map
from leadpp.functional.mixture import mix
from leadpp.functional.objective import (
    VIEW_NAMES,
    Comparison,
    LossTerms,
    Objective,
    QueueName,
    TermName,
    ViewName,
)
from leadpp.functional.randomness import generator_for
from leadpp.functional.structure import mix_neighbours, neighbour_distribution, structure_loss
from leadpp.models.batchnorm import goes_by_batch, standing_for
from leadpp.models.learner import Learner
from leadpp.models.student import Student, StudentOutput, update_key

Views = Mapping[ViewName, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepPlan:
    """The order of events in a step; the defaults are ours, and each has the reference's way beside it."""

    forwards: Literal["once", "reference"] = "once"
    """Encode each view once, or anew for each term that looks at it; BatchNorm's statistics are the same."""
    key_update: Literal["step", "forward"] = "step"
    """Move the key encoder once, at the start of the step, or before each of its forwards."""
    key_momentum: float = 0.997
    """Share of the key encoder that stays when it moves."""
    key_timing: Literal["after-step", "reference"] = "after-step"
    """When keys join their queue: after the step, or as soon as they are scored, so that the object term finds its own
    positives among the negatives."""
    key_bn: Literal["sync", "shuffle", "local"] = "sync"
    """Whose batch BatchNorm in training goes by where several processes train together: that of all, so that they learn
    what one process would; or, as in MoCo, each process its own share, which for the keys is drawn anew from the whole
    batch (shuffle) or not (local)."""
    shuffle_seed: int = 0
    """Draws what ``shuffle`` puts together."""
    autocast_dtype: torch.dtype | None = None
    """Half precision of the encoders; losses, projector and attention head keep single precision."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """What one contrastive term compares."""

    query: StudentOutput
    key: Tensor
    """Positives, (B, D)."""
    negatives: Tensor
    """What the queue held when the term was scored, (K, D)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alignment:
    """The two maps that the alignment term brings together."""

    gradient: Tensor
    """Of the object term with respect to the feature map of the first object view, (B, F, H, W): one value a channel,
    repeated over the positions without being stored."""
    cam: Tensor
    """Grad-CAM, (B, H, W)."""
    attention: Tensor
    """Where the attention head looks, (B, H, W)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """The losses of a step and what they were made of."""

    terms: LossTerms
    queries: Mapping[ViewName, StudentOutput]
    """Every view that the student encoded, as it was encoded last."""
    pairs: Mapping[TermName, Pair]
    """What the contrastive terms compared."""
    pending: Mapping[QueueName, Tensor]
    """Keys that have yet to join their queues."""
    lesson: Lesson | None
    """None where the teachers have no say."""
    answers: tuple[Distribution, ...]
    """The student's distribution over the prototypes of each space on the teachers' view; none where nothing is
    distilled."""
    alignment: Alignment | None
    """None where the alignment has no weight."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """When a step is."""

    epoch: int = 0
    """Pass over the photographs, from 0; decides which of the teachers' remembered answers is meant."""
    step: int = 0
    """How many steps there were before."""
    again: bool = False
    """Whether the step was tried before and memory ran out, after the key encoder had moved."""


class _Encoders:
    """Encodes the views of one step as the plan says; by default none of them twice."""

    def __init__(
        self, learner: Learner, views: Views, plan: StepPlan, objective: Objective, *, moment: Moment, ranks: Ranks
    ) -> None:
        self._learner, self._views, self._plan = learner, views, plan
        self._moment, self._ranks = moment, ranks
        compared = objective.comparisons() if plan.forwards == "once" else ()
        self._passes = Counter(one.query for one in compared) + Counter(one.key for one in compared)
        self.queries: dict[ViewName, StudentOutput] = {}
        self._keys: dict[ViewName, Tensor] = {}

    def query(self, view: ViewName) -> StudentOutput:
        """Encode a view with gradients, for a contrastive term."""
        if view not in self.queries or self._plan.forwards == "reference":
            backbone = self._learner.student.backbone
            with self._autocast(), self._counted(view, backbone), self.statistics(backbone):
                self.queries[view] = self._learner.student(self._views[view])
        return self.queries[view]

    def latest_query(self, view: ViewName) -> StudentOutput:
        """Return a view as it was last encoded: distillation has no pass of its own, whatever the plan."""
        return self.queries[view] if view in self.queries else self.query(view)

    def key(self, view: ViewName) -> Tensor:
        """Encode a view without gradients; the key encoder moves first, if it moves with every forward."""
        if view not in self._keys or self._plan.forwards == "reference":
            if self._plan.key_update == "forward":
                update_key(self._learner.student, self._learner.key, momentum=self._plan.key_momentum)
            backbone = self._learner.key.backbone
            with self._autocast(), self._counted(view, backbone), self.statistics(backbone):
                shuffles = self._plan.key_bn == "shuffle" and not self._ranks.alone
                self._keys[view] = self._shuffled_key(view) if shuffles else self._learner.key(self._views[view])
        return self._keys[view]

    def _shuffled_key(self, view: ViewName) -> Tensor:
        """Encode rows drawn from the batch of all processes, and give each process the keys of its own back."""
        everyone = self._ranks.gather(self._views[view])
        generator = generator_for(self._plan.shuffle_seed, "shuffle", self._moment.step, VIEW_NAMES.index(view))
        order = torch.randperm(len(everyone), generator=generator).to(everyone.device)
        keys = self._ranks.gather(self._learner.key(self._ranks.mine(everyone[order])))
        return self._ranks.mine(keys[order.argsort()])

    def statistics(self, network: nn.Module) -> AbstractContextManager[object]:
        """Have BatchNorm go by the batch that the plan says, as far as it goes by any."""
        shared = self._plan.key_bn == "sync" and not self._ranks.alone and goes_by_batch(network)
        return SharedStatistics(self._ranks) if shared else nullcontext()

    def first_feature(self, view: ViewName) -> Tensor:
        """Encode a view as the backbone did before training, (B, F)."""
        with self._autocast():
            feature: Tensor = self._learner.first(self._views[view])
        return feature

    def teach(self, lessons: Lessons, objective: Objective, *, samples: Tensor | None) -> Lesson:
        """Ask the teachers what they make of their view, or recall what they made of the photographs."""
        embeddings = []
        for space in lessons.spaces:
            embedding = space.recall(samples, epoch=self._moment.epoch)
            if embedding is None:
                with torch.no_grad(), self._autocast():
                    embedding = space.teacher.encode_images(self._views[objective.teacher_view()])
            embeddings.append(embedding)
        return hear(embeddings, lessons, objective)

    def _counted(self, view: ViewName, backbone: nn.Module) -> AbstractContextManager[None]:
        """Make one pass leave the statistics of as many as the reference makes for the contrastive terms."""
        return standing_for(max(1, self._passes[view]), backbone)

    def _autocast(self) -> torch.autocast:
        device, dtype = next(iter(self._views.values())).device.type, self._plan.autocast_dtype
        return torch.autocast(device, dtype=dtype, enabled=dtype is not None)


def score_step(
    learner: Learner,
    views: Views,
    *,
    objective: Objective,
    plan: StepPlan,
    lessons: Lessons | None = None,
    samples: Tensor | None = None,
    moment: Moment | None = None,
    ranks: Ranks = ALONE,
) -> Scores:
    """Score one batch, or a process's share of it, by every term that has weight.

    What changes: the key encoder moves, and BatchNorm statistics with every forward. Queues change here only with the
    reference's key timing; otherwise :func:`remember` pushes ``pending`` once the step is done.

    Args:
        learner: Query encoder, key encoder and queues.
        views: The views that ``objective.views`` names, each (B, 3, S, S).
        objective: Which terms count, and how much.
        plan: The order of events.
        lessons: Teachers and prototypes; without them w_c is 1 and nothing is distilled.
        samples: Places of the photographs among those for training, (B,); needed where the teachers' answers are
            remembered.
        moment: When the step is; the very first when left out.
        ranks: The processes that share the batch, each as many rows, in their order.

    Raises:
        ValueError: The teachers' answers are remembered, and there are no samples.
    """
    moment = moment or Moment()
    encode = _Encoders(learner, views, plan, objective, moment=moment, ranks=ranks)
    if plan.key_update == "step" and not moment.again:
        update_key(learner.student, learner.key, momentum=plan.key_momentum)
    pairs, pending = _contrast(learner, encode, objective, plan, ranks=ranks)
    losses: dict[TermName, Tensor] = {
        term: info_nce(pair.query.embedding, pair.key, pair.negatives, temperature=objective.contrastive_temperature)
        for term, pair in pairs.items()
    }

    lesson: Lesson | None = None
    answers: tuple[Distribution, ...] = ()
    contrast_weight = distill_weight = torch.ones(len(next(iter(views.values()))), device=learner.device)
    if lessons is not None and objective.asks_teacher():
        lesson = encode.teach(lessons, objective, samples=samples)
        contrast_weight, distill_weight = adaptive_weights(
            lesson.entropy, contrast=objective.contrast_weighting, distill=objective.distill_weighting
        )
        if objective.uses("distillation"):
            answers, losses["distillation"] = _distil(encode, objective, lessons=lessons, lesson=lesson)

    alignment = None
    if objective.uses("alignment"):
        view = pairs["object_object"].query
        evidence = objective.alpha * (contrast_weight * losses["object_object"]).mean() / ranks.count
        with encode.statistics(learner.student.attention):
            alignment = _align(learner, view, evidence, ranks=ranks)
        losses["alignment"] = alignment_loss(alignment.cam, alignment.attention, form=objective.alignment_form)

    if objective.uses("structure"):
        losses["structure"] = _compare_structure(encode, objective, lesson=lesson, trust=distill_weight, ranks=ranks)

    return Scores(
        terms=LossTerms(
            losses=losses,
            contrast_weight=contrast_weight,
            distill_weight=distill_weight,
            classes=0 if lessons is None else lessons.classes,
        ),
        queries=encode.queries,
        pairs=pairs,
        pending=pending,
        lesson=lesson,
        answers=answers,
        alignment=alignment,
    )


def remember(
    learner: Learner, keys: Mapping[QueueName, Tensor], *, in_place: bool = True, ranks: Ranks = ALONE
) -> None:
    """Push the keys of a step, those of all processes, to their queues, so that later steps have them as negatives.

    Args:
        learner: Its queues change.
        keys: New keys by queue.
        in_place: Whether nothing that was scored against the queues is to be differentiated any more.
        ranks: The processes; each has a queue of its own, and all queues are the same.
    """
    for name, key in keys.items():
        learner.queue(name).push(ranks.gather(key), in_place=in_place)


def _contrast(
    learner: Learner, encode: _Encoders, objective: Objective, plan: StepPlan, *, ranks: Ranks
) -> tuple[dict[TermName, Pair], dict[QueueName, Tensor]]:
    """Encode what the contrastive terms compare, in the reference's order; return also the keys yet to be pushed."""
    pairs: dict[TermName, Pair] = {}
    keys: dict[QueueName, Tensor] = {}

    def compare(one: Comparison) -> None:
        query, key = encode.query(one.query), encode.key(one.key)
        pairs[one.term] = Pair(query=query, key=key, negatives=learner.queue(one.queue).snapshot())
        keys.setdefault(one.queue, key)

    for one in objective.comparisons():
        if one.term != "object_object":
            compare(one)
    pushed: set[QueueName] = set()
    if plan.key_timing == "reference":
        remember(learner, keys, in_place=False, ranks=ranks)
        pushed = set(keys)
    for one in objective.comparisons():
        if one.term == "object_object":
            compare(one)
    return pairs, {name: key for name, key in keys.items() if name not in pushed}


def _distil(
    encode: _Encoders, objective: Objective, *, lessons: Lessons, lesson: Lesson
) -> tuple[tuple[Distribution, ...], Tensor]:
    """Return the student's answers on the teachers' view, and how far all its answers are from theirs, (B,).

    In every space it is held to the same, their mixture, so that each projector learns what the other teachers know.
    """
    answers = {
        view: [
            space.distribution(embedding, objective)
            for space, embedding in zip(lessons.spaces, encode.latest_query(view).embeddings, strict=True)
        ]
        for view in objective.pupil_views()
    }
    divergences = [kl_divergence(lesson.distribution, one) for spaces in answers.values() for one in spaces]
    return tuple(answers[objective.teacher_view()]), torch.stack(divergences).mean(dim=0)


def _compare_structure(
    encode: _Encoders, objective: Objective, *, lesson: Lesson | None, trust: Tensor, ranks: Ranks
) -> Tensor:
    """Average over the encoded views how far each neighbourhood in the batch is from what it should be, (B,)."""
    temperature = objective.structure_temperature
    share = objective.structure_teacher * ranks.gather(trust)
    kept = []
    for view, seen in encode.queries.items():
        with torch.no_grad():
            target = neighbour_distribution(ranks.gather(encode.first_feature(view)), temperature=temperature)
            if lesson is not None and objective.structure_teacher > 0 and view == objective.teacher_view():
                everyone = [ranks.gather(one) for one in lesson.embeddings]
                taught = [neighbour_distribution(one, temperature=temperature) for one in everyone]
                target = mix_neighbours(target, mix(taught, ranks.gather(lesson.hearing.T).T), share=share)
        losses = structure_loss(gather_over(ranks, seen.feature), target, temperature=temperature)
        kept.append(ranks.mine(losses))
    return torch.stack(kept).mean(dim=0)


def _align(learner: Learner, seen: StudentOutput, evidence: Tensor, *, ranks: Ranks) -> Alignment:
    """Ask where the object term looks and where the attention head does.

    The term sees the map through its average alone, so that its gradient is the same at every position.
    """
    (gradient,) = torch.autograd.grad(evidence, seen.feature, retain_graph=True)
    height, width = seen.feature_map.shape[2:]
    return Alignment(
        gradient=(gradient / (height * width))[:, :, None, None].expand_as(seen.feature_map),
        cam=grad_cam(seen.feature_map, gradient),
        attention=_attend(learner.student, seen.feature_map, ranks),
    )


def _attend(student: Student, feature_map: Tensor, ranks: Ranks) -> Tensor:
    """Return the attention map; where it is scaled by the extremes of a batch, by those of all processes' rows."""
    if student.attention_scaling == "image":
        return student.attention_map(feature_map)
    return ranks.mine(scale_map(gather_over(ranks, student.attention(feature_map)), over="batch"))
