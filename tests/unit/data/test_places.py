"""Photographs inside archives: the same as files, noticed when something else lies in their place."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from leadpp.data import building
from leadpp.data.images import inspect_image
from leadpp.data.index import ImageIndex, open_data
from leadpp.data.places import Member, Place, checksum_of, place_at, read_place
from leadpp.data.reading import read_photograph
from leadpp.errors import DataError
from leadpp.io.artifacts import file_digest
from tests.unit.data.native import photo_bytes, write_photo
from tests.unit.data.tars import member, pack, write_tar


def later(path: Path) -> None:
    """Give a file a time of change that it did not have."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))


def test_a_place_is_a_file_or_a_part_of_one(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"0123456789")
    (tmp_path / "a.jpg").write_bytes(b"abc")
    known = {"offset_bytes": 2, "size_bytes": 3}
    inside = place_at(tmp_path, "x.tar/deep/a.jpg", archive="x.tar", **known)
    alone = place_at(tmp_path, "a.jpg", archive=None, **known)
    assert [read_place(place, most_bytes=3) for place in (inside, alone)] == [b"234", b"abc"]
    assert [str(place) for place in (inside, alone)] == [f"{tmp_path}/x.tar/deep/a.jpg", f"{tmp_path}/a.jpg"]
    for place in (inside, alone):
        with pytest.raises(OSError, match="more than the"):
            read_place(place, most_bytes=2)


def test_checksums_are_those_of_files(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"123")
    assert checksum_of(b"123") == file_digest(tmp_path / "x")


@pytest.mark.parametrize(("offset_bytes", "size_bytes"), [(8, 3), (11, 0), (2**62, 2**40)])
def test_an_archive_that_ends_before(tmp_path: Path, offset_bytes: int, size_bytes: int) -> None:
    (tmp_path / "x.tar").write_bytes(b"0123456789")
    with pytest.raises(OSError, match=r"x\.tar ends before it does"):
        Member(tmp_path / "x.tar", "a", offset_bytes, size_bytes).read(most_bytes=2**41)


