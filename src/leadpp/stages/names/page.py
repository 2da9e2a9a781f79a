"""The page of named photographs: one file, sortable and searchable, written row by row."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from leadpp.data.index import ImageRecord
from leadpp.engine.pages import stream_page
from leadpp.engine.thumbnails import thumbnail

_SIDE_PX = 96


def write_names_page(
    path: Path, document: Mapping[str, Any], records: Sequence[ImageRecord], *, root: Path, thumbnails: int
) -> None:
    """Write ``names.html``; one photograph is in memory at a time.

    Args:
        path: The file.
        document: What ``names.json`` holds.
        records: The named photographs, in the same order.
        root: Folder that their paths start from.
        thumbnails: Most photographs that are shown small.

    Raises:
        DataError: A photograph cannot be read any more.
    """
    content = {
        "document": document,
        "who": list(document["by"]),
        "rows": _rows(document, records, root=root, thumbnails=thumbnails),
        "without": max(0, len(records) - thumbnails),
    }
    stream_page(path, "names.html.j2", content, script="table.js")


def _rows(
    document: Mapping[str, Any], records: Sequence[ImageRecord], *, root: Path, thumbnails: int
) -> Iterator[dict[str, Any]]:
    for place, (row, record) in enumerate(zip(document["photographs"], records, strict=True)):
        box = row["box_xyxy"]
        picture = thumbnail(record, root=root, side_px=_SIDE_PX, box_xyxy=box) if place < thumbnails else None
        yield {**row, "picture": picture, "sure": not any(row[who]["unsure"] for who in document["by"])}
