import numpy as np
import pytest
import torch
from torch.nn import functional as F

from leadpp.functional.randomness import generator_for
from leadpp.functional.spectrum import effective_rank
from tests.oracles import losses as oracle


def test_definition() -> None:
    rows = torch.randn(9, 5, generator=generator_for(8, "test"), dtype=torch.float64)
    values: list[float] = np.sqrt(np.linalg.eigvalsh(rows.numpy().T @ rows.numpy())).tolist()
    assert effective_rank(rows) == pytest.approx(oracle.effective_rank(values), rel=1e-9)


def test_all_directions_alike() -> None:
    assert effective_rank(torch.eye(6)) == pytest.approx(6, rel=1e-4)


def test_collapse_to_one_direction() -> None:
    line = torch.linspace(-1, 1, 8)[:, None] * torch.tensor([[0.6, 0.8, 0.0]])
    assert effective_rank(line) == pytest.approx(1, abs=1e-4)


def test_nothing_at_all() -> None:
    assert effective_rank(torch.zeros(4, 3)) == pytest.approx(1, abs=1e-4)


def test_scale_and_order_do_not_matter() -> None:
    rows = F.normalize(torch.randn(12, 4, generator=generator_for(8, "test", 1)), dim=1).requires_grad_()
    assert effective_rank(3 * rows.flip(0)) == pytest.approx(effective_rank(rows), rel=1e-6)
