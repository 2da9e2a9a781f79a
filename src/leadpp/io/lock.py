"""One process at a time in a run folder, or at a file."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from leadpp.errors import ArtifactError
from leadpp.io.artifacts import make_folder


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the system lets go of it when the process ends, however it ends.

    Raises:
        ArtifactError: Another process holds it, or it cannot be written.
    """
    make_folder(folder)
    path = folder / ".lock"
    try:
        stream = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot write there ({error.strerror}); choose another folder") from error
    with stream:
        if not take(stream):
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise ArtifactError(
                f"{folder}: another leadpp (process {holder}) is at work here; wait, or choose another folder"
            )
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def take(stream: IO[str] | IO[bytes]) -> bool:
    """Hold an open file for this process until it is closed; return whether no other process holds it."""
    if sys.platform == "win32":  # which has no locks of this kind; there the user has to see to it
        return True
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
