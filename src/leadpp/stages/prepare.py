"""Turn a data set as downloaded, or any folder of photographs, into a prepared folder that opens at once.

A prepared folder holds ``prepare.json`` (what it is made of, written first), ``index.parquet`` (written last) and, if
asked for, the photographs as an image folder with ``bboxes.csv``.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from leadpp.data.building import BadImages, build_index
from leadpp.data.images import MOST_PIXELS
from leadpp.data.index import INDEX_NAME, MARKER_NAME, ImageIndex, ImageRecord, read_index, write_index
from leadpp.data.materialize import LinkKind, place, remove_placed, target_paths
from leadpp.data.naming import safe_folder_names
from leadpp.data.raw import OfficialCounts, RawData, RawRecord, raw_of
from leadpp.data.scan import require_folder
from leadpp.data.sources import READERS, read_shards
from leadpp.data.sources.cars import OFFICIAL as OFFICIAL_CARS
from leadpp.data.sources.cars_parquet import CarsMirror, is_cars_mirror, open_cars_mirror
from leadpp.data.truth import BOXES_NAME, add_boxes, write_boxes
from leadpp.engine.runtime import Progress, SilentProgress
from leadpp.errors import ArtifactError, DataError
from leadpp.io.artifacts import make_folder, read_json, replacing, write_json

Materialize = Literal["none", "copy", "hard", "soft"]


def prepare(
    kind: str,
    source: Path,
    out: Path,
    *,
    boxes_csv: Path | None = None,
    materialize: Materialize = "none",
    seed: int = 123,
    bad_images: BadImages = "skip",
    most_pixels: int = MOST_PIXELS,
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Prepare a data set.

    Args:
        kind: ``cub``, ``cars``, ``aircraft``, ``dogs``, ``folder`` or ``shards``.
        source: The folder as downloaded; of ``shards`` the archives, ``FOLDER/{0000..0099}.tar``.
        out: The prepared folder: new, empty, or prepared from this source before, in which case it is made anew.
        boxes_csv: Table of true boxes instead of the source's own.
        materialize: ``"none"`` writes the index alone, which points to ``source``; the others write an image folder.
            The Parquet mirror of Stanford Cars, whose photographs are no files, is always written as copies, and
            photographs in archives cannot be linked to.
        seed: Decides the split of labelled photographs without one.
        bad_images: As for :func:`~leadpp.data.building.build_index`, like ``most_pixels`` and ``workers``.
        most_pixels: The most that may be decoded of a photograph.
        workers: Processes that read photographs.
        progress: Shows how far it is, and the notes of the index.

    Returns:
        JSON-ready counts. ``duplicates_across_split`` are test photographs that stand in the training part too;
        ``official`` is empty for one's own photographs; ``differences`` and ``notes`` are lines for a person.

    Raises:
        DataError: The source is not what it should be, or ``out`` holds something else.
        ArtifactError: The disk refused.
    """
    if kind not in READERS:
        raise DataError(f"unknown kind of source {kind!r}; expected one of {', '.join(READERS)}")
    progress = progress or SilentProgress()
    if kind == "shards" and materialize in ("hard", "soft"):
        raise DataError(f"{source}: no links lead into archives; choose --materialize copy, or none")
    root = source.absolute() if kind == "shards" else require_folder(source)
    out = out.absolute()
    mirror = open_cars_mirror(root) if kind == "cars" and is_cars_mirror(root) else None
    marker = {"layout": kind, "source": str(root), "materialize": "copy" if mirror else materialize}
    earlier = _check_out(out, root, marker)
    if mirror:
        _begin(out, marker, earlier)
        raw = _with_table(_unpack(mirror, out, progress), boxes_csv)
    else:
        raw = _read(kind, root, boxes_csv, workers=workers, progress=progress)
    index = build_index(
        raw, seed=seed, bad_images=bad_images, most_pixels=most_pixels, workers=workers, progress=progress
    )
    index = dataclasses.replace(index, remarks=(*index.remarks, *_counts_remark(index, raw.official)))
    if not mirror:
        _begin(out, marker, earlier)
        if materialize != "none":
            index = _lay_out(index, out, how=materialize, most_pixels=most_pixels, progress=progress)
    _finish(index, out)
    for note in index.notes():
        progress.note(note)
    facts = {"kind": kind, "source": str(root), "out": str(out), "materialize": marker["materialize"]}
    return facts | _result(index, raw.official)


def _read(kind: str, root: Path, boxes_csv: Path | None, *, workers: int, progress: Progress) -> RawData:
    if kind == "shards":
        return add_boxes(read_shards(root, workers=workers, progress=progress), boxes_csv)
    raw = READERS[kind](root)
    return add_boxes(raw, boxes_csv) if kind == "folder" else _with_table(raw, boxes_csv)


def _with_table(raw: RawData, boxes_csv: Path | None) -> RawData:
    """Take the boxes of a table that the user names; one found by chance does not outdo the source's own."""
    return raw if boxes_csv is None else add_boxes(raw, boxes_csv)


