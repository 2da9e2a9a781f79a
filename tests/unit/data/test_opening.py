"""Opening files of strangers: nothing waits, nothing acts, nothing changes under the reader."""

import contextlib
import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from leadpp.data import opening
from leadpp.data.opening import open_regular, read_whole, require_regular


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_fifo, "a FIFO, not a regular file"),
        (make_socket, "a socket, not a regular file"),
        (make_device, "a device, not a regular file"),
        (make_folder, "Is a directory"),
    ],
)
def test_what_is_no_regular_file_is_never_opened(
    tmp_path: Path, make: Callable[[Path], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "photo.jpg")

    def unwanted(*words: object) -> int:
        raise AssertionError(f"opened {words}")

    monkeypatch.setattr(os, "open", unwanted)
    for read in (require_regular, open_regular):
        with pytest.raises(OSError, match=words):
            read(tmp_path / "photo.jpg")


def test_a_fifo_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "photo.jpg")
    monkeypatch.setattr(opening, "require_regular", lambda path: None)  # it was a file when it was asked
    started = time.monotonic()
    with pytest.raises(OSError, match="a FIFO"):
        open_regular(tmp_path / "photo.jpg")
    assert time.monotonic() - started < 1


def test_a_file_is_read_whole_up_to_a_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_whole(tmp_path / "link", most_bytes=5) == b"12345"
    with pytest.raises(OSError, match="more than the") as caught:
        read_whole(tmp_path / "file", most_bytes=4)
    assert caught.value.errno == errno.EFBIG


@pytest.mark.parametrize("change", ["grow", "shrink", "touch"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    real, calls = os.fstat, [0]

    def fstat(descriptor: int) -> os.stat_result:
        calls[0] += 1
        if calls[0] == 2:  # after the bytes were read
            if change == "grow":
                path.write_bytes(b"1234567")
            elif change == "shrink":
                os.truncate(path, 2)
            else:
                os.utime(path, ns=(1, 1))
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(OSError, match="changed while it was read"):
        read_whole(path, most_bytes=10)


def test_a_file_that_grows_without_end_ends(tmp_path: Path) -> None:
    path = tmp_path / "log.jpg"
    path.write_bytes(b"x" * 1000)
    stop = threading.Event()

    def write() -> None:
        with path.open("ab", buffering=0) as stream:
            while not stop.is_set():
                stream.write(b"x" * 1000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            with contextlib.suppress(OSError):
                read_whole(path, most_bytes=10**9)
    finally:
        stop.set()
        writer.join()
