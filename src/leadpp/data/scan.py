"""Find the photographs below a folder, whatever the file system, with links that may lead in circles.

Links are followed wherever they lead, because folders of links are made on purpose (``prepare --materialize soft`` is
one); those that lead out of the folder are counted, and whoever unpacked a stranger's archive can see them. Nothing is
opened here, and nothing but regular files is taken (docs/decisions/0065).
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from leadpp.data.images import IMAGE_SUFFIXES
from leadpp.data.naming import natural_key
from leadpp.data.truth import BOXES_NAME
from leadpp.errors import DataError

_SKIPPED = frozenset({"__macosx", "thumbs.db", "desktop.ini", BOXES_NAME})


@dataclass(kw_only=True, slots=True)
class LeftOut:
    """What a scan met and did not take, and what it took although a person may not expect it."""

    root: Path | None = None
    """Folder that links are said to lead out of; None where nobody asks."""
    suffixes: Counter[str] = field(default_factory=Counter)
    """Files that are no photographs, by lower-case suffix."""
    loops: int = 0
    """Links to a folder that leads to them."""
    repeated: int = 0
    """Links to a folder that another link has led to."""
    unnameable: int = 0
    """Files and folders whose names are not valid text."""
    special: int = 0
    """Broken links, sockets and the like."""
    outside: list[str] = field(default_factory=list)
    """Links that lead out of the folder; they are followed, and told."""
    followed: set[tuple[int, int]] = field(default_factory=set)
    """Folders that links have led to."""

    def note_link(self, link: Path) -> None:
        """Remember a link that is taken, if it leads out of the folder."""
        if self.root is not None and not link.resolve().is_relative_to(self.root.resolve()):
            self.outside.append(link.relative_to(self.root).as_posix())

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
            (self.repeated, "links to a folder that another link led to are not followed"),
            (self.unnameable, "files or folders whose names are not valid UTF-8 are left out; rename them"),
            (self.special, "broken links or special files are left out"),
        ):
            if count:
                lines.append(f"{count:,} {what}")
        if self.outside:
            lines.append(
                f"{len(self.outside):,} links lead out of the folder and are followed (first: {self.outside[0]})"
            )
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
                    continue
                if _is_folder(entry):
                    folders.append(entry.name)
                elif _is_image(entry, left_out):
                    images.append(entry.name)
                else:
                    continue
                if entry.is_symlink():
                    left_out.note_link(folder / entry.name)
    except OSError as error:
        raise _not_listed(folder, error) from error
    return sorted(folders, key=natural_key), sorted(images, key=natural_key)


def walk_images(root: Path, inner: str, *, left_out: LeftOut) -> Iterator[str]:
    """Yield every photograph below a sub-folder of the root as a POSIX path relative to the root.

    Links are followed; one to a folder above itself is not, so circles end, and neither is a second one to the same
    folder, so that a few links cannot stand for a million folders.

    Raises:
        DataError: A folder cannot be listed.
    """
    resolved = root.resolve()
    above = frozenset(_identity(folder) for folder in (resolved, *resolved.parents))
    folder = root
    for name in filter(None, inner.split("/")):
        folder = folder / name
        identity = _identity(folder)
        if identity in above:
            left_out.loops += 1
            return
        above |= {identity}
    waiting = [_Found(folder, f"{inner}/" if inner else "", above)]
    while waiting:  # a stack, because folders may be nested more deeply than calls
        found = waiting.pop()
        folders, images = list_folder(found.folder, left_out=left_out)
        yield from (found.prefix + name for name in images)
        waiting += reversed([below for name in folders if (below := _enter(found, name, left_out))])


class _Found(NamedTuple):
    """A folder that is to be listed."""

    folder: Path
    prefix: str
    above: frozenset[tuple[int, int]]


def _enter(found: _Found, name: str, left_out: LeftOut) -> _Found | None:
    folder = found.folder / name
    identity = _identity(folder)
    if identity in found.above:
        left_out.loops += 1
        return None
    if folder.is_symlink():
        if identity in left_out.followed:
            left_out.repeated += 1
            return None
        left_out.followed.add(identity)
    return _Found(folder, f"{found.prefix}{name}/", found.above | {identity})


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise _not_listed(folder, error) from error
    return status.st_dev, status.st_ino


def _not_listed(folder: Path, error: OSError) -> DataError:
    return DataError(f"{folder}: cannot be listed: {(error.strerror or str(error)).lower()}")


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
