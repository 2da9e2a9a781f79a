"""Retrieval, query by query.

Plain: for each query the gallery is copied without it, compared with it, and sorted in full; hits are then walked
through one by one.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize


def retrieval(features: Tensor, labels: Tensor) -> dict[str, float]:
    """Ask each item for its class-mates among all others.

    Args:
        features: Any length, shape (N, F).
        labels: Class numbers, shape (N,); an item without a class-mate is not asked.

    Returns:
        Means over queries: ``rank1``, ``rank5``, ``recall1``, ``recall2``, ``recall4``, ``recall8``, ``map``,
        ``map_at_r`` and ``purity10``.
    """
    features = normalize(features, dim=1)
    rows = []
    for query in range(len(features)):
        others = torch.arange(len(features)) != query
        scores = torch.mv(features[others], features[query]).numpy()
        hits = (labels[others] == labels[query]).numpy()[np.argsort(-scores, kind="stable")]
        if hits.any():
            rows.append(_figures(hits))
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}


def _figures(hits: np.ndarray) -> dict[str, float]:
    """Return the figures of one query from whether each item, best first, is of its class."""
    precisions = []
    for rank in np.flatnonzero(hits) + 1:
        precisions.append((rank, hits[:rank].sum() / rank))
    relevant = len(precisions)
    figures = {f"rank{k}": float(hits[:k].any()) for k in (1, 5)}
    figures |= {f"recall{k}": float(hits[:k].any()) for k in (1, 2, 4, 8)}
    figures["map"] = sum(precision for _, precision in precisions) / relevant
    figures["map_at_r"] = sum(precision for rank, precision in precisions if rank <= relevant) / relevant
    figures["purity10"] = float(hits[:10].mean())
    return figures
