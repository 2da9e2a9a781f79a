"""CUB-200-2011 (Wah et al. 2011) as downloaded: 200 bird species."""

from pathlib import Path

from leadpp.data.naming import clean_class_names
from leadpp.data.raw import OfficialCounts, RawData, RawRecord
from leadpp.data.records import Box, Split
from leadpp.data.scan import require_folder
from leadpp.data.sources.annotations import find_base, look_up, numbers, read_pairs, read_table
from leadpp.errors import DataError

OFFICIAL = OfficialCounts(classes=200, train=5994, test=5794)

_SPLITS: dict[str, Split] = {"1": "train", "0": "test"}


def read_cub(source: Path) -> RawData:
    """Read the annotation files of CUB-200-2011.

    Args:
        source: The folder with ``images.txt``, or the one that the archive was unpacked in.

    Returns:
        Every photograph that ``images.txt`` lists. Its boxes are ``x y width height``, taken as half-open rectangles.

    Raises:
        DataError: An annotation file is missing, malformed or at odds with another.
    """
    root = require_folder(source)
    base = find_base(root, folders=("", "CUB_200_2011"), marker="images.txt", dataset="CUB-200-2011")
    folder = root / base
    class_ids, raw_names = zip(*read_pairs(folder / "classes.txt"), strict=True)
    names = dict(zip(class_ids, clean_class_names(raw_names), strict=True))
    label_ids = read_table(folder / "image_class_labels.txt")
    splits = read_table(folder / "train_test_split.txt")
    boxes = read_table(folder / "bounding_boxes.txt")
    records = []
    for image, path in read_pairs(folder / "images.txt"):
        class_id = look_up(label_ids, image, path=folder / "image_class_labels.txt")
        part = look_up(splits, image, path=folder / "train_test_split.txt")
        if part not in _SPLITS:
            raise DataError(f"{folder / 'train_test_split.txt'}: expected 0 or 1 for image {image}, found {part!r}")
        records.append(
            RawRecord(
                path=f"{base}images/{path}",
                label=look_up(names, class_id, path=folder / "classes.txt"),
                split=_SPLITS[part],
                box_xyxy=_box(look_up(boxes, image, path=folder / "bounding_boxes.txt"), folder),
            )
        )
    return RawData(
        source="cub",
        root=root,
        classes=tuple(names.values()),
        records=tuple(records),
        split_origin="given",
        official=OFFICIAL,
    )


def _box(text: str, folder: Path) -> Box:
    x, y, width, height = numbers(text, count=4, path=folder / "bounding_boxes.txt")
    return x, y, x + width, y + height
