"""True boxes in a table of their own: ``path,x0,y0,x1,y1``, half-open, in pixels of the upright photographs."""

import csv
import dataclasses
import io
import math
import unicodedata
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from leadpp.data.raw import RawData
from leadpp.data.records import Box
from leadpp.errors import DataError
from leadpp.io.artifacts import write_text

BOXES_NAME = "bboxes.csv"
"""Name under which a folder's own table of boxes is found without asking."""

_HEADER = ("path", "x0", "y0", "x1", "y1")


def read_boxes(path: Path) -> dict[str, Box]:
    """Read a table of boxes.

    Args:
        path: CSV in UTF-8 with a header that holds at least ``path,x0,y0,x1,y1``; the paths are relative to the folder
            of the photographs, with slashes.

    Returns:
        The box of each path, as POSIX paths.

    Raises:
        DataError: No such file, another header, or rows that are malformed: too short, not numbers, empty boxes, or a
            path that was there before.
    """
    boxes: dict[str, Box] = {}
    wrong: list[str] = []
    rows = _rows(path)
    for line, row in rows:
        try:
            name, box = _parse(row)
            if name in boxes:
                raise ValueError(f"{name} has a box already")
            boxes[name] = box
        except ValueError as error:
            wrong.append(f"line {line}: {error}")
    if wrong:
        raise DataError(
            f"{path}: {len(wrong):,} of {len(rows):,} rows are malformed, first {wrong[0]}; "
            "expected path,x0,y0,x1,y1 with x0 < x1 and y0 < y1 in pixels"
        )
    return boxes


def write_boxes(path: Path, boxes: Mapping[str, Box]) -> None:
    """Write a table that :func:`read_boxes` reads.

    Raises:
        ArtifactError: The disk refused.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows([name, *(f"{edge:.12g}" for edge in box)] for name, box in boxes.items())
    write_text(path, text.getvalue())


def add_boxes(raw: RawData, boxes_csv: Path | None) -> RawData:
    """Give the photographs of a source the boxes of a table, or of the table that lies in its folder.

    Args:
        raw: What the source says; its own boxes give way to those of the table.
        boxes_csv: The table; None looks for :data:`BOXES_NAME` in the root and passes over one with another header.

    Returns:
        The source with boxes, and with remarks about rows that name none of its photographs.

    Raises:
        DataError: The table is missing or malformed, or none of its rows names a photograph.
    """
    path = boxes_csv or raw.root / BOXES_NAME
    if boxes_csv is None:
        if not path.is_file():
            return raw
        if not _has_header(path):
            remark = f"{BOXES_NAME} is not read: its header is not {','.join(_HEADER)}"
            return dataclasses.replace(raw, remarks=(*raw.remarks, remark))
    boxes = {unicodedata.normalize("NFC", name): (name, box) for name, box in read_boxes(path).items()}
    records = []
    for record in raw.records:
        _, box = boxes.pop(unicodedata.normalize("NFC", record.path), (None, record.box_xyxy))
        records.append(dataclasses.replace(record, box_xyxy=box))
    if not boxes:
        return dataclasses.replace(raw, records=tuple(records))
    first, _ = next(iter(boxes.values()))
    if all(before.box_xyxy == after.box_xyxy for before, after in zip(raw.records, records, strict=True)):
        raise DataError(f"{path}: no row names a photograph of {raw.root} (first: {first}); paths are relative to it")
    remark = f"{len(boxes):,} rows of {path.name} name no photograph (first: {first})"
    return dataclasses.replace(raw, records=tuple(records), remarks=(*raw.remarks, remark))


def _rows(path: Path) -> list[tuple[int, dict[str, str | None]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            lacking = [name for name in _HEADER if name not in (reader.fieldnames or ())]
            if lacking:
                found = ",".join(reader.fieldnames or ()) or "nothing"
                raise DataError(f"{path}: expected a header with {','.join(_HEADER)}, found {found[:80]}")
            return [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise DataError(f"{path}: cannot read the boxes: {(error.strerror or str(error)).lower()}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a CSV file in UTF-8 ({error})") from error


def _has_header(path: Path) -> bool:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return set(_HEADER) <= set(next(csv.reader(stream), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def _parse(row: Mapping[str, str | None]) -> tuple[str, Box]:
    values = [row[name] for name in _HEADER]
    name, *edges = ("" if value is None else value.strip() for value in values)
    if not name:
        raise ValueError("no path")
    if "" in edges:
        raise ValueError(f"{name} has fewer than four edges")
    x0, y0, x1, y1 = map(float, edges)
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise ValueError(f"{name} has an edge that is no finite number")
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"{name} has an empty box {x0:g},{y0:g},{x1:g},{y1:g}")
    return PurePosixPath(name.replace("\\", "/")).as_posix(), (x0, y0, x1, y1)
