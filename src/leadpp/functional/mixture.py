"""Mixture: what several teachers say together of the same classes, each heard as far as it is sure.

Shape letters: T teachers, B batch, C classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from leadpp.functional.distillation import Distribution, LogForm, normalized_entropy


def mix_answers(answers: Sequence[Distribution], *, form: LogForm = "log-softmax") -> Distribution:
    """Mix what T teachers say of the same classes, by :func:`hearing`; one answer alone comes back as it is.

    Args:
        answers: At least one, each (B, C).
        form: How their logarithms were computed; see :func:`~leadpp.functional.distillation.prototype_distribution`.

    Raises:
        ValueError: There are several answers, of one class only.
    """
    return mix(answers, hearing(answers, form=form))


def hearing(answers: Sequence[Distribution], *, form: LogForm = "log-softmax") -> Tensor:
    """Say how much each teacher is heard about each sample: by 1 - H, the share of all it could tell that it tells.

    Log C nats are what a sure answer tells beyond none at all, and 1 - H is the share of them that this one does. A
    teacher to whom all classes are alike has no say beside one that sees a difference; where none does, all count the
    same.

    Args:
        answers: At least one, each (B, C) with C >= 2.
        form: How their logarithms were computed.

    Returns:
        Shape (T, B), 0 or more; the column of each sample sums to 1.

    Raises:
        ValueError: There is one class only, so that doubt has no scale.
    """
    if len(answers) == 1:
        return torch.ones_like(answers[0].probs[None, :, 0])
    told = torch.stack([1 - normalized_entropy(answer, form=form) for answer in answers]).clamp(min=0)
    whole = told.sum(dim=0)
    return torch.where(whole > 0, told / whole, 1 / len(answers))


def mix(distributions: Sequence[Distribution], weights: Tensor) -> Distribution:
    """Average distributions over the same things, exact in the logarithm too; one alone comes back as it is.

    Args:
        distributions: T of them, each (B, C).
        weights: How much each counts for each row, shape (T, B); the columns sum to 1.
    """
    if len(distributions) == 1:
        return distributions[0]
    parts = torch.stack([one.log_probs for one in distributions]) + weights.log()[:, :, None]
    log_probs = parts.logsumexp(dim=0)
    return Distribution(log_probs.exp(), log_probs)
