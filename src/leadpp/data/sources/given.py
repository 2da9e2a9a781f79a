"""Photographs named one by one or by their folders, wherever they lie: no labels, no parts."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from leadpp.data.raw import RawData, RawRecord
from leadpp.data.scan import LeftOut, walk_images
from leadpp.errors import DataError


def read_given(paths: Sequence[Path]) -> RawData:
    """Find the photographs among files and folders.

    A file is taken whatever its ending; below a folder those whose ending is a photograph's, as everywhere. Links are
    followed, but not in circles; what is neither file nor folder (a pipe would be waited for, for ever) is not opened.
    A photograph that is named twice is taken once.

    Args:
        paths: Files and folders, absolute or from the current directory; at least one.

    Returns:
        The photographs by the paths under which they were given, from the current directory as root.

    Raises:
        DataError: A path leads nowhere or to something special, or there is no photograph.
    """
    left_out = LeftOut()
    found: dict[str, str] = {}
    for path in paths:
        for each in _below(path, left_out):
            found.setdefault(os.path.abspath(each), each)  # noqa: PTH100 - Path.absolute() keeps ".."
    remarks = tuple(left_out.remarks())
    if not found:
        shown = ", ".join(map(str, paths[:3])) + (", ..." if len(paths) > 3 else "")
        raise DataError("; ".join((f"{shown}: no photographs there", *remarks)))
    records = (RawRecord(path=path, label=None, split="test") for path in found.values())
    return RawData(
        source="folder",
        root=Path.cwd(),
        classes=(),
        records=tuple(records),
        split_origin="photographs to be named, no parts",
        remarks=remarks,
        anywhere=True,
    )


def _below(path: Path, left_out: LeftOut) -> Iterator[str]:
    _check_text(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: {reason}; expected a photograph or a folder of them") from error
    if stat.S_ISDIR(mode):
        yield from ((path / name).as_posix() for name in walk_images(path.absolute(), "", left_out=left_out))
    elif stat.S_ISREG(mode):
        yield path.as_posix()
    else:
        raise DataError(f"{path}: neither a file nor a folder; expected a photograph or a folder of them")


def _check_text(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="backslashreplace").decode()
        raise DataError(f"{shown}: its name is not valid UTF-8; rename it") from error
