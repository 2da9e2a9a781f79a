"""Everything that processes say to each other, tried by as many as there are; run as a module."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.distributed.exchange import gather_over
from leadpp.distributed.gradients import GradientSum
from leadpp.distributed.launch import read_launch
from leadpp.distributed.meeting import together
from leadpp.distributed.ranks import Ranks
from leadpp.distributed.statistics import SharedStatistics
from leadpp.errors import LeadppError
from leadpp.functional.randomness import generator_for

CHANNELS = 5


def words_arrive(ranks: Ranks) -> None:
    told = {"names": ["é \u2028", "日本"], "number": 1.5, "nothing": None}
    assert ranks.tell(told if ranks.leads else "not heard") == told
    assert ranks.tell({} if ranks.leads else None) == {}
    assert ranks.first(lambda: "done" if ranks.leads else pytest.fail("not the first")) == "done"
    assert ranks.largest(ranks.rank, -ranks.rank) == (ranks.count - 1, 0)


def a_failure_of_the_first_reaches_all(ranks: Ranks) -> None:
    def fail() -> None:
        raise LeadppError("no such file")

    with pytest.raises(LeadppError, match="no such file"):
        ranks.first(fail)


def rows_arrive_in_order(ranks: Ranks) -> None:
    assert ranks.gather(torch.tensor([[ranks.rank]])).tolist() == [[rank] for rank in range(ranks.count)]
    everyone = torch.arange(7)
    for dtype in (torch.int64, torch.uint8, torch.float32, torch.float64, torch.bfloat16):
        assert torch.equal(ranks.gather_uneven(everyone[ranks.share(7)].to(dtype)), everyone.to(dtype))
    lone = torch.ones(int(ranks.rank == 1), 2)
    assert ranks.gather_uneven(lone).shape == (1, 2)
    assert ranks.gather_uneven(torch.ones(0, 2)).shape == (0, 2)
    mine = torch.full((2, 3), float(ranks.rank))
    assert torch.equal(ranks.mine(ranks.gather(mine)), mine)


def the_first_is_copied(ranks: Ranks) -> None:
    strided = torch.full((4, 3), float(ranks.rank)).t()
    flag = torch.tensor(ranks.rank)
    ranks.copy_first([strided, flag])
    assert (strided == 0).all()
    assert flag == 0


def gradients_are_those_of_the_sum(ranks: Ranks) -> None:
    rows = torch.randn(3 * ranks.count, 2, generator=generator_for(1, "rows"), dtype=torch.float64)
    whole = rows.clone().requires_grad_()
    (whole.tanh().sum(dim=0).prod() + (whole @ whole.T).exp().sum()).backward()  # type: ignore[no-untyped-call]
    mine = ranks.mine(rows).clone().requires_grad_()
    everyone = gather_over(ranks, mine)
    own = everyone.tanh().sum(dim=0).prod() / ranks.count + (mine @ everyone.T).exp().sum()
    own.backward()  # type: ignore[no-untyped-call]
    assert whole.grad is not None
    torch.testing.assert_close(mine.grad, ranks.mine(whole.grad), rtol=1e-12, atol=1e-12)


def norms() -> list[nn.Module]:
    return [nn.BatchNorm2d(CHANNELS), nn.BatchNorm2d(CHANNELS, affine=False, momentum=None), nn.BatchNorm1d(CHANNELS)]


def batchnorm_goes_by_all(ranks: Ranks) -> None:
    for number, (norm, expected) in enumerate(zip(norms(), norms(), strict=True)):
        shape = (4 * ranks.count, CHANNELS, *([3, 2] if isinstance(norm, nn.BatchNorm2d) else []))
        rows = 3 + 2 * torch.randn(*shape, generator=generator_for(2, "rows", number), dtype=torch.float64)
        whole, mine = rows.clone().requires_grad_(), ranks.mine(rows).clone().requires_grad_()
        norm.double(), expected.double()
        for _ in range(2):
            seen = expected(whole)
            with SharedStatistics(ranks):
                got = norm(mine)
        torch.testing.assert_close(got, ranks.mine(seen), rtol=1e-12, atol=1e-12)
        for name, buffer in expected.named_buffers():
            torch.testing.assert_close(norm.get_buffer(name), buffer, rtol=1e-12, atol=1e-12)
        weigh = torch.randn(*shape, generator=generator_for(3, "weigh", number), dtype=torch.float64)
        (seen * weigh).sum().backward()
        (got * ranks.mine(weigh)).sum().backward()
        assert whole.grad is not None
        torch.testing.assert_close(mine.grad, ranks.mine(whole.grad), rtol=1e-11, atol=1e-11)
        for name, weight in expected.named_parameters():
            own = norm.get_parameter(name).grad
            assert own is not None
            torch.testing.assert_close(ranks.sum(own), weight.grad, rtol=1e-12, atol=1e-12)


def batchnorm_is_left_alone_where_it_knows(ranks: Ranks) -> None:
    norm = nn.BatchNorm2d(CHANNELS).eval()
    rows = torch.randn(2, CHANNELS, 3, 3, generator=generator_for(4, "rows", ranks.rank))
    with SharedStatistics(ranks):
        assert torch.equal(norm(rows), F.batch_norm(rows, norm.running_mean, norm.running_var, norm.weight, norm.bias))
        half = F.batch_norm(rows.bfloat16(), None, None, training=True)
    assert half.dtype == torch.bfloat16


def gradients_are_added_up_in_buckets(ranks: Ranks) -> None:
    for bucket_bytes in (1, 200, 1 << 20):
        layers = [nn.Linear(6, 6) for _ in range(4)]
        for number, layer in enumerate(layers):
            for weight in layer.parameters():
                nn.init.normal_(weight, generator=generator_for(5, "weights", number))
        weights = [weight for layer in layers for weight in layer.parameters()]
        adder = GradientSum(ranks, weights, bucket_bytes=bucket_bytes)
        rows = torch.randn(2 * ranks.count, 6, generator=generator_for(6, "rows"))
        for used in ([0, 1, 2, 3], [0, 2], [3]):
            found = [gradients(layers, used, some, adder) for some in (None, ranks.mine(rows))][1]
            expected = gradients(layers, used, rows, None)
            for one, other in zip(found, expected, strict=True):
                assert (one is None) == (other is None)
                if one is not None and other is not None:
                    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def gradients(
    layers: list[nn.Linear], used: list[int], rows: Tensor | None, adder: GradientSum | None
) -> list[Tensor | None]:
    """Return the gradient of each weight; of those that are not used, none."""
    weights = [weight for layer in layers for weight in layer.parameters()]
    if rows is None:
        return []
    for weight in weights:
        weight.grad = None
    if adder is not None:
        adder.begin()
    for place in used:
        rows = layers[place](rows).tanh()
    rows.sum().backward()
    if adder is not None:
        adder.finish()
    return [None if weight.grad is None else weight.grad.clone() for weight in weights]


def other_machines_cannot_reach_this(ranks: Ranks) -> None:
    del ranks
    if not Path("/proc/self/net/tcp").exists():
        return
    own = {link.readlink().as_posix() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    for table, loopback in (("tcp", "0100007F"), ("tcp6", "0" * 24 + "01000000")):
        for line in (Path("/proc/self/net") / table).read_text(encoding="ascii").splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in own:
                assert local.split(":")[0] == loopback


TRIALS = (
    other_machines_cannot_reach_this,
    words_arrive,
    a_failure_of_the_first_reaches_all,
    rows_arrive_in_order,
    the_first_is_copied,
    gradients_are_those_of_the_sum,
    batchnorm_goes_by_all,
    batchnorm_is_left_alone_where_it_knows,
    gradients_are_added_up_in_buckets,
)


if __name__ == "__main__":
    with together(read_launch()) as everyone:
        for trial in TRIALS:
            trial(everyone)