def test_an_archive_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.tar").write_bytes(b"0123456789")
    read = os.pread

    def meanwhile(descriptor: int, size: int, offset: int) -> bytes:
        later(tmp_path / "x.tar")
        return read(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", meanwhile)
    with pytest.raises(OSError, match="changed while it was read"):
        Member(tmp_path / "x.tar", "a", 2, 3).read(most_bytes=9)


def test_a_pipe_in_an_archives_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(OSError, match="a FIFO, not a regular file"):
        Member(tmp_path / "x.tar", "a", 2, 3).read(most_bytes=9)


NAMES = ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of photographs, the last of which is none, and the same in an archive beside it."""
    for name in NAMES:
        write_photo(tmp_path / "files" / name, width=30 + len(name) + ord(name[2]), name=name)
    (tmp_path / "files" / NAMES[3]).write_bytes(b"no image")
    write_photo(tmp_path / "files" / NAMES[1], width=300, height=200, name=NAMES[0])
    pack_all(tmp_path)
    return tmp_path


def pack_all(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    files = {name: (folder / "files" / name).read_bytes() for name in names}
    return pack(folder / "x.tar", files | {f"{name[:-4]}.cls": name[:1].encode() for name in names})


def test_an_archive_is_indexed_as_its_files_are(folder: Path) -> None:
    for limit in (128_000_000, 300 * 200 - 1):
        files = open_data(folder / "files", seed=3, most_pixels=limit)
        shard = open_data(folder / "x.tar", seed=3, most_pixels=limit)
        told = [
            [
                (r.label, r.width_px, r.height_px, r.checksum, r.reason, r.least_scale, r.size_bytes)
                for r in index.records
            ]
            for index in (files, shard)
        ]
        assert told[0] == told[1]
        assert [f"x.tar/{record.path}" for record in files.records] == [record.path for record in shard.records]
        for one, other in zip(files.usable(), shard.usable(), strict=True):
            mine, theirs = read_photograph(one, root=files.root), read_photograph(other, root=shard.root)
            assert np.array_equal(np.asarray(mine), np.asarray(theirs))
    assert shard.notes()[0] == "1 of 4 files cannot be read and are left out (x.tar/b/2.jpg: not an image)"
    with pytest.raises(DataError, match=r"1 of 4 photographs cannot be read \(x.tar/b/2.jpg: not an image\)"):
        open_data(folder / "x.tar", seed=3, bad_images="error")


def test_true_boxes_lie_beside_the_archive(folder: Path) -> None:
    (folder / "bboxes.csv").write_text("path,x0,y0,x1,y1\nx.tar/a/1.jpg,1,2,3,4\n")
    index = open_data(folder / "x.tar", seed=3)
    assert [record.true_box_xyxy for record in index.records] == [(1, 2, 3, 4), None, None, None]


def spied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    opened: list[str] = []

    def inspect(place: Place, cut_bottom_px: int, most_pixels: int) -> object:
        opened.append(str(place).rpartition("x.tar/")[2])
        return inspect_image(place, cut_bottom_px, most_pixels)

    monkeypatch.setattr(building, "inspect_image", inspect)
    return opened


def test_an_unchanged_archive_is_not_looked_through_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = open_data(folder / "x.tar", seed=3)
    opened = spied(monkeypatch)
    assert open_data(folder / "x.tar", seed=3, previous=index) == index
    assert opened == []
    pack_all(folder, NAMES[:3])
    later(folder / "x.tar")
    again = open_data(folder / "x.tar", seed=3, previous=index)
    assert opened == list(NAMES[:3])
    assert [record.path for record in again.records] == [record.path for record in index.records][:3]


def test_photographs_that_lie_elsewhere_are_looked_at_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that was packed in another order, and given the time of the former."""
    index = open_data(folder / "x.tar", seed=3)
    status = (folder / "x.tar").stat()
    pack_all(folder, NAMES[::-1])
    os.utime(folder / "x.tar", ns=(status.st_atime_ns, status.st_mtime_ns))
    opened = spied(monkeypatch)
    again = open_data(folder / "x.tar", seed=3, previous=index)
    assert opened == list(NAMES)
    assert again.digest() == index.digest()
    assert [record.offset_bytes for record in again.records] != [record.offset_bytes for record in index.records]


def shorten(folder: Path) -> None:
    os.truncate(folder / "x.tar", 600)


def remove(folder: Path) -> None:
    (folder / "x.tar").unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [(shorten, r"1\.jpg: x\.tar ends before it does"), (remove, r"1\.jpg: no such file")],
)
def test_an_archive_that_is_cut_off_or_gone_after_it_was_indexed(
    folder: Path, change: Callable[[Path], None], words: str
) -> None:
    index = open_data(folder / "x.tar", seed=3)
    change(folder)
    with pytest.raises(DataError, match=words):
        read_photograph(index.records[0], root=index.root)


def test_a_copy_of_an_archive_is_as_good(folder: Path) -> None:
    index = open_data(folder / "x.tar", seed=3)
    later(folder / "x.tar")
    assert read_photograph(index.records[0], root=index.root).size == (index.records[0].width_px, 60)


def test_photographs_that_changed_places_are_noticed(tmp_path: Path) -> None:
    contents = [photo_bytes(name, width=32, height=32).ljust(4096, b"\0") for name in "ab"]
    index = open_data(write_tar(tmp_path / "x.tar", [member(f"{n}.jpg", contents[n]) for n in (0, 1)]), seed=3)
    write_tar(tmp_path / "x.tar", [member(f"{1 - n}.jpg", contents[1 - n]) for n in (0, 1)])
    later(tmp_path / "x.tar")
    for record in index.records:
        with pytest.raises(DataError, match=r"x\.tar was changed since it was indexed; make the index again"):
            read_photograph(record, root=index.root)


def test_records_say_where_their_bytes_are(folder: Path) -> None:
    index: ImageIndex = open_data(folder / "x.tar", seed=3)
    with tarfile.open(folder / "x.tar") as archive:
        expected = {f"x.tar/{info.name}": info.offset_data for info in archive if info.name.endswith(".jpg")}
    assert {record.path: record.offset_bytes for record in index.records} == expected
