"""Mean and direction of the reference's fit, with the zero rows that its buffer leaves in."""

import pytest
import torch

from leadpp.functional.ddt import DescriptorStatistics, count_zero_rows, principal_direction
from tests.golden.arrays import read

POSITIONS_PER_IMAGE = 2

ARRAYS = read("ddt_fit.npz")
DESCRIPTORS = torch.from_numpy(ARRAYS["descriptors"]).float()
MEAN = torch.from_numpy(ARRAYS["mean"]).double()
ZERO_ROWS = count_zero_rows(len(DESCRIPTORS) // POSITIONS_PER_IMAGE, batch_size=int(ARRAYS["batch_size"]))


def test_mean_and_direction_with_the_zero_rows_of_the_reference() -> None:
    statistics = DescriptorStatistics(DESCRIPTORS.shape[1])
    for batch in torch.split(DESCRIPTORS, 10):
        statistics.update(batch)
    direction = principal_direction(statistics.add_zero_rows(ZERO_ROWS), sign_rule="loading")
    vector = torch.from_numpy(ARRAYS["trans_vec"])
    torch.testing.assert_close(direction.mean, MEAN, rtol=0, atol=1e-6 * float(MEAN.abs().max()))
    torch.testing.assert_close(direction.vector, vector, rtol=0, atol=1e-9 * float(vector.abs().max()))


def test_zero_rows_matter() -> None:
    mean = DescriptorStatistics(DESCRIPTORS.shape[1]).update(DESCRIPTORS).mean
    shift = float((mean - MEAN).norm() / mean.norm())
    assert shift == pytest.approx(ZERO_ROWS / (len(DESCRIPTORS) + ZERO_ROWS), rel=1e-4)
