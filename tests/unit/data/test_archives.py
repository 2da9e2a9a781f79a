"""Headers of tar archives: what they say is where it is, and nothing that a stranger writes does harm."""

import io
import os
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadpp.data.archives import Archive, Entry
from leadpp.errors import DataError
from tests.unit.data.tars import member, pack, write_tar

LONG = "deep/" * 40 + "é.jpg"


def entries(path: Path) -> list[Entry]:
    with Archive(path) as archive:
        return list(archive.entries())


@pytest.mark.parametrize("form", ["ustar", "gnu", "pax", "v7"])
def test_contents_are_where_it_says(tmp_path: Path, form: str) -> None:
    """Archives of another program: the bytes at the offset are those of the file."""
    contents = {"a.jpg": os.urandom(700), "b.cls": b"", "c/d.png": os.urandom(512)}
    if form in ("gnu", "pax"):
        contents[LONG] = os.urandom(1)
    for name, content in contents.items():
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_bytes(content)
    made = ["tar", f"--format={form}", "-cf", str(tmp_path / "x.tar"), "-C", str(tmp_path / "x"), *contents]
    subprocess.run(made, check=True)
    found = entries(tmp_path / "x.tar")
    whole = (tmp_path / "x.tar").read_bytes()
    assert {entry.name for entry in found} == set(contents)
    for entry in found:
        assert whole[entry.offset_bytes : entry.offset_bytes + entry.size_bytes] == contents[entry.name]
        assert entry.kind == "file"


def test_an_end_without_a_mark_is_seen(tmp_path: Path) -> None:
    pack(tmp_path / "x.tar", {"a.jpg": b"12"})
    whole = (tmp_path / "x.tar").read_bytes()
    for size, ended in ((len(whole), True), (1536, True), (1024, False)):
        (tmp_path / "x.tar").write_bytes(whole[:size])
        with Archive(tmp_path / "x.tar") as archive:
            assert [entry.name for entry in archive.entries()] == ["a.jpg"]
            assert archive.ended == ended


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_an_archive_that_is_cut_off_anywhere(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """It is refused, or all that it still has is found and the mark of its end is missed."""
    folder = tmp_path_factory.mktemp("cut")
    contents = {"a.jpg": b"x" * 1300, LONG: b"y" * 512, "b.cls": b"3"}
    whole = pack(folder / "x.tar", contents).read_bytes()
    (folder / "x.tar").write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        with Archive(folder / "x.tar") as archive:
            found = list(archive.entries())
    except DataError:
        return
    marked = (
        -(-len(whole.rstrip(b"\0")) // 512) * 512 + 512
    )  # contents are filled up to blocks; one more says it is all
    assert archive.ended == ((folder / "x.tar").stat().st_size >= marked)
    assert [entry.name for entry in found] == list(contents)[: len(found)]


def test_kinds(tmp_path: Path) -> None:
    kinds = {
        tarfile.SYMTYPE: "link",
        tarfile.LNKTYPE: "link",
        tarfile.FIFOTYPE: "special",
        tarfile.CHRTYPE: "special",
        tarfile.BLKTYPE: "special",
        tarfile.DIRTYPE: "folder",
        tarfile.REGTYPE: "file",
        tarfile.CONTTYPE: "file",
    }
    made = [member(str(number), type=kind, linkname="/etc/passwd") for number, kind in enumerate(kinds)]
    assert [entry.kind for entry in entries(write_tar(tmp_path / "x.tar", made))] == list(kinds.values())


def test_sparse_files_are_told_apart(tmp_path: Path) -> None:
    with (tmp_path / "holes.jpg").open("wb") as stream:
        stream.truncate(10_000_000)
        stream.seek(5_000_000)
        stream.write(b"x")
    for form in ("gnu", "pax"):
        made = ["tar", f"--format={form}", "--sparse", "-cf", "x.tar", "holes.jpg"]
        subprocess.run(made, cwd=tmp_path, check=True)
        assert (tmp_path / "x.tar").stat().st_size < 100_000
        assert [entry.kind for entry in entries(tmp_path / "x.tar")] == ["sparse"]


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_compressed_archives_are_named(tmp_path: Path, name: str) -> None:
    pack(tmp_path / "x.tar", {"a.jpg": b"12"})
    subprocess.run([name, "x.tar"], cwd=tmp_path, check=True)
    packed = next(tmp_path.glob("x.tar.*"))
    with pytest.raises(DataError, match=f"compressed with {name}.*decompress it"):
        Archive(packed.rename(tmp_path / "x.tar"))


@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100, b"\xff" * 2000])
def test_what_is_no_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(DataError, match="damaged or cut off as a tar archive"):
        entries(tmp_path / "x.tar")


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.tar")
    for name, words in (("x.tar", "a fifo, not a regular file"), ("y.tar", "no such file")):
        with pytest.raises(DataError, match=words):
            Archive(tmp_path / name)


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    """The standard library stops there without a word, as if that had been all."""
    path = pack(tmp_path / "x.tar", {"a.jpg": b"12", "b.jpg": b"34"})
    content = bytearray(path.read_bytes())
    content[1024 + 3] ^= 255
    path.write_bytes(content)
    with tarfile.open(path) as theirs:
        assert theirs.getnames() == ["a.jpg"]
    with pytest.raises(DataError, match="no header at byte 1,024"):
        entries(path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_may_not_be_large(tmp_path: Path, kind: bytes) -> None:
    """A long name of a gigabyte would be held in memory, and more than once."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 300_000_000
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT))
    os.truncate(tmp_path / "x.tar", 400_000_000)
    tracemalloc.start()
    with pytest.raises(DataError, match="a header of 300,000,256 bytes"):
        entries(tmp_path / "x.tar")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("size", [-512, -1024, -(2**60)])
def test_sizes_that_lead_back_end(tmp_path: Path, size: int) -> None:
    header = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = (256**11 * 255 + (size % 256**11)).to_bytes(12, "big")
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:]))
    first = tarfile.TarInfo("0.jpg").tobuf(tarfile.USTAR_FORMAT)  # back to which, again and again, the size leads
    (tmp_path / "x.tar").write_bytes(first + bytes(header) * 5 + bytes(1024))
    with pytest.raises(DataError, match="damaged or cut off"):
        entries(tmp_path / "x.tar")


@pytest.mark.parametrize("size", [513, 10**6, 8**11 - 1, 10**15])
def test_sizes_beyond_the_file(tmp_path: Path, size: int) -> None:
    info = tarfile.TarInfo("a.jpg")
    info.size = size
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(512))
    with pytest.raises(DataError, match=r"it ends in the middle of 'a\.jpg'"):
        entries(tmp_path / "x.tar")


def test_headers_are_forgotten(tmp_path: Path) -> None:
    """Memory does not grow with the members that went by."""
    stream = io.BytesIO()
    header = tarfile.TarInfo("a.jpg").tobuf(tarfile.USTAR_FORMAT)
    for _ in range(20_000):
        stream.write(header)
    (tmp_path / "x.tar").write_bytes(stream.getvalue() + bytes(1024))
    tracemalloc.start()
    with Archive(tmp_path / "x.tar") as archive:
        assert sum(1 for _ in archive.entries()) == 20_000
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
