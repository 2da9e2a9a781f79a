import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from leadpp.functional.consensus import agree_with_neighbours, balance_offsets
from leadpp.functional.randomness import generator_for


def unit(rows: int, columns: int, *, place: int) -> Tensor:
    drawn = torch.randn(rows, columns, generator=generator_for(47, "test", place), dtype=torch.float64)
    return F.normalize(drawn, dim=1)


def test_answers_move_halfway_to_the_weighted_mean_of_their_neighbours() -> None:
    answers = unit(5, 3, place=0)
    places = torch.tensor([[1, 4], [0, 2], [3, 1], [2, 0], [0, 3]])
    cosines = torch.tensor([[0.9, 0.8], [0.9, 0.2], [0.5, 0.5], [0.3, -0.3], [0.8, 0.1]], dtype=torch.float64)
    found = agree_with_neighbours(answers, places, cosines, temperature=0.2)
    for row in range(5):
        first, second = (value / 0.2 for value in cosines[row].tolist())
        share = 1 / (1 + 2.718281828459045 ** (second - first))
        one, two = (answers[place] for place in places[row].tolist())
        expected = (answers[row] + share * one + (1 - share) * two) / 2
        torch.testing.assert_close(found[row], expected / expected.square().sum().sqrt())


def test_alike_answers_stay_as_they_are() -> None:
    answers = unit(1, 4, place=1).repeat(3, 1)
    places = torch.tensor([[1, 2], [0, 2], [0, 1]])
    torch.testing.assert_close(agree_with_neighbours(answers, places, torch.ones(3, 2)), answers)


@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
def test_offsets_have_every_class_named_equally_often(temperature: float) -> None:
    answers, prototypes = unit(60, 4, place=2), unit(5, 4, place=3)
    raw = (answers @ prototypes.T / temperature).softmax(dim=1).mean(dim=0)
    offsets = balance_offsets(answers, prototypes, temperature=temperature)
    balanced = (answers @ prototypes.T / temperature - offsets).softmax(dim=1).mean(dim=0)
    assert balanced.tolist() == pytest.approx([0.2] * 5, rel=2e-3)
    assert (raw - 0.2).abs().max() > (balanced - 0.2).abs().max()
    assert offsets.mean().item() == pytest.approx(0, abs=1e-12)


def test_offsets_do_not_depend_on_how_the_rows_are_held_or_ordered() -> None:
    answers, prototypes = unit(30, 4, place=4), unit(5, 4, place=5)
    together = balance_offsets(answers, prototypes, temperature=0.1)
    torch.testing.assert_close(balance_offsets(answers, prototypes, temperature=0.1, chunk=7), together)
    torch.testing.assert_close(balance_offsets(answers.flip(0), prototypes, temperature=0.1), together)
    torch.testing.assert_close(balance_offsets(answers, prototypes.flip(0), temperature=0.1), together.flip(0))


def test_nothing_is_taken_from_classes_without_a_favourite() -> None:
    axes = torch.eye(4)
    assert balance_offsets(axes, axes, temperature=0.1).tolist() == pytest.approx([0.0] * 4, abs=1e-6)


def test_a_class_that_no_photograph_is_near_leaves_offsets_finite() -> None:
    answers = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    prototypes = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    offsets = balance_offsets(answers, prototypes, temperature=0.005)
    assert torch.isfinite(offsets).all()
    assert (answers @ prototypes.T / 0.005 - offsets).softmax(dim=1)[0].tolist() == pytest.approx([0.5, 0.5], abs=1e-2)
