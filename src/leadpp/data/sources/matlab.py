"""A reader of MATLAB files, level 5, as far as data sets use them: numbers, texts, cells and structs.

It is our own because compiled readers take a file at its word, and end the whole process at a damaged one
(docs/decisions/0066). Here every length is compared with what is there before it is believed.
"""

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from leadpp.data.opening import read_whole
from leadpp.errors import DataError

Values = np.ndarray[Any, Any]

_MOST_BYTES = 1 << 28
"""The most that a file, or what it unpacks to, may hold."""
_DEEPEST = 8
_MOST_SIDES = 32
_HEADER_BYTES = 128
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of elements that hold numbers, by their codes."""
_LETTERS = {1: "latin-1", 2: "latin-1", 4: "utf-16-{}", 16: "utf-8", 17: "utf-16-{}", 18: "utf-32-{}"}
"""Types of elements that hold texts, and how; two bytes or more stand in the order of the file."""
_ENDS = {"<": "le", ">": "be"}
_Order = Literal["<", ">"]
_ORDERS: dict[bytes, _Order] = {b"IM": "<", b"MI": ">"}
_MATRIX, _PACKED = 14, 15
_CELL, _STRUCT, _CHAR, _NUMERIC = 1, 2, 4, range(6, 16)


class _Damaged(Exception):  # noqa: N818 - a word for the message
    """What is wrong with a file."""


def read_variable(path: Path, variable: str) -> Values:
    """Read one variable of a MATLAB file.

    Returns:
        A flat array, in MATLAB's order: numbers as they are stored; a cell's values as objects; a struct array with its
        fields, whose values are objects. A text is a ``str``, a single number a scalar.

    Raises:
        DataError: The file is missing or damaged, of another level, or has no such variable.
    """
    try:
        found: list[str] = []
        for name, matrix in _variables(read_whole(path, most_bytes=_MOST_BYTES)):
            if name == variable:
                return np.atleast_1d(np.asarray(matrix.value(), dtype=None))
            found.append(name)
    except FileNotFoundError as error:
        raise DataError(f"{path}: annotation file is missing") from error
    except (OSError, _Damaged, zlib.error, UnicodeDecodeError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:100] or "not enough memory"
        raise DataError(f"{path}: cannot be read as a MATLAB file ({reason}); download it again") from error
    raise DataError(f"{path}: expected the variable {variable!r}, found {', '.join(found)[:200] or 'nothing'}")


def _variables(content: bytes) -> Iterator[tuple[str, "_Matrix"]]:
    order = _ORDERS.get(content[126:128])
    if order is None or content[124:126] not in (b"\x00\x01", b"\x01\x00"):
        raise _Damaged("not a MATLAB file of level 5")
    for outer, stored in _Elements(content[_HEADER_BYTES:], order):
        code, data = _Elements(_unpacked(stored), order).take() if outer == _PACKED else (outer, stored)
        if code == _MATRIX:
            matrix = _Matrix.of(data, order, depth=0)
            yield matrix.name, matrix


def _unpacked(data: bytes) -> bytes:
    opened = zlib.decompressobj()
    content = opened.decompress(data, _MOST_BYTES)
    if opened.unconsumed_tail:
        raise _Damaged(f"unpacks to more than {_MOST_BYTES >> 20} MiB")
    return content


@dataclass
class _Elements:
    """The elements that stand one after another in some bytes: their types' codes and their data."""

    content: bytes
    order: _Order
    at: int = 0

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        while self.at < len(self.content):
            yield self.take()

    def take(self) -> tuple[int, bytes]:
        """Return the next one."""
        first, second = self._words()
        size, code = first >> 16, first & 0xFFFF
        start = self.at + 4
        if size == 0:  # otherwise code, size and at most four bytes of data share a word each
            size, code, start = second, first, self.at + 8
        elif size > 4:
            raise _Damaged(f"an element of {size} bytes in four")
        if size > len(self.content) - start:
            raise _Damaged(f"cut off: {size:,} bytes are announced, {max(0, len(self.content) - start):,} are there")
        padding = 0 if code == _PACKED else -size % (8 if start == self.at + 8 else 4)
        data = self.content[start : start + size]
        self.at = start + size + padding
        return code, data

    def numbers(self) -> Values:
        """Return the next one as numbers."""
        code, data = self.take()
        if code not in _NUMBERS:
            raise _Damaged(f"numbers of the type {code}")
        kind = np.dtype(_NUMBERS[code]).newbyteorder(self.order)
        if len(data) % kind.itemsize:
            raise _Damaged("numbers that end in the middle")
        return np.frombuffer(data, kind).astype(kind.newbyteorder("=")) if data else np.empty(0, kind)

    def whole_numbers(self) -> list[int]:
        """Return the next one as whole numbers."""
        values = self.numbers()
        if values.dtype.kind not in "iu":
            raise _Damaged("fractions where whole numbers are meant")
        return [int(value) for value in values[:_MOST_SIDES]]

    def _words(self) -> tuple[int, int]:
        if len(self.content) - self.at < 8:
            raise _Damaged("cut off in the middle of an element")
        first, second = np.frombuffer(self.content, f"{self.order}u4", count=2, offset=self.at)
        return int(first), int(second)


