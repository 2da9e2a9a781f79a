"""How photographs are shown to networks, said once for all networks of a stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from leadpp.data.index import ImageRecord
from leadpp.data.transforms import Fit
from leadpp.data.views import EvalSet
from leadpp.engine.encoders import Encoder, encode_photographs
from leadpp.engine.runtime import Progress


@dataclass(frozen=True, kw_only=True)
class Sight:
    """The test view, and who reads it where."""

    size: int
    """Side of the pictures in pixels."""
    fit: Fit
    """How a photograph or its crop becomes a square."""
    batch_size: int
    workers: int
    device: torch.device
    progress: Progress

    def features(
        self,
        encoder: Encoder,
        records: Sequence[ImageRecord],
        *,
        root: Path,
        crops_xyxy: Tensor | None = None,
        what: str,
    ) -> dict[str, Tensor]:
        """Make an encoder's features of photographs, or of their crop boxes (N, 4), float32 (N, F) by name.

        Raises:
            DataError: A photograph cannot be read any more.
            LeadppError: The device has too little memory.
        """
        samples = EvalSet(records, root=root, size=self.size, fit=self.fit, crop_boxes_xyxy=crops_xyxy)
        return encode_photographs(
            encoder,
            samples,
            batch_size=self.batch_size,
            workers=self.workers,
            device=self.device,
            progress=self.progress,
            what=what,
        )
