"""FGVC-Aircraft 2013b (Maji et al. 2013) as downloaded: 100 variants, each photograph with a banner at its foot."""

from pathlib import Path

from leadpp.data.raw import OfficialCounts, RawData, RawRecord
from leadpp.data.records import Box, Split
from leadpp.data.scan import require_folder
from leadpp.data.sources.annotations import find_base, look_up, numbers, read_pairs, read_table
from leadpp.errors import DataError

OFFICIAL = OfficialCounts(classes=100, train=6667, test=3333)
BANNER_PX = 20
"""Rows at the foot of every photograph that name its author; they are no part of the picture."""

_LISTS: tuple[tuple[str, Split], ...] = (("trainval", "train"), ("test", "test"))


def read_aircraft(source: Path) -> RawData:
    """Read the annotation files of FGVC-Aircraft at the level of variants.

    Args:
        source: The folder with ``images_variant_trainval.txt``, the one with ``data/``, or the one that the archive was
            unpacked in.

    Returns:
        Every photograph of the two lists. Boxes are given as 1-based inclusive corners and are made half-open.

    Raises:
        DataError: An annotation file is missing, malformed or at odds with another.
    """
    root = require_folder(source)
    base = find_base(
        root,
        folders=("data", "", "fgvc-aircraft-2013b/data"),
        marker="images_variant_trainval.txt",
        dataset="FGVC-Aircraft",
    )
    folder = root / base
    boxes = read_table(folder / "images_box.txt")
    records = [
        RawRecord(
            path=f"{base}images/{image}.jpg",
            label=variant,
            split=split,
            cut_bottom_px=BANNER_PX,
            box_xyxy=_box(look_up(boxes, image, path=folder / "images_box.txt"), folder),
        )
        for part, split in _LISTS
        for image, variant in read_pairs(folder / f"images_variant_{part}.txt")
    ]
    if len({record.path for record in records}) < len(records):
        raise DataError(f"{folder}: malformed: some photographs are in images_variant_*.txt more than once")
    return RawData(
        source="aircraft",
        root=root,
        classes=tuple(sorted({str(record.label) for record in records})),
        records=tuple(records),
        split_origin="given",
        official=OFFICIAL,
    )


def _box(text: str, folder: Path) -> Box:
    x0, y0, x1, y1 = numbers(text, count=4, path=folder / "images_box.txt")
    return x0 - 1, y0 - 1, x1, y1
