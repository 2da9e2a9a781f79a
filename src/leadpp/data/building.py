"""Turn what a source says into an index: open every file once, find duplicates, draw a split where there is none."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from leadpp.data.images import LIMIT_WORDS, MOST_PIXELS, Inspection, inspect_image
from leadpp.data.naming import is_inner_path, natural_key
from leadpp.data.places import Place, state_of
from leadpp.data.pooling import each_in_turn
from leadpp.data.raw import RawData, RawRecord
from leadpp.data.records import Box, ImageIndex, ImageRecord, first_bad
from leadpp.errors import DataError
from leadpp.functional.randomness import derive_seed

BadImages = Literal["skip", "error"]

_TEST_SHARE = 0.2
_CHUNK = 16
_Task = tuple[Place, int, int]
"""The arguments of :func:`inspect_image`."""

T = TypeVar("T")


class Tracker(Protocol):
    """Shows how far a long walk over items is; the part of the engine's ``Progress`` that is needed here."""

    def track(self, items: Iterable[T], *, total: int, what: str, unit: str = "images") -> Iterator[T]:
        """Yield the items and show how many of ``total`` are done."""
        ...


class Untracked:
    """Shows nothing."""

    def track(self, items: Iterable[T], *, total: int, what: str, unit: str = "images") -> Iterator[T]:
        """Yield the items."""
        del total, what, unit
        yield from items


def build_index(
    raw: RawData,
    *,
    seed: int,
    bad_images: BadImages = "skip",
    most_pixels: int = MOST_PIXELS,
    workers: int = 0,
    progress: Tracker | None = None,
    known: Mapping[str, ImageRecord] | None = None,
) -> ImageIndex:
    """Open every photograph of a source and write down what it is.

    Args:
        raw: What the source says.
        seed: Decides the split of a labelled source without one.
        bad_images: ``"skip"`` lists unreadable files with their reasons; ``"error"`` refuses them.
        most_pixels: The most that may be decoded of a photograph; see :func:`~leadpp.data.images.decode_image`.
        workers: Reading processes beside this one, which only waits; 0 reads in this process. Short work
            is done in this process anyway.
        progress: Shows how far it is.
        known: Records of an earlier look by path; files whose size and time of change are as they were then are not
            opened again.

    Returns:
        The index, in natural order of the paths.

    Raises:
        DataError: No file can be read, or one cannot and ``bad_images`` is ``"error"``; or a path leads out of the
            folder.
    """
    _check_paths(raw)
    ordered = sorted(raw.records, key=lambda record: natural_key(record.path))
    look = _Looking(most_pixels=most_pixels, workers=workers, progress=progress or Untracked())
    looks = look.at_all(raw.root, ordered, known or {})
    records, box_remarks = _place_boxes([_record(r, look) for r, look in zip(ordered, looks, strict=True)])
    origin = raw.split_origin
    if origin is None:
        origin = f"stratified 80/20, seed {seed}"
        records = draw_split(records, seed=seed)
    index = ImageIndex(
        root=raw.root,
        source=raw.source,
        classes=raw.classes,
        records=tuple(_mark_duplicates(records)),
        split_origin=origin,
        remarks=(*raw.remarks, *box_remarks),
    )
    _check_bad(index, bad_images)
    return index


def draw_split(records: Sequence[ImageRecord], *, seed: int) -> list[ImageRecord]:
    """Make a fifth of the readable photographs of each class its test part.

    Each photograph's rank in its class is a function of seed, class and path alone. A class with two or more has at
    least one in each part; one that stands alone trains.

    Args:
        records: Labelled records; those that cannot be read are left as they are.
        seed: The one seed of the run.

    Returns:
        The records with their split, in the order given.
    """
    by_class: dict[str | None, list[ImageRecord]] = defaultdict(list)
    for record in records:
        if record.reason is None:
            by_class[record.label].append(record)
    test = set[str]()
    for label, members in by_class.items():
        ranked = sorted(members, key=lambda r: (derive_seed(seed, f"split/{label}/{r.path}"), r.path))
        count = min(max(1, round(_TEST_SHARE * len(members))), len(members) - 1)
        test.update(record.path for record in ranked[:count])
    return [dataclasses.replace(r, split="test" if r.path in test else "train") for r in records]


