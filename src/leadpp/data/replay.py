"""The draws of a view that training replays, so that a frozen network can be asked about them beforehand."""

import torch
from torch.utils.data import Dataset

from leadpp.data.views import Batch, SampleKey, ViewSet
from leadpp.functional.objective import ViewName


class ReplayedSet(Dataset[Batch]):
    """One view of each photograph as each of the first epochs draws it, epoch by epoch: ``image`` and ``index``.

    Args:
        samples: Makes the view, finished.
        view: Which one.
        draws: K, after how many epochs its draws begin again.
    """

    def __init__(self, samples: ViewSet, *, view: ViewName, draws: int) -> None:
        self.samples, self.view, self.draws = samples, view, draws

    def __len__(self) -> int:
        return self.draws * len(self.samples)

    def __getitem__(self, number: int) -> Batch:
        """Return ``image``, uint8 (3, S, S), and ``index``; each draw is read for itself."""
        draw, index = divmod(number, len(self.samples))
        return {"image": self.samples[SampleKey(draw, index)][self.view], "index": torch.tensor(index)}
