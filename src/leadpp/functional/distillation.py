"""Distillation: the student should see the prototypes as the teacher does, and as far as the teacher is sure."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

LogForm = Literal["log-softmax", "softmax-log"]
Weighting = Literal["entropy", "one", "half"]

_REFERENCE_EPSILON = 1e-10


@dataclass(frozen=True, slots=True)
class Distribution:
    """Probabilities of the classes, and their logarithms as the chosen form computes them; both (B, C)."""

    probs: Tensor
    log_probs: Tensor


def prototype_distribution(
    embedding: Tensor,
    prototypes: Tensor,
    *,
    temperature: float,
    form: LogForm = "log-softmax",
    offsets: Tensor | None = None,
) -> Distribution:
    """Turn cosines with the prototypes into probabilities, softmax(embedding P^T / temperature).

    Args:
        embedding: Unit rows, shape (B, D).
        prototypes: Unit rows, shape (C, D).
        temperature: Divides the cosines; above 0. The reference takes 0.02.
        form: ``log-softmax`` is finite for any cosines. ``softmax-log`` is the reference's: the logarithm of a
            probability that has underflowed is minus infinity (in float32 from a cosine gap of about 1.7 at 0.02).
        offsets: Taken from the logit of each class, shape (C,); see
            :func:`~leadpp.functional.consensus.balance_offsets`.
    """
    logits = embedding @ prototypes.T / temperature
    if offsets is not None:
        logits = logits - offsets
    if form == "softmax-log":
        probs = logits.softmax(dim=1)
        return Distribution(probs, probs.log())
    log_probs = logits.log_softmax(dim=1)
    return Distribution(log_probs.exp(), log_probs)


def normalized_entropy(distribution: Distribution, *, form: LogForm = "log-softmax") -> Tensor:
    """Divide the entropy of each row by the largest it could be, log C.

    Args:
        distribution: Of C >= 2 classes.
        form: ``log-softmax`` is the definition; ``softmax-log`` is the reference's -sum p log(p + 1e-10).

    Returns:
        Shape (B,), from 0 where the teacher is sure to 1 where all classes are alike to it.

    Raises:
        ValueError: There is one class only, so that the entropy has no scale.
    """
    probs = distribution.probs
    if probs.shape[1] < 2:
        raise ValueError(f"the entropy of {probs.shape[1]} class has no scale, expected at least 2")
    if form == "softmax-log":
        return -(probs * (probs + _REFERENCE_EPSILON).log()).sum(dim=1) / math.log(probs.shape[1])
    entropy = -(probs * distribution.log_probs).sum(dim=1) / math.log(probs.shape[1])
    return entropy.clamp(0, 1)  # rounding goes beyond 1 where all classes are alike, and weights would be negative


def kl_divergence(target: Distribution, approximation: Distribution) -> Tensor:
    """KL(target || approximation) of each row, in nats; (B, C), (B, C) -> (B,).

    The reference divides this sum by C; here that is left to the weight of the term.
    """
    return (target.probs * (target.log_probs - approximation.log_probs)).sum(dim=1)


def adaptive_weights(entropy: Tensor, *, contrast: Weighting, distill: Weighting) -> tuple[Tensor, Tensor]:
    """Weigh contrast and distillation of each sample by how unsure the teacher is of it.

    Args:
        entropy: The teacher's normalized entropy H, shape (B,), in [0, 1].
        contrast: ``entropy`` gives H^2 (unsure teacher: trust contrast), ``one`` 1, ``half`` 0.5.
        distill: ``entropy`` gives 1 - H^2 (sure teacher: trust the teacher), ``one`` 1, ``half`` 0.5.

    Returns:
        The weights of contrast and of distillation, each (B,), without gradient.
    """
    unsure = entropy.detach().square()
    constants = {"one": torch.ones_like(unsure), "half": torch.full_like(unsure, 0.5)}
    return {"entropy": unsure, **constants}[contrast], {"entropy": 1 - unsure, **constants}[distill]
