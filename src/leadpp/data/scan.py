"""Find the photographs below a folder, whatever the file system, with links that may lead in circles."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from leadpp.data.images import IMAGE_SUFFIXES
from leadpp.data.naming import natural_key
from leadpp.data.truth import BOXES_NAME
from leadpp.errors import DataError

_SKIPPED = frozenset({"__macosx", "thumbs.db", "desktop.ini", BOXES_NAME})


@dataclass(kw_only=True, slots=True)
class LeftOut:
    """What a scan met and did not take."""

    suffixes: Counter[str] = field(default_factory=Counter)
    """Files that are no photographs, by lower-case suffix."""
    loops: int = 0
    """Links to a folder that leads to them."""
    unnameable: int = 0
    """Files and folders whose names are not valid text."""
    special: int = 0
    """Broken links, sockets and the like."""

    def remarks(self) -> list[str]:
        """Tell the counts in words."""
        lines = []
        if self.suffixes:
            total = sum(self.suffixes.values())
            ranked = sorted(self.suffixes.items(), key=lambda pair: (-pair[1], pair[0]))
            kinds = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in ranked[:5])
            more = f" and {len(ranked) - 5} other kinds" if len(ranked) > 5 else ""
            lines.append(f"{total:,} files that are no photographs are left out ({kinds}{more})")
        for count, what in (
            (self.loops, "links to a folder above themselves are not followed"),
            (self.unnameable, "files or folders whose names are not valid UTF-8 are left out; rename them"),
            (self.special, "broken links or special files are left out"),
        ):
            if count:
                lines.append(f"{count:,} {what}")
        return lines


def require_folder(folder: Path) -> Path:
    """Return the folder as an absolute path.

    Raises:
        DataError: It is missing, or a file stands in its place.
    """
    if not folder.exists():
        raise DataError(f"{folder}: no such folder; expected a folder with photographs")
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder with photographs, found a file")
    return folder.absolute()


def list_folder(folder: Path, *, left_out: LeftOut, known: frozenset[str] = frozenset()) -> tuple[list[str], list[str]]:
    """List the sub-folders and the photographs of one folder by name, in natural order.

    Hidden entries, what operating systems scatter about, tables of boxes and what is ``known``, in lower case, are
    passed over in silence.

    Raises:
        DataError: The folder cannot be listed.
    """
    folders: list[str] = []
    images: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.casefold() in _SKIPPED | known:
                    continue
                if not _is_text(entry.name):
                    left_out.unnameable += 1
                elif _is_folder(entry):
                    folders.append(entry.name)
                elif _is_image(entry, left_out):
                    images.append(entry.name)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed: {(error.strerror or str(error)).lower()}") from error
    return sorted(folders, key=natural_key), sorted(images, key=natural_key)


def walk_images(root: Path, inner: str, *, left_out: LeftOut) -> Iterator[str]:
    """Yield every photograph below a sub-folder of the root as a POSIX path relative to the root.

    Links are followed; one that leads to a folder above itself is not, so circles end.

    Raises:
        DataError: A folder cannot be listed.
    """
    resolved = root.resolve()
    above = tuple(_identity(folder) for folder in (resolved, *resolved.parents))
    folder = root
    for name in filter(None, inner.split("/")):
        folder = folder / name
        identity = _identity(folder)
        if identity in above:
            left_out.loops += 1
            return
        above = (*above, identity)
    yield from _walk(folder, f"{inner}/" if inner else "", above, left_out)


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...], left_out: LeftOut) -> Iterator[str]:
    folders, images = list_folder(folder, left_out=left_out)
    yield from (prefix + name for name in images)
    for name in folders:
        identity = _identity(folder / name)
        if identity in above:
            left_out.loops += 1
        else:
            yield from _walk(folder / name, f"{prefix}{name}/", (*above, identity), left_out)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself, for instance


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_image(entry: os.DirEntry[str], left_out: LeftOut) -> bool:
    if not _is_file(entry):
        left_out.special += 1
        return False
    suffix = Path(entry.name).suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        left_out.suffixes[suffix] += 1
        return False
    return True


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
