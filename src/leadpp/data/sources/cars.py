"""Stanford Cars (Krause et al. 2013) as downloaded, with its MATLAB devkit: 196 models."""

from collections.abc import Iterator
from pathlib import Path

from leadpp.data.raw import OfficialCounts, RawData, RawRecord
from leadpp.data.records import Split
from leadpp.data.scan import require_folder
from leadpp.data.sources.annotations import find_file, plain, whole_number
from leadpp.data.sources.matlab import read_variable
from leadpp.errors import DataError

OFFICIAL = OfficialCounts(classes=196, train=8144, test=8041)

_TEST_ANNOS = "cars_test_annos_withlabels.mat"
_FIELDS = ("fname", "class", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


def read_cars(source: Path) -> RawData:
    """Read the devkit of Stanford Cars.

    Args:
        source: The folder with ``devkit/``, ``cars_train/`` and ``cars_test/``. The labels of the test part,
            ``cars_test_annos_withlabels.mat``, lie in it or in ``devkit/``.

    Returns:
        Every annotated photograph. Boxes are given as 1-based inclusive corners and are made half-open.

    Raises:
        DataError: An annotation file is missing, malformed or at odds with another.
    """
    root = require_folder(source)
    dataset = "Stanford Cars"
    meta = find_file(root, ("devkit/cars_meta.mat", "cars_meta.mat"), dataset=dataset)
    train = find_file(root, ("devkit/cars_train_annos.mat", "cars_train_annos.mat"), dataset=dataset)
    test = find_file(root, (_TEST_ANNOS, f"devkit/{_TEST_ANNOS}"), dataset=dataset)
    names = tuple(plain(name) for name in read_variable(meta, "class_names"))
    if len(set(names)) < len(names):
        raise DataError(f"{meta}: malformed: some class names come more than once")
    records = [*_records(train, names, "cars_train", "train"), *_records(test, names, "cars_test", "test")]
    return RawData(
        source="cars",
        root=root,
        classes=names,
        records=tuple(records),
        split_origin="given",
        official=OFFICIAL,
    )


def _records(path: Path, names: tuple[str, ...], folder: str, split: Split) -> Iterator[RawRecord]:
    annotations = read_variable(path, "annotations")
    lacking = [field for field in _FIELDS if field not in (annotations.dtype.names or ())]
    if lacking:
        raise DataError(f"{path}: its annotations have no field {lacking[0]!r}; expected {', '.join(_FIELDS)}")
    for row in annotations:
        label, x0, y0, x1, y1 = (whole_number(row[field], what=field, path=path) for field in _FIELDS[1:])
        if not 1 <= label <= len(names):
            raise DataError(f"{path}: class {label} of {row['fname']} is not among the {len(names)} of cars_meta.mat")
        yield RawRecord(
            path=f"{folder}/{plain(row['fname'])}",
            label=names[label - 1],
            split=split,
            box_xyxy=(float(x0 - 1), float(y0 - 1), float(x1), float(y1)),
        )