@dataclass
class _Matrix:
    """An array of MATLAB whose content is not read yet."""

    name: str
    kind: int
    sides: tuple[int, ...]
    rest: _Elements
    depth: int

    @classmethod
    def of(cls, data: bytes, order: _Order, *, depth: int) -> "_Matrix":
        """Read what stands before the content."""
        if depth > _DEEPEST:
            raise _Damaged(f"cells in cells, more than {_DEEPEST} deep")
        elements = _Elements(data, order)
        flags, sides = elements.whole_numbers(), elements.whole_numbers()
        _, name = elements.take()
        if len(flags) != 2 or len(sides) < 2 or min(sides) < 0:
            raise _Damaged("an array without flags or sides")
        return cls(name.decode("latin-1"), flags[0] & 0xFF, tuple(sides), elements, depth)

    @property
    def count(self) -> int:
        """How many items it has."""
        return math.prod(self.sides)

    def value(self) -> Any:  # noqa: ANN401 - a number, a text, or an array of anything
        """Read the content."""
        if self.kind == _CELL:
            return _flat([self._inner() for _ in range(self._announced(self.count))])
        if self.kind == _STRUCT:
            return self._struct()
        if self.kind == _CHAR:
            return self._text()
        if self.kind in _NUMERIC:
            values = self.rest.numbers() if self.count else np.empty(0)
            if len(values) != self.count:
                raise _Damaged(f"{len(values):,} numbers for {self.count:,} places")
            return values[0] if self.count == 1 else values
        raise _Damaged(f"an array of the kind {self.kind}, which is not read here")

    def _announced(self, items: int) -> int:
        """Refuse more items than there can be: each takes eight bytes at least."""
        if items > (len(self.rest.content) - self.rest.at) // 8:
            raise _Damaged(f"{items:,} items are announced, which are not there")
        return items

    def _inner(self) -> Any:  # noqa: ANN401 - as value
        code, data = self.rest.take()
        if code != _MATRIX:
            raise _Damaged(f"an item of the type {code}")
        return _Matrix.of(data, self.rest.order, depth=self.depth + 1).value() if data else np.empty(0)

    def _struct(self) -> Values:
        width = next(iter(self.rest.whole_numbers()), 0)
        _, content = self.rest.take()
        if width < 1 or len(content) % width:
            raise _Damaged("fields without names")
        names = [content[at : at + width].split(b"\0")[0].decode("latin-1") for at in range(0, len(content), width)]
        if not names or "" in names or len(set(names)) < len(names):
            raise _Damaged("fields without names, or with the same name")
        self._announced(self.count * len(names))
        rows = [tuple(self._inner() for _ in names) for _ in range(self.count)]
        structs = np.empty(len(rows), dtype=[(name, object) for name in names])
        for place, row in enumerate(rows):
            structs[place] = row
        return structs

    def _text(self) -> str | Values:
        if not self.count:
            return ""
        code, data = self.rest.take()
        if code not in _LETTERS:
            raise _Damaged(f"a text of the type {code}")
        text = data.decode(_LETTERS[code].format(_ENDS[self.rest.order]))
        rows = self.sides[0]
        return text if rows == 1 else _flat([text[row::rows].rstrip() for row in range(min(rows, len(text)))])


def _flat(values: list[Any]) -> Values:
    """Put values of any kind into an array, without a look into them."""
    array = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        array[place] = value
    return array
