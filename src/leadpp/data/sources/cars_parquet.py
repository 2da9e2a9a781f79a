"""The Parquet mirror of Stanford Cars (``tanganke/stanford_cars``): photographs inside tables, no boxes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from leadpp.data.naming import natural_key
from leadpp.data.opening import require_regular
from leadpp.data.records import Split
from leadpp.data.scan import require_folder
from leadpp.data.sources.annotations import plain
from leadpp.errors import DataError

_SPLITS: tuple[Split, ...] = ("train", "test")
_BATCH = 32
_SUFFIXES = ((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"GIF8", ".gif"), (b"BM", ".bmp"))


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredImage:
    """One photograph of a shard."""

    name: str
    """File name to be: the row's number in its part, with the suffix that the bytes ask for."""
    label: str
    split: Split
    content: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class CarsMirror:
    """The shards of the mirror, opened but not read."""

    shards: tuple[tuple[Split, Path], ...]
    """Part and file; the seven corrupted copies of the test part are not among them."""
    classes: tuple[str, ...]
    """Names in the order of their numbers."""
    total: int
    """Rows in all shards."""
    remarks: tuple[str, ...]

    def images(self) -> Iterator[StoredImage]:
        """Yield the photographs part by part, a few in memory at a time.

        Raises:
            DataError: A shard is damaged, or a row has no photograph or no label among the classes.
        """
        for split in _SPLITS:
            row = 0
            for path in (path for part, path in self.shards if part == split):
                for values in _read(path):
                    yield self._image(values, split=split, row=row, path=path)
                    row += 1

    def _image(self, values: dict[str, Any], *, split: Split, row: int, path: Path) -> StoredImage:
        label, content = values["label"], (values["image"] or {}).get("bytes")
        if not isinstance(label, int) or not 0 <= label < len(self.classes):
            raise DataError(f"{path}: row {row} has the label {label}, expected 0 to {len(self.classes) - 1}")
        if not isinstance(content, bytes):
            raise DataError(f"{path}: row {row} holds no photograph, expected its bytes")
        suffix = next((suffix for magic, suffix in _SUFFIXES if content.startswith(magic)), ".jpg")
        return StoredImage(name=f"{row + 1:05d}{suffix}", label=self.classes[label], split=split, content=content)


def is_cars_mirror(source: Path) -> bool:
    """Return whether a folder holds shards of the mirror, and not the devkit, which says more."""
    return not (source / "devkit").is_dir() and (any(_shards(source, "train")) or any(_shards(source, "test")))


def open_cars_mirror(source: Path) -> CarsMirror:
    """Open the shards of the clean train and test parts.

    Args:
        source: The folder with ``data/train-*.parquet``, or that ``data`` folder itself.

    Raises:
        DataError: A part is missing, or a shard is damaged or of another form.
    """
    root = require_folder(source)
    shards = [(split, path) for split in _SPLITS for path in _shards(root, split)]
    for split in _SPLITS:
        if split not in (part for part, _ in shards):
            raise DataError(
                f"{root}: the Stanford Cars mirror lacks its {split} part: data/{split}-*.parquet is missing"
            )
    files = [_open(path) for _, path in shards]
    names = next((names for names in map(_names, files) if names), ())
    remarks = []
    if not names:
        highest = max(_highest_label(file, path) for file, (_, path) in zip(files, shards, strict=True))
        names = tuple(f"class {number:03d}" for number in range(highest + 1))
        remarks.append("the Parquet files hold no class names: classes are called by their numbers")
    return CarsMirror(
        shards=tuple(shards),
        classes=names,
        total=sum(file.metadata.num_rows for file in files),
        remarks=tuple(remarks),
    )


def _shards(source: Path, split: Split) -> list[Path]:
    pattern = f"{split}-*.parquet"
    found = [*source.glob(f"data/{pattern}")] or [*source.glob(pattern)]
    return sorted(found, key=lambda path: natural_key(path.name))


def _open(path: Path) -> pq.ParquetFile:
    try:
        require_regular(path)
        file = pq.ParquetFile(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(path, error) from error
    found = file.schema_arrow.names
    if "image" not in found or "label" not in found:
        raise DataError(f"{path}: expected the columns image and label, found {', '.join(found) or 'none'}")
    if not pa.types.is_struct(file.schema_arrow.field("image").type):
        raise DataError(f"{path}: expected image to be a struct of bytes and path")
    return file


def _names(file: pq.ParquetFile) -> tuple[str, ...]:
    header = (file.schema_arrow.metadata or {}).get(b"huggingface")
    try:
        names = json.loads(header or "{}")["info"]["features"]["label"]["names"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ()
    return tuple(plain(name) for name in names) if isinstance(names, list) else ()


def _highest_label(file: pq.ParquetFile, path: Path) -> int:
    try:
        labels = file.read(columns=["label"])["label"].to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(path, error) from error
    return max((label for label in labels if isinstance(label, int)), default=-1)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    try:
        for batch in _open(path).iter_batches(batch_size=_BATCH, columns=["image", "label"]):
            batch.validate(full=True)
            yield from batch.to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    detail = (str(error).splitlines() or [type(error).__name__])[0][:100]
    return DataError(f"{path}: cannot be read as Parquet ({detail}); download it again")
