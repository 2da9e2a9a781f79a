"""Stanford Dogs (Khosla et al. 2011) as downloaded: 120 breeds."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from leadpp.data.naming import clean_class_names, is_inner_path
from leadpp.data.opening import require_regular
from leadpp.data.raw import OfficialCounts, RawData, RawRecord
from leadpp.data.records import Box, Split
from leadpp.data.scan import require_folder
from leadpp.data.sources.annotations import find_file, plain, whole_number
from leadpp.data.sources.matlab import read_variable
from leadpp.errors import DataError

OFFICIAL = OfficialCounts(classes=120, train=12000, test=8580)

_EDGES = ("xmin", "ymin", "xmax", "ymax")


def read_dogs(source: Path) -> RawData:
    """Read the lists and boxes of Stanford Dogs.

    ``Annotation/`` is a download of its own: where it is missing, there are no boxes and a remark says so. A photograph
    with several dogs gets the box of the largest one, because a localizer that names one object is asked for one.
    Corners are taken as they stand: like ImageNet's they start at 0.

    Args:
        source: The folder with ``Images/``; ``train_list.mat`` and ``test_list.mat`` lie in it or in ``lists/``.

    Returns:
        Every photograph of the two lists.

    Raises:
        DataError: A list is missing or malformed, or an annotation is.
    """
    root = require_folder(source)
    rows = [*_rows(root, "train"), *_rows(root, "test")]
    raw_names: dict[int, str] = {}
    for path, number, _ in rows:
        folder = PurePosixPath(path).parts[0]
        if raw_names.setdefault(number, folder) != folder:
            raise DataError(f"{root}: malformed lists: label {number} is both {raw_names[number]} and {folder}")
    names = dict(zip(sorted(raw_names), clean_class_names([raw_names[n] for n in sorted(raw_names)]), strict=True))
    boxes, remarks = _boxes(root, [path for path, _, _ in rows])
    records = tuple(
        RawRecord(path=f"Images/{path}", label=names[number], split=split, box_xyxy=boxes.get(path))
        for path, number, split in rows
    )
    return RawData(
        source="dogs",
        root=root,
        classes=tuple(names.values()),
        records=records,
        split_origin="given",
        remarks=tuple(remarks),
        official=OFFICIAL,
    )


def _rows(root: Path, split: Split) -> Iterator[tuple[str, int, Split]]:
    name = f"{split}_list.mat"
    path = find_file(root, (name, f"lists/{name}"), dataset="Stanford Dogs")
    files, labels = read_variable(path, "file_list"), read_variable(path, "labels")
    if len(files) != len(labels):
        raise DataError(f"{path}: malformed: {len(files)} files and {len(labels)} labels")
    for file, label in zip(files, labels, strict=True):
        if "/" not in str(file) or not is_inner_path(plain(file)):
            raise DataError(f"{path}: malformed: expected breed/photograph, found {str(file)[:60]!r}")
        yield plain(file), whole_number(label, what="a label", path=path), split


def _boxes(root: Path, paths: list[str]) -> tuple[dict[str, Box], list[str]]:
    if not (root / "Annotation").is_dir():
        return {}, ["no true boxes: Annotation/ is missing (it is a download of its own)"]
    objects = {path: _objects(root / "Annotation" / PurePosixPath(path).with_suffix("")) for path in paths}
    boxes = {path: max(found, key=_area) for path, found in objects.items() if found}
    several = sum(len(found) > 1 for found in objects.values())
    remarks = []
    if several:
        remarks.append(f"{several:,} photographs show several dogs; the true box is that of the largest")
    without = [path for path in paths if path not in boxes]
    if without:
        remarks.append(f"{len(without):,} photographs have no annotation (first: {without[0]})")
    return boxes, remarks


def _objects(path: Path) -> list[Box]:
    try:
        require_regular(path)
        root = ElementTree.parse(path).getroot()  # noqa: S314 - expat itself refuses entity bombs
    except FileNotFoundError:
        return []
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path}: the annotation cannot be read as XML ({error}); download it again") from error
    return [_object(box, path) for box in root.iterfind("object/bndbox")]


def _object(box: ElementTree.Element, path: Path) -> Box:
    try:
        x0, y0, x1, y1 = (float(box.findtext(edge, default="")) for edge in _EDGES)
    except ValueError as error:
        raise DataError(f"{path}: malformed annotation: a box has no number for one of {', '.join(_EDGES)}") from error
    return x0, y0, x1, y1


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
