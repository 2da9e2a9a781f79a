from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from leadpp.engine.lessons import Consensus, Lessons, Space, remember_answers
from leadpp.engine.step import Moment, StepPlan, score_step
from leadpp.errors import LeadppError
from leadpp.functional.objective import Objective
from leadpp.functional.randomness import generator_for
from tests.unit.tiny import TinyTeacher, tiny_learner, tiny_prototypes, tiny_views

SPACE = Space(teacher=TinyTeacher(), prototypes=tiny_prototypes())
LESSONS = Lessons((SPACE,))
PHOTOGRAPHS = torch.randint(0, 256, (7, 3, 8, 8), generator=generator_for(5, "photographs"), dtype=torch.uint8)


def batches() -> Iterator[dict[str, Tensor]]:
    for start in range(0, len(PHOTOGRAPHS), 3):
        yield {"image": PHOTOGRAPHS[start : start + 3]}


def remember(consensus: Consensus, *, temperature: float = 0.5) -> Space:
    (space,) = remember_answers(
        LESSONS, batches(), device=torch.device("cpu"), consensus=consensus, temperature=temperature
    ).spaces
    return space


def test_answers_are_kept_in_the_order_of_the_photographs() -> None:
    found = remember(Consensus())
    assert found.remembered is not None
    torch.testing.assert_close(found.remembered[:, 0], SPACE.teacher.encode_images(PHOTOGRAPHS))
    assert found.offsets is None


def test_neighbours_are_the_photographs_whose_answers_are_most_alike() -> None:
    found = remember(Consensus(neighbours=2))
    assert found.remembered is not None
    raw = SPACE.teacher.encode_images(PHOTOGRAPHS)
    for row, answer in enumerate(raw):
        others = [place for place in range(len(raw)) if place != row]
        near = sorted(others, key=lambda place: -float(answer @ raw[place]))[:2]
        cosines = torch.stack([answer @ raw[place] for place in near])
        mean = ((cosines / 0.1).softmax(dim=0)[:, None] * raw[near]).sum(dim=0)
        torch.testing.assert_close(found.remembered[row, 0], F.normalize(answer + mean, dim=0))


def test_more_neighbours_than_there_are_means_all() -> None:
    many, all_others = remember(Consensus(neighbours=99)), remember(Consensus(neighbours=6))
    assert many.remembered is not None
    assert all_others.remembered is not None
    torch.testing.assert_close(many.remembered, all_others.remembered)


def test_half_a_balance_takes_half_the_offsets() -> None:
    whole, half = remember(Consensus(balance=1.0)), remember(Consensus(balance=0.5))
    assert whole.offsets is not None
    assert half.offsets is not None
    torch.testing.assert_close(half.offsets, whole.offsets / 2)
    answers = SPACE.teacher.encode_images(PHOTOGRAPHS)
    balanced = (answers @ SPACE.prototypes.T / 0.5 - whole.offsets).softmax(dim=1).mean(dim=0)
    torch.testing.assert_close(balanced, torch.full_like(balanced, 1 / len(balanced)), rtol=2e-3, atol=0)


def test_offsets_are_taken_from_the_teacher_and_not_from_the_student() -> None:
    objective = Objective(distillation_temperature=0.5)
    offsets = torch.tensor([2.0, -1.0, -1.0])
    lessons = Lessons((replace(SPACE, offsets=offsets),))
    scores = score_step(
        tiny_learner(objective).train(), tiny_views(), objective=objective, plan=StepPlan(), lessons=lessons
    )
    assert scores.lesson is not None
    seen = SPACE.teacher.encode_images(tiny_views()["object_1"]) @ SPACE.prototypes.T / 0.5
    torch.testing.assert_close(scores.lesson.distribution.probs, (seen - offsets).softmax(dim=1))
    own = scores.queries["object_1"].embedding @ SPACE.prototypes.T / 0.5
    torch.testing.assert_close(scores.answers[0].probs, own.softmax(dim=1))


class BrokenTeacher(TinyTeacher):
    """Has no answer to the first photograph of a batch."""

    def encode_images(self, images: Tensor) -> Tensor:
        answers = super().encode_images(images)
        answers[0] = torch.nan
        return answers


def test_answers_that_are_no_numbers_are_the_teachers_fault() -> None:
    lessons = Lessons((replace(SPACE, teacher=BrokenTeacher()),))
    with pytest.raises(LeadppError, match="the teacher's answer to 3 of 7 photographs is NaN"):
        remember_answers(
            lessons, batches(), device=torch.device("cpu"), consensus=Consensus(neighbours=2), temperature=0.5
        )


def test_draws_are_kept_by_photograph_and_taught_in_turn() -> None:
    draws = [PHOTOGRAPHS, PHOTOGRAPHS.flip(3), 255 - PHOTOGRAPHS // 2]
    shown = [{"image": draw[start : start + 3]} for draw in draws for start in range(0, len(PHOTOGRAPHS), 3)]
    lessons = remember_answers(
        LESSONS, shown, device=torch.device("cpu"), consensus=Consensus(), temperature=0.5, draws=3
    )
    (found,) = lessons.spaces
    assert found.remembered is not None
    objective = Objective(distillation_temperature=0.5)
    samples = torch.tensor([6, 1, 4, 0])
    for epoch in range(5):
        answers = SPACE.teacher.encode_images(draws[epoch % 3])
        torch.testing.assert_close(found.remembered[:, epoch % 3], answers)
        scores = score_step(
            tiny_learner(objective).train(), tiny_views(), objective=objective, plan=StepPlan(), lessons=lessons,
            samples=samples, moment=Moment(epoch=epoch),
        )  # fmt: skip
        assert scores.lesson is not None
        torch.testing.assert_close(scores.lesson.embeddings[0], answers[samples])
