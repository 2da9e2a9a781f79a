"""The case ``retrieval``: class-mates of every item among all others."""

import torch
from torch import Tensor

from benchmarks.bench.case import Case, Work
from benchmarks.obvious.retrieval import retrieval as obvious_retrieval

_SIZES = {False: (5794, 2048, 200), True: (2500, 1024, 100)}


def retrieval(*, quick: bool) -> Case:
    """Compare both ways at the size of CUB's test set; quick: at less than half of it."""
    items, features, classes = _SIZES[quick]

    def obvious() -> Work:
        drawn = draw(items, features=features, classes=classes)
        return lambda: obvious_retrieval(*drawn)

    def fast() -> Work:
        from leadpp.engine.neighbours import retrieval as blockwise  # what it imports is part of its memory

        drawn = draw(items, features=features, classes=classes)
        return lambda: blockwise(*drawn)

    return Case(
        name="retrieval",
        protocol=(
            f"{items:,} x {features:,} float32 features of {classes} classes (noisy clouds), leave one out. One call "
            "makes Rank-1, Rank-5, R@1/2/4/8, mAP, MAP@R and purity@10 of all. Obvious: a loop over queries, each with "
            "a copy of the gallery without it, a product, a full sort, and a walk through its hits."
        ),
        items=items,
        obvious=obvious,
        fast=fast,
        target=25.0 if quick else 100.0,
        peak_target_mb=None if quick else 600.0,  # imports alone are more than 500
        seconds_target=None if quick else 2.5,
    )


def draw(count: int, *, features: int, classes: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Draw noisy clouds, one a class, without more memory than they need: (N, F) and (N,)."""
    labels = torch.arange(count) % classes
    centres = 0.3 * torch.randn(classes, features, generator=torch.Generator().manual_seed(0))
    clouds = torch.randn(count, features, generator=torch.Generator().manual_seed(seed))
    for start in range(0, count, 1024):
        clouds[start : start + 1024] += centres[labels[start : start + 1024]]
    return clouds, labels
