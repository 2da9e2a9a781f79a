"""How good the student's features are while it learns: neighbours among labels that training never sees."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.engine.neighbours import knn_accuracy, retrieval
from leadpp.models.student import Student


class NeighbourMonitor:
    """kNN accuracy and purity@10 of held-out photographs; training itself uses no labels.

    Args:
        views: Batches in a fixed order, each with ``image``, uint8 (B, 3, S, S); read anew at every call.
        labels: Class numbers in the order of the views, shape (N,).
        heldout: Which photographs are asked, bool (N,); the others vote. Purity is among the held-out ones.
        ranks: The processes that each encode a share of the photographs, in their order; all get the figures.
    """

    def __init__(
        self, views: Iterable[Mapping[str, Tensor]], *, labels: Tensor, heldout: Tensor, ranks: Ranks = ALONE
    ) -> None:
        self._views, self._labels, self._heldout, self._ranks = views, labels, heldout, ranks

    @torch.no_grad()
    def __call__(self, student: Student) -> dict[str, float]:
        """Measure the average-pooled features of a student that is in evaluation mode.

        Returns:
            ``knn`` (k 10, temperature 0.07), and ``purity10`` where at least two held-out photographs share a class;
            each from 0 to 1.
        """
        device = next(student.parameters()).device
        # Neighbours are few here, and their exact ranks need integers and float64 that MPS lacks.
        parts = [student(batch["image"].to(device)).feature.cpu() for batch in self._views]
        empty = torch.empty(0, student.feature_dim)  # a process may have no share
        features = self._ranks.gather_uneven(torch.cat([empty, *parts]))
        ask, labels = self._heldout, self._labels
        figures = {"knn": knn_accuracy(features[~ask], labels[~ask], features[ask], labels[ask])}
        among = retrieval(features[ask], labels[ask]).figures
        return figures | {name: value for name, value in among.items() if name == "purity10"}


def choose_heldout(count: int, *, share: float, generator: torch.Generator) -> Tensor:
    """Draw which of ``count`` photographs are held out, bool (count,); at least one, if there are two."""
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[torch.randperm(count, generator=generator)[: max(1, round(share * count))]] = True
    return chosen
