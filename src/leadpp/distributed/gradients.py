"""Gradients added up over the processes, while the backward pass that makes them is still under way."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn

from leadpp.distributed.ranks import Ranks, told

_BUCKET_BYTES = 25 << 20


@dataclass
class _Bucket:
    """Weights whose gradients are sent together: one message of some size is faster than many small ones."""

    weights: list[nn.Parameter] = field(default_factory=list)
    missing: int = 0
    flat: Tensor | None = None
    on_its_way: dist.Work | None = None


class GradientSum:
    """Adds up the gradients of weights over the processes.

    Each process's loss is its part of a sum, so that gradients are added up and not averaged. The weights are put into
    buckets from the last to the first, as a backward pass comes by them. A bucket is sent when all its gradients are
    there and the buckets before it were sent, so that every process sends the same in the same order.

    Args:
        ranks: The processes.
        weights: What learns, in an order that is the same in every process.
        bucket_bytes: About how much is sent at a time.
    """

    def __init__(self, ranks: Ranks, weights: Sequence[nn.Parameter], *, bucket_bytes: int = _BUCKET_BYTES) -> None:
        self._ranks = ranks
        self._buckets = [] if ranks.alone else _buckets(weights, bucket_bytes)
        self._next = 0
        self._listening = False
        for place, bucket in enumerate(self._buckets):
            for weight in bucket.weights:
                weight.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]  # torch types it not
                    lambda _, place=place: self._arrived(place)
                )

    def begin(self) -> None:
        """Listen to the backward pass that comes; the gradients are none before it."""
        self._next, self._listening = 0, True
        for bucket in self._buckets:
            bucket.missing = len(bucket.weights)

    def finish(self) -> None:
        """Wait until the gradients of all weights are those of all processes.

        Raises:
            LostRankError: Another process is gone.
        """
        self._listening = False
        while self._next < len(self._buckets):  # buckets with weights that this pass did not come by
            self._send(self._buckets[self._next])
        with told():
            for bucket in self._buckets:
                _receive(bucket)

    def _arrived(self, place: int) -> None:
        if not self._listening:
            return
        self._buckets[place].missing -= 1
        while self._next < len(self._buckets) and self._buckets[self._next].missing == 0:
            self._send(self._buckets[self._next])

    def _send(self, bucket: _Bucket) -> None:
        self._next += 1
        found = [weight.grad for weight in bucket.weights if weight.grad is not None]
        if not found:
            return
        bucket.flat = torch.cat([gradient.reshape(-1) for gradient in found])
        with told():
            bucket.on_its_way = dist.all_reduce(bucket.flat, group=self._ranks.gradients, async_op=True)


@torch.no_grad()
def _receive(bucket: _Bucket) -> None:
    if bucket.flat is None or bucket.on_its_way is None:
        return
    bucket.on_its_way.wait()
    found = [weight.grad for weight in bucket.weights if weight.grad is not None]
    for gradient, part in zip(found, torch.split(bucket.flat, [one.numel() for one in found]), strict=True):
        gradient.copy_(part.view(gradient.shape))
    bucket.flat = bucket.on_its_way = None


def _buckets(weights: Sequence[nn.Parameter], most_bytes: int) -> list[_Bucket]:
    """Fill buckets from the last weight to the first; weights in one bucket are of one type."""
    buckets: list[_Bucket] = []
    filled = 0
    for weight in reversed(weights):
        size = weight.numel() * weight.element_size()
        if not buckets or filled + size > most_bytes or buckets[-1].weights[-1].dtype != weight.dtype:
            buckets.append(_Bucket())
            filled = 0
        buckets[-1].weights.append(weight)
        filled += size
    return buckets
