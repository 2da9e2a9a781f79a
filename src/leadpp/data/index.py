"""The index of a data set: open whatever folder a user names, prepared, with class folders or flat.

What an index holds is in :mod:`leadpp.data.records`; its names can be had from here too.
"""

from pathlib import Path

from leadpp.data.building import BadImages, Tracker, build_index
from leadpp.data.records import Box, ImageIndex, ImageRecord, Split, read_index, write_index
from leadpp.data.raw import RawData, RawRecord
from leadpp.data.scan import require_folder
from leadpp.data.sources.folder import read_folder
from leadpp.data.truth import add_boxes
from leadpp.errors import DataError

__all__ = ["INDEX_NAME", "Box", "ImageIndex", "ImageRecord", "Split", "open_data", "read_index", "write_index"]

INDEX_NAME = "index.parquet"
"""File by which a prepared folder is known."""


def open_data(
    data: Path,
    *,
    seed: int,
    bad_images: BadImages = "skip",
    boxes_csv: Path | None = None,
    workers: int = 0,
    progress: Tracker | None = None,
    previous: ImageIndex | None = None,
) -> ImageIndex:
    """Open a folder of photographs and know all about it.

    Args:
        data: A prepared folder, an image folder with or without ``train/`` and ``test/``, or a flat folder.
        seed: Decides the split of labelled photographs without one.
        bad_images: ``"skip"`` lists unreadable files with their reasons; ``"error"`` refuses them.
        boxes_csv: Table of true boxes; None takes ``bboxes.csv`` in the folder, if there is one.
        workers: Processes that read photographs; 0 reads in this one.
        progress: Shows how far it is.
        previous: What was known at an earlier time; files that have not changed since are not opened again.

    Returns:
        The index.

    Raises:
        DataError: No folder, no photographs, photographs of a prepared folder that are gone, or unreadable ones and
            ``bad_images`` is ``"error"``.
        ArtifactError: The folder's index is damaged.
    """
    folder = require_folder(data)
    known = _by_path(previous)
    if (folder / INDEX_NAME).is_file():
        stored = read_index(folder / INDEX_NAME)
        _check_there(folder, stored)
        known = _by_path(stored) | known
        raw = _as_raw(stored)
        if boxes_csv is not None:
            raw = add_boxes(raw, boxes_csv)
    else:
        raw = add_boxes(read_folder(folder), boxes_csv)
    return build_index(raw, seed=seed, bad_images=bad_images, workers=workers, progress=progress, known=known)


def _by_path(index: ImageIndex | None) -> dict[str, ImageRecord]:
    return {record.path: record for record in index.records} if index else {}


def _check_there(folder: Path, stored: ImageIndex) -> None:
    if not stored.root.is_dir():
        raise DataError(
            f"{folder}: its photographs were in {stored.root}, which is no longer there; "
            "move them back or run `leadpp prepare` again"
        )
    usable = stored.usable()
    gone = [record.path for record in usable if not (stored.root / record.path).exists()]
    if gone:
        raise DataError(
            f"{folder}: {len(gone):,} of its {len(usable):,} photographs are no longer in {stored.root} "
            f"(first: {gone[0]}); put them back or run `leadpp prepare` again"
        )


def _as_raw(index: ImageIndex) -> RawData:
    records = (
        RawRecord(path=r.path, label=r.label, split=r.split, cut_bottom_px=r.cut_bottom_px, box_xyxy=r.true_box_xyxy)
        for r in index.records
    )
    return RawData(
        source=index.source,
        root=index.root,
        classes=index.classes,
        records=tuple(records),
        split_origin=index.split_origin,
        remarks=index.remarks,
    )
