"""Contrast: a view should resemble the other view of its photograph more than it resembles any other photograph."""

import torch
from torch import Tensor


def contrastive_logits(query: Tensor, key: Tensor, negatives: Tensor, *, temperature: float) -> Tensor:
    """Score each query against its own key and against all negatives.

    Args:
        query: Unit rows, shape (B, D).
        key: Unit rows, the positives in the same order, shape (B, D).
        negatives: Unit rows, shape (K, D).
        temperature: Divides the cosines; above 0.

    Returns:
        Shape (B, 1 + K); column 0 is the positive.

    Raises:
        ValueError: The shapes do not fit together (they would broadcast silently).
    """
    if query.shape != key.shape or negatives.shape[1:] != query.shape[1:]:
        raise ValueError(f"expected (B, D), (B, D), (K, D), got {query.shape}, {key.shape}, {negatives.shape}")
    positive = (query * key).sum(dim=1, keepdim=True)
    return torch.cat([positive, query @ negatives.T], dim=1) / temperature


def info_nce(query: Tensor, key: Tensor, negatives: Tensor, *, temperature: float) -> Tensor:
    """InfoNCE of each query against its key (van den Oord et al. 2018; MoCo v2's form with a queue).

    Args:
        query: Unit rows, shape (B, D).
        key: Unit rows, the positives in the same order, shape (B, D).
        negatives: Unit rows, shape (K, D).
        temperature: Divides the cosines; above 0. The reference takes 0.27.

    Returns:
        Shape (B,): minus the log of the share that the positive has among 1 + K candidates, from 0 up.

    Raises:
        ValueError: The shapes do not fit together.
    """
    logits = contrastive_logits(query, key, negatives, temperature=temperature)
    return -logits.log_softmax(dim=1)[:, 0]
