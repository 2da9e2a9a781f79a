"""The index of a data set: open whatever a user names: a prepared folder, one with class folders, a flat one, archives.

What an index holds is in :mod:`leadpp.data.records`; its names can be had from here too.
"""

from pathlib import Path

from leadpp.data.building import BadImages, Tracker, build_index
from leadpp.data.images import MOST_PIXELS
from leadpp.data.places import state_of
from leadpp.data.raw import RawData, raw_of
from leadpp.data.records import Box, ImageIndex, ImageRecord, Split, read_index, write_index
from leadpp.data.scan import require_folder
from leadpp.data.sources.folder import read_folder
from leadpp.data.sources.shards import names_shards, read_shards
from leadpp.data.truth import add_boxes
from leadpp.errors import DataError

__all__ = [
    "INDEX_NAME",
    "MARKER_NAME",
    "Box",
    "ImageIndex",
    "ImageRecord",
    "Split",
    "open_data",
    "read_index",
    "write_index",
]

INDEX_NAME = "index.parquet"
"""File that makes a folder a prepared one; written last."""
MARKER_NAME = "prepare.json"
"""File that says what a prepared folder is made of; written first."""


def open_data(
    data: Path,
    *,
    seed: int,
    bad_images: BadImages = "skip",
    boxes_csv: Path | None = None,
    most_pixels: int = MOST_PIXELS,
    workers: int = 0,
    progress: Tracker | None = None,
    previous: ImageIndex | None = None,
) -> ImageIndex:
    """Open a folder or archives of photographs and know all about them.

    Args:
        data: A prepared folder, an image folder with or without ``train/`` and ``test/``, a flat folder, or archives:
            ``shards/{0000..0099}.tar``.
        seed: Decides the split of labelled photographs without one.
        bad_images: ``"skip"`` lists unreadable files with their reasons; ``"error"`` refuses them.
        boxes_csv: Table of true boxes; None takes ``bboxes.csv`` in the folder, if there is one.
        most_pixels: The most that may be decoded of a photograph; see :func:`~leadpp.data.images.decode_image`.
        workers: Processes that read photographs; 0 reads in this one.
        progress: Shows how far it is.
        previous: What was known at an earlier time; files that have not changed since are not opened again.

    Returns:
        The index.

    Raises:
        DataError: No folder, no photographs, photographs of a prepared folder that are gone, or unreadable ones and
            ``bad_images`` is ``"error"``; or archives that are missing or damaged.
        ArtifactError: The folder's index is damaged.
    """
    known = _by_path(previous)
    if names_shards(data):
        raw = add_boxes(read_shards(data, workers=workers, progress=progress), boxes_csv)
    else:
        raw, prepared = _open_folder(require_folder(data), boxes_csv)
        known = _by_path(prepared) | known
    return build_index(
        raw,
        seed=seed,
        bad_images=bad_images,
        most_pixels=most_pixels,
        workers=workers,
        progress=progress,
        known=known,
    )


def _open_folder(folder: Path, boxes_csv: Path | None) -> tuple[RawData, ImageIndex | None]:
    """Return what a folder says, and the index that lies in it if it is a prepared one."""
    if (folder / INDEX_NAME).is_file():
        stored = read_index(folder / INDEX_NAME)
        _check_there(folder, stored)
        raw = raw_of(stored)
        return (raw if boxes_csv is None else add_boxes(raw, boxes_csv)), stored
    if (folder / MARKER_NAME).is_file():
        raise DataError(f"{folder}: its preparation was not finished; run the same `leadpp prepare` command again")
    return add_boxes(read_folder(folder), boxes_csv), None


def _by_path(index: ImageIndex | None) -> dict[str, ImageRecord]:
    return {record.path: record for record in index.records} if index else {}


def _check_there(folder: Path, stored: ImageIndex) -> None:
    if not stored.root.is_dir():
        raise DataError(
            f"{folder}: its photographs were in {stored.root}, which is no longer there; "
            "move them back or run `leadpp prepare` again"
        )
    usable = stored.usable()
    archives = {record.archive: record.mtime_ns for record in usable if record.archive is not None}
    states = {path: state_of(stored.root / path) for path in archives}
    gone = [
        record.path
        for record in usable
        if not ((stored.root / record.path).exists() if record.archive is None else states[record.archive][1])
    ]
    if gone:
        raise DataError(
            f"{folder}: {len(gone):,} of its {len(usable):,} photographs are no longer in {stored.root} "
            f"(first: {gone[0]}); put them back or run `leadpp prepare` again"
        )
    other = [path for path, mtime_ns in archives.items() if states[path][1] != mtime_ns]
    if other:
        raise DataError(
            f"{folder}: {len(other):,} of its {len(archives):,} archives were changed since they were prepared (first: "
            f"{other[0]}), so that other bytes may lie where its photographs were; run `leadpp prepare` again"
        )
