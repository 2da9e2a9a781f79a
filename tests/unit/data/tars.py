"""Tar archives as others write them, and as nobody should."""

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path


def member(name: str, content: bytes = b"", **others: object) -> tuple[tarfile.TarInfo, bytes]:
    """Make a header, a file's unless ``type`` says otherwise, and its content."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in others.items():
        setattr(info, key, value)
    return info, content


def write_tar(path: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]], *, form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


def pack(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into an archive, by their names."""
    return write_tar(path, (member(name, content) for name, content in files.items()))