@dataclasses.dataclass(frozen=True, slots=True)
class _Look:
    """One file as it was found."""

    inspection: Inspection
    size_bytes: int
    mtime_ns: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Looking:
    """How files are looked at."""

    most_pixels: int
    workers: int
    progress: Tracker

    def at_all(self, root: Path, records: Sequence[RawRecord], known: Mapping[str, ImageRecord]) -> list[_Look]:
        """Look at every file that is not as it was known."""
        states = _states(root, records)
        found = [self._remembered(record, state, known) for record, state in zip(records, states, strict=True)]
        fresh = [place for place, inspection in enumerate(found) if inspection is None]
        tasks: list[_Task] = [
            (records[place].place(root), records[place].cut_bottom_px, self.most_pixels) for place in fresh
        ]
        looked = each_in_turn(inspect_image, tasks, workers=self.workers, chunk=_CHUNK)
        shown = self.progress.track(looked, total=len(tasks), what="read")
        for place, inspection in zip(fresh, shown, strict=True):
            found[place] = inspection
        return [_Look(look, *state) for look, state in zip(found, states, strict=True) if look is not None]

    def _remembered(
        self, raw: RawRecord, state: tuple[int, int], known: Mapping[str, ImageRecord]
    ) -> Inspection | None:
        old = known.get(raw.path)
        if old is None or (old.size_bytes, old.mtime_ns) != state or old.cut_bottom_px != raw.cut_bottom_px:
            return None
        if (old.archive, old.offset_bytes) != (raw.archive, raw.offset_bytes):
            return None
        if old.size_bytes > 0 and (not old.checksum or self._depends_on_the_limit(old)):
            return None  # a permission may have been mended, or a limit changed, which no time of change tells
        return Inspection(old.width_px, old.height_px, old.checksum, old.reason, old.least_scale)

    def _depends_on_the_limit(self, old: ImageRecord) -> bool:
        pixels = old.width_px * (old.height_px + old.cut_bottom_px)
        return pixels > self.most_pixels or old.least_scale > 1 or (old.reason or "").endswith(LIMIT_WORDS)


def _states(root: Path, records: Sequence[RawRecord]) -> list[tuple[int, int]]:
    """Return size and time of change of every photograph; in an archive, its own size and the archive's time."""
    archives = {path: state_of(root / path) for path in {r.archive for r in records} if path is not None}
    return [
        state_of(root / record.path) if record.archive is None else (record.size_bytes, archives[record.archive][1])
        for record in records
    ]


def _record(raw: RawRecord, look: _Look) -> ImageRecord:
    seen = look.inspection
    return ImageRecord(
        path=raw.path,
        label=raw.label,
        split=raw.split or "train",
        width_px=seen.width_px,
        height_px=seen.height_px,
        cut_bottom_px=raw.cut_bottom_px,
        least_scale=seen.least_scale,
        true_box_xyxy=raw.box_xyxy,
        checksum=seen.checksum,
        reason=seen.reason,
        size_bytes=look.size_bytes,
        mtime_ns=look.mtime_ns,
        archive=raw.archive,
        offset_bytes=raw.offset_bytes,
    )


def _check_paths(raw: RawData) -> None:
    outer = [record.path for record in raw.records if not is_inner_path(record.path)]
    if outer and not raw.anywhere:
        raise DataError(
            f"{raw.root}: {len(outer):,} of the {len(raw.records):,} paths that its annotation files name lead out of "
            f"the folder (first: {outer[0][:80]!r}); download it again"
        )


def _place_boxes(records: Sequence[ImageRecord]) -> tuple[list[ImageRecord], list[str]]:
    """Clip boxes to their pictures; leave out those that lie outside, and say how many of both there were."""
    placed: list[ImageRecord] = []
    clipped: list[str] = []
    outside: list[str] = []
    for record in records:
        box = record.true_box_xyxy
        if box is None or record.reason is not None:
            placed.append(record)
            continue
        inside = _clip(box, record.width_px, record.height_px)
        placed.append(dataclasses.replace(record, true_box_xyxy=inside))
        if inside is None:
            outside.append(record.path)
        elif inside != box:
            clipped.append(record.path)
    remarks = []
    if clipped:
        remarks.append(
            f"{len(clipped):,} true boxes reach beyond their photographs and are clipped (first: {clipped[0]})"
        )
    if outside:
        remarks.append(
            f"{len(outside):,} true boxes lie outside their photographs and are left out (first: {outside[0]})"
        )
    return placed, remarks


def _clip(box: Box, width_px: int, height_px: int) -> Box | None:
    x0, y0, x1, y1 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width_px)), min(box[3], float(height_px))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _mark_duplicates(records: Sequence[ImageRecord]) -> Iterator[ImageRecord]:
    first: dict[str, str] = {}
    for record in records:
        if record.reason is not None:
            yield record
            continue
        original = first.setdefault(record.checksum, record.path)
        yield record if original == record.path else dataclasses.replace(record, duplicate_of=original)


def _check_bad(index: ImageIndex, bad_images: BadImages) -> None:
    if not index.bad:
        return
    count = f"{len(index.bad):,} of {len(index.records):,}"
    if len(index.bad) == len(index.records):
        raise DataError(
            f"{index.root}: none of the {len(index.records):,} photographs can be read ({first_bad(index.bad)})"
        )
    if bad_images == "error":
        raise DataError(
            f"{index.root}: {count} photographs cannot be read ({first_bad(index.bad)}); "
            "mend or remove them, or have them left out (bad_images: skip)"
        )
