import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.engine.lessons import Lessons, Space
from leadpp.engine.step import StepPlan, remember, score_step
from leadpp.functional.contrastive import info_nce
from leadpp.functional.objective import Objective, QueueName, TermName, ViewName, total
from leadpp.functional.randomness import generator_for
from leadpp.models.learner import Learner
from tests.oracles import losses as oracle
from tests.unit.tiny import CLASSES, WIDTH, TinyTeacher, tiny_learner, tiny_prototypes, tiny_views

FULL = Objective(distillation_temperature=0.5)
REFERENCE = StepPlan(forwards="reference", key_update="forward", key_timing="reference", key_momentum=0.9)
SPACE = Space(teacher=TinyTeacher(), prototypes=tiny_prototypes())
LESSONS = Lessons((SPACE,))


def learner_of(objective: Objective = FULL) -> Learner:
    """Return a learner whose key encoder has already fallen behind."""
    learner = tiny_learner(objective).train()
    with torch.no_grad():
        for weight in learner.student.parameters():
            weight.add_(0.05)
    return learner


class Counter:
    """Counts how often an encoder runs, and on which pictures."""

    def __init__(self, encoder: nn.Module, views: dict[ViewName, Tensor]) -> None:
        self.seen: list[ViewName] = []
        self._views = views
        encoder.register_forward_pre_hook(self._count)

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        del module
        self.seen += [name for name, view in self._views.items() if view is inputs[0]]


@pytest.mark.parametrize(
    ("plan", "queries", "keys"),
    [
        (StepPlan(), ["global_1", "object_1"], ["global_2", "object_2"]),
        (REFERENCE, ["global_1", "global_1", "object_1"], ["global_2", "object_2", "object_2"]),
    ],
)
def test_forwards(plan: StepPlan, queries: list[ViewName], keys: list[ViewName]) -> None:
    learner, views = learner_of(), tiny_views()
    counts = [Counter(encoder, views) for encoder in (learner.student, learner.key)]
    score_step(learner, views, objective=FULL, plan=plan, lessons=LESSONS)
    assert [count.seen for count in counts] == [queries, keys]


@pytest.mark.parametrize(
    ("plan", "moves"),
    [
        (StepPlan(key_momentum=0.9), 1),
        (StepPlan(key_momentum=0.9, forwards="reference"), 1),
        (StepPlan(key_momentum=0.9, key_update="forward"), 2),
        (REFERENCE, 3),
    ],
)
def test_the_key_encoder_moves(plan: StepPlan, moves: int) -> None:
    learner = learner_of()
    before = copy.deepcopy(learner.key)
    score_step(learner, tiny_views(), objective=FULL, plan=plan, lessons=LESSONS)
    for name, weight in learner.key.named_parameters():
        kept = 0.9**moves
        expected = kept * before.get_parameter(name) + (1 - kept) * learner.student.get_parameter(name)
        torch.testing.assert_close(weight, expected)


def test_keys_are_made_by_the_moved_encoder() -> None:
    learner, views = learner_of(), tiny_views()
    scores = score_step(learner, views, objective=FULL, plan=StepPlan(key_momentum=0.5), lessons=LESSONS)
    torch.testing.assert_close(learner.key(views["object_2"]), scores.pairs["object_object"].key)


def test_default_scores_first_and_pushes_afterwards() -> None:
    learner = learner_of()
    before = {name: learner.queue(name).snapshot().clone() for name in FULL.queues()}
    scores = score_step(learner, tiny_views(), objective=FULL, plan=StepPlan(), lessons=LESSONS)
    for term, pair in scores.pairs.items():
        name: QueueName = "global" if term == "global_global" else "object"
        assert torch.equal(pair.negatives, before[name]), term
    assert all(queue.fill == 0 for queue in (learner.queue("global"), learner.queue("object")))
    remember(learner, scores.pending)
    assert torch.equal(learner.queue("global").snapshot()[:4], scores.pairs["global_global"].key)
    assert torch.equal(learner.queue("object").snapshot()[:4], scores.pairs["global_object"].key)
    assert [learner.queue(name).fill for name in FULL.queues()] == [4, 4]


