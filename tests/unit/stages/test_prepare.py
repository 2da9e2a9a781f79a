"""Preparing data sets: from each native layout to a folder that opens at once."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from leadpp.data.index import ImageIndex, open_data, read_index
from leadpp.data.sources import read_cub
from leadpp.data.truth import read_boxes
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import ArtifactError, DataError
from leadpp.stages import prepare as stage
from leadpp.stages.prepare import Materialize, prepare
from tests.progress import WatchedProgress
from tests.unit.data import native


def make(kind: str, root: Path) -> Path:
    if kind == "folder":
        for split in ("train", "test"):
            for label in ("a", "A", "b_c"):
                native.write_photo(root / split / label / "1.jpg", name=split + label)
        native.write_lines(root / "bboxes.csv", ["path,x0,y0,x1,y1", "train/a/1.jpg,1,2,3,4"])
        return root
    makers = {"cub": native.make_cub, "cars": native.make_cars, "aircraft": native.make_aircraft}
    return makers.get(kind, native.make_dogs)(root)


def content(index: ImageIndex) -> set[tuple[object, ...]]:
    """All that must not change when photographs are laid out anew."""
    return {
        (r.label, r.split, r.checksum, r.width_px, r.height_px, r.cut_bottom_px, r.true_box_xyxy) for r in index.records
    }


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("cub", {"classes": 3, "train": 3, "test": 3, "boxes": 6}),
        ("cars", {"classes": 3, "train": 4, "test": 1, "boxes": 5}),
        ("aircraft", {"classes": 3, "train": 6, "test": 3, "boxes": 9}),
        ("dogs", {"classes": 3, "train": 3, "test": 3, "boxes": 6}),
        ("folder", {"classes": 3, "train": 3, "test": 3, "boxes": 1}),
    ],
)
@pytest.mark.parametrize("materialize", ["none", "copy", "hard", "soft"])
def test_every_kind_opens_as_it_was(
    tmp_path: Path, kind: str, counts: dict[str, int], materialize: Materialize
) -> None:
    source, out = make(kind, tmp_path / "source"), tmp_path / "out"
    result = prepare(kind, source, out, materialize=materialize)
    assert {name: result[name] for name in counts} == counts
    assert (result["kind"], result["materialize"], result["bad"], result["split"]) == (kind, materialize, 0, "given")
    assert json.loads(json.dumps(result)) == result
    plain = tmp_path / "plain"
    prepare(kind, source, plain)
    index = open_data(out, seed=1)
    assert index.source == kind
    assert index.root == (source if materialize == "none" else out)
    assert content(index) == content(open_data(plain, seed=1))
    if materialize == "none":
        assert sorted(path.name for path in out.iterdir()) == ["index.parquet", "prepare.json"]
    else:
        assert index.records[0].path.startswith("test/")
        assert read_boxes(out / "bboxes.csv") == {r.path: r.true_box_xyxy for r in index.records if r.true_box_xyxy}
        assert {path.is_symlink() for path in out.rglob("*.jpg")} == {materialize == "soft"}


def test_counts_are_held_against_the_official_ones(tmp_path: Path) -> None:
    result = prepare("cub", native.make_cub(tmp_path / "cub"), tmp_path / "out")
    assert result["official"] == {"classes": 200, "train": 5994, "test": 5794}
    assert result["differences"] == [
        "3 classes instead of 200",
        "3 train photographs instead of 5,994",
        "3 test photographs instead of 5,794",
    ]
    note = f"not the official counts: {', '.join(result['differences'])}"
    assert note in result["notes"]
    assert note in open_data(tmp_path / "out", seed=1).notes()
    ours = prepare("folder", make("folder", tmp_path / "photos"), tmp_path / "out2")
    assert (ours["official"], ours["differences"]) == ({}, [])


def test_no_difference_is_told_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = read_cub(native.make_cub(tmp_path / "cub"))
    assert raw.official is not None
    right = dataclasses.replace(raw.official, classes=3, train=3, test=3)
    monkeypatch.setattr(stage, "READERS", {"cub": lambda root: dataclasses.replace(raw, official=right)})
    result = prepare("cub", tmp_path / "cub", tmp_path / "out")
    assert (result["differences"], result["notes"]) == ([], [])


def test_aircraft_lose_their_banner(tmp_path: Path) -> None:
    prepare("aircraft", native.make_aircraft(tmp_path / "source"), tmp_path / "out")
    index = open_data(tmp_path / "out", seed=1)
    assert {(record.width_px, record.height_px) for record in index.records} == {(40, 40)}
    # The box reached into the banner, 50 of 60 rows, and now ends where the picture does.
    assert {record.true_box_xyxy for record in index.records} == {(2.0, 3.0, 30.0, 40.0)}


def test_folders_of_awkward_names_are_safe_and_true_names_kept(tmp_path: Path) -> None:
    prepare("aircraft", native.make_aircraft(tmp_path / "air"), tmp_path / "air out", materialize="copy")
    assert sorted(path.name for path in (tmp_path / "air out/train").iterdir()) == ["Boeing 717", "F-16A-B", "F-A-18"]
    assert open_data(tmp_path / "air out", seed=1).classes == native.VARIANTS
    prepare("cub", native.make_cub(tmp_path / "cub"), tmp_path / "cub out", materialize="soft")
    assert open_data(tmp_path / "cub out", seed=1).classes[-1] == native.LONG_NAME
    prepare("folder", make("folder", tmp_path / "twins"), tmp_path / "twins out", materialize="copy")
    folders = [path.name for path in (tmp_path / "twins out/train").iterdir()]
    assert len({name.casefold() for name in folders}) == 3
    assert open_data(tmp_path / "twins out", seed=1).classes == ("A", "a", "b_c")


def test_parquet_mirror_is_written_as_copies(tmp_path: Path) -> None:
    source, out = native.make_cars_mirror(tmp_path / "mirror"), tmp_path / "out"
    result = prepare("cars", source, out)
    assert {name: result[name] for name in ("classes", "train", "test", "boxes", "materialize")} == {
        "classes": 3,
        "train": 4,
        "test": 1,
        "boxes": 0,
        "materialize": "copy",
    }
    assert "the photographs of the Parquet mirror are written as copies; it has no true boxes" in result["notes"]
    index = open_data(out, seed=1)
    assert (index.root, index.classes, index.source) == (out, native.CARS, "cars")
    assert (out / "train/Ram C-V Cargo Van Minivan 2012/00002.jpg").read_bytes() == native.photo_bytes("train 0 1")
    shutil.rmtree(source)
    assert open_data(out, seed=1) == index


def test_bad_files_are_listed_and_not_laid_out(tmp_path: Path) -> None:
    source, out = native.make_cub(tmp_path / "cub"), tmp_path / "out"
    (source / "images" / native.BIRDS[0] / "001_1.jpg").write_bytes(b"")
    (source / "images" / native.BIRDS[1] / "002_1.jpg").unlink()
    result = prepare("cub", source, out, materialize="copy")
    assert (result["bad"], result["train"]) == (2, 1)
    assert "1 train photographs instead of 5,994" in result["differences"]
    index = open_data(out, seed=1)
    assert sorted(str(record.reason) for record in index.bad) == ["empty file", "no such file or directory"]
    assert len(list(out.rglob("*.jpg"))) == 4
    with pytest.raises(DataError, match="2 of 6 photographs cannot be read"):
        prepare("cub", source, tmp_path / "strict", bad_images="error")
    assert not (tmp_path / "strict").exists()


def test_duplicates_are_counted(tmp_path: Path) -> None:
    source = make("folder", tmp_path / "source")
    shutil.copy(source / "train/a/1.jpg", source / "test/a/2.jpg")
    shutil.copy(source / "train/a/1.jpg", source / "train/a/2.jpg")
    for materialize in ("none", "copy"):
        result = prepare("folder", source, tmp_path / materialize, materialize="copy")
        assert (result["duplicates"], result["duplicates_across_split"]) == (2, 1)


def test_boxes_of_a_table_go_before_the_source(tmp_path: Path) -> None:
    source = native.make_cub(tmp_path / "cub")
    image = f"images/{native.BIRDS[0]}/001_1.jpg"
    native.write_lines(tmp_path / "mine.csv", ["path,x0,y0,x1,y1", f"{image},1,2,3,4"])
    native.write_lines(source / "bboxes.csv", ["path,x0,y0,x1,y1", f"{image},5,6,7,8"])
    prepare("cub", source, tmp_path / "out", boxes_csv=tmp_path / "mine.csv")
    boxes = {r.path: r.true_box_xyxy for r in read_index(tmp_path / "out/index.parquet").records}
    assert boxes[image] == (1.0, 2.0, 3.0, 4.0)
    assert len([box for box in boxes.values() if box == (5.5, 7.0, 25.5, 37.5)]) == 5
    prepare("cub", source, tmp_path / "out")
    assert read_index(tmp_path / "out/index.parquet").records[0].true_box_xyxy == (5.5, 7.0, 25.5, 37.5)


def test_labelled_folder_without_a_split_gets_one(tmp_path: Path) -> None:
    for n in range(5):
        native.write_photo(tmp_path / f"source/a/{n}.jpg")
    result = prepare("folder", tmp_path / "source", tmp_path / "out", seed=4, materialize="copy")
    assert (result["train"], result["test"], result["split"]) == (4, 1, "stratified 80/20, seed 4")
    assert len(list((tmp_path / "out/test/a").iterdir())) == 1
    assert open_data(tmp_path / "out", seed=99).split_origin == "stratified 80/20, seed 4"


def test_a_materialized_folder_may_be_moved(tmp_path: Path) -> None:
    source = make("folder", tmp_path / "source")
    prepare("folder", source, tmp_path / "out", materialize="copy")
    before = open_data(tmp_path / "out", seed=1)
    shutil.rmtree(source)
    (tmp_path / "out").rename(tmp_path / "moved")
    after = open_data(tmp_path / "moved", seed=1)
    assert after.root == tmp_path / "moved"
    assert after.digest() == before.digest()


def test_a_source_that_moved_is_told(tmp_path: Path) -> None:
    source = make("folder", tmp_path / "source")
    prepare("folder", source, tmp_path / "out")
    source.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"its photographs were in .*source, which is no longer there"):
        open_data(tmp_path / "out", seed=1)


def test_prepared_again_leaves_nothing_of_before(tmp_path: Path) -> None:
    source, out = make("folder", tmp_path / "source"), tmp_path / "out"
    prepare("folder", source, out, materialize="copy")
    (out / "train/b_c/mine.txt").touch()
    prepare("folder", source, out)
    left = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert left[:2] == ["index.parquet", "prepare.json"]
    assert [Path(path).name for path in left[2:]] == ["mine.txt"]
    assert open_data(out, seed=1).root == source


def test_what_another_source_was_prepared_into_is_left_alone(tmp_path: Path) -> None:
    source, out = make("folder", tmp_path / "source"), tmp_path / "out"
    prepare("folder", source, out, materialize="copy")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    cub = native.make_cub(tmp_path / "cub")
    for kind, other in (("cub", cub), ("folder", make("folder", tmp_path / "other")), ("cub", source)):
        with pytest.raises(DataError, match=r"out: holds folder prepared from .*source, not .*; choose another OUT"):
            prepare(kind, other, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("kind", ["folder", "mirror"])
def test_interrupted_it_is_unfinished_and_the_same_command_finishes_it(tmp_path: Path, kind: str) -> None:
    def interrupted() -> WatchedProgress:
        return WatchedProgress(stop=lambda piece: piece.what in ("write", "unpack") and piece.items == 2)

    source, out = tmp_path / "source", tmp_path / "out"
    if kind == "folder":
        make("folder", source)
    else:
        native.make_cars_mirror(source)
    name = "folder" if kind == "folder" else "cars"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            prepare(name, source, out, materialize="copy", progress=interrupted())
    assert not (out / "index.parquet").exists()
    with pytest.raises(DataError, match="its preparation was not finished"):
        open_data(out, seed=1)
    with pytest.raises(DataError, match="holds an unfinished preparation of"):
        prepare("cub", native.make_cub(tmp_path / "cub"), out)
    prepare(name, source, out, materialize="copy")
    prepare(name, source, tmp_path / "whole", materialize="copy")
    assert open_data(out, seed=1).digest() == open_data(tmp_path / "whole", seed=1).digest()


def test_folders_that_are_not_its_own_are_refused(tmp_path: Path) -> None:
    source, out = make("folder", tmp_path / "source"), tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").touch()
    with pytest.raises(DataError, match="not empty, and not a folder that was prepared before; choose another OUT"):
        prepare("folder", source, out)
    with pytest.raises(DataError, match=r"thesis.tex: expected a folder to write to, found a file"):
        prepare("folder", source, out / "thesis.tex")
    for place in (source, source / "out", tmp_path):
        with pytest.raises(DataError, match=r"lies in the source .*; choose an OUT beside it"):
            prepare("folder", source, place)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert prepare("folder", make("folder", tmp_path / "source"), tmp_path / "out")["train"] == 3


def test_unknown_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown kind of source 'birds'; expected one of cub, cars, aircraft, dogs"):
        prepare("birds", tmp_path, tmp_path / "out")


def test_notes_are_told(tmp_path: Path) -> None:
    progress = SilentProgress()
    result = prepare("dogs", native.make_dogs(tmp_path / "source"), tmp_path / "out", progress=progress)
    assert progress.notes == result["notes"]
    assert progress.notes[0] == "3 photographs show several dogs; the true box is that of the largest"


def test_a_disk_that_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = make("folder", tmp_path / "source"), tmp_path / "out"
    prepare("folder", source, out)
    real = Path.unlink

    def refuse(self: Path, *, missing_ok: bool = False) -> None:
        if self.name == "index.parquet":
            raise OSError(30, os.strerror(30))
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ArtifactError, match=r"index.parquet: cannot be removed: read-only file system"):
        prepare("folder", source, out)
