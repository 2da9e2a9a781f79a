"""Structure: what was alike to the network at first should stay alike to it while it learns."""

import torch
from torch import Tensor
from torch.nn import functional as F

from leadpp.functional.distillation import Distribution, kl_divergence


def neighbour_distribution(feature: Tensor, *, temperature: float) -> Distribution:
    """Say of each row how its likeness is shared among the other rows, softmax over j of cos(f_i, f_j) / temperature.

    Args:
        feature: Shape (B, F) with B >= 2.
        temperature: Divides the cosines; above 0.

    Returns:
        Shape (B, B - 1): row i over all rows but itself, in their order.

    Raises:
        ValueError: There is one row only, which has no neighbours.
    """
    rows = len(feature)
    if rows < 2:
        raise ValueError(f"the structure of {rows} row says nothing, expected at least 2")
    unit = F.normalize(feature, dim=1)
    cosines = unit @ unit.T
    # Without the diagonal, row by row: each row's own place is the first of the B + 1 values that follow the last one.
    others = cosines.flatten()[1:].view(rows - 1, rows + 1)[:, :-1].reshape(rows, rows - 1)
    log_probs = (others / temperature).log_softmax(dim=1)
    return Distribution(log_probs.exp(), log_probs)


def mix_neighbours(first: Distribution, other: Distribution, *, share: Tensor) -> Distribution:
    """Mix two opinions about the neighbourhood of each row.

    Args:
        first: Shape (B, B - 1).
        other: Shape (B, B - 1).
        share: How much the other counts in each row, shape (B,), from 0 to 1.
    """
    weight = share.clamp(0, 1)[:, None]
    log_probs = torch.logaddexp(first.log_probs + (1 - weight).log(), other.log_probs + weight.log())
    return Distribution(log_probs.exp(), log_probs)


def structure_loss(feature: Tensor, target: Distribution, *, temperature: float) -> Tensor:
    """KL between the neighbourhoods that there should be and those that a network sees, each among the batch.

    After probabilistic knowledge transfer (Passalis and Tefas, ECCV 2018), with cosines over a temperature in place of
    their kernel.

    Args:
        feature: What the network makes of the views, shape (B, F) with B >= 2.
        target: Of the same rows, shape (B, B - 1): what the network saw before it learned, what another one sees, or a
            mixture; no gradient flows to it.
        temperature: Divides the cosines; above 0.

    Returns:
        Shape (B,), in nats.

    Raises:
        ValueError: Their rows are not as many, or there is one row only.
    """
    if len(feature) != len(target.probs):
        raise ValueError(f"expected (B, F) and (B, B - 1), got {tuple(feature.shape)} and {tuple(target.probs.shape)}")
    return kl_divergence(target, neighbour_distribution(feature, temperature=temperature))
