"""Lay photographs out as an image folder: ``train/<class>/...`` and ``test/<class>/...``, as copies or links."""

import errno
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from leadpp.data.naming import digest_of, distinct_paths, safe_folder_names
from leadpp.data.places import Member, Place
from leadpp.data.records import ImageRecord
from leadpp.errors import ArtifactError, DataError
from leadpp.io.artifacts import make_folder, replacing

LinkKind = Literal["copy", "hard", "soft"]

_LONGEST_STEM_BYTES = 200


def target_paths(records: Sequence[ImageRecord], classes: Sequence[str]) -> dict[str, str]:
    """Give every record a path of its own in an image folder.

    Args:
        records: With labels among ``classes``, or without labels.
        classes: True names; their folders are :func:`~leadpp.data.naming.safe_folder_names`.

    Returns:
        Path of each record to its path in the image folder. File names are kept, but those that would meet in one
        folder end in ``~`` and a digest of where they come from.
    """
    folders = safe_folder_names(classes)
    wanted = {
        record.path: str(PurePosixPath(record.split, folders[record.label] if record.label else "", _name(record)))
        for record in records
    }
    return distinct_paths(wanted, tell_apart=_tell_apart)


def place(source: Place, target: Path, *, how: LinkKind) -> None:
    """Copy a photograph or link to it; what stands in its place goes.

    Args:
        source: The file; if it is a link, what it leads to is meant. Of an archive's member there are copies only.
        target: Where it shall be.
        how: ``"copy"``, ``"hard"`` or ``"soft"``; links of the last kind hold the absolute path.

    Raises:
        ArtifactError: The disk refused, a hard link would have to cross file systems, or a link lead into an archive.
        DataError: A member of an archive cannot be read any more.
    """
    if isinstance(source, Member):
        if how != "copy":
            raise ArtifactError(f"{target}: no links lead into archives; choose copy instead")
        _take_out(source, target)
        return
    if how == "copy":
        _copy(source, target)
        return
    make_folder(target.parent)
    try:
        target.unlink(missing_ok=True)
        if how == "hard":
            os.link(source.resolve(), target)
        else:
            target.symlink_to(source.resolve())
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM):
            reason = "this file system takes no such link to the photographs' one; choose copy instead"
        else:
            reason = (error.strerror or str(error)).lower()
        raise ArtifactError(f"{target}: cannot make a {how} link: {reason}") from error


def remove_placed(root: Path, paths: Iterable[str]) -> None:
    """Remove photographs that an earlier layout placed, and the folders that are empty then.

    Raises:
        ArtifactError: The disk refused.
    """
    folders: set[Path] = set()
    try:
        for path in paths:
            (root / path).unlink(missing_ok=True)
            folders.update(root / parent for parent in list(PurePosixPath(path).parents)[:-1])
        for folder in sorted(folders, key=lambda folder: -len(folder.parts)):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    except OSError as error:
        raise ArtifactError(
            f"{root}: cannot remove an earlier layout: {(error.strerror or str(error)).lower()}"
        ) from error


def _copy(source: Path, target: Path) -> None:
    status = source.stat()
    with replacing(target) as partial:
        shutil.copyfile(source, partial)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _take_out(member: Member, target: Path) -> None:
    try:
        content = member.read(most_bytes=member.size_bytes)
    except OSError as error:
        raise DataError(f"{member}: {(error.strerror or str(error)).lower()}") from error
    with replacing(target) as partial:
        partial.write_bytes(content)
    if member.mtime_ns is not None:
        os.utime(target, ns=(member.mtime_ns, member.mtime_ns))


def _name(record: ImageRecord) -> str:
    name = PurePosixPath(record.path)
    if record.archive is None:
        return name.name
    return safe_folder_names([name.stem])[name.stem] + name.suffix  # in an archive it may be anything, of any length


def _tell_apart(path: str, origin: str) -> str:
    whole = PurePosixPath(path)
    stem = whole.stem.encode()[:_LONGEST_STEM_BYTES].decode(errors="ignore")
    return str(whole.with_name(f"{stem}~{digest_of(origin)}{whole.suffix}"))
