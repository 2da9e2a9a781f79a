"""Photographs in tar archives: samples, classes and parts as WebDataset has them, and what nobody should put there."""

import json
import os
import tarfile
from pathlib import Path

import pytest

from leadpp.data import pooling
from leadpp.data.raw import RawData
from leadpp.data.sources.shards import names_shards, read_shards
from leadpp.errors import DataError
from tests.progress import WatchedProgress
from tests.unit.data.tars import member, pack, write_tar


def labels(raw: RawData) -> dict[str, str | None]:
    return {record.path: record.label for record in raw.records}


def splits(raw: RawData) -> dict[str, str | None]:
    return {record.path: record.split for record in raw.records}


def test_samples_share_the_name_up_to_the_first_dot(tmp_path: Path) -> None:
    files = {
        "001.jpg": b"a",
        "001.cls": b"7",
        "b/001.cls": b"Boat-tailed Grackle\n",
        "b/001.JPEG": b"b",
        "./c.d/2.png": b"c",
        "c.d/2.json": b'{"class": 12, "other": 1}',
        "3.webp": b"d",
        "3.txt": b"a caption, no class",
        "3.json": b'{"label": "Caf\xc3\xa9"}',
    }
    raw = read_shards(pack(tmp_path / "x.tar", files))
    assert labels(raw) == {
        "x.tar/001.jpg": "7",
        "x.tar/b/001.JPEG": "Boat-tailed Grackle",
        "x.tar/c.d/2.png": "12",
        "x.tar/3.webp": "Café",
    }
    assert (raw.source, raw.root, raw.remarks) == ("shards", tmp_path, ())
    assert raw.classes == ("7", "12", "Boat-tailed Grackle", "Café")
    whole = (tmp_path / "x.tar").read_bytes()
    contents = [whole[r.offset_bytes : r.offset_bytes + r.size_bytes] for r in raw.records]
    assert contents == [b"a", b"b", b"c", b"d"]
    assert {record.archive for record in raw.records} == {"x.tar"}


def test_without_classes_all_train(tmp_path: Path) -> None:
    raw = read_shards(pack(tmp_path / "x.tar", {"a/1.jpg": b"", "a/2.jpg": b"", "1.json": b'{"caption": "x"}'}))
    assert (raw.classes, raw.split_origin) == ((), "none: every photograph trains")
    assert set(splits(raw).values()) == {"train"}


def test_classes_without_parts_have_a_split_drawn(tmp_path: Path) -> None:
    raw = read_shards(pack(tmp_path / "train-0.tar", {"1.jpg": b"", "1.cls": b"a"}))
    assert (raw.split_origin, set(splits(raw).values())) == (None, {None})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train-0.tar", "test-0.tar"], {"train-0.tar": "train", "test-0.tar": "test"}),
        (["x_train_0.tar", "x_val_0.tar"], {"x_train_0.tar": "train", "x_val_0.tar": "test"}),
        (["train/0.tar", "test/0.tar"], {"train/0.tar": "train", "test/0.tar": "test"}),
        (["train.tar", "val.tar", "test.tar"], {"train.tar": "train", "test.tar": "test"}),
        (["train1.tar", "Test1.tar", "more.tar"], {"train1.tar": "train", "Test1.tar": "test", "more.tar": "train"}),
        (["train-0.tar", "latest-0.tar"], {"train-0.tar": "train", "latest-0.tar": "train"}),
        (["train-test-0.tar", "1.tar"], {"train-test-0.tar": "train", "1.tar": "train"}),
    ],
)  # fmt: skip
def test_parts_are_words_of_the_names(tmp_path: Path, names: list[str], expected: dict[str, str]) -> None:
    home = tmp_path / "train" / "test"  # what lies above says nothing
    for name in names:
        pack(home / name, {"1.jpg": b""})
    raw = read_shards(home / f"{{{','.join(names)}}}")
    assert splits(raw) == {f"{name}/1.jpg": part for name, part in expected.items()}
    told = ("1 archives beside train and test are left out",) if len(expected) < len(names) else ()
    assert raw.remarks == told
    assert (raw.split_origin == "given by the names of the archives") == ("test" in expected.values())


def test_the_same_names_in_two_archives_are_two_photographs(tmp_path: Path) -> None:
    for number in range(2):
        pack(tmp_path / "b" / str(number) / "x.tar", {"1.jpg": b"", "1.cls": b"%d" % number})
    raw = read_shards(tmp_path / "b/{0,1,../b/1}/x.tar")
    assert labels(raw) == {"0/x.tar/1.jpg": "0", "1/x.tar/1.jpg": "1"}
    assert raw.root == tmp_path / "b"


