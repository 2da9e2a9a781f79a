"""A step with two teachers, each in a space of its own: against the definition, and against one teacher."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from leadpp.engine.lessons import Consensus, Lessons, Space, remember_answers
from leadpp.engine.step import Scores, StepPlan, score_step
from leadpp.errors import LeadppError
from leadpp.functional.objective import Objective, total
from leadpp.functional.randomness import generator_for
from leadpp.models.learner import Learner
from leadpp.models.student import Student
from tests.unit.tiny import CLASSES, WIDTH, TinyBackbone, TinyTeacher, tiny_prototypes, tiny_views

WIDER = 8
OBJECTIVE = Objective(distillation_temperature=0.5, distill_view="both", structure=1.0, structure_teacher=0.6)


class WiderTeacher(TinyTeacher):
    """Another teacher, with an embedding of another width."""

    embedding_dim = WIDER

    def __init__(self) -> None:
        self.weight = torch.randn(3, WIDER, generator=generator_for(13, "teacher"))

    def encode_images(self, images: Tensor) -> Tensor:
        return F.normalize(images.float().mean(dim=(2, 3)) @ self.weight, dim=1)


ONE = Space(teacher=TinyTeacher(), prototypes=tiny_prototypes())
OTHER = Space(
    teacher=WiderTeacher(),
    prototypes=F.normalize(torch.randn(CLASSES, WIDER, generator=generator_for(13, "prototypes")), dim=1),
    temperature=0.2,
)


def learner_of(*further: int) -> Learner:
    student = Student(
        TinyBackbone(),
        embedding_dim=WIDTH,
        further_dims=further,
        attention_channels=4,
        generator=generator_for(2, "student"),
    )
    learner = Learner(
        student, queues=OBJECTIVE.queues(), queue_size=8, generator=generator_for(2, "queues"), keep_first=True
    )
    return learner.train()


def scores_of(*spaces: Space, objective: Objective = OBJECTIVE, further: tuple[int, ...] = (WIDER,)) -> Scores:
    return score_step(learner_of(*further), tiny_views(), objective=objective, plan=StepPlan(), lessons=Lessons(spaces))


def answers_by_hand() -> tuple[list[Tensor], Tensor, Tensor]:
    """Both teachers' probabilities, how much each is heard, and their mixture."""
    picture = tiny_views()["object_1"]
    each = [
        (space.teacher.encode_images(picture) @ space.prototypes.T / temperature).softmax(dim=1)
        for space, temperature in ((ONE, 0.5), (OTHER, 0.2))
    ]
    told = torch.stack([1 - torch.special.entr(one).sum(dim=1) / math.log(CLASSES) for one in each])
    heard = told / told.sum(dim=0)
    return each, heard, heard[0, :, None] * each[0] + heard[1, :, None] * each[1]


def test_the_lesson_is_the_mixture_and_its_doubt_weighs() -> None:
    _, heard, mixture = answers_by_hand()
    scores = scores_of(ONE, OTHER)
    assert scores.lesson is not None
    torch.testing.assert_close(scores.lesson.hearing, heard)
    torch.testing.assert_close(scores.lesson.distribution.probs, mixture)
    entropy = torch.special.entr(mixture).sum(dim=1) / math.log(CLASSES)
    torch.testing.assert_close(scores.terms.contrast_weight, entropy**2)
    torch.testing.assert_close(scores.terms.distill_weight, 1 - entropy**2)
    assert scores.terms.classes == CLASSES


def test_the_student_is_held_to_the_mixture_in_every_space_and_view() -> None:
    _, _, mixture = answers_by_hand()
    scores = scores_of(ONE, OTHER)
    expected = torch.zeros(4)
    for view in ("object_1", "global_1"):
        for place, (space, temperature) in enumerate(((ONE, 0.5), (OTHER, 0.2))):
            own = scores.queries[view].embeddings[place] @ space.prototypes.T / temperature
            expected += F.kl_div(own.log_softmax(dim=1), mixture, reduction="none").sum(dim=1) / 4
    torch.testing.assert_close(scores.terms.losses["distillation"], expected)
    assert [one.probs.shape for one in scores.answers] == [(4, CLASSES), (4, CLASSES)]


def test_neighbourhoods_are_those_of_both_as_far_as_each_is_heard() -> None:
    _, heard, _ = answers_by_hand()
    scores = scores_of(ONE, OTHER)
    assert scores.lesson is not None
    picture = tiny_views()["object_1"]
    taught = [_neighbours(space.teacher.encode_images(picture)) for space in (ONE, OTHER)]
    mixed = heard[0, :, None] * taught[0] + heard[1, :, None] * taught[1]
    share = 0.6 * scores.terms.distill_weight[:, None]
    first = learner_of().first
    expected = torch.zeros(4)
    for view in ("global_1", "object_1"):
        kept = _neighbours(first(tiny_views()[view]))
        target = (1 - share) * kept + share * mixed if view == "object_1" else kept
        seen = _neighbours(scores.queries[view].feature)
        expected += (target * (target.log() - seen.log())).sum(dim=1) / 2
    torch.testing.assert_close(scores.terms.losses["structure"], expected, rtol=1e-3, atol=1e-6)


