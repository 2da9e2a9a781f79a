"""Open files that a stranger may have made: regular ones alone, none that waits or acts when it is opened."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from leadpp.io.sizes import size_words

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Should a FIFO take the place of a file between the question and the opening, it is not waited for."""
_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def require_regular(path: Path) -> None:
    """Ask what a path leads to, without opening it.

    Raises:
        OSError: There is nothing, or something else than a regular file; ``strerror`` says what.
    """
    _refuse_others(path.stat())


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; links are followed.

    Raises:
        OSError: As :func:`require_regular`, or the system refused.
    """
    descriptor, _ = _open(path)
    return os.fdopen(descriptor, "rb")


def read_whole(path: Path, *, most_bytes: int) -> bytes:
    """Read a regular file at one moment of its life.

    What is made of the bytes can neither wait for the file, nor be surprised by a change of it, nor be ended by the
    system because a mapped file was cut short.

    Args:
        path: The file.
        most_bytes: The most that it may hold.

    Raises:
        OSError: As :func:`open_regular`; or it holds more, or was written to meanwhile. ``strerror`` says so.
    """
    descriptor, before = _open(path)
    try:
        _refuse_more(before.st_size, most_bytes)
        content = os.read(descriptor, before.st_size + 1)
        while len(content) < before.st_size and (more := os.read(descriptor, before.st_size - len(content))):
            content += more  # some file systems give what they have
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    _refuse_changes(before, after, missing=before.st_size - len(content))
    return content


def read_part(path: Path, *, offset_bytes: int, size_bytes: int, most_bytes: int) -> tuple[bytes, int]:
    """Read a part of a regular file at one moment of its life, as :func:`read_whole` reads all of one.

    Args:
        path: The file.
        offset_bytes: Where the part begins.
        size_bytes: How long it is.
        most_bytes: How long it may be.

    Returns:
        The bytes, and when the file was last changed, in nanoseconds.

    Raises:
        OSError: As :func:`read_whole`; or the file ends before the part does.
    """
    descriptor, before = _open(path)
    try:
        _refuse_more(size_bytes, most_bytes)
        if offset_bytes + size_bytes > before.st_size:
            raise OSError(errno.ESPIPE, f"{path.name} ends before it does")
        content = os.pread(descriptor, size_bytes, offset_bytes)
        while len(content) < size_bytes:
            more = os.pread(descriptor, size_bytes - len(content), offset_bytes + len(content))
            if not more:
                break
            content += more
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    _refuse_changes(before, after, missing=size_bytes - len(content))
    return content, after.st_mtime_ns


def _refuse_more(size_bytes: int, most_bytes: int) -> None:
    if size_bytes > most_bytes:
        raise OSError(errno.EFBIG, f"{size_words(size_bytes)}, more than the {size_words(most_bytes)} allowed")


def _refuse_changes(before: os.stat_result, after: os.stat_result, *, missing: int) -> None:
    if missing or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise OSError(errno.ESTALE, "changed while it was read")


def _open(path: Path) -> tuple[int, os.stat_result]:
    require_regular(path)
    descriptor = os.open(path, _FLAGS)
    status = os.fstat(descriptor)
    try:
        _refuse_others(status)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, status


def _refuse_others(status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    found = next((word for test, word in _KINDS if test(status.st_mode)), "something else")
    raise OSError(errno.EINVAL, f"{found}, not a regular file")
