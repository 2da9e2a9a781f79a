"""Rows of all processes that gradients pass through.

The loss of a process is its part of a sum over all of them. So the gradient of what was gathered is added
up over the processes on the way back: each then holds the gradient of the whole sum with respect to what it gave.
"""

from typing import Any

import torch
from torch import Tensor

from leadpp.distributed.ranks import Ranks


def gather_over(ranks: Ranks, rows: Tensor) -> Tensor:
    """Put the rows of all processes under one another, with gradient; (B, ...) -> (count B, ...)."""
    if ranks.alone:
        return rows
    everyone: Tensor = _Gather.apply(rows, ranks)
    return everyone


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks) -> Tensor:  # noqa: ANN401 - torch's
        ctx.ranks = ranks
        return ranks.gather(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's
        return ctx.ranks.mine(ctx.ranks.sum(gradients[0])), None
