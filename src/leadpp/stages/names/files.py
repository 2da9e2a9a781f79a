"""The tables of named photographs, and whose folder they are written to."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from leadpp.errors import ArtifactError
from leadpp.io.artifacts import read_json, write_table, write_text
from leadpp.io.cells import plain, table_text

NAMES = ("names.csv", "names.json", "names.parquet", "names.html")
"""What naming writes."""
_SIDES = ("x0", "y0", "x1", "y1")


def check_folder(folder: Path, *, kind: str, files: Sequence[str]) -> None:
    """Refuse a folder in which files of other makers would be written over.

    Args:
        folder: Where the files shall be; it need not be there.
        kind: Of the JSON file among them, by which an earlier one of ours is known.
        files: Their names.

    Raises:
        ArtifactError: A file stands in its place, or there are files of these names that are not ours.
    """
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder}: a file stands where the folder is meant; choose another --out")
    taken = [name for name in files if (folder / name).exists() or (folder / name).is_symlink()]
    if not taken:
        return
    own = next(name for name in files if name.endswith(".json"))
    try:
        read_json(folder / own, kind=kind)
    except ArtifactError as error:
        raise ArtifactError(
            f"{folder}: holds {', '.join(taken)}, and no {own} that says they are leadpp's; choose another --out"
        ) from error


def write_names_csv(path: Path, document: Mapping[str, Any]) -> None:
    """Write one row a photograph; words that a spreadsheet would run as a formula get an apostrophe.

    Raises:
        ArtifactError: The disk refused.
    """
    header = _header(document)
    write_text(
        path, table_text(header, ([plain(cell) for cell in row.values()] for row in _flat_rows(document, header)))
    )


def write_names_table(path: Path, document: Mapping[str, Any]) -> None:
    """Write the same rows as Parquet, all words as they are.

    Raises:
        ArtifactError: The disk refused.
    """
    header = _header(document)
    rows = list(_flat_rows(document, header))
    columns = {name: pa.array([row[name] for row in rows], _type(name)) for name in header}
    about = {key: value for key, value in document.items() if key not in ("photographs", "out", "files")}
    write_table(path, pa.table(columns), kind="names", metadata=about)


def _header(document: Mapping[str, Any]) -> list[str]:
    header = ["path", *_SIDES]
    for who in document["by"]:
        count = max((len(row[who]["names"]) for row in document["photographs"]), default=1)
        header += [f"name_{who}", f"probability_{who}", f"unsure_{who}"]
        header += [f"{what}_{who}_{place}" for place in range(2, count + 1) for what in ("name", "probability")]
    return header


def _flat_rows(document: Mapping[str, Any], header: Sequence[str]) -> Iterator[dict[str, Any]]:
    for one in document["photographs"]:
        row = {"path": one["path"], **dict(zip(_SIDES, one["box_xyxy"] or [None] * 4, strict=True))}
        for who in document["by"]:
            row[f"unsure_{who}"] = one[who]["unsure"]
            for place, said in enumerate(one[who]["names"], start=1):
                ending = f"_{who}" if place == 1 else f"_{who}_{place}"
                row |= {f"name{ending}": said["name"], f"probability{ending}": said["probability"]}
        yield {name: row[name] for name in header}


def _type(column: str) -> pa.DataType:
    if column in _SIDES:
        return pa.int32()
    kinds = {"unsure": pa.bool_(), "probability": pa.float32()}
    return kinds.get(column.partition("_")[0], pa.string())