def test_what_is_not_taken_is_told(tmp_path: Path) -> None:
    made = [
        member("1.jpg", b"first"),
        member("1.png", b"of the same sample"),
        member("1.mask.png", b"a mask"),
        member("2.left.jpg", b"no plain one beside it"),
        member("1.jpg", b"last"),
        member("x.mp4", b"film"),
        member(".hidden.jpg", b""),
        member("__MACOSX/._1.jpg", b""),
        member("folder", type=tarfile.DIRTYPE),
        member("link.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("hard.jpg", type=tarfile.LNKTYPE, linkname="1.jpg"),
        member("pipe.jpg", type=tarfile.FIFOTYPE),
        member("zero.jpg", type=tarfile.CHRTYPE),
        member("../out.jpg", b""),
        member("/etc/out.jpg", b""),
        member("a/../../out.jpg", b""),
        member("caf\udce9.jpg", b""),
        member("d/" * 3000 + "1.jpg", b""),
    ]
    raw = read_shards(write_tar(tmp_path / "x.tar", made))
    assert [(record.path, record.size_bytes) for record in raw.records] == [
        ("x.tar/1.jpg", 4),
        ("x.tar/2.left.jpg", 22),
    ]
    assert raw.remarks == (
        "1 files in archives that are no photographs are left out (1 .mp4)",
        "2 links in archives are left out (first: link.jpg)",
        "2 devices, FIFOs and the like in archives are left out (first: pipe.jpg)",
        "1 files in archives whose names are not valid UTF-8 are left out (first: caf\\udce9.jpg)",
        "3 files in archives whose names lead out of it are left out (first: ../out.jpg)",
        f"1 files in archives whose names are longer than any path are left out (first: {'d/' * 40})",
        "1 names stand twice in one archive, where the last is taken (first: 1.jpg)",
        "1 pictures stand beside another of the same name and are left out (first: 1.png)",
        "1 pictures with a second ending, like .mask.png, are left out (first: 1.mask.png)",
    )  # fmt: skip


def test_an_archive_without_an_end_is_told(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.tar", {"1.jpg": b"1"})
    os.truncate(path, 1024)
    remark = "1 archives have no end mark and may have been cut off (first: x.tar)"
    assert read_shards(path).remarks == (remark,)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, r"no photographs in the archives \(there are no pictures among their members\)"),
        ({"1.txt": b"x", "2.mp4": b""}, r"no photographs in the archives \(1 files .* \(1 \.mp4\)\)"),
        ({"1.jpg": b"", "1.cls": b""}, r"x\.tar: 1\.cls is no number or name"),
        ({"1.jpg": b"", "1.cls": b"\xff"}, r"1\.cls is no number or name"),
        ({"1.jpg": b"", "1.cls": b"x" * 1001}, r"1\.cls is no number or name"),
        ({"1.jpg": b"", "1.cls": b"x", "2.jpg": b""}, r"1 of 2 photographs have no class \(first: x\.tar/2\.jpg\)"),
    ],
)
def test_mistakes_inside(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_shards(pack(tmp_path / "x.tar", files))


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    pack(tmp_path / "0.tar", {"1.jpg": b""})
    with pytest.raises(DataError, match=r"2 of 3 archives are not there \(first: .*/1\.tar\)"):
        read_shards(tmp_path / "{0..2}.tar")


@pytest.mark.parametrize(
    "told",
    [
        "[" * 3000,
        "[1]",
        '{"label": "%s"}' % ("x" * 1001),
        '{"label": true}',
        '{"label": ""}',
        '{"label": "\\ud800"}',
        "{",
    ],
)
def test_json_that_names_no_class(tmp_path: Path, told: str) -> None:
    raw = read_shards(pack(tmp_path / "x.tar", {"1.jpg": b"", "1.json": told.encode()}))
    assert labels(raw) == {"x.tar/1.jpg": None}


def test_json_gives_way_to_cls(tmp_path: Path) -> None:
    files = {"1.json": json.dumps({"label": "of json"}).encode(), "1.jpg": b"", "1.cls": b"of cls"}
    assert labels(read_shards(pack(tmp_path / "x.tar", files))) == {"x.tar/1.jpg": "of cls"}


def test_processes_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        pack(tmp_path / f"{number}.tar", {"1.jpg": b"", "1.cls": b"%d" % number, "x.mp4": b""})
    progress = WatchedProgress()
    alone = read_shards(tmp_path / "{0..3}.tar", progress=progress)
    monkeypatch.setattr(pooling, "PATIENCE_S", 0.0)
    assert read_shards(tmp_path / "{0..3}.tar", workers=1) == alone
    assert alone.remarks == ("4 files in archives that are no photographs are left out (4 .mp4)",)


def test_what_names_archives(tmp_path: Path) -> None:
    (tmp_path / "folder.tar").mkdir()
    assert not names_shards(tmp_path / "folder.tar")
    assert not names_shards(tmp_path / "photos")
    for name in ("x.tar", "X.TAR", "{0..9}.tar", "x.tar.gz", "x.tgz"):
        assert names_shards(tmp_path / name), name
