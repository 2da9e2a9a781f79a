"""Any folder of photographs: with class folders or flat, with ``train/`` and ``test/`` or without."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

from leadpp.data.images import IMAGE_SUFFIXES
from leadpp.data.naming import natural_key
from leadpp.data.raw import RawData, RawRecord
from leadpp.data.records import Split
from leadpp.data.scan import LeftOut, list_folder, require_folder, walk_images
from leadpp.errors import DataError

TEST_NAMES = ("test", "val", "valid", "validation")
"""What the test part may be called; the first of them that is there is meant."""
_COMPANIONS = frozenset(
    {
        "attributes.csv",
        "contact-sheet.jpg",
        "descriptions.csv",
        "license",
        "masks",
        "names.txt",
        "readme.md",
        "world.json",
    }
)
"""What may lie beside ``train/`` without a remark: words and masks of the photographs (docs/decisions/0032)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tree:
    """Photographs of one part, each with its class folder, or with None where there are none."""

    images: list[tuple[str, str | None]]
    empty: list[str]
    deeper: tuple[str, ...] = ()
    """Photographs that lie below their class folder."""

    @property
    def labelled(self) -> bool:
        return any(label is not None for _, label in self.images)


def read_folder(source: Path) -> RawData:
    """Find the photographs of a folder, and their classes and parts by the folders they lie in.

    Class folders give labels, and folders below them count as theirs; a flat folder has no labels. With ``train/`` and
    one of ``test/``, ``val/``, ``valid/``, ``validation/`` (the first of them that is there) the split is given; with
    ``train/`` alone, or with class folders only, a labelled source has none yet. What else lies beside ``train/`` is
    left out: masks and words in silence, the rest with a remark. Class names are the folders' own.

    Raises:
        DataError: The folder is missing, empty or holds no photographs; loose photographs lie beside class folders; or
            one part has class folders and the other has none.
    """
    root = require_folder(source)
    folders, loose = list_folder(root, left_out=LeftOut())
    parts = _parts(root, folders)
    left_out = LeftOut(root=root)
    if parts["train"]:  # otherwise the tree goes through the top once more
        folders, loose = list_folder(root, left_out=left_out, known=_COMPANIONS)
    beside = _beside(parts, folders, loose)
    trees = {split: _tree(root, name, left_out) for split, name in parts.items()}
    if not any(tree.images for tree in trees.values()):
        raise _no_images(root, left_out)
    if "test" in trees and not trees["train"].images:
        raise DataError(f"{root}: {parts['train']}/ holds no photographs, while {parts['test']}/ does")
    _check_labels(root, parts, trees)
    if "test" in trees and not trees["test"].images:
        beside.append(f"{parts['test']}/ holds no photographs")
        del trees["test"]
    return _gather(root, trees, remarks=[*beside, *left_out.remarks()])


def _gather(root: Path, trees: dict[Split, _Tree], *, remarks: list[str]) -> RawData:
    labelled = trees["train"].labelled
    given = "test" in trees
    records = [
        RawRecord(path=path, label=label, split=split if given or not labelled else None)
        for split, tree in trees.items()
        for path, label in tree.images
    ]
    empty = [name for tree in trees.values() for name in tree.empty]
    if labelled and empty:
        remarks = [f"{len(empty):,} class folders hold no photographs (first: {empty[0]})", *remarks]
    deeper = [path for tree in trees.values() for path in tree.deeper]
    if deeper:
        remarks = [
            f"{len(deeper):,} photographs lie deeper than their class folder, whose name, the first level, is the "
            f"class (first: {deeper[0]})",
            *remarks,
        ]
    origin = "none: every photograph trains" if not labelled else None
    return RawData(
        source="folder",
        root=root,
        classes=tuple(sorted({record.label for record in records if record.label is not None}, key=natural_key)),
        records=tuple(records),
        split_origin="given" if given else origin,
        remarks=tuple(remarks),
    )


def _parts(root: Path, folders: list[str]) -> dict[Split, str]:
    """Say which folder, relative to the root, is which part; ``""`` is the root itself."""
    by_name = {name.casefold(): name for name in folders}
    train = by_name.get("train")
    tests = [by_name[name] for name in TEST_NAMES if name in by_name]
    if train and tests:
        return {"train": train, "test": tests[0]}
    if tests and len(tests) == len(folders):
        raise DataError(f"{root}: found {tests[0]}/ but no train/; expected both, or class folders, or photographs")
    if train and (len(folders) == 1 or list_folder(root / train, left_out=LeftOut())[0]):
        return {"train": train}
    return {"train": ""}


def _beside(parts: dict[Split, str], folders: list[str], loose: list[str]) -> list[str]:
    """Say what lies beside ``train/`` and ``test/`` and is left out."""
    if not parts["train"]:
        return []
    others = [name for name in folders if name not in parts.values()]
    where = " and ".join(f"{name}/" for name in parts.values())
    lines = []
    if others:
        lines.append(f"{len(others):,} folders beside {where} are left out (first: {others[0]}/)")
    if loose:
        lines.append(f"{len(loose):,} photographs beside {where} are left out (first: {loose[0]})")
    return lines


def _tree(root: Path, inner: str, left_out: LeftOut) -> _Tree:
    prefix = f"{inner}/" if inner else ""
    folders, loose = list_folder(root / inner, left_out=left_out)
    by_folder = {name: list(walk_images(root, prefix + name, left_out=left_out)) for name in folders}
    full = [name for name, paths in by_folder.items() if paths]
    if loose and full:
        raise DataError(
            f"{root / inner}: found {len(loose):,} loose photographs (first: {loose[0]}) beside {len(full):,} folders "
            f"with photographs (first: {full[0]}/); put them all into class folders, or all into one flat folder"
        )
    images: list[tuple[str, str | None]] = [(prefix + name, None) for name in loose]
    for name in full:
        images.extend((path, unicodedata.normalize("NFC", name)) for path in by_folder[name])
    return _Tree(
        images=images,
        empty=[prefix + name for name in folders if not by_folder[name]],
        deeper=tuple(path for path, label in images if label and path.count("/") > prefix.count("/") + 1),
    )


def _check_labels(root: Path, parts: dict[Split, str], trees: dict[Split, _Tree]) -> None:
    full = {split: tree for split, tree in trees.items() if tree.images}
    if len({tree.labelled for tree in full.values()}) > 1:
        kinds = [f"{parts[split]}/ has {'' if tree.labelled else 'no '}class folders" for split, tree in full.items()]
        raise DataError(f"{root}: {' and '.join(kinds)}; expected both alike")


def _no_images(root: Path, left_out: LeftOut) -> DataError:
    looked = " ".join(sorted(IMAGE_SUFFIXES))
    found = "; ".join(left_out.remarks()) or "the folder is empty"
    if left_out.suffixes[".tar"]:
        return DataError(
            f"{root}: no photographs found ({found}); archives are named one by one: '{root}/{{000..099}}.tar'"
        )
    return DataError(f"{root}: no photographs found ({found}); looked for files that end in {looked}")
