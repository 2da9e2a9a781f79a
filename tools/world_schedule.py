"""What both shipped networks' training has in common: weight decay and the course of the rate."""

import math
from typing import Any

import torch
from torch import nn


def decay_groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Split parameters so that only matrices and kernels decay; biases, norms and scales do not."""
    decayed = [weight for weight in model.parameters() if weight.ndim >= 2]
    others = [weight for weight in model.parameters() if weight.ndim < 2]
    return [{"params": decayed, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def one_cycle(optimizer: torch.optim.Optimizer, *, steps: int, warmup_frac: float) -> torch.optim.lr_scheduler.LambdaLR:
    """Return a schedule that rises linearly over a share of the steps and then falls to zero along a cosine."""
    rise = max(1, round(steps * warmup_frac))

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)
