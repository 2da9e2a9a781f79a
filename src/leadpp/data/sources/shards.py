"""Photographs in uncompressed tar archives, as WebDataset writes them: files of one sample share a name up to its dot.

``bird/0001.jpg`` is a photograph, ``bird/0001.cls`` its class (a number or a name), ``bird/0001.json`` may have it as
``label`` or ``class``. Nothing is extracted: an index says where in its archive each photograph lies
(docs/decisions/0070).
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from leadpp.data.archives import Archive, Entry
from leadpp.data.braces import expand_braces
from leadpp.data.building import Tracker, Untracked
from leadpp.data.images import IMAGE_SUFFIXES
from leadpp.data.naming import is_inner_path, natural_key
from leadpp.data.pooling import each_in_turn
from leadpp.data.raw import RawData, RawRecord
from leadpp.data.records import Split
from leadpp.data.sources.annotations import plain
from leadpp.data.sources.folder import TEST_NAMES
from leadpp.errors import DataError

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
_WORD = re.compile(r"[a-z]+")
_MOST_CLASS_BYTES, _MOST_JSON_BYTES = 1_000, 1_000_000
_IN_WORDS = {
    "link": "links in archives are left out",
    "special": "devices, FIFOs and the like in archives are left out",
    "sparse": "sparse files in archives are left out",
    "unnameable": "files in archives whose names are not valid UTF-8 are left out",
    "outer": "files in archives whose names lead out of it are left out",
    "twice": "names stand twice in one archive, where the last is taken",
    "second": "pictures stand beside another of the same name and are left out",
    "dotted": "pictures with a second ending, like .mask.png, are left out",
    "open": "archives have no end mark and may have been cut off",
}


class _Picture(NamedTuple):
    """A photograph in an archive."""

    name: str
    offset_bytes: int
    size_bytes: int
    label: str | None


@dataclass(kw_only=True, slots=True)
class _LeftOut:
    """What was met and not taken."""

    counts: Counter[str] = field(default_factory=Counter)
    """How many, by the keys of :data:`_IN_WORDS`."""
    first: dict[str, str] = field(default_factory=dict)
    """The first of each."""
    others: Counter[str] = field(default_factory=Counter)
    """Files that are neither photographs nor words about them, by their ending."""

    def note(self, why: str, name: str) -> None:
        self.counts[why] += 1
        self.first.setdefault(why, name)

    def add(self, other: "_LeftOut") -> None:
        self.counts += other.counts
        self.others += other.others
        self.first = other.first | self.first

    def remarks(self) -> list[str]:
        lines = []
        if self.others:
            kinds = ", ".join(
                f"{count:,} {ending or 'without an ending'}" for ending, count in self.others.most_common(5)
            )
            lines.append(f"{self.others.total():,} files in archives that are no photographs are left out ({kinds})")
        ordered = (why for why in _IN_WORDS if self.counts[why])
        return lines + [f"{self.counts[why]:,} {_IN_WORDS[why]} (first: {self.first[why]})" for why in ordered]


class _Shard(NamedTuple):
    """What one archive holds."""

    pictures: list[_Picture]
    left_out: _LeftOut


def names_shards(data: Path) -> bool:
    """Tell whether what a user names are archives: a file that ends as they do, or a word with braces that does.

    >>> names_shards(Path("shards/{0000..0099}.tar")), names_shards(Path("photographs"))
    (True, False)
    """
    return data.name.lower().endswith(_SUFFIXES) and not data.is_dir()


def read_shards(data: Path, *, workers: int = 0, progress: Tracker | None = None) -> RawData:
    """Find the photographs of archives, their classes, and their parts by the names of the archives.

    Where some archives have ``train`` as a word of their name, or of a folder below the one that all have in common,
    and others ``test`` (or ``val``, ``valid``, ``validation``), the split is given. Otherwise labelled photographs have
    none yet, and unlabelled ones train.

    Args:
        data: One archive, or many as braces write them: ``shards/{train,test}-{000..099}.tar``.
        workers: Processes that read headers, once that promises to be long.
        progress: Shows how far it is.

    Returns:
        The photographs, by paths such as ``train-000.tar/bird/0001.jpg`` below the folder that the archives share.

    Raises:
        DataError: An archive is missing, compressed, damaged or cut off; there is no photograph; a class cannot be
            read; or some photographs have a class and others none.
    """
    paths = _existing(data)
    root = Path(os.path.commonpath([path.parent for path in paths]))
    names = [path.relative_to(root).as_posix() for path in paths]
    read = each_in_turn(_read_shard, paths, workers=workers)
    shown = (progress or Untracked()).track(read, total=len(paths), what="headers", unit="archives")
    shards = dict(zip(names, shown, strict=True))
    parts = _parts(names)
    if parts:
        shards, unread = {name: shard for name, shard in shards.items() if name in parts}, len(names) - len(parts)
    else:
        unread = 0
    labelled = _check_labels(data, shards)
    classes = {picture.label for shard in shards.values() for picture in shard.pictures if picture.label is not None}
    return RawData(
        source="shards",
        root=root,
        classes=tuple(sorted(classes, key=natural_key)),
        records=tuple(
            RawRecord(
                path=f"{name}/{picture.name}",
                label=picture.label,
                split=parts.get(name) or (None if labelled else "train"),
                archive=name,
                offset_bytes=picture.offset_bytes,
                size_bytes=picture.size_bytes,
            )
            for name, shard in shards.items()
            for picture in shard.pictures
        ),
        split_origin=_origin(labelled=labelled, given=bool(parts)),
        remarks=tuple(_remarks(shards, unread=unread)),
    )


def _existing(data: Path) -> list[Path]:
    words = [str(data)] if data.exists() else expand_braces(str(data))
    paths = [Path(os.path.abspath(word)) for word in dict.fromkeys(words)]  # noqa: PTH100 - Path.absolute() keeps ".."
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise DataError(
            f"{data}: {len(missing):,} of {len(paths):,} archives are not there (first: {missing[0]}); "
            "expected an uncompressed tar archive under each name"
        )
    return list(dict.fromkeys(paths))


def _parts(names: Sequence[str]) -> dict[str, Split]:
    """Say which archive is which part, if that is said of both; those of a third part are not among them."""
    known = {"train", *TEST_NAMES}
    said = {name: known.intersection(_WORD.findall(name.casefold())) for name in names}
    test = next((word for word in TEST_NAMES if {word} in said.values()), None)
    if test is None or {"train"} not in said.values():
        return {}
    third = [{word} for word in TEST_NAMES if word != test]
    return {name: "test" if words == {test} else "train" for name, words in said.items() if words not in third}


def _origin(*, labelled: bool, given: bool) -> str | None:
    if given:
        return "given by the names of the archives"
    return None if labelled else "none: every photograph trains"


def _remarks(shards: Mapping[str, "_Shard"], *, unread: int) -> Iterator[str]:
    if unread:
        yield f"{unread:,} archives beside train and test are left out"
    left_out = _LeftOut()
    for shard in shards.values():
        left_out.add(shard.left_out)
    yield from left_out.remarks()


def _check_labels(data: Path, shards: Mapping[str, "_Shard"]) -> bool:
    """Tell whether photographs have classes: all or none."""
    bare, total, first = 0, 0, ""
    for name, shard in shards.items():
        without = [picture for picture in shard.pictures if picture.label is None]
        bare, total = bare + len(without), total + len(shard.pictures)
        first = first or next((f"{name}/{picture.name}" for picture in without), "")
    if not total:
        found = "; ".join(_remarks(shards, unread=0)) or "they are empty"
        looked = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{data}: no photographs in the archives ({found}); looked for names that end in {looked}")
    if 0 < bare < total:
        raise DataError(
            f"{data}: {bare:,} of {total:,} photographs have no class (first: {first}), and the others have; give each "
            "one in a file of the same name that ends in .cls, or none"
        )
    return bare == 0


def _read_shard(path: Path) -> _Shard:
    left_out = _LeftOut()
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
        return _Shard(_pictures(archive, files, left_out), left_out)


def _taken(entry: Entry, left_out: _LeftOut) -> str:
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
    else:
        return name
    return ""


def _pictures(archive: Archive, files: Mapping[str, Entry], left_out: _LeftOut) -> list[_Picture]:
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
            left_out.others[ending] += 1
    for key, name in dotted:
        if key in plain_names:
            left_out.note("dotted", name)
    alone = [(key, name) for key, name in dotted if key not in plain_names]
    return [
        _Picture(name, files[name].offset_bytes, files[name].size_bytes, _label(archive, key, words))
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
            label = plain(text.decode("utf-8-sig"))
        except UnicodeDecodeError:
            label = ""
        if not label:
            raise DataError(f"{archive.path}: {key}.cls is no number or name of a class in UTF-8; write it again")
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
    label = "" if value is None else plain(value)
    return label if label.encode(errors="ignore").decode() == label and label else None
