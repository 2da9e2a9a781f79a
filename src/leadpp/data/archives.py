"""What lies where in a tar archive of a stranger, read off its headers; nothing is extracted.

The standard library reads the headers, through a stream that keeps it from reading more than a header can be.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from leadpp.data.opening import open_regular
from leadpp.errors import DataError

Kind = Literal["file", "folder", "link", "special", "sparse"]

_BLOCK_BYTES = 512
_MOST_HEADER_BYTES = 65_536
"""The most that a long name or other words beside a header may take."""
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
"""How compressed files begin, what that is called, and what undoes it."""

# What tarfile is known to raise on damaged headers besides its own errors.
_FAILURES = (
    tarfile.TarError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RecursionError,
    MemoryError,
)


class Entry(NamedTuple):
    """One member of an archive."""

    name: str
    """As the archive has it; letters that are no UTF-8 are surrogates."""
    kind: Kind
    offset_bytes: int
    """Where its content begins."""
    size_bytes: int
    """How long its content is, all of which the archive holds."""


class Archive:
    """A tar archive, open for reading.

    Attributes:
        ended: Whether its end is marked, as far as it has been read; one without may have been cut off.
    """

    def __init__(self, path: Path) -> None:
        """Open an archive; use it in a ``with`` statement.

        Raises:
            DataError: No regular file, or a compressed one.
        """
        self.path, self.ended = path, False
        try:
            self._stream = open_regular(path)
        except OSError as error:
            raise DataError(f"{path}: {(error.strerror or str(error)).lower()}; expected a tar archive") from error
        self._size = self._stream.seek(0, 2)
        self._refuse_compressed()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def entries(self) -> Iterator[Entry]:
        """Yield every member, in the order of the archive.

        Raises:
            DataError: It is no archive, damaged, or cut off.
        """
        self._stream.seek(0)
        reached = -1
        try:
            headers = _Walk(fileobj=_Headers(self._stream), mode="r", encoding="utf-8")
            while (member := headers.next()) is not None:
                headers.members.clear()  # otherwise all of them stay in memory
                if member.offset <= reached or member.size < 0:
                    raise tarfile.ReadError("a size is negative")
                reached = member.offset
                yield self._entry(member)
            self.ended = self._end(headers.offset)
        except _FAILURES as error:
            raise self._damaged(error) from error

    def content(self, entry: Entry) -> bytes:
        """Return the content of a member, which may not be large.

        Raises:
            DataError: The disk refused.
        """
        try:
            self._stream.seek(entry.offset_bytes)
            return self._stream.read(entry.size_bytes)
        except OSError as error:
            raise self._damaged(error) from error

    def _entry(self, member: tarfile.TarInfo) -> Entry:
        kind = _kind(member)
        size = member.size if kind == "file" else 0
        if member.offset_data + size > self._size:
            raise tarfile.ReadError(f"it ends in the middle of {member.name[-80:]!a}")
        return Entry(member.name, kind, member.offset_data, size)

    def _end(self, offset: int) -> bool:
        """Tell whether the end is marked; ``tarfile`` takes a damaged header for the end as well."""
        self._stream.seek(offset)
        block = self._stream.read(_BLOCK_BYTES)
        if block.strip(b"\0"):
            raise tarfile.ReadError(f"no header at byte {offset:,}")
        return len(block) == _BLOCK_BYTES

    def _refuse_compressed(self) -> None:
        self._stream.seek(0)
        start = self._stream.read(8)
        for magic, (name, undo) in _COMPRESSED.items():
            if start.startswith(magic):
                self._stream.close()
                raise DataError(
                    f"{self.path}: compressed with {name}, so that no photograph can be read without all before it; "
                    f"decompress it ({undo}), photographs hardly become larger"
                )

    def _damaged(self, error: BaseException) -> DataError:
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        return DataError(f"{self.path}: damaged or cut off as a tar archive ({detail}); copy or make it again")


def _kind(member: tarfile.TarInfo) -> Kind:
    if member.issparse():
        return "sparse"
    if member.isreg():
        return "file"
    if member.isdir():
        return "folder"
    return "link" if member.issym() or member.islnk() else "special"


class _Walk(tarfile.TarFile):
    """A walk over the headers; ``members`` are those that it has passed and remembers."""

    members: list[tarfile.TarInfo]


class _Headers:
    """The stream as ``tarfile`` sees it: it may go anywhere, and read a header at once and no more."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.tell, self.seek, self.close = stream.tell, stream.seek, stream.close
        self.write = stream.write  # for the type of a file that tarfile takes; it writes nothing

    def read(self, size: int = -1) -> bytes:
        """Read some bytes.

        Raises:
            ReadError: More than a header holds are asked for.
        """
        if not 0 <= size <= _MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._stream.read(size)