def _neighbours(feature: Tensor) -> Tensor:
    cosines = F.normalize(feature, dim=1) @ F.normalize(feature, dim=1).T / 0.1
    return torch.stack([torch.cat([row[:place], row[place + 1 :]]).softmax(dim=0) for place, row in enumerate(cosines)])


def test_contrast_is_in_the_first_space_alone() -> None:
    alone, both = scores_of(ONE, further=()), scores_of(ONE, OTHER)
    for term, pair in both.pairs.items():
        assert torch.equal(pair.query.embedding, alone.pairs[term].query.embedding)
        assert torch.equal(pair.key, alone.pairs[term].key)
        assert torch.equal(both.terms.losses[term], alone.terms.losses[term])


def test_every_projector_learns() -> None:
    learner = learner_of(WIDER)
    scores = score_step(learner, tiny_views(), objective=OBJECTIVE, plan=StepPlan(), lessons=Lessons((ONE, OTHER)))
    torch.autograd.backward(total(OBJECTIVE.reduce(scores.terms)))
    for name, weight in learner.student.named_parameters():
        assert weight.grad is not None, name
        assert name.startswith("attention") or weight.grad.abs().max() > 0, name


def test_the_same_teacher_twice_teaches_as_it_does_alone() -> None:
    alone, twice = scores_of(ONE, further=()), scores_of(ONE, ONE, further=(WIDTH,))
    assert alone.lesson is not None
    assert twice.lesson is not None
    torch.testing.assert_close(twice.lesson.distribution.probs, alone.lesson.distribution.probs)
    torch.testing.assert_close(twice.terms.contrast_weight, alone.terms.contrast_weight)
    torch.testing.assert_close(twice.terms.losses["structure"], alone.terms.losses["structure"])


PHOTOGRAPHS = torch.randint(0, 256, (7, 3, 8, 8), generator=generator_for(5, "photographs"), dtype=torch.uint8)


def batches() -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(PHOTOGRAPHS), 3):
        yield {"image": PHOTOGRAPHS[start : start + 3]}


@pytest.mark.parametrize("consensus", [Consensus(), Consensus(neighbours=2, balance=0.5)])
def test_answers_are_remembered_compared_and_balanced_in_each_space_by_itself(consensus: Consensus) -> None:
    def remember(*spaces: Space) -> tuple[Space, ...]:
        return remember_answers(
            Lessons(spaces), batches(), device=torch.device("cpu"), consensus=consensus, temperature=0.5
        ).spaces

    together, apart = remember(ONE, OTHER), (*remember(ONE), *remember(replace(OTHER, temperature=0.2)))
    for one, alone in zip(together, apart, strict=True):
        assert one.remembered is not None
        assert alone.remembered is not None
        assert torch.equal(one.remembered, alone.remembered)
        assert (one.offsets is None) == (consensus.balance == 0)
        if one.offsets is not None and alone.offsets is not None:
            assert torch.equal(one.offsets, alone.offsets)
    colder = remember(ONE, replace(OTHER, temperature=0.05))
    if consensus.balance > 0:
        assert colder[1].offsets is not None
        assert together[1].offsets is not None
        assert not torch.allclose(colder[1].offsets, together[1].offsets)


def test_remembered_answers_of_both_are_recalled() -> None:
    remembered = remember_answers(
        Lessons((ONE, OTHER)), batches(), device=torch.device("cpu"), consensus=Consensus(), temperature=0.5
    )
    samples = torch.tensor([6, 1, 4, 0])
    scores = score_step(
        learner_of(WIDER), tiny_views(), objective=OBJECTIVE, plan=StepPlan(), lessons=remembered, samples=samples
    )
    assert scores.lesson is not None
    for space, rows in zip((ONE, OTHER), scores.lesson.embeddings, strict=True):
        torch.testing.assert_close(rows, space.teacher.encode_images(PHOTOGRAPHS)[samples])


class BrokenTeacher(WiderTeacher):
    """Has no answers."""

    def encode_images(self, images: Tensor) -> Tensor:
        return torch.full((len(images), WIDER), torch.nan)


def test_the_teacher_whose_answers_are_no_numbers_is_named() -> None:
    lessons = Lessons((ONE, replace(OTHER, teacher=BrokenTeacher())))
    with pytest.raises(LeadppError, match="teacher 2's answer to 7 of 7 photographs is NaN"):
        remember_answers(lessons, batches(), device=torch.device("cpu"), consensus=Consensus(), temperature=0.5)
