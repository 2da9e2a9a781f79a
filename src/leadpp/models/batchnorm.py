"""Running statistics of BatchNorm where one pass stands for several."""

import contextlib
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextlib.contextmanager
def standing_for(passes: int, network: nn.Module) -> Iterator[None]:
    """Let one pass through a network leave the running statistics that so many passes of the same batch would leave.

    With momentum m the statistics keep (1 - m)^passes of what they were, so that the momentum of the one pass is
    1 - (1 - m)^passes: 0.19 for two passes at 0.1. Without momentum (None) statistics are the mean over all batches,
    and this batch counts ``passes`` times in it; to know how many there were the device must be asked.

    Args:
        passes: How many, at least 1.
        network: Its BatchNorm layers in training mode are meant; the others' statistics stay as they are.
    """
    norms = [
        (part, part.num_batches_tracked, part.momentum)
        for part in network.modules()
        if isinstance(part, _BatchNorm) and part.training and part.num_batches_tracked is not None
    ]
    if passes == 1 or not norms:
        yield
        return
    for norm, seen, usual in norms:
        norm.momentum = passes / (int(seen) + passes) if usual is None else 1 - (1 - usual) ** passes
    try:
        yield
    finally:
        for norm, _, usual in norms:
            norm.momentum = usual
    for _, seen, _ in norms:
        seen += passes - 1  # noqa: PLW2901 - a buffer, in place


def goes_by_batch(network: nn.Module) -> bool:
    """Tell whether what a network makes of a row depends on the other rows, by BatchNorm in training mode."""
    return any(isinstance(part, _BatchNorm) and part.training for part in network.modules())
