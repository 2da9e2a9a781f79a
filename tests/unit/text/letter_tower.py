"""A stand-in tower that reads ``limit`` letters, two of which are marks, and embeds a text by counting its letters."""

from collections.abc import Sequence

import torch
from torch import Tensor

from leadpp.text.encoding import BATCH


class LetterTower:
    """Counts one token for each letter, and two for the marks; cuts what is too long."""

    def __init__(self, limit: int) -> None:
        self.context_tokens = limit
        self.read: list[str] = []

    def count_tokens(self, text: str) -> int:
        return 2 + sum(letter.isalnum() for letter in text)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        self.read += texts
        assert len(texts) <= BATCH
        rows = torch.zeros(len(texts), 26)
        for row, text in zip(rows, texts, strict=True):
            for letter in [letter for letter in text.lower() if letter.isalnum()][: self.context_tokens - 2]:
                row[ord(letter) % 26] += 1
        return rows
