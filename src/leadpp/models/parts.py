"""A network that takes its batch in parts, so that less of what its backward pass needs is in memory at once."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from leadpp.models.batchnorm import goes_by_batch

Parts = int
"""0: the whole batch, remembered. From 1 on: so many parts, each computed again in the backward pass."""


def encode_in_parts(network: nn.Module, images: Tensor, *, parts: Parts) -> Tensor:
    """Return what a network makes of a batch, (B, 3, S, S) -> (B, ...); the result does not depend on the parts.

    Its backward pass comes by part after part and adds up their gradients: only one part's activations are there at a
    time. Where BatchNorm goes by the batch there is one part; its statistics are moved once.

    Args:
        network: Sees each row for itself, but for BatchNorm in training.
        images: The batch.
        parts: See :data:`Parts`; at most one a row.
    """
    if parts == 0:
        whole: Tensor = network(images)
        return whole
    rows = images.chunk(1 if goes_by_batch(network) else min(parts, len(images)))
    if not torch.is_grad_enabled():
        return torch.cat([network(some) for some in rows])

    def contexts() -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        return contextlib.nullcontext(), _statistics_still(network)

    return torch.cat([checkpoint(network, some, use_reentrant=False, context_fn=contexts) for some in rows])


def most_parts(network: nn.Module, *, rows: int) -> Parts:
    """Return into how many parts a batch of so many rows can be divided."""
    return 1 if goes_by_batch(network) else rows


@contextlib.contextmanager
def _statistics_still(network: nn.Module) -> Iterator[None]:
    """Let BatchNorm normalise by the batch, but learn nothing from it."""
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm) and part.training]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, seen in before:
            norm.momentum, norm.num_batches_tracked = momentum, seen
