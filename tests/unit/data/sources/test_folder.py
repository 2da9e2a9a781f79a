"""Any folder of photographs: which layouts are understood, and what is said about the others."""

import re
import unicodedata
from pathlib import Path

import pytest

from leadpp.data.raw import RawData
from leadpp.data.sources.folder import read_folder
from leadpp.errors import DataError


def layout(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def rows(raw: RawData) -> list[tuple[str, str | None, str | None]]:
    return [(record.path, record.label, record.split) for record in raw.records]


def test_flat_folder_has_no_labels_and_trains(tmp_path: Path) -> None:
    raw = read_folder(layout(tmp_path, "10.jpg", "9.jpg"))
    assert rows(raw) == [("9.jpg", None, "train"), ("10.jpg", None, "train")]
    assert (raw.classes, raw.split_origin) == ((), "none: every photograph trains")


def test_class_folders_without_a_split(tmp_path: Path) -> None:
    raw = read_folder(layout(tmp_path, "b_10/1.jpg", "b_9/1.jpg", "b_9/sub/deep/2.jpg"))
    assert rows(raw) == [("b_9/1.jpg", "b_9", None), ("b_9/sub/deep/2.jpg", "b_9", None), ("b_10/1.jpg", "b_10", None)]
    assert (raw.classes, raw.split_origin) == (("b_9", "b_10"), None)


@pytest.mark.parametrize("test", ["test", "val", "valid", "validation", "Test"])
def test_train_and_test(tmp_path: Path, test: str) -> None:
    raw = read_folder(layout(tmp_path, "train/a/1.jpg", "train/b/1.jpg", f"{test}/a/2.jpg", f"{test}/c/2.jpg"))
    assert sorted(rows(raw), key=str) == sorted(
        [
            ("train/a/1.jpg", "a", "train"),
            ("train/b/1.jpg", "b", "train"),
            (f"{test}/a/2.jpg", "a", "test"),
            (f"{test}/c/2.jpg", "c", "test"),
        ],
        key=str,
    )
    assert (raw.classes, raw.split_origin) == (("a", "b", "c"), "given")


def test_test_goes_before_val_and_the_rest_is_told(tmp_path: Path) -> None:
    raw = read_folder(layout(tmp_path, "train/a/1.jpg", "test/a/2.jpg", "val/a/3.jpg", "extra/4.jpg", "poster.jpg"))
    assert [path for path, _, _ in rows(raw)] == ["train/a/1.jpg", "test/a/2.jpg"]
    assert raw.remarks == (
        "2 folders beside train/ and test/ are left out (first: extra/)",
        "1 photographs beside train/ and test/ are left out (first: poster.jpg)",
    )


def test_masks_and_words_beside_train_need_no_remark(tmp_path: Path) -> None:
    words = ("README.md", "names.txt", "descriptions.csv", "attributes.csv", "world.json", "contact-sheet.jpg")
    raw = read_folder(layout(tmp_path, "train/a/1.jpg", "test/a/2.jpg", "masks/train/a/1.png", *words))
    assert ([path for path, _, _ in rows(raw)], raw.remarks) == (["train/a/1.jpg", "test/a/2.jpg"], ())
    (tmp_path / "test").rename(tmp_path / "masks" / "test")
    raw = read_folder(tmp_path)
    assert ([path for path, _, _ in rows(raw)], raw.remarks) == (["train/a/1.jpg"], ())


def test_a_class_may_be_called_masks(tmp_path: Path) -> None:
    raw = read_folder(layout(tmp_path, "masks/1.jpg", "wigs/1.jpg", "train/masks/1.jpg"))
    assert raw.classes == ("masks",)
    (tmp_path / "train").rename(tmp_path / "hats")
    assert read_folder(tmp_path).classes == ("hats", "masks", "wigs")


def test_train_and_test_without_labels(tmp_path: Path) -> None:
    raw = read_folder(layout(tmp_path, "train/1.jpg", "test/2.jpg"))
    assert rows(raw) == [("train/1.jpg", None, "train"), ("test/2.jpg", None, "test")]
    assert raw.split_origin == "given"


def test_train_alone_is_split_later(tmp_path: Path) -> None:
    raw = read_folder(layout(tmp_path, "train/a/1.jpg", "notes/x.txt"))
    assert rows(raw) == [("train/a/1.jpg", "a", None)]
    assert raw.split_origin is None
    assert raw.remarks == ("1 folders beside train/ are left out (first: notes/)",)


def test_train_may_be_the_name_of_a_class(tmp_path: Path) -> None:
    raw = read_folder(layout(tmp_path, "train/1.jpg", "bus/1.jpg"))
    assert raw.classes == ("bus", "train")


def test_train_with_loose_photographs_alone_is_a_part(tmp_path: Path) -> None:
    raw = read_folder(layout(tmp_path, "train/1.jpg"))
    assert rows(raw) == [("train/1.jpg", None, "train")]


def test_an_empty_test_part_counts_as_none(tmp_path: Path) -> None:
    layout(tmp_path, "train/a/1.jpg")
    (tmp_path / "test" / "a").mkdir(parents=True)
    raw = read_folder(tmp_path)
    assert rows(raw) == [("train/a/1.jpg", "a", None)]
    assert "test/ holds no photographs" in raw.remarks


def test_empty_class_folders_and_other_files_are_told(tmp_path: Path) -> None:
    raw = read_folder(layout(tmp_path, "a/1.jpg", "b/readme.txt", "names.csv"))
    assert raw.classes == ("a",)
    assert raw.remarks == (
        "1 class folders hold no photographs (first: b)",
        "2 files that are no photographs are left out (1 .csv, 1 .txt)",
    )


def test_accents_of_a_class_may_be_written_either_way(tmp_path: Path) -> None:
    raw = read_folder(layout(tmp_path, "train/é/1.jpg", f"test/{unicodedata.normalize('NFD', 'é')}/1.jpg"))
    assert raw.classes == ("é",)
    assert len(raw.records) == 2


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("1.jpg", "2.jpg", "a/3.jpg"), "found 2 loose photographs (first: 1.jpg) beside 1 folders with photographs"),
        (("train/1.jpg", "train/a/3.jpg", "test/a/1.jpg"), "train: found 1 loose photographs (first: 1.jpg) beside 1"),
        (
            ("train/1.jpg", "test/a/1.jpg"),
            "train/ has no class folders and test/ has class folders; expected both alike",
        ),
        (("test/a/1.jpg",), "found test/ but no train/; expected both, or class folders, or photographs"),
        (("train/a/x.txt", "test/a/1.jpg"), "train/ holds no photographs, while test/ does"),
        (
            ("a/x.txt", "y.heic"),
            "no photographs found (2 files that are no photographs are left out (1 .heic, 1 .txt));",
        ),
        ((), "no photographs found (the folder is empty); looked for files that end in .avif .bmp .gif"),
    ],
)
def test_layouts_that_are_not_understood(tmp_path: Path, paths: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        read_folder(layout(tmp_path, *paths))
    assert "\n" not in str(caught.value)


def test_the_first_level_below_a_part_is_the_class_and_deeper_photographs_are_told(tmp_path: Path) -> None:
    layout(tmp_path, "train/Disc/Red/a.jpg", "train/Disc/b.jpg", "train/Cube/Red/new/c.jpg", "test/Disc/Red/d.jpg")
    raw = read_folder(tmp_path)
    assert raw.classes == ("Cube", "Disc")
    assert raw.remarks == (
        "3 photographs lie deeper than their class folder, whose name, the first level, is the class "
        "(first: train/Cube/Red/new/c.jpg)",
    )
    layout(tmp_path / "plain", "Disc/b.jpg", "Cube/c.jpg")
    assert read_folder(tmp_path / "plain").remarks == ()
