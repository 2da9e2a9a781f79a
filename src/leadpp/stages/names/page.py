"""The pages of named photographs and of clusters without a name: each one file, written piece by piece."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from leadpp.data.index import ImageRecord
from leadpp.engine.pages import stream_page
from leadpp.engine.thumbnails import thumbnail

_PACKAGE = "leadpp.stages.names"
_SIDE_PX = 96
_TYPICAL_PX = 160


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
        "over": "name",
        "title": f"{len(records):,} photographs, named",
        "document": document,
        "who": list(document["by"]),
        "rows": _rows(document, records, root=root, thumbnails=thumbnails),
        "without": max(0, len(records) - thumbnails),
    }
    stream_page(path, _PACKAGE, "names.html.j2", content, script="table.js")


def _rows(
    document: Mapping[str, Any], records: Sequence[ImageRecord], *, root: Path, thumbnails: int
) -> Iterator[dict[str, Any]]:
    for place, (row, record) in enumerate(zip(document["photographs"], records, strict=True)):
        box = row["box_xyxy"]
        picture = thumbnail(record, root=root, side_px=_SIDE_PX, box_xyxy=box) if place < thumbnails else None
        yield {**row, "picture": picture, "sure": not any(row[who]["unsure"] for who in document["by"])}


def write_strangers_page(
    path: Path,
    document: Mapping[str, Any],
    shown: Mapping[str, tuple[ImageRecord, Sequence[int] | None]],
    *,
    root: Path,
    typical: int,
) -> None:
    """Write ``discovered.html``: each cluster for which no name fits, by its most typical photographs.

    Args:
        path: The file.
        document: What ``discovered.json`` holds.
        shown: Record and object box of each photograph, by its path.
        root: Folder that the records' paths start from.
        typical: How many photographs of each cluster are shown.

    Raises:
        DataError: A photograph cannot be read any more.
    """
    content = {
        "over": "discover",
        "title": f"{document['unnamed']:,} of {document['clusters']:,} clusters have no name",
        "document": document,
        "groups": _groups(document, shown, root=root, typical=typical),
    }
    stream_page(path, _PACKAGE, "discovered.html.j2", content)


def _groups(
    document: Mapping[str, Any],
    shown: Mapping[str, tuple[ImageRecord, Sequence[int] | None]],
    *,
    root: Path,
    typical: int,
) -> Iterator[dict[str, Any]]:
    for group in document["groups"]:
        pictures = []
        for path in group["photographs"][:typical]:
            record, box = shown[path]
            pictures.append((path, thumbnail(record, root=root, side_px=_TYPICAL_PX, box_xyxy=box)))
        yield {**group, "pictures": pictures}
