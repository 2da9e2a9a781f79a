"""Opening whatever folder a user names."""

import dataclasses
import os
from pathlib import Path

import pytest

from leadpp.data import building
from leadpp.data.index import open_data, write_index
from leadpp.errors import ArtifactError, DataError
from tests.unit.data.native import write_lines, write_photo


def refuse_to_look(path: Path, cut_bottom_px: int) -> None:
    raise AssertionError(f"opened {path}")


def make_photos(root: Path, *paths: str) -> Path:
    for path in paths:
        write_photo(root / path, name=path)
    return root


def test_folder_with_train_and_test_and_boxes(tmp_path: Path) -> None:
    root = make_photos(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/b/1.jpg")
    write_lines(root / "bboxes.csv", ["path,x0,y0,x1,y1", "test/a/1.jpg,1,2,3,4", "gone.jpg,1,2,3,4"])
    index = open_data(root, seed=1)
    assert (index.classes, index.split_origin) == (("a", "b"), "given")
    assert {r.path: r.true_box_xyxy for r in index.usable("test")} == {
        "test/a/1.jpg": (1.0, 2.0, 3.0, 4.0),
        "test/b/1.jpg": None,
    }
    assert index.notes() == ["1 rows of bboxes.csv name no photograph (first: gone.jpg)"]


def test_given_boxes_go_before_found_ones(tmp_path: Path) -> None:
    root = make_photos(tmp_path / "photos", "1.jpg")
    write_lines(root / "bboxes.csv", ["path,x0,y0,x1,y1", "1.jpg,1,2,3,4"])
    write_lines(tmp_path / "mine.csv", ["path,x0,y0,x1,y1", "1.jpg,5,6,7,8"])
    assert open_data(root, seed=1).records[0].true_box_xyxy == (1.0, 2.0, 3.0, 4.0)
    assert open_data(root, seed=1, boxes_csv=tmp_path / "mine.csv").records[0].true_box_xyxy == (5.0, 6.0, 7.0, 8.0)


def test_class_folders_are_split_by_seed(tmp_path: Path) -> None:
    root = make_photos(tmp_path, *(f"{label}/{n}.jpg" for label in "ab" for n in range(10)))
    index = open_data(root, seed=9)
    assert index.split_origin == "stratified 80/20, seed 9"
    assert (len(index.usable("train")), len(index.usable("test"))) == (16, 4)
    assert open_data(root, seed=9) == index
    assert open_data(root, seed=10).digest() != index.digest()


def test_flat_folder(tmp_path: Path) -> None:
    index = open_data(make_photos(tmp_path, "1.jpg", "2.jpg"), seed=1)
    assert not index.labelled
    assert len(index.usable("train")) == 2


def test_bad_images_may_be_refused(tmp_path: Path) -> None:
    root = make_photos(tmp_path, "1.jpg")
    (root / "2.jpg").write_bytes(b"")
    assert len(open_data(root, seed=1).bad) == 1
    with pytest.raises(DataError, match=r"1 of 2 photographs cannot be read \(2.jpg: empty file\)"):
        open_data(root, seed=1, bad_images="error")


def test_second_time_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_photos(tmp_path, "a/1.jpg", "a/2.jpg")
    (root / "a/3.jpg").write_bytes(b"no image")
    first = open_data(root, seed=1)
    monkeypatch.setattr(building, "inspect_image", refuse_to_look)
    assert open_data(root, seed=1, previous=first) == first


def prepared(tmp_path: Path) -> tuple[Path, Path]:
    """A prepared folder whose index points to photographs elsewhere."""
    source = make_photos(tmp_path / "source", "a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")
    (source / "b/3.jpg").write_bytes(b"")
    index = dataclasses.replace(open_data(source, seed=77), source="cub", remarks=("told before",))
    write_index(tmp_path / "out" / "index.parquet", index)
    return source, tmp_path / "out"


def test_prepared_folder_opens_no_file_and_keeps_its_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = prepared(tmp_path)
    monkeypatch.setattr(building, "inspect_image", refuse_to_look)
    index = open_data(out, seed=1)
    assert (index.root, index.source, index.split_origin) == (source, "cub", "stratified 80/20, seed 77")
    assert index.remarks == ("told before",)
    assert [record.path for record in index.bad] == ["b/3.jpg"]


def test_changed_photographs_of_a_prepared_folder_are_opened(tmp_path: Path) -> None:
    source, out = prepared(tmp_path)
    before = open_data(out, seed=1)
    write_photo(source / "a/1.jpg", name="another", width=70)
    after = open_data(out, seed=1)
    assert after.records[0].width_px == 70
    assert after.records[1:] == before.records[1:]


def test_what_was_known_before_goes_before_the_prepared_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = prepared(tmp_path)
    for path in source.rglob("*.jpg"):
        os.utime(path, ns=(5, 5))
    previous = open_data(out, seed=1)
    monkeypatch.setattr(building, "inspect_image", refuse_to_look)
    assert open_data(out, seed=1, previous=previous) == previous


def test_prepared_folder_takes_other_boxes(tmp_path: Path) -> None:
    _, out = prepared(tmp_path)
    write_lines(tmp_path / "mine.csv", ["path,x0,y0,x1,y1", "a/1.jpg,5,6,7,8"])
    assert open_data(out, seed=1, boxes_csv=tmp_path / "mine.csv").records[0].true_box_xyxy == (5.0, 6.0, 7.0, 8.0)


def test_photographs_that_moved_are_named(tmp_path: Path) -> None:
    source, out = prepared(tmp_path)
    (source / "a/2.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of its 4 photographs are no longer in .*source \(first: a/2.jpg\)"):
        open_data(out, seed=1)
    source.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"its photographs were in .*source, which is no longer there; move them back"):
        open_data(out, seed=1)


def test_unfinished_and_damaged_preparations_are_refused(tmp_path: Path) -> None:
    root = make_photos(tmp_path, "train/a/1.jpg")
    (root / "prepare.json").write_text("{}")
    with pytest.raises(DataError, match="its preparation was not finished; run the same `leadpp prepare` command"):
        open_data(root, seed=1)
    (root / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match=r"index.parquet: cannot be read as 'index'"):
        open_data(root, seed=1)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_data(tmp_path / "gone", seed=1)
