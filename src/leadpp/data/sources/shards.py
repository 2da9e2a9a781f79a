"""Photographs in uncompressed tar archives, as WebDataset writes them: files of one sample share a name up to its dot.

``bird/0001.jpg`` is a photograph, ``bird/0001.cls`` its class (a number or a name), ``bird/0001.json`` may have it as
``label`` or ``class``. Nothing is extracted: an index says where in its archive each photograph lies
(docs/decisions/0070).
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from leadpp.data.braces import expand_braces
from leadpp.data.building import Tracker, Untracked
from leadpp.data.images import IMAGE_SUFFIXES
from leadpp.data.naming import natural_key
from leadpp.data.pooling import each_in_turn
from leadpp.data.raw import RawData, RawRecord
from leadpp.data.records import Split
from leadpp.data.samples import LeftOut, Shard, read_shard
from leadpp.data.sources.folder import TEST_NAMES
from leadpp.errors import DataError

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
_WORD = re.compile(r"[a-z]+")


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
    read = each_in_turn(read_shard, [(path,) for path in paths], workers=workers)
    shown = (progress or Untracked()).track(read, total=len(paths), what="headers", unit="archives")
    shards = dict(zip(names, shown, strict=True))
    parts = _parts(names)
    unread = [name for name in names if parts and name not in parts]
    for name in unread:
        del shards[name]
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
        remarks=tuple(_remarks(shards, unread=len(unread))),
    )


def _existing(data: Path) -> list[Path]:
    if ":/" in str(data) or str(data).startswith("pipe:"):
        raise DataError(f"{data}: archives are read from disks alone, and not from addresses; copy them here first")
    words = [str(data)] if data.exists() else expand_braces(str(data))
    paths = [Path(os.path.abspath(word)) for word in dict.fromkeys(words)]  # noqa: PTH100 - Path.absolute() keeps ".."
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise DataError(
            f"{data}: {len(missing):,} of {len(paths):,} archives are not there (first: {missing[0]}); "
            "expected an uncompressed tar archive under each name; several are written {0000..0099}, in quotes"
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


def _remarks(shards: Mapping[str, Shard], *, unread: int) -> Iterator[str]:
    if unread:
        yield f"{unread:,} archives beside train and test are left out"
    left_out = LeftOut()
    for shard in shards.values():
        left_out.add(shard.left_out)
    yield from left_out.remarks()


def _check_labels(data: Path, shards: Mapping[str, Shard]) -> bool:
    """Tell whether photographs have classes: all or none."""
    bare, total, first = 0, 0, ""
    for name, shard in shards.items():
        without = [picture for picture in shard.pictures if picture.label is None]
        bare, total = bare + len(without), total + len(shard.pictures)
        first = first or next((f"{name}/{picture.name}" for picture in without), "")
    if not total:
        found = "; ".join(_remarks(shards, unread=0)) or "there are no pictures among their members"
        looked = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"{data}: no photographs in the archives ({found}); looked for names that end in {looked}")
    if 0 < bare < total:
        raise DataError(
            f"{data}: {bare:,} of {total:,} photographs have no class (first: {first}), and the others have; give each "
            "one in a file of the same name that ends in .cls, or none"
        )
    return bare == 0