def test_reference_finds_positives_among_the_negatives() -> None:
    learner = learner_of()
    scores = score_step(learner, tiny_views(), objective=FULL, plan=REFERENCE, lessons=LESSONS)
    stored = scores.pairs["global_object"].key
    assert torch.equal(scores.pairs["object_object"].negatives[:4], stored)
    assert not torch.equal(scores.pairs["global_object"].negatives[:4], stored)
    assert not scores.pending
    assert [learner.queue(name).fill for name in FULL.queues()] == [4, 4]


def test_the_third_term_stores_nothing_where_it_encodes_anew() -> None:
    plan = replace(REFERENCE, key_timing="after-step")
    scores = score_step(learner_of(), tiny_views(), objective=FULL, plan=plan, lessons=LESSONS)
    assert torch.equal(scores.pending["object"], scores.pairs["global_object"].key)
    assert not torch.equal(scores.pending["object"], scores.pairs["object_object"].key)


def test_object_keys_are_remembered_without_a_global_object_term() -> None:
    objective = replace(FULL, global_object=0)
    for timing in ("after-step", "reference"):
        learner = learner_of(objective)
        plan = replace(StepPlan(), key_timing=timing)
        scores = score_step(learner, tiny_views(), objective=objective, plan=plan, lessons=LESSONS)
        remember(learner, scores.pending)
        assert learner.queue("object").fill == 4


def test_encoding_once_changes_no_gradient() -> None:
    """Where keys move once a step and are pushed after it, once and twice encoded views are the same thing."""
    gradients = []
    for forwards in ("once", "reference"):
        learner = learner_of()
        plan = replace(StepPlan(), forwards=forwards)
        scores = score_step(learner, tiny_views(), objective=FULL, plan=plan, lessons=LESSONS)
        torch.autograd.backward(total(FULL.reduce(scores.terms)))
        gradients.append([weight.grad for weight in learner.student.parameters()])
    for once, twice in zip(*gradients, strict=True):
        torch.testing.assert_close(once, twice, rtol=1e-4, atol=1e-6)


def test_without_a_teacher_contrast_counts_fully() -> None:
    scores = score_step(learner_of(), tiny_views(), objective=FULL, plan=StepPlan())
    assert scores.terms.contrast_weight.tolist() == [1.0] * 4
    assert set(scores.terms.losses) == {"global_global", "global_object", "object_object", "alignment"}
    assert (scores.lesson, scores.answers, scores.terms.classes) == (None, (), 0)


def test_the_teacher_weighs_and_teaches() -> None:
    scores = score_step(learner_of(), tiny_views(), objective=FULL, plan=StepPlan(), lessons=LESSONS)
    assert scores.lesson is not None
    torch.testing.assert_close(scores.lesson.embeddings[0], SPACE.teacher.encode_images(tiny_views()["object_1"]))
    torch.testing.assert_close(scores.terms.contrast_weight, scores.lesson.entropy**2)
    torch.testing.assert_close(scores.terms.contrast_weight + scores.terms.distill_weight, torch.ones(4))
    cosines = scores.pairs["object_object"].query.embedding @ SPACE.prototypes.T
    torch.testing.assert_close(scores.answers[0].probs, (cosines / 0.5).softmax(dim=1))
    assert scores.terms.classes == CLASSES


def test_the_students_whole_view_is_held_to_what_the_teacher_sees_in_the_object() -> None:
    both = replace(FULL, distill_view="both")
    scores = score_step(learner_of(), tiny_views(), objective=both, plan=StepPlan(), lessons=LESSONS)
    seen = (SPACE.teacher.encode_images(tiny_views()["object_1"]) @ SPACE.prototypes.T / 0.5).softmax(dim=1)
    expected = torch.zeros(4)
    for view in ("object_1", "global_1"):
        answer = (scores.queries[view].embedding @ SPACE.prototypes.T / 0.5).log_softmax(dim=1)
        expected += F.kl_div(answer, seen, reduction="none").sum(dim=1) / 2
    torch.testing.assert_close(scores.terms.losses["distillation"], expected)
    cosines = scores.queries["object_1"].embedding @ SPACE.prototypes.T
    torch.testing.assert_close(scores.answers[0].probs, (cosines / 0.5).softmax(dim=1))


