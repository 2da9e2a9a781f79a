"""Maps of an embedding in two dimensions."""

from typing import Literal

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import Tensor

Method = Literal["tsne", "pca"]

TSNE_LEAST = 30
"""Fewer items than this are projected by PCA: t-SNE has nothing to say about them."""
_PCA_DIMENSIONS = 50


def project(features: Tensor, *, method: Method, seed: int) -> tuple[Tensor, Method]:
    """Lay items out in the plane.

    Args:
        features: Unit rows, shape (N, F), N >= 2.
        method: ``tsne`` keeps neighbours together (after PCA to 50 dimensions), ``pca`` keeps large distances.
        seed: Of t-SNE, and of PCA where it estimates.

    Returns:
        Places, float32 (N, 2), and the method that was used.
    """
    rows = features.double().numpy()
    used: Method = "tsne" if method == "tsne" and len(rows) >= TSNE_LEAST else "pca"
    width = min(_PCA_DIMENSIONS if used == "tsne" else 2, *rows.shape)
    state = seed % 2**32
    with np.errstate(invalid="ignore"):  # a collapsed embedding has no variance to share out
        flat = PCA(n_components=width, random_state=state).fit_transform(rows)
    if used == "tsne" and flat.std() > 0:
        perplexity = min(30.0, (len(rows) - 1) / 3)
        flat = TSNE(perplexity=perplexity, init="pca", random_state=state).fit_transform(flat)
    places = np.zeros((len(rows), 2), dtype=np.float32)
    places[:, : flat.shape[1]] = flat[:, :2]
    return torch.from_numpy(places), used
