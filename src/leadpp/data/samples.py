"""The photographs of one archive by WebDataset's convention: files of one sample share the name up to its first dot.

This module imports nothing heavy, so that processes that read headers are there at once.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from leadpp.data.archives import Archive, Entry
from leadpp.data.images import IMAGE_SUFFIXES
from leadpp.data.naming import is_inner_path
from leadpp.errors import DataError

_MOST_CLASS_BYTES, _MOST_JSON_BYTES, _MOST_NAME_BYTES = 1_000, 1_000_000, 4_096
_SHOWN = 80
"""Letters of a name that are told."""
_IN_WORDS = {
    "link": "links in archives are left out",
    "special": "devices, FIFOs and the like in archives are left out",
    "sparse": "sparse files in archives are left out",
    "unnameable": "files in archives whose names are not valid UTF-8 are left out",
    "outer": "files in archives whose names lead out of it are left out",
    "long": "files in archives whose names are longer than any path are left out",
    "twice": "names stand twice in one archive, where the last is taken",
    "second": "pictures stand beside another of the same name and are left out",
    "dotted": "pictures with a second ending, like .mask.png, are left out",
    "open": "archives have no end mark and may have been cut off",
}


class Picture(NamedTuple):
    """A photograph in an archive."""

    name: str
    offset_bytes: int
    size_bytes: int
    label: str | None


@dataclass(kw_only=True, slots=True)
class LeftOut:
    """What was met and not taken."""

    counts: Counter[str] = field(default_factory=Counter)
    """How many, by the keys of :data:`_IN_WORDS`."""
    first: dict[str, str] = field(default_factory=dict)
    """The first of each."""
    others: Counter[str] = field(default_factory=Counter)
    """Files that are neither photographs nor words about them, by their ending."""

    def note(self, why: str, name: str) -> None:
        """Count one more, for a reason that :data:`_IN_WORDS` has."""
        self.counts[why] += 1
        self.first.setdefault(why, name[:_SHOWN])

    def add(self, other: "LeftOut") -> None:
        """Count what was met in another archive as well."""
        self.counts += other.counts
        self.others += other.others
        self.first = other.first | self.first

    def remarks(self) -> list[str]:
        """Tell the counts in words."""
        lines = []
        if self.others:
            kinds = ", ".join(
                f"{count:,} {ending or 'without an ending'}" for ending, count in self.others.most_common(5)
            )
            lines.append(f"{self.others.total():,} files in archives that are no photographs are left out ({kinds})")
        ordered = (why for why in _IN_WORDS if self.counts[why])
        return lines + [f"{self.counts[why]:,} {_IN_WORDS[why]} (first: {self.first[why]})" for why in ordered]


class Shard(NamedTuple):
    """What one archive holds."""

    pictures: list[Picture]
    left_out: LeftOut


def read_shard(path: Path) -> Shard:
    """Find the photographs of an archive and their classes, in the order of the archive.

    Raises:
        DataError: It cannot be read as an archive, or a class not as one.
    """
    left_out = LeftOut()
    with Archive(path) as archive:
        files: dict[str, Entry] = {}
        for entry in archive.entries():
            name = _taken(entry, left_out)
            if name in files:
                left_out.note("twice", name)
            if name:
                files[name] = entry
        if not archive.ended:
            left_out.note("open", path.name)
        return Shard(_pictures(archive, files, left_out), left_out)


def _taken(entry: Entry, left_out: LeftOut) -> str:
    """Return the name of a file without what means nothing, or nothing where it is not to be looked at."""
    shown = entry.name.encode(errors="backslashreplace").decode()
    parts = [part for part in entry.name.split("/") if part not in ("", ".")]
    name = "/".join(parts)
    hidden = any((part.startswith(".") and part != "..") or part.casefold() == "__macosx" for part in parts)
    if entry.kind == "folder" or hidden:
        return ""
    if entry.kind != "file":
        left_out.note(entry.kind, shown)
    elif entry.name.startswith("/") or not is_inner_path(name):
        left_out.note("outer", shown)
    elif shown != entry.name:
        left_out.note("unnameable", shown)
    elif len(name.encode()) > _MOST_NAME_BYTES:
        left_out.note("long", shown)
    else:
        return name
    return ""


def _pictures(archive: Archive, files: Mapping[str, Entry], left_out: LeftOut) -> list[Picture]:
    plain_names: dict[str, str] = {}
    dotted: list[tuple[str, str]] = []
    words: dict[str, Entry] = {}
    for name, entry in files.items():
        key, ending = _split(name)
        if ending in IMAGE_SUFFIXES:
            if plain_names.setdefault(key, name) != name:
                left_out.note("second", name)
        elif PurePosixPath(ending).suffix in IMAGE_SUFFIXES:
            dotted.append((key, name))
        elif ending in (".cls", ".json"):
            words[key + ending] = entry
        elif ending != ".txt":  # most often a caption
            left_out.others[ending[:_SHOWN]] += 1
    for key, name in dotted:
        if key in plain_names:
            left_out.note("dotted", name)
    alone = [(key, name) for key, name in dotted if key not in plain_names]
    return [
        Picture(name, files[name].offset_bytes, files[name].size_bytes, _label(archive, key, words))
        for key, name in (*plain_names.items(), *alone)
    ]


def _split(name: str) -> tuple[str, str]:
    """Return the name up to the first dot after the last slash, and the rest in lower case."""
    folder, slash, base = name.rpartition("/")
    stem, dot, ending = base.partition(".")
    return folder + slash + stem, (dot + ending).lower()


def _label(archive: Archive, key: str, words: Mapping[str, Entry]) -> str | None:
    if (entry := words.get(f"{key}.cls")) is not None:
        text = archive.content(entry) if entry.size_bytes <= _MOST_CLASS_BYTES else b""
        try:
            label = _plain(text.decode("utf-8-sig"))
        except UnicodeDecodeError:
            label = ""
        if not label:
            raise DataError(
                f"{archive.path}: {key}.cls is no number or name of a class in UTF-8 (empty, too long, or something "
                "else); write it again"
            )
        return label
    if (entry := words.get(f"{key}.json")) is not None and entry.size_bytes <= _MOST_JSON_BYTES:
        return _label_in(archive.content(entry))
    return None


def _label_in(content: bytes) -> str | None:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError):
        return None
    values = (told.get(name) for name in ("label", "class")) if isinstance(told, dict) else ()
    value = next((value for value in values if isinstance(value, str | int) and not isinstance(value, bool)), None)
    label = "" if value is None else _plain(str(value))
    content = label.encode(errors="ignore")
    return label if content.decode() == label and 0 < len(content) <= _MOST_CLASS_BYTES else None


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()
