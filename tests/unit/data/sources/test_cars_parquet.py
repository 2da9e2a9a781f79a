"""The Parquet mirror of Stanford Cars."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leadpp.data.sources.cars_parquet import is_cars_mirror, open_cars_mirror
from leadpp.errors import DataError
from tests.unit.data import native


@pytest.mark.parametrize("inner", ["", "data"])
def test_clean_parts_are_read_in_the_order_of_the_shards(tmp_path: Path, inner: str) -> None:
    native.make_cars_mirror(tmp_path)
    mirror = open_cars_mirror(tmp_path / inner)
    images = list(mirror.images())
    assert mirror.classes == native.CARS
    assert mirror.total == len(images) == 5
    assert mirror.remarks == ()
    assert [(image.split, image.name, native.CARS.index(image.label)) for image in images] == [
        ("train", "00001.jpg", 0),
        ("train", "00002.jpg", 1),
        ("train", "00003.jpg", 2),
        ("train", "00004.jpg", 1),
        ("test", "00001.jpg", 1),
    ]
    assert images[2].content == native.photo_bytes("train 1 0")


def test_without_names_classes_are_numbers(tmp_path: Path) -> None:
    native.make_cars_mirror(tmp_path, names=False)
    mirror = open_cars_mirror(tmp_path)
    assert mirror.classes == ("class 000", "class 001", "class 002")
    assert mirror.remarks == ("the Parquet files hold no class names: classes are called by their numbers",)
    assert [image.label for image in mirror.images()][:3] == list(mirror.classes)


@pytest.mark.parametrize("header", ["not json", "[]", json.dumps({"info": {"features": {"label": {"names": "x"}}}})])
def test_odd_metadata_count_as_none(tmp_path: Path, header: str) -> None:
    native.make_cars_mirror(tmp_path)
    for path in (tmp_path / "data").glob("t*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({"huggingface": header}), path)
    assert open_cars_mirror(tmp_path).classes[0] == "class 000"


def test_what_is_a_mirror(tmp_path: Path) -> None:
    assert not is_cars_mirror(native.make_cars(tmp_path / "mat"))
    assert is_cars_mirror(native.make_cars_mirror(tmp_path / "parquet"))
    assert not is_cars_mirror(native.make_cars(native.make_cars_mirror(tmp_path / "both")))


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    native.make_cars_mirror(tmp_path)
    (tmp_path / "data/test-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"lacks its test part: data/test-\*.parquet is missing"):
        open_cars_mirror(tmp_path)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_without_a_name_are_refused(tmp_path: Path, label: int) -> None:
    native.make_cars_mirror(tmp_path, labels=[0, label, 1, 1])
    with pytest.raises(DataError, match=f"row 1 has the label {label}, expected 0 to 2"):
        list(open_cars_mirror(tmp_path).images())


def test_damaged_shards(tmp_path: Path) -> None:
    native.make_cars_mirror(tmp_path)
    path = tmp_path / "data/train-00001-of-00002.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:100])
    with pytest.raises(DataError, match=r"train-00001-of-00002.parquet: cannot be read as Parquet"):
        open_cars_mirror(tmp_path)
    path.write_bytes(content[:4] + bytes(1500) + content[1504:])
    with pytest.raises(DataError, match=r"train-00001-of-00002.parquet: cannot be read as Parquet"):
        list(open_cars_mirror(tmp_path).images())


def test_tables_of_another_form(tmp_path: Path) -> None:
    native.make_cars_mirror(tmp_path)
    path = tmp_path / "data/train-00001-of-00002.parquet"
    pq.write_table(pa.table({"a": [1], "b": [2]}), path)
    with pytest.raises(DataError, match="expected the columns image and label, found a, b"):
        open_cars_mirror(tmp_path)
    pq.write_table(pa.table({"image": [b"x"], "label": [2]}), path)
    with pytest.raises(DataError, match="expected image to be a struct of bytes and path"):
        open_cars_mirror(tmp_path)
    image = pa.array([{"bytes": None, "path": "x"}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": image, "label": [2]}), path)
    with pytest.raises(DataError, match="row 2 holds no photograph, expected its bytes"):
        list(open_cars_mirror(tmp_path).images())
