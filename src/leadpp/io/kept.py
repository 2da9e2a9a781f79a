"""Feature maps that are kept for a short time, in half precision: in memory, or in a file that has no name."""

import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from leadpp.io.sizes import size_words

_IN_MEMORY_BYTES = 8 << 20
_LARGEST = 32768.0
"""Half precision ends at 65,504."""
_SPARE = 0.9
"""Share of the free disk space that may be used."""


class KeptMaps:
    """Batches of feature maps, written one after another and read in the same order.

    A few megabytes stay in memory. More go to a file in ``folder`` that is unlinked as soon as it is open: nothing
    remains of it when the process ends, however it ends. Values are rounded to half precision; a photograph whose map
    goes beyond its range is scaled.

    Attributes:
        images: Photographs whose maps are kept.
        refusal: Why nothing is kept, in words; empty where maps are kept.
    """

    def __init__(self, folder: Path, *, images: int, most_bytes: float) -> None:
        """Keep nothing yet.

        Args:
            folder: Where the file may be; it must exist.
            images: Photographs that will come; what they take is known from the first batch.
            most_bytes: The most that they may take together.
        """
        self.images = 0
        self.refusal = ""
        self._folder, self._expected, self._most_bytes = folder, images, most_bytes
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES, dir=str(folder))  # noqa: SIM115 - see __exit__
        self._shapes: list[list[tuple[int, ...]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget the maps."""
        self._file.close()

    def append(self, maps: Sequence[Tensor]) -> None:
        """Keep a batch, one (B, F_i, h_i, w_i) per stage; nothing at all if there is no room for all batches."""
        if self.refusal:
            return
        if not self._shapes:
            self.refusal = self._refuse(sum(_half_bytes(each) for each in maps) / len(maps[0]) * self._expected)
        try:
            if not self.refusal:
                self._write(maps)
        except OSError as error:
            self.refusal = f"{self._folder}: {error.strerror or error}"
        if self.refusal:
            self.images = 0
            self._file.close()

    def batches(self) -> Iterator[list[Tensor]]:
        """Yield the batches again, float32; nothing where they were refused."""
        if self.refusal:
            return
        self._file.seek(0)
        for shapes in self._shapes:
            yield [self._read(shape) for shape in shapes]

    def _refuse(self, bytes_needed: float) -> str:
        if bytes_needed > self._most_bytes:
            return f"they take {size_words(bytes_needed)}"
        free = shutil.disk_usage(self._folder).free
        if bytes_needed > _IN_MEMORY_BYTES and bytes_needed > _SPARE * free:
            return f"they take {size_words(bytes_needed)}, {size_words(free)} are free in {self._folder}"
        return ""

    def _write(self, maps: Sequence[Tensor]) -> None:
        for each in maps:
            # Channels last, as networks hand them over: neither writing nor reading has to move them about.
            values = each.float().permute(0, 2, 3, 1).contiguous()
            scales = (values.abs().amax(dim=(1, 2, 3)) / _LARGEST).clamp(min=1)
            self._file.write(scales.cpu().numpy().tobytes())
            self._file.write((values / scales.view(-1, 1, 1, 1)).half().cpu().numpy().tobytes())
        self._shapes.append([tuple(each.permute(0, 2, 3, 1).shape) for each in maps])
        self.images += len(maps[0])

    def _read(self, shape: tuple[int, ...]) -> Tensor:
        scales = np.frombuffer(self._file.read(4 * shape[0]), dtype=np.float32)
        values = np.frombuffer(self._file.read(2 * math.prod(shape)), dtype=np.float16).astype(np.float32)
        rows = torch.from_numpy(values).view(shape) * torch.from_numpy(scales.copy()).view(-1, 1, 1, 1)
        return rows.permute(0, 3, 1, 2)


def _half_bytes(maps: Tensor) -> int:
    return 2 * maps.numel()
