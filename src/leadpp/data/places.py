"""Where the bytes of a photograph lie: in a file of their own, or between the others of an archive."""

import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from leadpp.data.opening import read_part, read_whole


@dataclass(frozen=True, slots=True)
class Member:
    """A photograph inside an archive that is not compressed, read where it lies.

    The archive is opened anew for each photograph, as a file of its own would be: nothing is held open, so nothing is
    shared by processes that were forked.
    """

    archive: Path
    name: str
    """What it is called in the archive; for people, it is no path of any file system."""
    offset_bytes: int
    """Where its first byte is."""
    size_bytes: int
    mtime_ns: int | None = None
    """When the archive was last changed, as far as is known; None where nobody has looked."""
    checksum: str = ""
    """What its bytes were then."""

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"

    def read(self, *, most_bytes: int) -> bytes:
        """Return its bytes.

        Raises:
            OSError: The archive cannot be read or ends before; the photograph is larger than ``most_bytes``; or the
                archive was changed since, and other bytes lie there now.
        """
        content, mtime_ns = read_part(
            self.archive, offset_bytes=self.offset_bytes, size_bytes=self.size_bytes, most_bytes=most_bytes
        )
        # A copy of the archive has another time, and is as good; its bytes decide.
        if self.mtime_ns not in (None, mtime_ns) and checksum_of(content) != self.checksum:
            raise OSError(errno.ESTALE, f"{self.archive.name} was changed since it was indexed; make the index again")
        return content


Place = Path | Member
"""Where a photograph is; as text, what it is called in messages."""


def read_place(place: Place, *, most_bytes: int) -> bytes:
    """Return the bytes of a photograph, wherever they lie.

    Raises:
        OSError: As :func:`~leadpp.data.opening.read_whole` and :meth:`Member.read`; ``strerror`` says why.
    """
    return place.read(most_bytes=most_bytes) if isinstance(place, Member) else read_whole(place, most_bytes=most_bytes)


def place_at(root: Path, path: str, *, archive: str | None, offset_bytes: int, size_bytes: int) -> Place:
    """Return the place of a photograph by what is known of it, relative to a root.

    Args:
        root: Folder that the paths start from.
        path: Of the photograph; inside an archive, that of the archive, a slash and its name there.
        archive: Path of the archive, None where the photograph is a file.
        offset_bytes: Where it begins in the archive.
        size_bytes: How long it is there.
    """
    if archive is None:
        return root / path
    return Member(root / archive, path.removeprefix(f"{archive}/"), offset_bytes, size_bytes)


def checksum_of(content: bytes) -> str:
    """Return the BLAKE2b digest of bytes, 32 hexadecimal digits.

    The same as ``io.artifacts.file_digest`` gives of a file, whose module imports torch: seconds for each process.
    """
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def state_of(path: Path) -> tuple[int, int]:
    """Return size and time of change of a file, in bytes and nanoseconds; zeros where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - Path.stat() takes twice as long, and there may be millions
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
