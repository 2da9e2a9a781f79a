"""The ring of past keys that serve as negatives."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class KeyQueue(nn.Module):
    """The newest K keys; it starts full of random directions, as in MoCo.

    Args:
        size: K, the number of keys held.
        dim: D, the width of a key.
        generator: Draws the first directions.
    """

    keys: Tensor
    pushed: Tensor

    def __init__(self, size: int, dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dim, generator=generator), dim=1))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))

    @property
    def size(self) -> int:
        """K, the number of keys held."""
        return self.keys.shape[0]

    @property
    def place(self) -> int:
        """Row that the next key overwrites, from 0 to K - 1."""
        return int(self.pushed) % self.size

    @property
    def fill(self) -> int:
        """How many of the rows hold real keys, from 0 to K."""
        return min(int(self.pushed), self.size)

    def snapshot(self) -> Tensor:
        """Return the keys as they are now, (K, D), not copied: see :meth:`push`."""
        return self.keys

    @torch.no_grad()
    def push(self, keys: Tensor, *, in_place: bool = True) -> None:
        """Overwrite the oldest rows with new keys in order, from the last row on to the first; (B, D), any B.

        Args:
            keys: The new keys.
            in_place: Write to the ring, so that snapshots change with it: for the end of a step. Otherwise the ring is
                copied, and what was scored against a snapshot can still be differentiated.
        """
        newest = keys[-self.size :].to(self.keys.dtype)
        # Where to write is reckoned on the device: to ask it for the count would be to wait for it.
        skipped = len(keys) - len(newest)
        rows = (self.pushed + torch.arange(skipped, len(keys), device=self.keys.device)) % self.size
        self.keys = self.keys.index_copy_(0, rows, newest) if in_place else self.keys.index_copy(0, rows, newest)
        self.pushed += len(keys)

    def extra_repr(self) -> str:
        """Show size and width."""
        size, dim = cast(tuple[int, int], tuple(self.keys.shape))
        return f"size={size}, dim={dim}"
