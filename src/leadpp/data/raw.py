"""What a source says about its photographs before any of them is opened."""

from dataclasses import dataclass, field
from pathlib import Path

from leadpp.data.places import Place, place_at
from leadpp.data.records import Box, ImageIndex, Split


@dataclass(frozen=True, kw_only=True, slots=True)
class RawRecord:
    """One file that should be a photograph."""

    path: str
    """POSIX path relative to the root."""
    label: str | None
    """True name of its class."""
    split: Split | None
    """Its part of the data; None where the source does not say."""
    cut_bottom_px: int = 0
    """Rows to cut off the lower edge."""
    box_xyxy: Box | None = None
    """True box, half-open, in pixels; it may still reach beyond the picture."""
    archive: str | None = None
    """Path of the archive that it lies in, relative to the root; None where it is a file of its own."""
    offset_bytes: int = 0
    """Where its first byte is in the archive."""
    size_bytes: int = 0
    """How long it is in the archive."""

    def place(self, root: Path) -> Place:
        """Return where its bytes are, below the root."""
        return place_at(
            root, self.path, archive=self.archive, offset_bytes=self.offset_bytes, size_bytes=self.size_bytes
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OfficialCounts:
    """What the authors of a data set say it holds."""

    classes: int
    train: int
    test: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RawData:
    """All that a source says."""

    source: str
    """``cub``, ``cars``, ``aircraft``, ``dogs``, ``folder`` or ``shards``."""
    root: Path
    """Folder that the paths start from."""
    classes: tuple[str, ...]
    """Names in official or natural order; empty without labels."""
    records: tuple[RawRecord, ...]
    """In any order."""
    split_origin: str | None = None
    """How the split came about, in words; None where a labelled source has no split and one is to be drawn."""
    remarks: tuple[str, ...] = ()
    """What a person should know, in numbers."""
    official: OfficialCounts | None = field(default=None)
    """What there should be; None for one's own photographs."""
    anywhere: bool = False
    """Whether a person named the paths themselves, so that they may lead out of the root."""


def raw_of(index: ImageIndex) -> RawData:
    """Return what an index knows without having opened a file, so that it can be built again."""
    records = (
        RawRecord(
            path=r.path,
            label=r.label,
            split=r.split,
            cut_bottom_px=r.cut_bottom_px,
            box_xyxy=r.true_box_xyxy,
            archive=r.archive,
            offset_bytes=r.offset_bytes,
            size_bytes=0 if r.archive is None else r.size_bytes,
        )
        for r in index.records
    )
    return RawData(
        source=index.source,
        root=index.root,
        classes=index.classes,
        records=tuple(records),
        split_origin=index.split_origin,
        remarks=index.remarks,
    )
