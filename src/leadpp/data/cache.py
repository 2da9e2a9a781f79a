"""Decoded photographs kept in one flat buffer, which all reading processes share, whatever way they were started.

The buffer is a nameless file: of memory, or in a folder. Nobody can find it half-written later, and it is gone with the
last process that uses it, however that ends.
"""

import mmap
import os
import tempfile
import threading
import weakref
from collections.abc import Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch

from leadpp.data.photo import Photo
from leadpp.data.records import ImageRecord
from leadpp.errors import DataError
from leadpp.io.sizes import size_words

CacheKind = Literal["ram", "disk"]

_SHARE_OF_FREE = 0.5
"""How much of the free memory or disk the cache takes where nobody says."""
_MOST_OF_FREE = 0.9
_CHANNELS, _MARKS = 3, 4
_JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})


class PhotoCache:
    """Photographs by their places among the records, each at one scale.

    They are stored by whoever decodes them first. Two processes may store the same photograph at the same time: they
    write the same bytes, and a photograph is marked as there after its last byte.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        scales: Sequence[int],
        *,
        kind: CacheKind,
        folder: Path,
        limit_gb: float = 0.0,
        processes: int = 1,
    ) -> None:
        """Choose which photographs have a place, in the order of the records, and make room for them.

        Args:
            records: Usable records.
            scales: By how much the sides of each may be divided; only JPEG files are.
            kind: ``ram`` or ``disk``.
            folder: Where a cache on disk lies.
            limit_gb: Most that the cache may take, in GB (10^9 bytes); 0 takes half of what is free.
            processes: How many of a run are on this machine; each has a cache of its own, and all share the room.

        Raises:
            DataError: There is no room for any photograph, or the disk refused. A folder that is not there is made.
        """
        self.kind: CacheKind = kind
        self._scales = [
            scale if Path(record.path).suffix.lower() in _JPEG_SUFFIXES else 1
            for record, scale in zip(records, scales, strict=True)
        ]
        free = _free_bytes(kind, folder) / processes
        wanted = limit_gb * 1e9 / processes if limit_gb > 0 else free * _SHARE_OF_FREE
        self._places, self.size_bytes = _places(records, self._scales, most=min(wanted, free * _MOST_OF_FREE))
        self.photographs = sum(place is not None for place in self._places)
        if self.photographs == 0:
            raise DataError(
                f"input.cache {kind}: no room for a single photograph ({size_words(free)} are free"
                f"{f', input.cache_limit_gb is {limit_gb:g}); raise it' if limit_gb > 0 else ')'}, or set input.cache "
                "to none"
            )
        self._open(_memory_file() if kind == "ram" else _disk_file(folder, self._file_bytes()))

    def describe(self) -> str:
        """Say how many photographs there is room for, and how much it takes."""
        where = "in memory" if self.kind == "ram" else "on disk"
        without = len(self._places) - self.photographs
        rest = f"; {without:,} of {len(self._places):,} do not fit and are decoded every time" if without else ""
        return f"cache: {self.photographs:,} photographs, {size_words(self.size_bytes)} {where}{rest}"

    def scale(self, place: int) -> int | None:
        """Return the scale at which a photograph is kept, None where there is no room for it."""
        return None if self._places[place] is None else self._scales[place]

    def read(self, place: int) -> Photo | None:
        """Return a photograph, without a copy, or None if nobody has stored it yet."""
        room = self._places[place]
        if room is None or not self._there[place]:
            return None
        _settle_memory()
        height, width, left, top = self._marks[place].tolist()
        shape = (int(height), int(width), _CHANNELS)
        levels = self._bytes[room[0] : room[0] + shape[0] * shape[1] * _CHANNELS].view(shape)
        return Photo(levels, self._scales[place], (left, top))

    def write(self, place: int, photo: Photo) -> None:
        """Store a photograph; one of another scale or size than was expected is not kept."""
        room = self._places[place]
        height, width = photo.levels.shape[:2]
        if room is None or photo.scale != self._scales[place] or room[0] + height * width * _CHANNELS > room[1]:
            return
        stored = self._bytes[room[0] : room[0] + height * width * _CHANNELS].view(height, width, _CHANNELS)
        stored.copy_(photo.levels[..., :_CHANNELS])
        self._marks[place] = torch.tensor([height, width, *photo.offset_px], dtype=torch.float64)
        _settle_memory()
        self._there[place] = 1

    def __getstate__(self) -> dict[str, Any]:
        """Send everything but the bytes: a process that is started anew maps the same file."""
        state = self.__dict__.copy()
        for name in ("_bytes", "_marks", "_there", "_closing", "_descriptor"):
            del state[name]
        return state | {"descriptor": DupFd(self._descriptor)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        descriptor = state.pop("descriptor").detach()
        self.__dict__.update(state)
        self._open(descriptor)

    def _open(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._closing = weakref.finalize(self, os.close, descriptor)
        count, size = len(self._places), self._file_bytes()
        head = size - self.size_bytes
        if os.fstat(descriptor).st_size < size:
            os.truncate(descriptor, size)
        whole = torch.frombuffer(mmap.mmap(descriptor, size), dtype=torch.uint8)
        self._marks = whole[: count * 8 * _MARKS].view(torch.float64).view(count, _MARKS)
        self._there = whole[count * 8 * _MARKS : head]
        self._bytes = whole[head:]

    def _file_bytes(self) -> int:
        """Return the size of the file: what is noted of each photograph, then their bytes."""
        return len(self._places) * (8 * _MARKS + 1) + self.size_bytes


_Place = tuple[int, int]
"""Where the bytes of a photograph start and end."""


def _places(records: Sequence[ImageRecord], scales: Sequence[int], *, most: float) -> tuple[list[_Place | None], int]:
    """Lay photographs out one after another while there is room; also return how many bytes they take."""
    places: list[_Place | None] = []
    size = 0
    for record, scale in zip(records, scales, strict=True):
        # A cut may leave one row more than its share where the orientation turned the rows.
        rows = record.height_px if scale == 1 else -(-record.height_px // scale) + (record.cut_bottom_px > 0)
        needed = rows * -(-record.width_px // scale) * _CHANNELS
        fits = size + needed <= most
        places.append((size, size + needed) if fits else None)
        size += needed if fits else 0
    return places, size


def _memory_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("leadpp-cache")
    with tempfile.TemporaryFile() as stream:  # elsewhere the system keeps such a file in memory as long as it can
        return os.dup(stream.fileno())


def _disk_file(folder: Path, size: int) -> int:
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            descriptor = os.dup(stream.fileno())
            if hasattr(os, "posix_fallocate"):  # a disk that fills up later would end the process without a word
                os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"input.cache disk: cannot reserve {size_words(size)} in {folder}: {reason}") from error
    return descriptor


def _free_bytes(kind: CacheKind, folder: Path) -> float:
    if kind == "ram":
        return min(_free_memory(), _left_to_groups())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        status = os.statvfs(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"input.cache disk: {folder} is no folder to write to: {reason}") from error
    return status.f_bavail * status.f_frsize


def _free_memory() -> float:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2


def _left_to_groups(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Return what the limits on this process's control group, and on those that hold it, leave of memory.

    Args:
        root: Where the groups are mounted; version 1 has those of memory in a folder of their own.
        own: A line for each hierarchy, ``number:controllers:path``; version 2 names no controllers.
    """
    left = [float("inf")]
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return left[0]
    for _, controllers, path in (line.split(":", 2) for line in lines):
        # In a container the path may be the one outside, where the container's own group lies at the root.
        names = PurePosixPath(path).parts[1:]
        groups = [names[:depth] for depth in range(len(names) + 1)]
        if "memory" in controllers.split(","):
            found = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            left += [_left_to_group(root.joinpath("memory", *group), *found) for group in groups]
        elif not controllers:
            found = ("memory.max", "memory.current", "inactive_file")
            left += [_left_to_group(root.joinpath(*group), *found) for group in groups]
    return min(left)


def _left_to_group(folder: Path, limit: str, used: str, reclaimable: str) -> float:
    try:
        most, taken = int((folder / limit).read_text()), int((folder / used).read_text())
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such file, or the word "max"
        return float("inf")
    # Files that were read count as taken, but the system gives up those that nobody looks at before it refuses memory.
    return max(0, most - max(0, taken - int(counts.get(reclaimable, 0))))


def _settle_memory() -> None:
    """Order what was written before and after: taking and giving back any lock makes processors do so."""
    lock = threading.Lock()
    with lock:
        pass
