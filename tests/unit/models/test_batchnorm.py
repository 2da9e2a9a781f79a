import copy

import pytest
import torch
from torch import Tensor, nn

from leadpp.functional.randomness import generator_for
from leadpp.models.batchnorm import standing_for


def network(momentum: float | None) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(3, momentum=momentum), nn.ReLU(), nn.BatchNorm2d(3, momentum=momentum)).double()


def batch(place: int) -> Tensor:
    return 2 + torch.randn(4, 3, 5, 5, generator=generator_for(1, "batch", place), dtype=torch.float64)


@pytest.mark.parametrize("momentum", [0.1, 0.5, 1.0, None])
@pytest.mark.parametrize("passes", [1, 2, 3])
def test_one_pass_leaves_the_statistics_of_several(momentum: float | None, passes: int) -> None:
    once, again = network(momentum).train(), network(momentum).train()
    for place in range(3):
        with standing_for(passes, once):
            seen = once(batch(place))
        for _ in range(passes):
            expected = again(batch(place))
        assert torch.equal(seen, expected)
    for (name, one), other in zip(once.state_dict().items(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12, msg=name)
    assert [part.momentum for part in once if isinstance(part, nn.BatchNorm2d)] == [momentum] * 2


def test_layers_that_gather_nothing_are_left_alone() -> None:
    norms = network(0.1).train()
    norms[0].eval()
    bare = nn.BatchNorm2d(3, track_running_stats=False).double()
    held = copy.deepcopy(norms[0].state_dict())
    with standing_for(2, nn.Sequential(norms, bare)):
        bare(norms(batch(0)))
    for name, kept in norms[0].state_dict().items():
        assert torch.equal(kept, held[name])
    assert int(norms.get_buffer("2.num_batches_tracked")) == 2


def test_momentum_is_restored_after_an_error() -> None:
    norms = network(0.1).train()
    with pytest.raises(RuntimeError), standing_for(2, norms):
        norms(batch(0)[:, :2])
    assert norms[0].momentum == 0.1
