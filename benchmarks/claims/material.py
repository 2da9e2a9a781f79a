"""Boxes and prototypes that differ from those of LEAD++: whole photographs, true boxes, wrong and random words."""

import shutil
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from benchmarks.claims.rows import Boxes, Words
from leadpp.data.index import ImageRecord, read_index
from leadpp.errors import DataError
from leadpp.functional.boxes import CropPolicy, policy_boxes
from leadpp.functional.randomness import generator_for
from leadpp.io.artifacts import read_table, write_table
from leadpp.text.prototypes import read_prototypes, unit_rows, write_prototypes

_SIDES = ("x0", "y0", "x1", "y1")


def place_boxes(ground: Path, run: Path, *, boxes: Boxes) -> None:
    """Write the boxes that a row trains with: those found, or others in their place.

    Args:
        ground: Run folder with ``index.parquet`` and the ``boxes.parquet`` that were found.
        run: Run folder of the row.
        boxes: Which ones.

    Raises:
        DataError: True boxes are wanted, and a photograph has none.
    """
    if boxes == "found":
        shutil.copyfile(ground / "boxes.parquet", run / "boxes.parquet")
        return
    table, metadata = read_table(ground / "boxes.parquet", kind="boxes")
    by_path = {record.path: record for record in read_index(ground / "index.parquet").records}
    records = [by_path[path] for path in table.column("path").to_pylist()]
    drawn = whole_boxes(records) if boxes == "whole" else true_boxes(records, policy=metadata["policy"])
    for part, rows in (("object", drawn[0]), ("crop", drawn[1])):
        for place, side in enumerate(_SIDES):
            name = f"{part}_{side}"
            column = pa.array(rows[:, place].tolist(), pa.int32())
            table = table.set_column(table.column_names.index(name), name, column)
    write_table(run / "boxes.parquet", table, kind="boxes", metadata=metadata)


def whole_boxes(records: list[ImageRecord]) -> tuple[Tensor, Tensor]:
    """Return object and crop boxes that are the whole photographs, each int64 (N, 4)."""
    whole = torch.tensor([(0, 0, record.width_px, record.height_px) for record in records])
    return whole, whole


def true_boxes(records: list[ImageRecord], *, policy: CropPolicy) -> tuple[Tensor, Tensor]:
    """Return the true object boxes, and the crop boxes that a policy makes of them, each int64 (N, 4).

    Raises:
        DataError: A photograph has no true box.
    """
    unknown = [record.path for record in records if record.true_box_xyxy is None]
    if unknown:
        raise DataError(f"{len(unknown)} photographs have no true box, first {unknown[0]}; leave true-boxes out")
    drawn = torch.tensor([record.true_box_xyxy for record in records])
    limits = torch.tensor([(record.width_px, record.height_px) for record in records])
    return drawn, policy_boxes(drawn, policy=policy, height_px=limits[:, 1], width_px=limits[:, 0])


def spoil_prototypes(path: Path, *, words: Words, seed: int) -> None:
    """Replace right prototypes by wrong or random ones, where a row wants that; names stay in their order.

    Args:
        path: ``prototypes.safetensors`` with what the descriptions gave.
        words: ``wrong`` gives every class the vector of another, ``random`` a random one; others change nothing.
        seed: Decides which.
    """
    if words not in ("wrong", "random"):
        return
    right = read_prototypes(path)
    if words == "wrong":
        order = derangement(len(right.vectors), generator=generator_for(seed, "wrong words"))
        spoilt = right.ordered(order).named(right.names or ())
    else:
        drawn = torch.randn(right.vectors.shape, generator=generator_for(seed, "random words"))
        spoilt = type(right)(vectors=unit_rows(drawn), names=right.names, made="random unit vectors")
    write_prototypes(path, spoilt)


def derangement(count: int, *, generator: torch.Generator) -> list[int]:
    """Draw one cycle through all of ``count`` places (Sattolo), so that none stays where it was.

    >>> derangement(2, generator=torch.Generator())
    [1, 0]
    """
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        other = int(torch.randint(last, (), generator=generator))
        order[last], order[other] = order[other], order[last]
    return order
