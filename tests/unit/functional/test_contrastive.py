import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from leadpp.functional.contrastive import contrastive_logits, info_nce
from leadpp.functional.randomness import generator_for
from tests.oracles import losses as oracle

TEMPERATURE = 0.27


def unit_rows(rows: int, columns: int, *, place: int) -> Tensor:
    drawn = torch.randn(rows, columns, generator=generator_for(5, "test", place), dtype=torch.float64)
    return F.normalize(drawn, dim=1)


@pytest.fixture
def rows() -> tuple[Tensor, Tensor, Tensor]:
    return unit_rows(5, 6, place=0), unit_rows(5, 6, place=1), unit_rows(9, 6, place=2)


def test_definition(rows: tuple[Tensor, Tensor, Tensor]) -> None:
    query, key, negatives = rows
    expected = [
        oracle.info_nce(q, k, negatives.tolist(), TEMPERATURE)
        for q, k in zip(query.tolist(), key.tolist(), strict=True)
    ]
    assert info_nce(query, key, negatives, temperature=TEMPERATURE).tolist() == pytest.approx(expected, rel=1e-12)


def test_positive_stands_in_column_0(rows: tuple[Tensor, Tensor, Tensor]) -> None:
    query, key, negatives = rows
    logits = contrastive_logits(query, key, negatives, temperature=TEMPERATURE)
    assert logits.shape == (5, 10)
    assert logits[3, 0].item() == pytest.approx(oracle.dot(query[3].tolist(), key[3].tolist()) / TEMPERATURE)
    assert logits[3, 2].item() == pytest.approx(oracle.dot(query[3].tolist(), negatives[1].tolist()) / TEMPERATURE)


def test_gradients(rows: tuple[Tensor, Tensor, Tensor]) -> None:
    inputs = [part.requires_grad_() for part in rows]
    assert torch.autograd.gradcheck(lambda q, k, n: info_nce(q, k, n, temperature=TEMPERATURE), inputs)


def test_a_sample_depends_on_itself_alone(rows: tuple[Tensor, Tensor, Tensor]) -> None:
    query, key, negatives = rows
    together = info_nce(query, key, negatives, temperature=TEMPERATURE)
    order = torch.tensor([3, 1, 4, 0, 2])
    permuted = info_nce(query[order], key[order], negatives.flip(0), temperature=TEMPERATURE)
    alone = torch.cat([info_nce(query[[i]], key[[i]], negatives, temperature=TEMPERATURE) for i in range(5)])
    torch.testing.assert_close(permuted, together[order])
    torch.testing.assert_close(alone, together)


def test_extremes() -> None:
    same, opposite = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])
    best = info_nce(same, same, opposite, temperature=0.005)
    worst = info_nce(same, opposite, same, temperature=0.005)
    assert best.item() == 0.0
    assert worst.item() == pytest.approx(2 / 0.005, rel=1e-6)


def test_no_negatives_leave_nothing_to_tell_apart() -> None:
    query = torch.tensor([[0.6, 0.8]])
    assert info_nce(query, -query, torch.empty(0, 2), temperature=TEMPERATURE).item() == 0.0


@pytest.mark.parametrize(("key", "negatives"), [((1, 4), (7, 4)), ((5, 4), (7, 1)), ((5, 3), (7, 4)), ((5, 4), (4,))])
def test_shapes_that_would_broadcast(key: tuple[int, ...], negatives: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(B, D\), \(B, D\), \(K, D\)"):
        info_nce(torch.zeros(5, 4), torch.zeros(key), torch.zeros(negatives), temperature=TEMPERATURE)
