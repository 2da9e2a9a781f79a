import pytest
import torch
from torch import Tensor

from leadpp.functional.randomness import generator_for
from leadpp.functional.structure import mix_neighbours, neighbour_distribution, structure_loss
from tests.oracles import losses as oracle


def drawn(rows: int, columns: int, *, place: int) -> Tensor:
    return torch.randn(rows, columns, generator=generator_for(31, "test", place), dtype=torch.float64)


def change(feature: Tensor, first: Tensor, *, temperature: float) -> Tensor:
    """Return the loss of keeping the neighbourhoods of ``first``."""
    target = neighbour_distribution(first, temperature=temperature)
    return structure_loss(feature, target, temperature=temperature)


@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("rows", [2, 3, 7])
def test_definition(rows: int, temperature: float) -> None:
    feature, first = drawn(rows, 4, place=0), drawn(rows, 6, place=1)
    expected = oracle.structure(feature.tolist(), first.tolist(), temperature)
    found = change(feature, first, temperature=temperature)
    assert found.tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert found.shape == (rows,)


def test_rows_are_compared_with_all_others_in_order() -> None:
    feature = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    half = 0.5**0.5
    cosines = torch.tensor([[0.0, half], [0.0, half], [half, half]])
    found = neighbour_distribution(feature, temperature=0.5)
    torch.testing.assert_close(found.probs, (cosines / 0.5).softmax(dim=1))
    torch.testing.assert_close(found.log_probs.exp(), found.probs)


def test_gradients_are_the_derivative() -> None:
    feature, first = drawn(4, 3, place=2).requires_grad_(), drawn(4, 3, place=3)
    assert torch.autograd.gradcheck(lambda now: change(now, first, temperature=0.3), [feature])


def test_lengths_and_turns_are_no_change() -> None:
    first = drawn(5, 6, place=4)
    turn = torch.linalg.qr(drawn(6, 6, place=5)).Q
    lengths = drawn(5, 1, place=6).exp()
    assert change(lengths * first @ turn, first, temperature=0.1).tolist() == pytest.approx([0] * 5, abs=1e-12)
    assert change(drawn(5, 6, place=7), first, temperature=0.1).min() > 0


def test_a_sample_keeps_its_loss_wherever_it_stands() -> None:
    feature, first, order = drawn(5, 4, place=8), drawn(5, 4, place=9), torch.tensor([3, 1, 4, 0, 2])
    together = change(feature, first, temperature=0.2)
    torch.testing.assert_close(change(feature[order], first[order], temperature=0.2), together[order])


def test_extremes_are_finite() -> None:
    """A neighbour at cosine 1 and one at -1, at a temperature where the lesser probability underflows."""
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    worst = change(first[[0, 2, 1]], first, temperature=0.005)
    assert worst[0].item() == pytest.approx(2 / 0.005, rel=1e-6)
    assert torch.isfinite(worst).all()
    assert torch.isfinite(change(torch.zeros(3, 2), first, temperature=0.005)).all()


def test_a_mixture_counts_each_opinion_by_its_share() -> None:
    first, other = (neighbour_distribution(drawn(4, 5, place=place), temperature=0.3) for place in (10, 11))
    share = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    mixed = mix_neighbours(first, other, share=share)
    for row, weight in enumerate(share.tolist()):
        expected = (1 - weight) * first.probs[row] + weight * other.probs[row]
        torch.testing.assert_close(mixed.probs[row], expected)
        torch.testing.assert_close(mixed.log_probs[row], expected.log())


def test_a_share_that_rounding_made_negative_is_none() -> None:
    first, other = (neighbour_distribution(drawn(2, 5, place=place), temperature=0.3) for place in (12, 13))
    mixed = mix_neighbours(first, other, share=torch.tensor([-2e-7, 1 + 1e-7], dtype=torch.float64))
    torch.testing.assert_close(mixed.log_probs, torch.stack([first.log_probs[0], other.log_probs[1]]))


def test_what_cannot_be_compared() -> None:
    target = neighbour_distribution(torch.ones(5, 3), temperature=0.1)
    with pytest.raises(ValueError, match=r"expected \(B, F\) and \(B, B - 1\), got \(4, 3\) and \(5, 4\)"):
        structure_loss(torch.ones(4, 3), target, temperature=0.1)
    with pytest.raises(ValueError, match="1 row says nothing"):
        neighbour_distribution(torch.ones(1, 3), temperature=0.1)
