"""What an index holds: every photograph, what is known about it and what is wrong with it; and how it is kept."""

import functools
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from leadpp.data.naming import is_inner_path
from leadpp.data.places import Member, Place, place_at
from leadpp.errors import ArtifactError, DataError
from leadpp.io.artifacts import read_table, write_table

Split = Literal["train", "test"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRecord:
    """One photograph."""

    path: str
    """POSIX path relative to the index's root; in an archive, that of the archive, a slash and the name there."""
    label: str | None
    """True name of its class; None where nobody knows."""
    split: Split
    """Which part of the data it belongs to."""
    width_px: int
    """Width of the upright picture; 0 where it cannot be read."""
    height_px: int
    """Height of the upright picture after the cut; 0 where it cannot be read."""
    cut_bottom_px: int = 0
    """Rows to cut off the lower edge of the upright picture."""
    least_scale: int = 1
    """By how much its sides have to be divided when it is decoded: 2 where it would be too large for memory."""
    true_box_xyxy: Box | None = None
    """Where the object is: half-open, in pixels of the upright picture after the cut."""
    checksum: str
    """BLAKE2b digest of the file's bytes; empty where they cannot be had."""
    reason: str | None = None
    """Why it cannot be used; None where it can."""
    duplicate_of: str | None = None
    """Path of the first photograph of the index with the very same bytes."""
    size_bytes: int = 0
    """Size of the file when it was looked at."""
    mtime_ns: int = 0
    """Time of its last change when it was looked at, in nanoseconds; in an archive, the archive's."""
    archive: str | None = None
    """Path of the archive that it lies in, relative to the index's root; None where it is a file of its own."""
    offset_bytes: int = 0
    """Where its first byte is in the archive."""

    def place(self, root: Path) -> Place:
        """Return where its bytes are, below the index's root."""
        place = place_at(
            root, self.path, archive=self.archive, offset_bytes=self.offset_bytes, size_bytes=self.size_bytes
        )
        if isinstance(place, Member):
            return replace(place, mtime_ns=self.mtime_ns, checksum=self.checksum)
        return place


@dataclass(frozen=True, kw_only=True)
class ImageIndex:
    """All photographs of a data set, in an order that does not depend on the file system."""

    root: Path
    """Folder that the paths of the records start from."""
    source: str
    """Where it comes from: ``cub``, ``cars``, ``aircraft``, ``dogs``, ``folder`` or ``shards``."""
    classes: tuple[str, ...]
    """Names of the classes in official or natural order; empty where there are no labels."""
    records: tuple[ImageRecord, ...]
    """Every file that was taken for a photograph, the unreadable ones too."""
    split_origin: str
    """How the photographs came to be train or test, in words."""
    remarks: tuple[str, ...] = ()
    """What was noticed while the index was built and cannot be told from the records."""

    @property
    def labelled(self) -> bool:
        """Whether there are classes."""
        return bool(self.classes)

    @functools.cached_property
    def bad(self) -> tuple[ImageRecord, ...]:
        """Records that cannot be read."""
        return tuple(record for record in self.records if record.reason is not None)

    @functools.cached_property
    def duplicates(self) -> tuple[ImageRecord, ...]:
        """Records whose bytes stand earlier in the index too."""
        return tuple(record for record in self.records if record.duplicate_of is not None)

    @functools.cached_property
    def leaked(self) -> tuple[ImageRecord, ...]:
        """Test records whose bytes stand in the training part too."""
        seen = {record.checksum for record in self.usable("train")}
        return tuple(record for record in self.usable("test") if record.checksum in seen)

    def usable(self, split: Split | None = None) -> tuple[ImageRecord, ...]:
        """Return the records that can be read, of one split or of all, in index order."""
        return tuple(r for r in self.records if r.reason is None and split in (None, r.split))

    def class_index(self, label: str) -> int:
        """Return the place of a class in ``classes``.

        Raises:
            DataError: No such class.
        """
        try:
            return self._places[label]
        except KeyError:
            raise DataError(f"no class {label!r} among the {len(self.classes)} classes of {self.root}") from None

    def summary(self) -> list[str]:
        """Return lines that say what there is."""
        train, test = len(self.usable("train")), len(self.usable("test"))
        classes = f"{len(self.classes):,} classes" if self.labelled else "no labels"
        boxes = sum(record.true_box_xyxy is not None for record in self.usable())
        lines = [
            f"{train + test:,} photographs, {classes}: {train:,} train, {test:,} test (split: {self.split_origin})"
        ]
        return [*lines, f"true boxes for {boxes:,} photographs"] if boxes else lines

    def notes(self) -> list[str]:
        """Return lines, with numbers, about what a person should know; empty where all is well."""
        return [*self._bad_notes(), *self._duplicate_notes(), *self._class_notes(), *self.remarks]

    def digest(self) -> str:
        """Return the identity of the data: 32 hexadecimal digits over what is read from it, whatever its root.

        Two indexes of the same photographs agree wherever the folder lies and however old its files are.
        """
        hasher = hashlib.blake2b(digest_size=16)
        for value in (self.classes, *(self._identity(record) for record in self.records)):
            hasher.update(json.dumps(value).encode() + b"\n")
        return hasher.hexdigest()

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {label: place for place, label in enumerate(self.classes)}

    @staticmethod
    def _identity(record: ImageRecord) -> tuple[object, ...]:
        usable = record.reason is None
        box = record.true_box_xyxy and [float(edge) for edge in record.true_box_xyxy]
        known = record.path, record.label, record.split, record.checksum, record.cut_bottom_px, box, usable
        return known if record.least_scale == 1 else (*known, record.least_scale)

    def _bad_notes(self) -> list[str]:
        if not self.bad:
            return []
        counts = f"{len(self.bad):,} of {len(self.records):,}"
        return [f"{counts} files cannot be read and are left out ({first_bad(self.bad)})"]

    def _duplicate_notes(self) -> list[str]:
        lines = []
        if self.duplicates:
            first = self.duplicates[0]
            lines.append(f"{len(self.duplicates):,} exact duplicates (first: {first.path} is {first.duplicate_of})")
        if self.leaked:
            first = self.leaked[0]
            lines.append(f"{len(self.leaked):,} test photographs stand in the training part too (first: {first.path})")
        labels = {record.path: record.label for record in self.records}
        torn = [r for r in self.duplicates if r.duplicate_of is not None and labels[r.duplicate_of] != r.label]
        if torn:
            lines.append(f"{len(torn):,} duplicates have another class than their original (first: {torn[0].path})")
        return lines

    def _class_notes(self) -> list[str]:
        if not self.labelled:
            return []
        lines = []
        if len(self.classes) == 1:
            lines.append(f"only one class: {self.classes[0]}")
        for split in ("train", "test"):
            here = {record.label for record in self.usable() if record.split == split}
            lacking = [label for label in self.classes if label not in here]
            if lacking and here:
                lines.append(f"{len(lacking):,} classes have no {split} photographs (first: {lacking[0]})")
        return lines


def first_bad(bad: Iterable[ImageRecord], *, count: int = 3) -> str:
    """Name the first few unreadable files with their reasons."""
    records = list(bad)
    named = "; ".join(f"{record.path}: {record.reason}" for record in records[:count])
    return named + ("; ..." if len(records) > count else "")


def write_index(path: Path, index: ImageIndex) -> None:
    """Write an index as a Parquet table, one row a record.

    An index that lies in its own root (a prepared folder with its photographs in it) can be moved together with them.

    Raises:
        ArtifactError: The disk refused.
    """
    root = index.root.absolute()
    metadata = {
        "root": "." if root == path.parent.absolute() else str(root),
        "source": index.source,
        "classes": list(index.classes),
        "split_origin": index.split_origin,
        "remarks": list(index.remarks),
    }
    columns = {name: [getattr(r, name) for r in index.records] for name in _SCHEMA.names}
    write_table(path, pa.table(columns, schema=_SCHEMA), kind="index", metadata=metadata)


def read_index(path: Path) -> ImageIndex:
    """Read what :func:`write_index` wrote.

    Raises:
        ArtifactError: Missing, damaged or of another kind.
    """
    table, metadata = read_table(path, kind="index")
    try:
        records = tuple(map(_record, _rows(table)))
        _check_originals(records)
        return ImageIndex(
            root=path.parent.absolute() / metadata["root"],  # "." is the folder itself, an absolute root stays
            source=_text(metadata["source"], "source"),
            classes=_texts(metadata["classes"], "classes"),
            records=records,
            split_origin=_text(metadata["split_origin"], "split_origin"),
            remarks=_texts(metadata["remarks"], "remarks"),
        )
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise ArtifactError(
            f"{path}: its columns or metadata differ from an index's ({error}); make it again"
        ) from error


def _rows(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows in the types of an index; columns that earlier versions did not write may be missing."""
    names = table.column_names
    strange = [name for name in names if name not in _SCHEMA.names or names.count(name) > 1]
    lacking = [name for name in _SCHEMA.names if name not in names and name not in _LATER]
    if strange or lacking:
        raise ValueError(f"unknown {strange[0][:40]!r}" if strange else f"no {lacking[0]!r}")
    rows: list[dict[str, Any]] = table.cast(pa.schema([_SCHEMA.field(name) for name in names])).to_pylist()
    return rows


def _record(row: dict[str, Any]) -> ImageRecord:
    path = _text(row["path"], "path")
    if not is_inner_path(path):
        raise ValueError(f"the path {path[:80]!r} leads out of the folder")
    if row["split"] not in ("train", "test"):
        raise ValueError(f"{path[:80]}: the split is {str(row['split'])[:20]!r}")
    numbers = {name: row[name] for name in _COUNTS if name in row}
    if any(value is None or value < 0 for value in numbers.values()) or not 1 <= numbers.get("least_scale", 1) <= 8:
        raise ValueError(f"{path[:80]}: a size is missing or negative")
    _text(row["checksum"], "checksum")
    archive = row.get("archive")
    if archive is not None and not (is_inner_path(archive) and path.startswith(f"{archive}/")):
        raise ValueError(f"{path[:80]}: it does not lie in {str(archive)[:80]!r}")
    return ImageRecord(**{**row, "true_box_xyxy": _box(row["true_box_xyxy"])})


def _check_originals(records: Sequence[ImageRecord]) -> None:
    paths = {record.path for record in records}
    for original in (record.duplicate_of for record in records if record.duplicate_of is not None):
        if original not in paths:
            raise ValueError(f"{original[:80]!r} has a duplicate, and no row of its own")


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} is {str(value)[:40]!r}, expected text")
    return value


def _texts(values: object, what: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{what} are {str(values)[:40]!r}, expected a list")
    return tuple(_text(value, what) for value in values)


def _box(edges: list[float | None] | None) -> Box | None:
    if edges is None:
        return None
    x0, y0, x1, y1 = (math.nan if edge is None else edge for edge in edges)
    if not (math.isfinite(x0 + y0 + x1 + y1) and x0 < x1 and y0 < y1):
        raise ValueError(f"a box is {edges}")
    return x0, y0, x1, y1


_COUNTS = ("width_px", "height_px", "cut_bottom_px", "least_scale", "size_bytes", "offset_bytes")
_LATER = {"least_scale", "archive", "offset_bytes"}
_TYPES = {
    "width_px": pa.int32(),
    "height_px": pa.int32(),
    "cut_bottom_px": pa.int32(),
    "least_scale": pa.int32(),
    "true_box_xyxy": pa.list_(pa.float64()),  # of no fixed length: pyarrow before 26 cannot read those with gaps
    "size_bytes": pa.int64(),
    "mtime_ns": pa.int64(),
    "offset_bytes": pa.int64(),
}
_SCHEMA = pa.schema([(field.name, _TYPES.get(field.name, pa.string())) for field in fields(ImageRecord)])
