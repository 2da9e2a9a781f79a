"""Names of classes and files: their natural order, what they mean, and folders that any file system takes."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from leadpp.errors import DataError

_DIGITS = re.compile(r"(\d+)")
_NUMBERING = re.compile(r"^(\d+\.|n\d{8}-)(?=.)")
_UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]+')
_RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)
_LONGEST_BYTES = 120

NaturalKey = tuple[tuple[tuple[tuple[int, int, str], ...], ...], str]


def natural_key(path: str) -> NaturalKey:
    """Return a key that sorts paths folder by folder, with numbers by value and without regard to case.

    Ties are broken by the text itself, so that the order of any set of paths is one and the same everywhere.

    >>> sorted(["b/10.jpg", "b/9.jpg", "B-2/1.jpg", "a.jpg"], key=natural_key)
    ['a.jpg', 'b/9.jpg', 'b/10.jpg', 'B-2/1.jpg']
    """
    plain = unicodedata.normalize("NFC", path)
    return tuple(tuple(map(_piece, _DIGITS.split(part.casefold()))) for part in plain.split("/")), path


def is_inner_path(path: str) -> bool:
    """Return whether a POSIX path, as a stranger's file may give it, names something below the folder it starts from.

    >>> [is_inner_path(path) for path in ("a/b.jpg", "a/../b.jpg", "/b.jpg", "")]
    [True, False, False, False]
    """
    parts = path.split("/")
    return "\0" not in path and path.strip() != "" and not path.startswith("/") and ".." not in parts


def clean_class_name(raw: str) -> str:
    """Return the true name behind the folder name that a data set gives a class.

    Numbering such as ``001.`` and ``n02085620-`` goes, underscores become spaces, nothing else changes.

    >>> clean_class_name("001.Black_footed_Albatross"), clean_class_name("n02085620-Chihuahua")
    ('Black footed Albatross', 'Chihuahua')
    """
    return " ".join(_NUMBERING.sub("", raw).replace("_", " ").split()) or raw


def clean_class_names(raw_names: Sequence[str]) -> tuple[str, ...]:
    """Clean every name, but keep the raw form of those that would become the same."""
    cleaned = [clean_class_name(raw) for raw in raw_names]
    often = Counter(cleaned)
    return tuple(name if often[name] == 1 else raw for name, raw in zip(cleaned, raw_names, strict=True))


def safe_folder_names(names: Iterable[str]) -> dict[str, str]:
    """Give every class a folder name that is safe on Linux, macOS and Windows, and no other class has.

    Slashes and other special characters become a hyphen; accents and spaces stay; long names are shortened. Names
    that were shortened, and all names that would share a folder (also where a file system ignores case or the way
    accents are written), end in ``~`` and a digest of the true name, so that a folder name depends on the names only.

    >>> safe_folder_names(["F/A-18", "Spitfire"])
    {'F/A-18': 'F-A-18', 'Spitfire': 'Spitfire'}
    """
    return distinct_paths({name: _safe(name) for name in names}, tell_apart=_with_digest)


def distinct_paths(wanted: dict[str, str], *, tell_apart: Callable[[str, str], str]) -> dict[str, str]:
    """Tell apart those values of a mapping that a file system might take for one.

    Args:
        wanted: Key to the path that it would like.
        tell_apart: Makes a path of a contested path and its key.

    Returns:
        Key to a path of its own; uncontested paths are as they were wanted.

    Raises:
        DataError: Two paths are still one.
    """
    often = Counter(map(_folded, wanted.values()))
    paths = {key: path if often[_folded(path)] == 1 else tell_apart(path, key) for key, path in wanted.items()}
    taken: dict[str, str] = {}
    for key, path in paths.items():
        other = taken.setdefault(_folded(path), key)
        if other != key:
            raise DataError(f"{other!r} and {key!r} would both be written to {path!r}; rename one of them")
    return paths


def digest_of(text: str) -> str:
    """Return 8 hexadecimal digits that stand for a text."""
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _piece(text: str) -> tuple[int, int, str]:
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _safe(name: str) -> str:
    folder = _UNSAFE.sub("-", unicodedata.normalize("NFC", name)).strip().lstrip(".").rstrip(". ") or "class"
    if _RESERVED.match(folder):
        folder += "-"
    if len(folder.encode()) <= _LONGEST_BYTES:
        return folder
    return _with_digest(folder, name)


def _with_digest(folder: str, name: str) -> str:
    short = folder.encode()[:_LONGEST_BYTES].decode(errors="ignore").rstrip(". ")
    return f"{short}~{digest_of(name)}"
