import pytest
import torch
from torch import Tensor

from leadpp.functional.randomness import generator_for
from leadpp.functional.structure import neighbour_distribution, structure_loss
from tests.oracles import losses as oracle


def drawn(rows: int, columns: int, *, place: int) -> Tensor:
    return torch.randn(rows, columns, generator=generator_for(31, "test", place), dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
@pytest.mark.parametrize("rows", [2, 3, 7])
def test_definition(rows: int, temperature: float) -> None:
    feature, first = drawn(rows, 4, place=0), drawn(rows, 6, place=1)
    expected = oracle.structure(feature.tolist(), first.tolist(), temperature)
    found = structure_loss(feature, first, temperature=temperature)
    assert found.tolist() == pytest.approx(expected, rel=1e-10, abs=1e-12)
    assert found.shape == (rows,)


def test_rows_are_compared_with_all_others_in_order() -> None:
    feature = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    half = 0.5**0.5
    cosines = torch.tensor([[0.0, half], [0.0, half], [half, half]])
    found = neighbour_distribution(feature, temperature=0.5)
    torch.testing.assert_close(found.probs, (cosines / 0.5).softmax(dim=1))
    torch.testing.assert_close(found.log_probs.exp(), found.probs)


def test_gradients_flow_to_what_learns_alone() -> None:
    feature, first = drawn(4, 3, place=2).requires_grad_(), drawn(4, 3, place=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda now: structure_loss(now, first.detach(), temperature=0.3), [feature])
    torch.autograd.backward(structure_loss(feature, first, temperature=0.3).sum())
    assert feature.grad is not None
    assert feature.grad.abs().sum() > 0
    assert first.grad is None


def test_lengths_and_turns_are_no_change() -> None:
    first = drawn(5, 6, place=4)
    turn = torch.linalg.qr(drawn(6, 6, place=5)).Q
    lengths = drawn(5, 1, place=6).exp()
    assert structure_loss(lengths * first @ turn, first, temperature=0.1).tolist() == pytest.approx([0] * 5, abs=1e-12)
    assert structure_loss(drawn(5, 6, place=7), first, temperature=0.1).min() > 0


def test_a_sample_keeps_its_loss_wherever_it_stands() -> None:
    feature, first, order = drawn(5, 4, place=8), drawn(5, 4, place=9), torch.tensor([3, 1, 4, 0, 2])
    together = structure_loss(feature, first, temperature=0.2)
    torch.testing.assert_close(structure_loss(feature[order], first[order], temperature=0.2), together[order])


def test_extremes_are_finite() -> None:
    """A neighbour at cosine 1 and one at -1, at a temperature where the lesser probability underflows."""
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    worst = structure_loss(first[[0, 2, 1]], first, temperature=0.005)
    assert worst[0].item() == pytest.approx(2 / 0.005, rel=1e-6)
    assert torch.isfinite(worst).all()
    assert torch.isfinite(structure_loss(torch.zeros(3, 2), first, temperature=0.005)).all()


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"expected \(B, F\) and \(B, G\), got \(4, 3\) and \(5, 3\)"):
        structure_loss(torch.ones(4, 3), torch.ones(5, 3), temperature=0.1)
    with pytest.raises(ValueError, match="1 row says nothing"):
        neighbour_distribution(torch.ones(1, 3), temperature=0.1)
