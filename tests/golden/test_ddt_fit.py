"""Mean and direction of the reference's fit, with the zero rows that its buffer leaves in."""

import torch

from leadpp.functional.ddt import DescriptorStatistics, principal_direction
from tests.golden.arrays import read


def test_mean_and_direction_with_the_zero_rows_of_the_reference() -> None:
    arrays = read("ddt_fit.npz")
    descriptors = torch.from_numpy(arrays["descriptors"]).float()
    statistics = DescriptorStatistics(descriptors.shape[1])
    for batch in torch.split(descriptors, 10):
        statistics.update(batch)
    direction = principal_direction(statistics.add_zero_rows(2), sign_rule="loading")
    mean, vector = torch.from_numpy(arrays["mean"]).double(), torch.from_numpy(arrays["trans_vec"])
    torch.testing.assert_close(direction.mean, mean, rtol=0, atol=1e-6 * float(mean.abs().max()))
    torch.testing.assert_close(direction.vector, vector, rtol=0, atol=1e-9 * float(vector.abs().max()))


def test_zero_rows_matter() -> None:
    arrays = read("ddt_fit.npz")
    descriptors = torch.from_numpy(arrays["descriptors"]).float()
    mean = DescriptorStatistics(descriptors.shape[1]).update(descriptors).mean
    shift = (mean - torch.from_numpy(arrays["mean"]).double()).norm() / mean.norm()
    assert 0.014 < float(shift) < 0.016
