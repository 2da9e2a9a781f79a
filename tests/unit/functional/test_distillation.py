import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from leadpp.functional.distillation import (
    Distribution,
    LogForm,
    Weighting,
    adaptive_weights,
    kl_divergence,
    normalized_entropy,
    prototype_distribution,
)
from leadpp.functional.randomness import generator_for
from tests.oracles import losses as oracle

FORMS: tuple[LogForm, ...] = ("log-softmax", "softmax-log")


def unit_rows(rows: int, columns: int, *, place: int) -> Tensor:
    drawn = torch.randn(rows, columns, generator=generator_for(6, "test", place), dtype=torch.float64)
    return F.normalize(drawn, dim=1)


TEACHER, STUDENT, PROTOTYPES = unit_rows(4, 6, place=0), unit_rows(4, 6, place=1), unit_rows(7, 6, place=2)


def distribution_of(probs: list[list[float]]) -> Distribution:
    rows = torch.tensor(probs, dtype=torch.float64)
    return Distribution(rows, rows.log().clamp(min=-1e4))


@pytest.mark.parametrize("form", FORMS)
def test_definitions(form: LogForm) -> None:
    seen = prototype_distribution(TEACHER, PROTOTYPES, temperature=0.2, form=form)
    answer = prototype_distribution(STUDENT, PROTOTYPES, temperature=0.2, form=form)
    slow_seen, slow_answer = (
        [oracle.distribution(row, PROTOTYPES.tolist(), 0.2) for row in rows.tolist()] for rows in (TEACHER, STUDENT)
    )
    entropy = [oracle.normalized_entropy(row) for row in slow_seen]
    divergence = [oracle.kl_divergence(t, s) for t, s in zip(slow_seen, slow_answer, strict=True)]
    for row, expected in zip(seen.probs.tolist(), slow_seen, strict=True):
        assert row == pytest.approx(expected, rel=1e-12)
    assert normalized_entropy(seen, form=form).tolist() == pytest.approx(entropy, abs=1e-9)
    assert kl_divergence(seen, answer).tolist() == pytest.approx(divergence, rel=1e-9)


def test_logarithms_belong_to_the_probabilities() -> None:
    for form in FORMS:
        seen = prototype_distribution(TEACHER, PROTOTYPES, temperature=0.2, form=form)
        torch.testing.assert_close(seen.log_probs.exp(), seen.probs)


def test_entropy_from_sure_to_at_a_loss() -> None:
    rows = distribution_of([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]])
    for form in FORMS:
        assert normalized_entropy(rows, form=form).tolist() == pytest.approx([0.0, 0.5, 1.0], abs=1e-9)


def test_the_reference_keeps_its_epsilon() -> None:
    rows = distribution_of([[1e-10, 1 - 1e-10]])
    expected = -(1e-10 * math.log(2e-10) + (1 - 1e-10) * math.log(1.0)) / math.log(2)
    assert normalized_entropy(rows, form="softmax-log").item() == pytest.approx(expected, rel=1e-6)
    assert normalized_entropy(rows).item() > 1.01 * expected


def test_one_class_has_no_scale() -> None:
    with pytest.raises(ValueError, match="1 class has no scale"):
        normalized_entropy(distribution_of([[1.0]]))


def test_the_largest_cosine_gap_is_finite() -> None:
    """A gap of 2 at temperature 0.02 is 100 nats: float32 probabilities underflow, their stable logarithms do not."""
    ends = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    seen = prototype_distribution(ends, ends, temperature=0.02)
    answer = prototype_distribution(ends.flip(0).requires_grad_(), ends, temperature=0.02)
    divergence = kl_divergence(seen, answer)
    assert divergence.tolist() == pytest.approx([100.0, 100.0], rel=1e-6)
    assert normalized_entropy(seen).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_where_the_references_logarithm_ends() -> None:
    ends = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    seen = prototype_distribution(ends, ends, temperature=0.005, form="softmax-log")
    assert seen.log_probs[0, 1].item() == -math.inf
    assert prototype_distribution(ends, ends, temperature=0.005).log_probs[0, 1].item() == pytest.approx(-400)


@pytest.mark.parametrize("form", FORMS)
def test_gradients(form: LogForm) -> None:
    def loss(student: Tensor, prototypes: Tensor) -> Tensor:
        answer = prototype_distribution(student, prototypes, temperature=0.3, form=form)
        return kl_divergence(prototype_distribution(TEACHER, PROTOTYPES, temperature=0.3), answer)

    def doubt(student: Tensor, prototypes: Tensor) -> Tensor:
        return normalized_entropy(prototype_distribution(student, prototypes, temperature=0.3, form=form), form=form)

    inputs = (STUDENT.clone().requires_grad_(), PROTOTYPES.clone().requires_grad_())
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradcheck(doubt, inputs)


def test_divergence_laws() -> None:
    seen = prototype_distribution(TEACHER, PROTOTYPES, temperature=0.2)
    answer = prototype_distribution(STUDENT, PROTOTYPES, temperature=0.2)
    assert kl_divergence(seen, seen).abs().max().item() < 1e-15
    assert kl_divergence(seen, answer).min().item() > 0
    alone = prototype_distribution(STUDENT[[2]], PROTOTYPES, temperature=0.2)
    torch.testing.assert_close(
        kl_divergence(Distribution(seen.probs[[2]], seen.log_probs[[2]]), alone), kl_divergence(seen, answer)[[2]]
    )
    renamed = PROTOTYPES.flip(0)
    torch.testing.assert_close(
        kl_divergence(
            prototype_distribution(TEACHER, renamed, temperature=0.2),
            prototype_distribution(STUDENT, renamed, temperature=0.2),
        ),
        kl_divergence(seen, answer),
    )


@pytest.mark.parametrize(
    ("contrast", "distill", "expected"),
    [
        ("entropy", "entropy", ([0.0, 0.25, 1.0], [1.0, 0.75, 0.0])),
        ("one", "half", ([1.0, 1.0, 1.0], [0.5, 0.5, 0.5])),
        ("half", "one", ([0.5, 0.5, 0.5], [1.0, 1.0, 1.0])),
    ],
)
def test_weights(contrast: Weighting, distill: Weighting, expected: tuple[list[float], list[float]]) -> None:
    entropy = torch.tensor([0.0, 0.5, 1.0], requires_grad=True)
    weights = adaptive_weights(entropy, contrast=contrast, distill=distill)
    assert (weights[0].tolist(), weights[1].tolist()) == expected
    assert not any(weight.requires_grad for weight in weights)


@pytest.mark.parametrize("classes", [2, 7, 12, 19, 199])
def test_a_teacher_to_whom_all_classes_are_alike_is_quite_unsure_and_no_more(classes: int) -> None:
    """Rounding would have it a little more than unsure, and the weight of its opinion negative."""
    generator = generator_for(5, "alike", classes)
    answers = F.normalize(torch.randn(500, 16, generator=generator), dim=1)
    prototypes = F.normalize(torch.ones(classes, 16) + 1e-4 * torch.randn(classes, 16, generator=generator), dim=1)
    entropy = normalized_entropy(prototype_distribution(answers, prototypes, temperature=0.5))
    contrast, distill = adaptive_weights(entropy, contrast="entropy", distill="entropy")
    assert contrast.max() <= 1
    assert distill.min() >= 0
