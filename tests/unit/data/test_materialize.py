"""Laying photographs out as an image folder."""

import dataclasses
import errno
import os
from pathlib import Path

import pytest

from leadpp.data.materialize import LinkKind, place, remove_placed, target_paths
from leadpp.data.places import Member
from leadpp.data.records import ImageRecord, Split
from leadpp.errors import ArtifactError, DataError
from tests.unit.data.native import LONG_NAME


def record(path: str, label: str | None, split: Split = "train") -> ImageRecord:
    return ImageRecord(path=path, label=label, split=split, width_px=1, height_px=1, checksum="")


def test_paths_are_split_class_and_file() -> None:
    records = [record("images/x y.jpg", "F/A-18"), record("z.jpg", "F/A-18", "test"), record("é.jpg", LONG_NAME)]
    paths = target_paths(records, ["F/A-18", LONG_NAME])
    assert paths["images/x y.jpg"] == "train/F-A-18/x y.jpg"
    assert paths["z.jpg"] == "test/F-A-18/z.jpg"
    _, folder, name = paths["é.jpg"].split("/")
    assert folder.startswith("Long tailed ")
    assert len(folder) < 140
    assert name == "é.jpg"


def test_without_labels_paths_are_split_and_file() -> None:
    assert target_paths([record("deep/1.jpg", None)], []) == {"deep/1.jpg": "train/1.jpg"}


def test_names_in_archives_may_be_what_no_file_is_called(tmp_path: Path) -> None:
    names = [f"{'é' * 5000}0", f"{'é' * 5000}1", "a\nb\x1b[2J", "nul"]
    records = [dataclasses.replace(record(f"x.tar/d/{name}.JPG", None), archive="x.tar") for name in names]
    paths = target_paths(records, [])
    assert len(set(paths.values())) == 4
    assert list(paths.values())[2:] == ["train/a-b-[2J.JPG", "train/nul-.JPG"]
    for path in paths.values():
        assert len(path.encode()) < 160
        assert path.endswith(".JPG")
        place(Member(write_file(tmp_path / "x.tar"), "x", 2, 3), tmp_path / path, how="copy")
        assert (tmp_path / path).read_bytes() == b"234"
        with pytest.raises(ArtifactError, match="no links lead into archives"):
            place(Member(tmp_path / "x.tar", "x", 2, 3), tmp_path / path, how="soft")
        with pytest.raises(DataError, match=r"x\.tar/x: x\.tar ends before"):
            place(Member(tmp_path / "x.tar", "x", 9, 3), tmp_path / path, how="copy")


def write_file(path: Path) -> Path:
    path.write_bytes(b"0123456789")
    return path


def test_files_that_would_meet_are_told_apart() -> None:
    long = "n" * 250 + ".jpg"
    records = [record(f"{folder}/{name}", "a") for folder in "xy" for name in ("1.jpg", long)]
    records += [record("x/1.JPG", "a"), record("x/2.jpg", "a")]
    paths = target_paths(records, ["a"])
    assert paths["x/2.jpg"] == "train/a/2.jpg"
    assert len({path.casefold() for path in paths.values()}) == len(records)
    assert all(len(path.split("/")[-1]) <= 255 for path in paths.values())
    assert paths["x/1.jpg"].startswith("train/a/1~")
    assert paths["x/1.jpg"].endswith(".jpg")
    assert paths == target_paths(records[::-1], ["a"])


@pytest.mark.parametrize("how", ["copy", "hard", "soft"])
def test_place(tmp_path: Path, how: LinkKind) -> None:
    source, target = tmp_path / "source.jpg", tmp_path / "out" / "a" / "1.jpg"
    source.write_bytes(b"content")
    os.utime(source, ns=(5, 5))
    for _ in range(2):  # a second time replaces the first
        place(source, target, how=how)
        assert target.read_bytes() == b"content"
        assert target.stat().st_mtime_ns == 5
        assert target.is_symlink() == (how == "soft")
        assert target.samefile(source) == (how != "copy")
    assert [path.name for path in target.parent.iterdir()] == ["1.jpg"]


def test_links_lead_to_what_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real.jpg").write_bytes(b"content")
    (tmp_path / "link.jpg").symlink_to("real.jpg")
    for how in ("hard", "soft"):
        place(tmp_path / "link.jpg", tmp_path / "out" / how, how=how)
    (tmp_path / "link.jpg").unlink()
    assert (tmp_path / "out" / "hard").read_bytes() == (tmp_path / "out" / "soft").read_bytes() == b"content"
    assert not (tmp_path / "out" / "hard").is_symlink()


@pytest.mark.parametrize(
    ("code", "reason"),
    [(errno.EXDEV, "this file system takes no such link .*; choose copy instead"), (errno.ENOSPC, "no space left")],
)
def test_links_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, reason: str) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(ArtifactError, match=f"1.jpg: cannot make a hard link: {reason}"):
        place(tmp_path / "source", tmp_path / "1.jpg", how="hard")


def test_a_failing_copy_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "source").write_bytes(b"content")
    monkeypatch.setattr("shutil.copyfile", fail)
    with pytest.raises(ArtifactError, match="the disk is full"):
        place(tmp_path / "source", tmp_path / "out" / "1.jpg", how="copy")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_earlier_layout_goes_and_nothing_else(tmp_path: Path) -> None:
    for path in ("train/a/1.jpg", "train/b/1.jpg", "train/b/mine.txt", "test/a/1.jpg"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    remove_placed(tmp_path, ["train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/c/gone.jpg"])
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["train", "train/b", "train/b/mine.txt"]


def test_a_layout_that_cannot_be_removed(tmp_path: Path) -> None:
    (tmp_path / "train/a/1.jpg").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="cannot remove an earlier layout"):
        remove_placed(tmp_path, ["train/a/1.jpg"])
