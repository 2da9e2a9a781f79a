"""Consensus: what a teacher's answers about many photographs say of each other, before anyone learns from them."""

import torch
from torch import Tensor
from torch.nn import functional as F

_TOLERANCE = 1e-3
_SMALLEST_MASS = 1e-12


def agree_with_neighbours(embedding: Tensor, places: Tensor, cosines: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Move each answer halfway to the mean of its neighbours', which takes out what is peculiar to one photograph.

    Args:
        embedding: Unit rows, shape (N, D).
        places: Rows of the neighbours of each row, shape (N, k).
        cosines: Of the neighbours, shape (N, k); the nearer ones count more, by softmax(cosines / temperature).
        temperature: Divides the cosines; above 0.

    Returns:
        Unit rows, shape (N, D).
    """
    weights = (cosines / temperature).softmax(dim=1).to(embedding.dtype)
    mean = torch.zeros_like(embedding)
    for column in range(places.shape[1]):  # (N, k, D) at once would hold k times the answers
        mean += weights[:, column, None] * embedding[places[:, column]]
    return F.normalize((embedding + mean) / 2, dim=1)


def balance_offsets(
    embedding: Tensor, prototypes: Tensor, *, temperature: float, rounds: int = 200, chunk: int = 8192
) -> Tensor:
    """Find what to take from each class's logit so that all classes are named equally often over the photographs.

    A zero-shot classifier has favourites: some prototypes lie nearer to all photographs than others. The offsets b make
    the mean over the rows of softmax(embedding P^T / temperature - b) uniform. It is the distribution alignment of
    ReMixMatch (Berthelot et al., ICLR 2020), found by rounds as Sinkhorn's.

    Args:
        embedding: Unit rows, shape (N, D).
        prototypes: Unit rows, shape (C, D).
        temperature: Divides the cosines; above 0.
        rounds: At most so many.
        chunk: Rows whose logits are held at a time.

    Returns:
        Shape (C,), with mean 0.
    """
    offsets = torch.zeros(len(prototypes), dtype=torch.float64, device=embedding.device)
    for _ in range(rounds):
        mass = torch.zeros_like(offsets)
        for start in range(0, len(embedding), chunk):
            rows = embedding[start : start + chunk]
            mass += ((rows @ prototypes.T / temperature).double() - offsets).softmax(dim=1).sum(dim=0)
        excess = (mass / len(embedding) * len(prototypes)).clamp(min=_SMALLEST_MASS).log()
        offsets += excess
        if excess.abs().max() < _TOLERANCE:
            break
    return (offsets - offsets.mean()).to(embedding.dtype)
