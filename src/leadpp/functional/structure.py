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


def structure_loss(feature: Tensor, first: Tensor, *, temperature: float) -> Tensor:
    """KL between the neighbourhoods that a network saw at first and those it sees now, each among the batch.

    After probabilistic knowledge transfer (Passalis and Tefas, ECCV 2018), with cosines over a temperature in place of
    their kernel.

    Args:
        feature: What the network makes of the views now, shape (B, F) with B >= 2.
        first: What it made of the same views before it learned, shape (B, G); no gradient flows to it.
        temperature: Divides the cosines; above 0.

    Returns:
        Shape (B,), in nats; 0 where nothing changed but the directions as a whole.

    Raises:
        ValueError: Their rows are not as many, or there is one row only.
    """
    if len(feature) != len(first):
        raise ValueError(f"expected (B, F) and (B, G), got {tuple(feature.shape)} and {tuple(first.shape)}")
    with torch.no_grad():
        target = neighbour_distribution(first, temperature=temperature)
    return kl_divergence(target, neighbour_distribution(feature, temperature=temperature))
