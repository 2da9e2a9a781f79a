"""The readers of the four native layouts, on miniature copies of them."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from leadpp.data.raw import OfficialCounts, RawData
from leadpp.data.sources import READERS, read_aircraft, read_cars, read_cub, read_dogs
from leadpp.errors import DataError
from tests.unit.data import native


def parts(raw: RawData) -> dict[str, tuple[str | None, str | None]]:
    return {record.path: (record.label, record.split) for record in raw.records}


def test_every_kind_has_a_reader() -> None:
    assert list(READERS) == ["cub", "cars", "aircraft", "dogs", "folder", "shards"]


@pytest.mark.parametrize("base", ["", "CUB_200_2011"])
def test_cub(tmp_path: Path, base: str) -> None:
    native.make_cub(tmp_path / base)
    raw = read_cub(tmp_path)
    prefix = f"{base}/images" if base else "images"
    assert raw.source == "cub"
    assert raw.split_origin == "given"
    assert raw.classes == ("Black footed Albatross", "Ålesund Café Gull", native.LONG_NAME)
    assert len(native.LONG_NAME) == 200
    assert len(raw.records) == 6
    gull = "002.Ålesund_Café_Gull"
    assert parts(raw)[f"{prefix}/{gull}/002_1.jpg"] == ("Ålesund Café Gull", "train")
    assert parts(raw)[f"{prefix}/{gull}/002_2.jpg"] == ("Ålesund Café Gull", "test")
    assert {record.box_xyxy for record in raw.records} == {(5.5, 7.0, 25.5, 37.5)}
    assert all((tmp_path / record.path).is_file() for record in raw.records)
    assert raw.official == OfficialCounts(classes=200, train=5994, test=5794)


@pytest.mark.parametrize(
    "name",
    ["images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt", "bounding_boxes.txt"],
)
def test_cub_names_the_missing_file(tmp_path: Path, name: str) -> None:
    native.make_cub(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"{name}.* is missing"):
        read_cub(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images.txt", "1\n", "line 1 is malformed: expected a key and a value, found '1'"),
        ("images.txt", "99 a/b.jpg\n", "image_class_labels.txt: has no line for 99"),
        ("image_class_labels.txt", "1 1\n1 2\n", "malformed: 1 keys come more than once"),
        ("image_class_labels.txt", "".join(f"{i} 9\n" for i in range(1, 7)), "classes.txt: has no line for 9"),
        ("train_test_split.txt", "".join(f"{i} 2\n" for i in range(1, 7)), "expected 0 or 1 for image 1, found '2'"),
        ("bounding_boxes.txt", "".join(f"{i} 1 2 3\n" for i in range(1, 7)), "expected 4 numbers, found '1 2 3'"),
        ("bounding_boxes.txt", "".join(f"{i} 1 2 3 nan\n" for i in range(1, 7)), "expected 4 numbers"),
        ("bounding_boxes.txt", "".join(f"{i} 1 2 3 x\n" for i in range(1, 7)), "expected 4 numbers"),
        ("classes.txt", "\n", "classes.txt: the annotation file is empty"),
    ],
)
def test_cub_names_what_is_malformed(tmp_path: Path, name: str, content: str, message: str) -> None:
    native.make_cub(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_cub(tmp_path)


def test_annotations_that_are_no_text(tmp_path: Path) -> None:
    native.make_cub(tmp_path)
    (tmp_path / "classes.txt").write_bytes(b"1 \xff\n")
    with pytest.raises(DataError, match=r"classes.txt: not text in UTF-8"):
        read_cub(tmp_path)
    (tmp_path / "classes.txt").unlink()
    (tmp_path / "classes.txt").mkdir()
    with pytest.raises(DataError, match=r"classes.txt: cannot be read: is a directory"):
        read_cub(tmp_path)


@pytest.mark.parametrize("test_annos", ["", "devkit"])
def test_cars(tmp_path: Path, test_annos: str) -> None:
    raw = read_cars(native.make_cars(tmp_path, test_annos=test_annos))
    assert raw.source == "cars"
    assert raw.classes == native.CARS
    assert parts(raw) == {
        "cars_train/00001.jpg": ("AM General Hummer SUV 2000", "train"),
        "cars_train/00002.jpg": ("Ram C/V Cargo Van Minivan 2012", "train"),
        "cars_train/00003.jpg": ("Citroën 2CV", "train"),
        "cars_train/00004.jpg": ("Citroën 2CV", "train"),
        "cars_test/00001.jpg": ("Ram C/V Cargo Van Minivan 2012", "test"),
    }
    # 1-based and inclusive: columns 1 to 30 are the half-open range 0 to 30.
    assert raw.records[0].box_xyxy == (0.0, 1.0, 30.0, 40.0)
    assert raw.records[-1].box_xyxy == (4.0, 5.0, 40.0, 60.0)
    assert raw.official == OfficialCounts(classes=196, train=8144, test=8041)


@pytest.mark.parametrize("name", ["devkit/cars_meta.mat", "devkit/cars_train_annos.mat"])
def test_cars_names_the_missing_file(tmp_path: Path, name: str) -> None:
    native.make_cars(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"Stanford Cars lacks an annotation file: {name} or .* is missing"):
        read_cars(tmp_path)


def test_cars_asks_for_the_test_labels_where_they_may_be(tmp_path: Path) -> None:
    native.make_cars(tmp_path)
    (tmp_path / "cars_test_annos_withlabels.mat").unlink()
    places = "cars_test_annos_withlabels.mat or devkit/cars_test_annos_withlabels.mat is missing"
    with pytest.raises(DataError, match=places):
        read_cars(tmp_path)


def test_cars_refuses_annotations_without_labels(tmp_path: Path) -> None:
    native.make_cars(tmp_path)
    shutil.copy(tmp_path / "devkit/cars_test_annos.mat", tmp_path / "cars_test_annos_withlabels.mat")
    with pytest.raises(DataError, match="have no field 'class'; expected fname, class, bbox_x1"):
        read_cars(tmp_path)


@pytest.mark.parametrize("label", [0, 4])
def test_cars_refuses_labels_without_a_name(tmp_path: Path, label: int) -> None:
    native.make_cars(tmp_path)
    native.save_annotations(tmp_path / "cars_test_annos_withlabels.mat", [label], box=(1, 2, 3, 4))
    with pytest.raises(DataError, match=rf"class {label} of 00001.jpg is not among the 3 of cars_meta.mat"):
        read_cars(tmp_path)


def test_cars_refuses_a_field_that_is_no_number(tmp_path: Path) -> None:
    native.make_cars(tmp_path)
    names = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
    array = np.zeros((1, 1), dtype=[(name, object) for name in names])
    array[0, 0] = ("one", 2, 3, 4, 1, "00001.jpg")
    savemat(tmp_path / "cars_test_annos_withlabels.mat", {"annotations": array})
    with pytest.raises(DataError, match="malformed: bbox_x1 is 'one', expected a whole number"):
        read_cars(tmp_path)


def test_cars_refuses_names_that_come_twice(tmp_path: Path) -> None:
    native.make_cars(tmp_path)
    savemat(tmp_path / "devkit/cars_meta.mat", {"class_names": np.array([["a", "b", "a"]], dtype=object)})
    with pytest.raises(DataError, match="some class names come more than once"):
        read_cars(tmp_path)


@pytest.mark.parametrize("keep", [0, 20, 200])
def test_damaged_matlab_files(tmp_path: Path, keep: int) -> None:
    native.make_cars(tmp_path)
    path = tmp_path / "devkit" / "cars_train_annos.mat"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        DataError, match=r"cars_train_annos.mat: (cannot be read as a MATLAB file|expected the variable)"
    ):
        read_cars(tmp_path)


def test_matlab_files_with_other_content(tmp_path: Path) -> None:
    native.make_cars(tmp_path)
    savemat(tmp_path / "devkit/cars_meta.mat", {"other": 1})
    with pytest.raises(DataError, match="expected the variable 'class_names', found other"):
        read_cars(tmp_path)


@pytest.mark.parametrize("base", ["data", "", "fgvc-aircraft-2013b/data"])
def test_aircraft(tmp_path: Path, base: str) -> None:
    raw = read_aircraft(native.make_aircraft(tmp_path, base=base))
    prefix = f"{base}/images" if base else "images"
    assert raw.source == "aircraft"
    assert raw.classes == ("Boeing 717", "F-16A/B", "F/A-18")
    assert len(raw.records) == 9
    assert parts(raw)[f"{prefix}/120.jpg"] == ("F/A-18", "train")
    assert parts(raw)[f"{prefix}/210.jpg"] == ("F-16A/B", "test")
    assert {record.box_xyxy for record in raw.records} == {(2.0, 3.0, 30.0, 50.0)}
    assert {record.cut_bottom_px for record in raw.records} == {20}
    assert all((tmp_path / record.path).is_file() for record in raw.records)
    assert raw.official == OfficialCounts(classes=100, train=6667, test=3333)


@pytest.mark.parametrize("name", ["images_variant_trainval.txt", "images_variant_test.txt", "images_box.txt"])
def test_aircraft_names_the_missing_file(tmp_path: Path, name: str) -> None:
    native.make_aircraft(tmp_path)
    (tmp_path / "data" / name).unlink()
    with pytest.raises(DataError, match=f"{name}.* is missing"):
        read_aircraft(tmp_path)


def test_aircraft_refuses_photographs_in_both_lists(tmp_path: Path) -> None:
    native.make_aircraft(tmp_path)
    trainval = (tmp_path / "data/images_variant_trainval.txt").read_text()
    (tmp_path / "data/images_variant_test.txt").write_text(trainval.splitlines()[0] + "\n")
    with pytest.raises(DataError, match="more than once"):
        read_aircraft(tmp_path)


@pytest.mark.parametrize("lists", ["", "lists"])
def test_dogs(tmp_path: Path, lists: str) -> None:
    raw = read_dogs(native.make_dogs(tmp_path, lists=lists))
    assert raw.source == "dogs"
    assert raw.classes == ("Chihuahua", "Shih-Tzu", "Samoyed")
    assert parts(raw)["Images/n02086240-Shih-Tzu/n02086240_1.jpg"] == ("Shih-Tzu", "train")
    assert parts(raw)["Images/n02111889-Samoyed/n02111889_2.jpg"] == ("Samoyed", "test")
    assert {record.box_xyxy for record in raw.records if record.split == "train"} == {(0.0, 1.0, 10.0, 12.0)}
    # Of three dogs the largest; the first is not it, and neither is the union (0, 0, 30, 40).
    assert {record.box_xyxy for record in raw.records if record.split == "test"} == {(2.0, 3.0, 30.0, 40.0)}
    assert raw.remarks == ("3 photographs show several dogs; the true box is that of the largest",)
    assert raw.official == OfficialCounts(classes=120, train=12000, test=8580)


@pytest.mark.parametrize("name", ["train_list.mat", "test_list.mat"])
def test_dogs_names_the_missing_list(tmp_path: Path, name: str) -> None:
    native.make_dogs(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"Stanford Dogs lacks an annotation file: {name} or lists/{name} is missing"):
        read_dogs(tmp_path)


def test_dogs_without_annotations_have_no_boxes(tmp_path: Path) -> None:
    native.make_dogs(tmp_path)
    lost = tmp_path / "Annotation/n02111889-Samoyed/n02111889_1"
    lost.unlink()
    raw = read_dogs(tmp_path)
    assert raw.remarks[1] == "1 photographs have no annotation (first: n02111889-Samoyed/n02111889_1.jpg)"
    assert [record.path for record in raw.records if record.box_xyxy is None] == [
        "Images/n02111889-Samoyed/n02111889_1.jpg"
    ]
    shutil.rmtree(tmp_path / "Annotation")
    raw = read_dogs(tmp_path)
    assert raw.remarks == ("no true boxes: Annotation/ is missing (it is a download of its own)",)
    assert all(record.box_xyxy is None for record in raw.records)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation>", "cannot be read as XML"),
        ("<a><object><bndbox><xmin>1</xmin></bndbox></object></a>", "a box has no number for one of xmin, ymin"),
    ],
)
def test_dogs_name_damaged_annotations(tmp_path: Path, content: str, message: str) -> None:
    native.make_dogs(tmp_path)
    (tmp_path / "Annotation/n02111889-Samoyed/n02111889_1").write_text(content)
    with pytest.raises(DataError, match=f"n02111889_1: .*{message}"):
        read_dogs(tmp_path)


@pytest.mark.parametrize(
    ("files", "labels", "message"),
    [
        (["a/1.jpg", "b/2.jpg"], [1], "2 files and 1 labels"),
        (["1.jpg", "b/2.jpg"], [1, 2], "expected breed/photograph, found '1.jpg'"),
        (["a/1.jpg", "b/2.jpg"], [1, 1], "label 1 is both a and b"),
    ],
)
def test_dogs_name_malformed_lists(tmp_path: Path, files: list[str], labels: list[int], message: str) -> None:
    native.make_dogs(tmp_path)
    content = {"file_list": np.array([[file] for file in files], dtype=object), "labels": np.array(labels)}
    savemat(tmp_path / "train_list.mat", content)
    with pytest.raises(DataError, match=message):
        read_dogs(tmp_path)


@pytest.mark.parametrize("reader", [READERS[kind] for kind in ("cub", "cars", "aircraft", "dogs", "folder")])
def test_folders_that_are_none(tmp_path: Path, reader: Callable[[Path], RawData]) -> None:
    with pytest.raises(DataError, match="no such folder"):
        reader(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="found a file"):
        reader(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is missing|the folder is empty"):
        reader(tmp_path / "empty")


@pytest.mark.parametrize(
    ("make", "name", "reader"),
    [
        (native.make_cub, "classes.txt", read_cub),
        (native.make_cars, "devkit/cars_meta.mat", read_cars),
        (native.make_dogs, "train_list.mat", read_dogs),
        (native.make_dogs, "Annotation/n02111889-Samoyed/n02111889_1", read_dogs),
    ],
)
def test_no_reader_waits_for_a_fifo(
    tmp_path: Path, make: Callable[[Path], Path], name: str, reader: Callable[[Path], RawData]
) -> None:
    make(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=f"{Path(name).name}"):
        reader(tmp_path)


@pytest.mark.parametrize("path", ["../1.jpg", "a/../../1.jpg"])
def test_dogs_do_not_leave_their_folder(tmp_path: Path, path: str) -> None:
    native.make_dogs(tmp_path)
    savemat(tmp_path / "train_list.mat", {"file_list": np.array([path, "b/2.jpg"], dtype=object), "labels": [1, 2]})
    with pytest.raises(DataError, match="expected breed/photograph"):
        read_dogs(tmp_path)