def _check_out(out: Path, root: Path, marker: dict[str, str]) -> ImageIndex | None:
    """Return the index of an earlier preparation, which is to be made anew; refuse folders that hold something else."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: expected a folder to write to, found a file; choose another OUT")
    places = out.resolve(), root.resolve()
    if places[0].is_relative_to(places[1]) or places[1].is_relative_to(places[0]):
        raise DataError(f"{out}: lies in the source {root}, or the source in it; choose an OUT beside it")
    if not out.is_dir() or not any(out.iterdir()):
        return None
    if not (out / MARKER_NAME).is_file():
        raise DataError(f"{out}: not empty, and not a folder that was prepared before; choose another OUT")
    before = read_json(out / MARKER_NAME, kind="prepare")
    if (out / INDEX_NAME).exists():
        if any(before.get(key) != marker[key] for key in ("layout", "source")):
            raise DataError(
                f"{out}: holds {before.get('layout')} prepared from {before.get('source')}, not {marker['layout']} "
                f"from {marker['source']}; choose another OUT, or remove the folder"
            )
        return read_index(out / INDEX_NAME)
    if before != marker:
        raise DataError(
            f"{out}: holds an unfinished preparation of {before.get('layout')} from {before.get('source')}; "
            "finish it by the same command, or remove the folder"
        )
    return None


def _begin(out: Path, marker: dict[str, str], earlier: ImageIndex | None) -> None:
    """Make ``out`` an unfinished preparation: without an index, and without what an earlier one placed."""
    make_folder(out)
    if earlier is not None:
        _remove(out / INDEX_NAME)
        if earlier.root == out:
            remove_placed(out, [record.path for record in earlier.records])
            _remove(out / BOXES_NAME)
    write_json(out / MARKER_NAME, marker, kind="prepare")


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be removed: {(error.strerror or str(error)).lower()}") from error


def _unpack(mirror: CarsMirror, out: Path, progress: Progress) -> RawData:
    """Write the photographs of the Parquet mirror into an image folder."""
    folders = safe_folder_names(mirror.classes)
    records = []
    for image in progress.track(mirror.images(), total=mirror.total, what="unpack"):
        path = f"{image.split}/{folders[image.label]}/{image.name}"
        with replacing(out / path) as partial:
            partial.write_bytes(image.content)
        records.append(RawRecord(path=path, label=image.label, split=image.split))
    return RawData(
        source="cars",
        root=out,
        classes=mirror.classes,
        records=tuple(records),
        split_origin="given",
        remarks=(*mirror.remarks, "the photographs of the Parquet mirror are written as copies; it has no true boxes"),
        official=OFFICIAL_CARS,
    )


def _lay_out(index: ImageIndex, out: Path, *, how: LinkKind, most_pixels: int, progress: Progress) -> ImageIndex:
    """Place the readable photographs in ``out`` and return the index of what is there."""
    targets = target_paths(index.records, index.classes)
    usable = index.usable()
    for record in progress.track(usable, total=len(usable), what="write"):
        place(record.place(index.root), out / targets[record.path], how=how)
    placed = tuple(_moved(record, targets[record.path], out) for record in index.records)
    raw = raw_of(dataclasses.replace(index, root=out, records=placed))
    known = {record.path: record for record in placed}  # so nothing is drawn, and only large files are opened again
    return build_index(raw, seed=0, most_pixels=most_pixels, known=known)


def _moved(record: ImageRecord, path: str, out: Path) -> ImageRecord:
    record = dataclasses.replace(record, archive=None, offset_bytes=0)
    if record.reason is not None:
        return dataclasses.replace(record, path=path, size_bytes=0, mtime_ns=0)
    status = (out / path).stat()
    return dataclasses.replace(record, path=path, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)


def _finish(index: ImageIndex, out: Path) -> None:
    boxes = {record.path: record.true_box_xyxy for record in index.usable() if record.true_box_xyxy is not None}
    if boxes and index.root == out:
        write_boxes(out / BOXES_NAME, boxes)
    write_index(out / INDEX_NAME, index)


def _differences(index: ImageIndex, official: OfficialCounts | None) -> list[str]:
    if official is None:
        return []
    found = _counts(index)
    return [
        f"{found[what]:,} {name} instead of {expected:,}"
        for (what, expected), name in zip(
            dataclasses.asdict(official).items(), ("classes", "train photographs", "test photographs"), strict=True
        )
        if found[what] != expected
    ]


def _counts(index: ImageIndex) -> dict[str, int]:
    train, test = len(index.usable("train")), len(index.usable("test"))
    return {"classes": len(index.classes), "train": train, "test": test}


def _counts_remark(index: ImageIndex, official: OfficialCounts | None) -> list[str]:
    differences = _differences(index, official)
    return [f"not the official counts: {', '.join(differences)}"] if differences else []


def _result(index: ImageIndex, official: OfficialCounts | None) -> dict[str, Any]:
    return {
        **_counts(index),
        "bad": len(index.bad),
        "boxes": sum(record.true_box_xyxy is not None for record in index.usable()),
        "duplicates": len(index.duplicates),
        "duplicates_across_split": len(index.leaked),
        "split": index.split_origin,
        "official": dataclasses.asdict(official) if official else {},
        "differences": _differences(index, official),
        "notes": index.notes(),
    }
