import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from leadpp.functional.distillation import Distribution, kl_divergence, normalized_entropy, prototype_distribution
from leadpp.functional.mixture import hearing, mix, mix_answers
from leadpp.functional.randomness import generator_for


def distribution(logits: Tensor) -> Distribution:
    log_probs = logits.log_softmax(dim=1)
    return Distribution(log_probs.exp(), log_probs)


def drawn(rows: int, classes: int, *, place: int, scale: float = 2.0) -> Distribution:
    logits = scale * torch.randn(rows, classes, generator=generator_for(53, "test", place), dtype=torch.float64)
    return distribution(logits)


def slow_mixture(rows: list[list[float]]) -> list[float]:
    """Mix what several teachers say of one sample, number by number."""
    told = [1 + sum(p * math.log(p) for p in row if p > 0) / math.log(len(row)) for row in rows]
    return [sum(t / sum(told) * row[place] for t, row in zip(told, rows, strict=True)) for place in range(len(rows[0]))]


@pytest.mark.parametrize("teachers", [2, 3, 5])
@pytest.mark.parametrize("classes", [2, 7])
def test_definition(teachers: int, classes: int) -> None:
    answers = [drawn(4, classes, place=place) for place in range(teachers)]
    found = mix_answers(answers)
    for row in range(4):
        expected = slow_mixture([answer.probs[row].tolist() for answer in answers])
        assert found.probs[row].tolist() == pytest.approx(expected, rel=1e-12)
        assert found.log_probs[row].tolist() == pytest.approx([math.log(p) for p in expected], rel=1e-12)
    torch.testing.assert_close(found.probs.sum(dim=1), torch.ones(4, dtype=torch.float64))


def test_one_teacher_is_heard_to_the_last_bit() -> None:
    alone = prototype_distribution(torch.randn(3, 4), torch.randn(5, 4), temperature=0.02)
    assert mix_answers([alone]) is alone
    assert mix([alone], torch.ones(1, 3)) is alone


def test_the_order_of_the_teachers_is_no_matter() -> None:
    answers = [drawn(6, 5, place=place) for place in range(3)]
    expected = mix_answers(answers)
    for order in permutations(answers):
        torch.testing.assert_close(mix_answers(order).log_probs, expected.log_probs)


def test_teachers_who_say_the_same_say_it_together() -> None:
    answer = drawn(6, 5, place=7)
    torch.testing.assert_close(mix_answers([answer] * 4).log_probs, answer.log_probs)


def test_the_mixture_lies_between_the_answers() -> None:
    answers = [drawn(20, 5, place=place) for place in range(3)]
    probs = torch.stack([answer.probs for answer in answers])
    found = mix_answers(answers).probs
    assert (found >= probs.amin(dim=0) - 1e-12).all()
    assert (found <= probs.amax(dim=0) + 1e-12).all()


def test_a_teacher_to_whom_all_is_alike_has_no_say_beside_one_that_sees() -> None:
    sees, shrugs = drawn(6, 5, place=9), distribution(torch.zeros(6, 5, dtype=torch.float64))
    torch.testing.assert_close(mix_answers([sees, shrugs]).log_probs, sees.log_probs)
    torch.testing.assert_close(mix_answers([shrugs, sees, shrugs]).log_probs, sees.log_probs)


def test_where_no_teacher_knows_all_count_the_same() -> None:
    nothing = Distribution(torch.full((3, 4), 0.25), torch.full((3, 4), 0.25).log())
    assert hearing([nothing, nothing]).tolist() == [[0.5] * 3] * 2
    assert normalized_entropy(mix_answers([nothing, nothing])).tolist() == [1.0] * 3


def test_the_surer_teacher_is_heard_more_and_each_sample_by_itself() -> None:
    answers = [drawn(40, 5, place=place, scale=scale) for place, scale in ((1, 0.5), (2, 4.0))]
    weights = hearing(answers)
    surer = normalized_entropy(answers[1]) < normalized_entropy(answers[0])
    assert torch.equal(weights[1] > weights[0], surer)
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(40, dtype=torch.float64))
    rows = torch.tensor([11, 3])
    few = [Distribution(answer.probs[rows], answer.log_probs[rows]) for answer in answers]
    torch.testing.assert_close(hearing(few), weights[:, rows])


def test_two_sure_teachers_who_disagree_leave_doubt() -> None:
    """Half for each, whose entropy is log 2: the student then trusts contrast more."""
    one, other = (distribution(torch.tensor(row)[None]) for row in ([90.0, 0, 0, 0], [0, 90.0, 0, 0]))
    found = mix_answers([one, other])
    assert found.probs[0].tolist() == pytest.approx([0.5, 0.5, 0, 0], abs=1e-6)
    assert normalized_entropy(found).item() == pytest.approx(math.log(2) / math.log(4))


def test_extremes_are_finite() -> None:
    """Single precision, classes that one teacher gives no chance at all, and logarithms where exp underflows."""
    sure = distribution(torch.tensor([[300.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
    other = distribution(torch.tensor([[0.0, 300.0, 0.0], [300.0, 0.0, 0.0]]))
    found = mix_answers([sure, other])
    assert torch.isfinite(found.log_probs).all()
    pupil = distribution(torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
    assert torch.isfinite(kl_divergence(found, pupil)).all()


def test_the_references_logarithm_may_be_minus_infinity() -> None:
    probs = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    found = mix_answers([Distribution(probs, probs.log())] * 2, form="softmax-log")
    torch.testing.assert_close(found.probs, probs)


def test_one_class_has_no_doubt_to_weigh() -> None:
    sure = Distribution(torch.ones(2, 1), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="1 class"):
        mix_answers([sure, sure])
