"""Draws that stay the same for ever: hashes of (seed, purpose, place), not a generator that a library may change."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

from leadpp.functional.randomness import derive_seed

T = TypeVar("T")

_WORD_BYTES = 8
_WORD = 1 << (8 * _WORD_BYTES)


class Chance:
    """A sequence of draws, the same for the same seed, purpose and place in every version of every library."""

    def __init__(self, seed: int, purpose: str, *place: int) -> None:
        self._key = derive_seed(seed, purpose, *place).to_bytes(8, "little")
        self._block = 0
        self._words: list[int] = []

    def below(self, limit: int) -> int:
        """Draw an integer from 0 to ``limit - 1``."""
        return self._word() % limit  # limits are small against 2**64, so the bias is beyond measure

    def happens(self, share: float) -> bool:
        """Return True in the given share of draws, 0 to 1."""
        return self._word() < share * _WORD

    def choice(self, items: Sequence[T]) -> T:
        """Draw one of the items."""
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in a random order."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order

    def _word(self) -> int:
        if not self._words:
            block = hashlib.blake2b(self._block.to_bytes(8, "little"), key=self._key).digest()
            self._block += 1
            self._words = [
                int.from_bytes(block[start : start + _WORD_BYTES], "little")
                for start in range(0, len(block), _WORD_BYTES)
            ]
        return self._words.pop()
