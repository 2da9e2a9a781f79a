"""How many directions a set of embeddings makes use of: a sign of collapse that needs no labels."""

import torch
from torch import Tensor

_RANKME_EPSILON = 1e-7


def effective_rank(embeddings: Tensor) -> float:
    """RankMe (Garrido et al. 2023): the exponential of the entropy of the normalised singular values.

    Args:
        embeddings: Rows, shape (N, D), not centred.

    Returns:
        From about 1 (all rows on one line) to min(N, D) (all directions alike).
    """
    values = torch.linalg.svdvals(embeddings.detach().double().cpu())
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny) + _RANKME_EPSILON
    return float((-(shares * shares.log()).sum()).exp())
