"""Records that are on disk as soon as they are made, one JSON object a line."""

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from leadpp.errors import ArtifactError
from leadpp.io.artifacts import make_folder, writing
from leadpp.io.lock import take


class Journal:
    """A file that grows record by record and belongs to one process at a time.

    A last line that a crash left unfinished is dropped when the journal is opened.

    Attributes:
        path: The file.
        records: All records, in the order in which they were made.
    """

    def __init__(self, path: Path) -> None:
        """Open a journal, new or to go on with.

        Raises:
            ArtifactError: Another process has it open, a line in it is damaged, or the disk refused.
        """
        self.path = path
        make_folder(path.parent)
        with writing(path):
            self._stream = path.open("ab+", buffering=0)
        try:
            if not (take(self._stream) and self._is_there()):
                raise ArtifactError(f"{path}: another leadpp is at work on it; wait, or choose another file")
            self._stream.seek(0)
            content = self._stream.read()
            whole = content.rfind(b"\n") + 1
            self.records = _records(path, content[:whole])
            with writing(path):
                self._stream.truncate(whole)
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file and let go of it; one without records is removed."""
        if not os.fstat(self._stream.fileno()).st_size:
            self.path.unlink(missing_ok=True)
        self._stream.close()

    def _is_there(self) -> bool:
        """Tell whether the open file is still the one at the path, which another process may have removed."""
        try:
            return os.path.samestat(os.fstat(self._stream.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record; see :meth:`extend`."""
        self.extend([record])

    def extend(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add records; when this returns, they outlive a crash of the machine.

        Raises:
            ArtifactError: The disk refused; the journal is as it was.
        """
        new = [dict(record) for record in records]
        content = b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in new)
        size = self._stream.seek(0, os.SEEK_END)
        with writing(self.path):
            try:
                if self._stream.write(content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._stream.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    self._stream.truncate(size)
                raise
        self.records += new

    def clear(self) -> None:
        """Forget all records."""
        with writing(self.path):
            self._stream.truncate(0)
        self.records = []


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read the records of a journal and leave it alone; none if there is no file.

    Raises:
        ArtifactError: A line in it is damaged, or it cannot be read.
    """
    if not path.exists():
        return []
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); give the path of a file") from error
    return _records(path, content[: content.rfind(b"\n") + 1])


def _records(path: Path, content: bytes) -> list[dict[str, Any]]:
    records = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise ArtifactError(f"{path}, line {number}: damaged; remove this line, and run the same command again")
        records.append(record)
    return records