class MuteTeacher(TinyTeacher):
    """A teacher that must not be asked."""

    def encode_images(self, images: Tensor) -> Tensor:
        raise AssertionError("the teacher was asked")


def test_remembered_answers_are_those_of_the_samples() -> None:
    answers = F.normalize(torch.randn(9, WIDTH, generator=generator_for(3, "answers")), dim=1)
    lessons = Lessons((replace(SPACE, teacher=MuteTeacher(), remembered=answers[:, None]),))
    samples = torch.tensor([8, 2, 5, 0])
    scores = score_step(learner_of(), tiny_views(), objective=FULL, plan=StepPlan(), lessons=lessons, samples=samples)
    assert scores.lesson is not None
    assert torch.equal(scores.lesson.embeddings[0], torch.stack([answers[8], answers[2], answers[5], answers[0]]))
    with pytest.raises(ValueError, match="samples must say"):
        score_step(learner_of(), tiny_views(), objective=FULL, plan=StepPlan(), lessons=lessons)


class LearningTeacher(TinyTeacher):
    """A teacher of one's own that keeps a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.weight.requires_grad_()


def test_no_teacher_learns() -> None:
    teacher = LearningTeacher()
    lessons = Lessons((Space(teacher=teacher, prototypes=tiny_prototypes()),))
    scores = score_step(learner_of(), tiny_views(), objective=FULL, plan=StepPlan(), lessons=lessons)
    assert scores.lesson is not None
    assert not scores.lesson.embeddings[0].requires_grad
    assert not scores.terms.contrast_weight.requires_grad
    torch.autograd.backward(total(FULL.reduce(scores.terms)))
    assert teacher.weight.grad is None


def test_distilling_on_whole_views() -> None:
    objective = Objective(global_object=0, object_object=0, alignment=0, distill_view="global")
    views = tiny_views()
    learner = learner_of(objective)
    counter = Counter(learner.student, views)
    wanted = {name: views[name] for name in objective.views(taught=True)}
    scores = score_step(learner, wanted, objective=objective, plan=REFERENCE, lessons=LESSONS)
    assert counter.seen == ["global_1"]
    assert scores.lesson is not None
    torch.testing.assert_close(scores.lesson.embeddings[0], SPACE.teacher.encode_images(views["global_1"]))


def test_distillation_alone_needs_one_view_and_no_queue() -> None:
    objective = Objective(alpha=0)
    learner = learner_of(objective)
    only: dict[ViewName, Tensor] = {"object_1": tiny_views()["object_1"]}
    scores = score_step(learner, only, objective=objective, plan=StepPlan(), lessons=LESSONS)
    assert set(scores.terms.losses) == {"distillation"}
    assert list(scores.queries) == ["object_1"]
    assert not scores.pending


@pytest.mark.parametrize("term", ["global_global", "object_object"])
def test_losses_belong_to_their_samples(term: TermName) -> None:
    scores = score_step(learner_of(), tiny_views(), objective=FULL, plan=StepPlan(), lessons=LESSONS)
    pair = scores.pairs[term]
    alone = info_nce(pair.query.embedding[[2]], pair.key[[2]], pair.negatives, temperature=0.27)
    torch.testing.assert_close(scores.terms.losses[term][[2]], alone)


def test_gradient_inside_grad_cam_is_a_constant() -> None:
    """It is the derivative of the weighed object term with respect to the map, and nothing flows through it."""
    learner = learner_of()
    scores = score_step(learner, tiny_views(), objective=FULL, plan=StepPlan(), lessons=LESSONS)
    assert scores.alignment is not None
    feature_map = scores.queries["object_1"].feature_map
    evidence = FULL.reduce(scores.terms)["object_object"]
    (expected,) = torch.autograd.grad(evidence, feature_map, retain_graph=True)
    torch.testing.assert_close(scores.alignment.gradient, expected)
    assert not scores.alignment.gradient.requires_grad
    torch.testing.assert_close(scores.alignment.cam, (feature_map * expected).sum(dim=1).clamp(min=0))


def test_half_precision_of_the_encoders_only() -> None:
    learner = learner_of()
    seen: list[torch.dtype] = []
    projected: list[torch.dtype] = []
    for encoder in (learner.student, learner.key):
        # The convolution, because BatchNorm and all after it keep the precision that they are given.
        encoder.get_submodule("backbone.conv").register_forward_hook(
            lambda module, inputs, output: seen.append(output.dtype)
        )
        encoder.projector.register_forward_hook(lambda module, inputs, output: projected.append(output.dtype))
    plan = StepPlan(autocast_dtype=torch.bfloat16)
    scores = score_step(learner, tiny_views(), objective=FULL, plan=plan, lessons=LESSONS)
    assert seen == [torch.bfloat16] * 4
    assert projected == [torch.float32] * 4
    assert scores.pairs["global_global"].key.dtype == torch.float32
    assert {loss.dtype for loss in scores.terms.losses.values()} == {torch.float32}
    exact = score_step(learner_of(), tiny_views(), objective=FULL, plan=StepPlan(), lessons=LESSONS)
    torch.testing.assert_close(
        scores.terms.losses["global_global"], exact.terms.losses["global_global"], rtol=0.05, atol=0.05
    )


def test_structure_is_kept_in_every_view_that_is_encoded() -> None:
    objective = replace(FULL, structure=2.0, structure_temperature=0.3)
    learner, views = learner_of(objective), tiny_views()
    first = tiny_learner(objective).student.backbone.eval()  # as it was before the learner's was moved
    scores = score_step(learner.train(), views, objective=objective, plan=StepPlan(), lessons=LESSONS)
    expected = []
    for name in ("global_1", "object_1"):
        seen = first(views[name]).mean(dim=(2, 3))
        expected.append(oracle.structure(scores.queries[name].feature.tolist(), seen.tolist(), 0.3))
    means = [sum(pair) / 2 for pair in zip(*expected, strict=True)]
    assert scores.terms.losses["structure"].tolist() == pytest.approx(means, rel=1e-3)
    assert objective.reduce(scores.terms)["structure"].item() == pytest.approx(2 * sum(means) / 4, rel=1e-3)
    assert not learner.first.training
    before = dict(first.named_buffers())
    for name, statistics in learner.first.backbone.named_buffers():
        assert torch.equal(statistics, before[name]), name


def test_the_teacher_says_as_much_about_neighbourhoods_of_its_view_as_it_is_sure() -> None:
    objective = replace(FULL, structure=1.0, structure_temperature=0.3, structure_teacher=0.6)
    learner, views = learner_of(objective), tiny_views()
    first = tiny_learner(objective).student.backbone.eval()
    scores = score_step(learner, views, objective=objective, plan=StepPlan(), lessons=LESSONS)
    taught = _neighbours(SPACE.teacher.encode_images(views["object_1"]))
    share = 0.6 * (1 - scores.lesson.entropy[:, None] ** 2) if scores.lesson is not None else torch.zeros(())
    expected = torch.zeros(4)
    for name in ("global_1", "object_1"):
        kept = _neighbours(first(views[name]).mean(dim=(2, 3)).detach())
        if name == "object_1":  # the view that the teacher saw
            kept = (1 - share) * kept + share * taught
        seen = _neighbours(scores.queries[name].feature)
        expected += (kept * (kept.log() - seen.log())).sum(dim=1) / 2
    torch.testing.assert_close(scores.terms.losses["structure"], expected, rtol=1e-3, atol=1e-6)


def _neighbours(feature: Tensor) -> Tensor:
    unit = F.normalize(feature, dim=1)
    cosines = unit @ unit.T / 0.3
    return torch.stack([torch.cat([row[:place], row[place + 1 :]]).softmax(dim=0) for place, row in enumerate(cosines)])


def test_structure_needs_no_view_of_its_own() -> None:
    objective = Objective(alpha=0, structure=1.0)
    learner = learner_of(objective)
    only: dict[ViewName, Tensor] = {"object_1": tiny_views()["object_1"]}
    scores = score_step(learner, only, objective=objective, plan=StepPlan(), lessons=LESSONS)
    assert set(scores.terms.losses) == {"distillation", "structure"}
