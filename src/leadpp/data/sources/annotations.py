"""Read the annotation files that data sets ship, with one clear error where one is missing or damaged."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from leadpp.data.opening import open_regular
from leadpp.errors import DataError


def find_base(source: Path, *, folders: Iterable[str], marker: str, dataset: str) -> str:
    """Return which of the folders a data set was unpacked to holds its marker file.

    Args:
        source: The folder that the user names.
        folders: Where the files may lie below it; ``""`` is the folder itself.
        marker: A file or folder that the data set always has.
        dataset: Its name, for the error.

    Returns:
        The folder as a prefix of paths: ``""``, or a name that ends in a slash.

    Raises:
        DataError: None of them holds it.
    """
    prefixes = [f"{folder}/" if folder else "" for folder in folders]
    for prefix in prefixes:
        if (source / prefix / marker).exists():
            return prefix
    looked = " or ".join(prefix + marker for prefix in prefixes)
    raise DataError(f"{source}: not {dataset} as downloaded: {looked} is missing")


def find_file(source: Path, candidates: Iterable[str], *, dataset: str) -> Path:
    """Return the first of several places where a file is.

    Raises:
        DataError: It is in none of them.
    """
    names = list(candidates)
    for name in names:
        if (source / name).is_file():
            return source / name
    raise DataError(f"{source}: {dataset} lacks an annotation file: {' or '.join(names)} is missing")


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read lines of a key, a space and a value that may hold spaces itself; empty lines are passed over.

    Raises:
        DataError: The file is missing, empty or damaged, or a line holds no value.
    """
    pairs = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        key, _, value = line.strip().partition(" ")
        if not value.strip():
            raise DataError(f"{path}: line {number} is malformed: expected a key and a value, found {line[:60]!r}")
        pairs.append((key, value.strip()))
    if not pairs:
        raise DataError(f"{path}: the annotation file is empty")
    return pairs


def read_table(path: Path) -> dict[str, str]:
    """Read :func:`read_pairs` as a mapping.

    Raises:
        DataError: As there, or a key comes twice.
    """
    pairs = read_pairs(path)
    table = dict(pairs)
    if len(table) < len(pairs):
        raise DataError(f"{path}: malformed: {len(pairs) - len(table):,} keys come more than once")
    return table


def look_up(table: dict[str, str], key: str, *, path: Path) -> str:
    """Return the value of a key.

    Raises:
        DataError: The file has no such key.
    """
    if key not in table:
        raise DataError(f"{path}: has no line for {key}, which another annotation file names")
    return table[key]


def numbers(text: str, *, count: int, path: Path) -> list[float]:
    """Read so many numbers, parted by spaces.

    Raises:
        DataError: There are more or fewer, or some are no numbers.
    """
    try:
        values = [float(word) for word in text.split()]
    except ValueError:
        values = []
    if len(values) != count or not np.isfinite(values).all():
        raise DataError(f"{path}: malformed: expected {count} numbers, found {text[:60]!r}")
    return values


def whole_number(value: object, *, what: str, path: Path) -> int:
    """Read a value of a MATLAB file that has to be a whole number.

    Raises:
        DataError: It is none.
    """
    try:
        return int(float(str(value)))
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: malformed: {what} is {str(value)[:40]!r}, expected a whole number") from error


def plain(text: object) -> str:
    """Return a name in the one way of writing accents that the project uses."""
    return unicodedata.normalize("NFC", str(text)).strip()


def _text(path: Path) -> str:
    try:
        with open_regular(path) as stream:
            return unicodedata.normalize("NFC", stream.read().decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: annotation file is missing") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8 ({error.reason})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
