"""The boxes of a run as tensors, one row for each record that is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from leadpp.data.index import ImageRecord
from leadpp.errors import ArtifactError, DataError
from leadpp.io.artifacts import read_table

_SIDES = ("x0", "y0", "x1", "y1")
_COLUMNS = {
    "path",
    "fallback",
    "width_px",
    "height_px",
    *(f"{part}_{side}" for part in ("object", "crop") for side in _SIDES),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PhotographBoxes:
    """Where the object of each of N photographs is; half-open, pixels of the upright photograph."""

    object_xyxy: Tensor
    """Rectangle of the part, int64, shape (N, 4)."""
    crop_xyxy: Tensor
    """What object views are cut from, int64, shape (N, 4)."""
    fallback: Tensor
    """Whether no box was valid and a fixed rate was taken, bool, shape (N,)."""


def read_boxes(path: Path, records: Sequence[ImageRecord]) -> PhotographBoxes:
    """Read ``boxes.parquet`` and put its rows in the order of ``records``.

    Raises:
        ArtifactError: The file is missing or damaged.
        DataError: A photograph has no row, or its row was made for another size.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: no such file; run localize first")
    table, _ = read_table(path, kind="boxes")
    lacking = sorted(_COLUMNS - set(table.column_names))
    if lacking:
        raise ArtifactError(
            f"{path}: a table of boxes has a column {lacking[0]!r}, this one has not; run localize again"
        )
    columns = {name: table.column(name).to_pylist() for name in _COLUMNS}
    row_of = {name: row for row, name in enumerate(columns["path"])}
    rows = [_row(path, record, row_of, columns) for record in records]
    return PhotographBoxes(
        object_xyxy=_gather(columns, rows, part="object"),
        crop_xyxy=_gather(columns, rows, part="crop"),
        fallback=torch.tensor([columns["fallback"][row] for row in rows], dtype=torch.bool),
    )


def _row(path: Path, record: ImageRecord, row_of: dict[str, int], columns: dict[str, list[int]]) -> int:
    row = row_of.get(record.path)
    if row is None:
        raise DataError(f"{path}: no boxes for {record.path}; run localize again")
    size = (columns["width_px"][row], columns["height_px"][row])
    if size != (record.width_px, record.height_px):
        raise DataError(
            f"{path}: boxes of {record.path} are for {size[0]} x {size[1]} pixels, the index has "
            f"{record.width_px} x {record.height_px}; run localize again"
        )
    return row


def _gather(columns: dict[str, list[int]], rows: list[int], *, part: str) -> Tensor:
    corners = [[columns[f"{part}_{side}"][row] for side in _SIDES] for row in rows]
    return torch.tensor(corners, dtype=torch.int64).reshape(-1, 4)
