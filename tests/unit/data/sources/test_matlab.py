"""The reader of MATLAB files, held to scipy's, which wrote them."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from leadpp.data.sources.matlab import read_variable
from leadpp.errors import DataError

Values = np.ndarray[Any, Any]


def cells(*values: object) -> Values:
    array = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def structs(**fields: list[object]) -> Values:
    rows = list(zip(*fields.values(), strict=True))
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in fields])
    for place, row in enumerate(rows):
        array[0, place] = row
    return array


CONTENTS: dict[str, Any] = {
    **{
        kind: np.array([[1, 2], [3, 100]], dtype=kind)
        for kind in ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", "i8")
    },
    "one": 5,
    "none": np.zeros((0, 0)),
    "truth": np.array([True, False]),
    "text": "Häher 東京 – 🐦",
    "cells": cells("a", "bc d", 5.0, np.array([1.0, 2.0])),
    "cells in cells": cells(cells("a", "b"), cells("c", 4.0)),
    "structs": structs(fname=["1.jpg", "2.jpg"], bbox=[1, np.array([1, 2, 3])], label=[np.uint8(7), 8.5]),
    "one struct": structs(a=["x"], b=["y"]),
}


def same(own: Any, theirs: Any) -> bool:  # noqa: ANN401 - whatever MATLAB knows
    if isinstance(theirs, np.ndarray) and theirs.dtype.names:
        mine = np.atleast_1d(own)
        names = theirs.dtype.names
        return mine.dtype.names == names and all(
            same(a[name], b[name]) for a, b in zip(mine, np.atleast_1d(theirs), strict=True) for name in names
        )
    if isinstance(theirs, np.void):
        return same(own, np.array([theirs]))
    if isinstance(theirs, np.ndarray) and theirs.dtype == object:
        return all(same(a, b) for a, b in zip(np.atleast_1d(own), theirs.ravel("F"), strict=True))
    if isinstance(theirs, str):
        return bool(own == theirs)
    return np.array_equal(np.asarray(own).ravel(), np.asarray(theirs).ravel("F"))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", sorted(CONTENTS))
def test_it_reads_what_scipy_reads(tmp_path: Path, kind: str, packed: bool) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"before": [1, 2, 3], "value": CONTENTS[kind], "after": "x"}, do_compression=packed)
    theirs = np.atleast_1d(loadmat(path, squeeze_me=True)["value"])
    own = read_variable(path, "value")
    if theirs.dtype.kind == "U":
        theirs = theirs.astype(object)
    assert same(own, theirs), (own, theirs)


def test_an_empty_text_is_a_text(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"value": cells("", "a")})
    assert read_variable(tmp_path / "a.mat", "value").tolist() == ["", "a"]


def test_files_of_the_other_byte_order(tmp_path: Path) -> None:
    """A struct as a big-endian machine writes it, byte by byte from the format's description."""

    def element(code: int, data: bytes) -> bytes:
        return struct.pack(">II", code, len(data)) + data + bytes(-len(data) % 8)

    def matrix(kind: int, sides: tuple[int, int], name: bytes, *content: bytes) -> bytes:
        flags, size = element(6, struct.pack(">II", kind, 0)), element(5, struct.pack(">ii", *sides))
        return element(14, flags + size + element(1, name) + b"".join(content))

    text = matrix(4, (1, 2), b"", element(17, "é5".encode("utf-16-be")))
    number = matrix(6, (1, 1), b"", struct.pack(">HH", 2, 2) + struct.pack(">H", 700) + bytes(2))
    small = struct.pack(">HHi", 4, 5, 8)
    fields = matrix(2, (1, 1), b"rows", small, element(1, b"name\0\0\0\0size\0\0\0\0"), text, number_of(number))
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    (tmp_path / "big.mat").write_bytes(header + fields)
    rows = read_variable(tmp_path / "big.mat", "rows")
    assert rows.dtype.names == ("name", "size")
    assert (rows[0]["name"], rows[0]["size"]) == ("é5", 700)


def number_of(matrix: bytes) -> bytes:
    """Give the number the type of two-byte integers, which stand for a double in a small element."""
    return matrix.replace(struct.pack(">HH", 2, 2), struct.pack(">HH", 2, 4))


def test_what_is_packed_too_tightly_is_refused(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(1 << 29), 9)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    (tmp_path / "bomb.mat").write_bytes(header + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(DataError, match="unpacks to more than 256 MiB"):
        read_variable(tmp_path / "bomb.mat", "a")


def test_more_items_than_there_are_bytes_are_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"value": cells("a", "b", "c")})
    content = (tmp_path / "a.mat").read_bytes()
    sides = struct.pack("<ii", 1, 3)
    assert content.count(sides) == 1
    (tmp_path / "a.mat").write_bytes(content.replace(sides, struct.pack("<ii", 2**31 - 1, 2**31 - 1)))
    with pytest.raises(DataError, match="items are announced, which are not there"):
        read_variable(tmp_path / "a.mat", "value")


def test_cells_that_are_too_deep(tmp_path: Path) -> None:
    value: object = "x"
    for _ in range(12):
        value = cells(value)
    savemat(tmp_path / "a.mat", {"value": value})
    with pytest.raises(DataError, match="more than 8 deep"):
        read_variable(tmp_path / "a.mat", "value")


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n".ljust(600), b"MATLAB 5.0 MAT-file".ljust(128)])
def test_what_is_no_matlab_file_of_level_5(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(DataError, match="not a MATLAB file of level 5"):
        read_variable(tmp_path / "a.mat", "value")
