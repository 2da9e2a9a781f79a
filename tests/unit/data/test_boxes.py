"""Boxes come back in the order of the records that ask for them."""

from pathlib import Path

import pyarrow as pa
import pytest
import torch

from leadpp.data.boxes import read_boxes
from leadpp.data.index import ImageRecord
from leadpp.errors import ArtifactError, DataError
from leadpp.io.artifacts import write_table


def record(path: str, *, width_px: int = 40) -> ImageRecord:
    return ImageRecord(path=path, label=None, split="train", width_px=width_px, height_px=30, checksum="")


@pytest.fixture
def table() -> pa.Table:
    sides = ("x0", "y0", "x1", "y1")
    columns: dict[str, list[object]] = {"path": ["a.jpg", "b.jpg", "c.jpg"], "fallback": [False, True, False]}
    for start, part in ((0, "object"), (4, "crop")):
        for place, side in enumerate(sides):
            columns[f"{part}_{side}"] = [start + place, 10 + start + place, 20 + start + place]
    return pa.table({**columns, "width_px": [40, 40, 40], "height_px": [30, 30, 30]})


def test_rows_follow_the_records(tmp_path: Path, table: pa.Table) -> None:
    write_table(tmp_path / "boxes.parquet", table, kind="boxes")
    boxes = read_boxes(tmp_path / "boxes.parquet", [record("c.jpg"), record("b.jpg")])
    assert boxes.object_xyxy.tolist() == [[20, 21, 22, 23], [10, 11, 12, 13]]
    assert boxes.crop_xyxy.tolist() == [[24, 25, 26, 27], [14, 15, 16, 17]]
    assert boxes.fallback.tolist() == [False, True]


def test_no_records_give_no_rows(tmp_path: Path, table: pa.Table) -> None:
    write_table(tmp_path / "boxes.parquet", table, kind="boxes")
    boxes = read_boxes(tmp_path / "boxes.parquet", [])
    assert (boxes.crop_xyxy.shape, boxes.crop_xyxy.dtype) == ((0, 4), torch.int64)


def test_a_photograph_without_a_row_is_named(tmp_path: Path, table: pa.Table) -> None:
    write_table(tmp_path / "boxes.parquet", table, kind="boxes")
    with pytest.raises(DataError, match=r"no boxes for z\.jpg; run localize again"):
        read_boxes(tmp_path / "boxes.parquet", [record("a.jpg"), record("z.jpg")])


def test_boxes_of_another_size_of_the_photograph_are_refused(tmp_path: Path, table: pa.Table) -> None:
    write_table(tmp_path / "boxes.parquet", table, kind="boxes")
    with pytest.raises(DataError, match=r"a\.jpg are for 40 x 30 pixels, the index has 41 x 30"):
        read_boxes(tmp_path / "boxes.parquet", [record("a.jpg", width_px=41)])


def test_a_table_without_a_column_is_refused(tmp_path: Path, table: pa.Table) -> None:
    write_table(tmp_path / "boxes.parquet", table.drop_columns("crop_y1"), kind="boxes")
    with pytest.raises(ArtifactError, match="has a column 'crop_y1', this one has not"):
        read_boxes(tmp_path / "boxes.parquet", [record("a.jpg")])
