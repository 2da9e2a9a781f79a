"""Finding photographs: links, scattered files, names that are no text."""

import os
import subprocess
from pathlib import Path

import pytest

from leadpp.data.scan import LeftOut, list_folder, require_folder, walk_images
from leadpp.errors import DataError


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def test_order_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "b/2.jpg", "b/10.jpg", "a/1.JPG", "c.png", "b/deep/1.webp")
    real = os.scandir

    class Backwards:
        def __init__(self, path: Path) -> None:
            with real(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *args: object) -> None:
            pass

    expected = ["c.png", "a/1.JPG", "b/2.jpg", "b/10.jpg", "b/deep/1.webp"]
    assert list(walk_images(tmp_path, "", left_out=LeftOut())) == expected
    monkeypatch.setattr(os, "scandir", Backwards)
    assert list(walk_images(tmp_path, "", left_out=LeftOut())) == expected


def test_hidden_and_scattered_files_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden.jpg", ".cache/1.jpg", "__MACOSX/a/._1.jpg", "Thumbs.db", "bboxes.csv", "1.jpg")
    left_out = LeftOut()
    assert list(walk_images(tmp_path, "", left_out=left_out)) == ["1.jpg"]
    assert left_out.remarks() == []


def test_other_files_are_counted_by_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "a.txt", "b.TXT", "c.heic", "README", *(f"x.{letter}" for letter in "pqrs"))
    left_out = LeftOut()
    list_folder(tmp_path, left_out=left_out)
    kinds = "2 .txt, 1 without a suffix, 1 .heic, 1 .p, 1 .q and 2 other kinds"
    assert left_out.remarks() == [f"8 files that are no photographs are left out ({kinds})"]


def test_links_in_circles_end(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(root, "a/1.jpg", "a/b/2.jpg", "../outside.jpg")
    (root / "a" / "b" / "up").symlink_to(root / "a")
    (root / "a" / "self").symlink_to(root / "a" / "self")
    (root / "a" / "home").symlink_to(root)
    (root / "a" / "out").symlink_to(tmp_path)
    left_out = LeftOut()
    assert list(walk_images(root, "a", left_out=left_out)) == ["a/1.jpg", "a/b/2.jpg"]
    assert left_out.loops == 3
    assert left_out.special == 1
    assert left_out.remarks() == [
        "3 links to a folder above themselves are not followed",
        "1 broken links or special files are left out",
    ]


def test_a_class_folder_that_leads_to_the_root_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "b").symlink_to(tmp_path)
    left_out = LeftOut()
    assert list(walk_images(tmp_path, "b", left_out=left_out)) == []
    assert left_out.loops == 1


def test_links_elsewhere_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "store/x/1.jpg", "store/2.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to(tmp_path / "store")
    (tmp_path / "root" / "b.jpg").symlink_to(tmp_path / "store" / "2.jpg")
    found = list(walk_images(tmp_path / "root", "", left_out=LeftOut()))
    assert found == ["b.jpg", "a/2.jpg", "a/x/1.jpg"]


def test_links_out_of_the_folder_are_followed_and_told(tmp_path: Path) -> None:
    touch(tmp_path, "store/1.jpg", "root/a/1.jpg", "root/c/3.jpg", "secret.jpg")
    root = tmp_path / "root"
    (root / "a" / "2.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "a" / "3.jpg").symlink_to(root / "c" / "3.jpg")
    (root / "b").symlink_to(tmp_path / "store")
    left_out = LeftOut(root=root)
    found = list(walk_images(root, "", left_out=left_out))
    assert found == ["a/1.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg", "c/3.jpg"]
    assert left_out.remarks() == ["2 links lead out of the folder and are followed (first: b)"]


def test_few_links_cannot_stand_for_a_million_folders(tmp_path: Path) -> None:
    for depth in range(40):  # each folder is linked to twice from the one before: 2 ** 40 ways to the last
        touch(tmp_path, f"store/{depth}/1.jpg")
        for name in ("x", "y"):
            if depth:
                (tmp_path / f"store/{depth - 1}" / name).symlink_to(tmp_path / f"store/{depth}")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "top").symlink_to(tmp_path / "store" / "0")
    left_out = LeftOut()
    found = list(walk_images(tmp_path / "root", "", left_out=left_out))
    assert len(found) == 40
    assert left_out.repeated == 39
    assert "39 links to a folder that another link led to are not followed" in left_out.remarks()


def test_folders_that_are_nested_more_deeply_than_calls(tmp_path: Path) -> None:
    inner = "/".join("d" * 1500)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(1500):  # the path of the last is longer than the system takes at once
            os.mkdir("d", dir_fd=folder)
            below = os.open("d", os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = below
        os.close(os.open("1.jpg", os.O_CREAT, dir_fd=folder))
    finally:
        os.close(folder)
    try:
        assert list(walk_images(tmp_path, "", left_out=LeftOut())) == [f"{inner}/1.jpg"]
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_names_that_are_no_text_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", os.fsdecode(b"bad\xff.jpg"), os.fsdecode(b"bad\xff/2.jpg"))
    left_out = LeftOut()
    assert list(walk_images(tmp_path, "", left_out=left_out)) == ["1.jpg"]
    assert left_out.remarks() == ["2 files or folders whose names are not valid UTF-8 are left out; rename them"]


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    left_out = LeftOut()
    assert list_folder(tmp_path, left_out=left_out) == ([], [])
    assert left_out.special == 1


def test_folders_that_are_none(tmp_path: Path) -> None:
    touch(tmp_path, "file")
    with pytest.raises(DataError, match=r"gone: no such folder; expected a folder with photographs$"):
        require_folder(tmp_path / "gone")
    with pytest.raises(DataError, match=r"file: expected a folder with photographs, found a file$"):
        require_folder(tmp_path / "file")


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=f"{tmp_path}: cannot be listed: permission denied"):
        list_folder(tmp_path, left_out=LeftOut())
