"""A linear probe in numpy: softmax regression by hand, momentum by hand."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def train(
    batches: Sequence[tuple[Array, NDArray[np.int64], float]], weight: Array, *, momentum: float, decay: float = 0.0
) -> tuple[Array, Array]:
    """Take one step for each (unit features, labels, rate); bias starts at 0; return weight and bias."""
    bias, speed_weight, speed_bias = np.zeros(len(weight)), np.zeros_like(weight), np.zeros(len(weight))
    for features, labels, rate in batches:
        logits = features @ weight.T + bias
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        chances[np.arange(len(labels)), labels] -= 1
        speed_weight = momentum * speed_weight + chances.T @ features / len(labels) + decay * weight
        speed_bias = momentum * speed_bias + chances.mean(axis=0) + decay * bias
        weight = weight - rate * speed_weight
        bias = bias - rate * speed_bias
    return weight, bias
