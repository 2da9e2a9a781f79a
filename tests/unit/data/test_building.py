"""From raw records to an index."""

import dataclasses
import math
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from PIL import Image

from leadpp.data import building, pooling
from leadpp.data.building import build_index, draw_split
from leadpp.data.images import inspect_image
from leadpp.data.raw import RawData, RawRecord
from leadpp.data.records import Box, ImageRecord
from leadpp.errors import DataError
from tests.progress import WatchedProgress
from tests.unit.data.native import write_photo


def raw_of_paths(root: Path, *paths: str, origin: str | None = "given", box: Box | None = None) -> RawData:
    """Sources whose paths start with split and label, such as ``test/a/1.jpg``."""
    records = []
    for path in paths:
        split, label = path.split("/")[:2]
        assert split in ("train", "test")
        records.append(RawRecord(path=path, label=label, split="test" if split == "test" else "train", box_xyxy=box))
    classes = tuple(sorted({record.label for record in records if record.label}))
    return RawData(source="folder", root=root, classes=classes, records=tuple(records), split_origin=origin)


def test_records_tell_what_was_found(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "train/a/1.jpg", width=30, height=50)
    raw = raw_of_paths(tmp_path, "train/a/1.jpg", box=(1.0, 2.0, 3.0, 4.0))
    raw = dataclasses.replace(raw, records=(dataclasses.replace(raw.records[0], cut_bottom_px=20),))
    index = build_index(raw, seed=1)
    status = path.stat()
    assert index.records == (
        ImageRecord(
            path="train/a/1.jpg",
            label="a",
            split="train",
            width_px=30,
            height_px=30,
            cut_bottom_px=20,
            true_box_xyxy=(1.0, 2.0, 3.0, 4.0),
            checksum=inspect_image(path).checksum,
            size_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
        ),
    )
    assert (index.root, index.source, index.classes, index.split_origin) == (tmp_path, "folder", ("a",), "given")


def test_order_is_that_of_the_paths(tmp_path: Path) -> None:
    paths = [f"train/a/{n}.jpg" for n in (1, 2, 9, 10, 11)]
    for path in paths:
        write_photo(tmp_path / path)
    shuffled = random.Random(0).sample(paths, len(paths))  # noqa: S311 - a test's shuffle
    index = build_index(raw_of_paths(tmp_path, *shuffled), seed=1)
    assert [record.path for record in index.records] == paths


def test_bad_files_are_listed_or_refused(tmp_path: Path) -> None:
    write_photo(tmp_path / "train/a/1.jpg")
    (tmp_path / "train/a/2.jpg").write_bytes(b"")
    (tmp_path / "train/a/3.jpg").write_text("x")
    raw = raw_of_paths(tmp_path, *(f"train/a/{n}.jpg" for n in (1, 2, 3, 4)))
    index = build_index(raw, seed=1)
    assert [(record.path, record.reason) for record in index.bad] == [
        ("train/a/2.jpg", "empty file"),
        ("train/a/3.jpg", "not an image"),
        ("train/a/4.jpg", "no such file or directory"),
    ]
    with pytest.raises(DataError) as caught:
        build_index(raw, seed=1, bad_images="error")
    assert str(caught.value).startswith(f"{tmp_path}: 3 of 4 photographs cannot be read (train/a/2.jpg: empty file; ")
    with pytest.raises(DataError, match=r"none of the 1 photographs can be read \(train/a/2.jpg: empty file\)"):
        build_index(raw_of_paths(tmp_path, "train/a/2.jpg"), seed=1)


def test_duplicates_point_to_the_first_and_bad_files_are_none(tmp_path: Path) -> None:
    for path in ("train/a/1.jpg", "train/a/3.jpg", "test/b/1.jpg"):
        write_photo(tmp_path / path, name="same")
    write_photo(tmp_path / "train/a/2.jpg")
    for path in ("train/a/8.jpg", "train/a/9.jpg"):
        (tmp_path / path).write_bytes(b"")
    paths = ("train/a/1.jpg", "train/a/2.jpg", "train/a/3.jpg", "test/b/1.jpg", "train/a/8.jpg", "train/a/9.jpg")
    index = build_index(raw_of_paths(tmp_path, *paths), seed=1)
    assert {record.path: record.duplicate_of for record in index.duplicates} == {
        "train/a/1.jpg": "test/b/1.jpg",
        "train/a/3.jpg": "test/b/1.jpg",
    }
    assert [record.path for record in index.leaked] == ["test/b/1.jpg"]


@pytest.mark.parametrize(
    ("box", "kept", "remark"),
    [
        ((0.0, 0.0, 40.0, 60.0), (0.0, 0.0, 40.0, 60.0), None),
        (
            (-1.0, 2.0, 41.0, 70.0),
            (0.0, 2.0, 40.0, 60.0),
            "1 true boxes reach beyond their photographs and are clipped",
        ),
        ((40.0, 0.0, 50.0, 10.0), None, "1 true boxes lie outside their photographs and are left out"),
        ((0.0, -9.0, 50.0, 0.0), None, "1 true boxes lie outside their photographs and are left out"),
    ],
)
def test_boxes_end_at_the_photograph(tmp_path: Path, box: Box, kept: Box | None, remark: str | None) -> None:
    write_photo(tmp_path / "train/a/1.jpg", width=40, height=60)
    index = build_index(raw_of_paths(tmp_path, "train/a/1.jpg", box=box), seed=1)
    assert index.records[0].true_box_xyxy == kept
    assert index.remarks == ((f"{remark} (first: train/a/1.jpg)",) if remark else ())


def test_unchanged_files_are_not_opened_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [f"train/a/{n}.jpg" for n in range(5)]
    for path in paths[:4]:
        write_photo(tmp_path / path)
    (tmp_path / paths[3]).write_bytes(b"no image")
    raw = raw_of_paths(tmp_path, *paths)
    first = build_index(raw, seed=1)
    known = {record.path: record for record in first.records}
    opened: list[str] = []

    def inspect(path: Path, cut_bottom_px: int, most_pixels: int) -> object:
        opened.append(path.relative_to(tmp_path).as_posix())
        return inspect_image(path, cut_bottom_px, most_pixels)

    monkeypatch.setattr(building, "inspect_image", inspect)
    assert build_index(raw, seed=1, known=known) == first
    assert opened == []
    os.utime(tmp_path / paths[0], ns=(1, 1))  # touched
    write_photo(tmp_path / paths[4])  # new
    content = (tmp_path / paths[1]).read_bytes()
    stamp = (tmp_path / paths[1]).stat()
    (tmp_path / paths[1]).write_bytes(content + b" ")  # grown, with its old time
    os.utime(tmp_path / paths[1], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    again = build_index(raw, seed=1, known=known)
    assert opened == [paths[0], paths[1], paths[4]]
    assert again.digest() == build_index(raw, seed=1).digest()


def test_another_limit_on_pixels_is_another_look(tmp_path: Path) -> None:
    (tmp_path / "train/a").mkdir(parents=True)
    for name, colour in (("1.jpg", "red"), ("2.png", "red"), ("3.png", "blue")):
        Image.new("RGB", (60, 48), colour).save(tmp_path / "train/a" / name)
    Image.new("RGB", (20, 10)).save(tmp_path / "train/a/4.png")
    raw = raw_of_paths(tmp_path, *(f"train/a/{n}" for n in ("1.jpg", "2.png", "3.png", "4.png")))
    whole = build_index(raw, seed=1, most_pixels=60 * 48)
    assert [record.reason for record in whole.records] == [None] * 4
    known = {record.path: record for record in whole.records}
    least = build_index(raw, seed=1, most_pixels=60 * 48 // 2, known=known)
    assert [record.least_scale for record in least.records] == [2, 1, 1, 1]
    assert [record.path for record in least.bad] == ["train/a/2.png", "train/a/3.png"]
    assert least.digest() != whole.digest()
    known = {record.path: record for record in least.records}
    assert build_index(raw, seed=1, most_pixels=60 * 48, known=known) == whole


def test_paths_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    write_photo(tmp_path / "secret.jpg")
    (tmp_path / "data").mkdir()
    for path in ("../secret.jpg", "a/../../secret.jpg", str(tmp_path / "secret.jpg"), "a\0.jpg", ""):
        record = RawRecord(path=path, label=None, split="train")
        raw = dataclasses.replace(raw_of_paths(tmp_path / "data"), records=(record,))
        with pytest.raises(DataError, match=r"1 of the 1 paths .* lead out of the folder"):
            build_index(raw, seed=1)


def test_another_cut_or_an_unread_file_is_opened_again(tmp_path: Path) -> None:
    write_photo(tmp_path / "train/a/1.jpg", height=60)
    raw = raw_of_paths(tmp_path, "train/a/1.jpg")
    record = build_index(raw, seed=1).records[0]
    cut = dataclasses.replace(raw, records=(dataclasses.replace(raw.records[0], cut_bottom_px=20),))
    assert build_index(cut, seed=1, known={record.path: record}).records[0].height_px == 40
    locked = dataclasses.replace(record, checksum="", reason="permission denied", width_px=0, height_px=0)
    assert build_index(raw, seed=1, known={record.path: locked}).records[0] == record


def test_progress_is_told(tmp_path: Path) -> None:
    paths = [f"train/a/{n}.jpg" for n in range(3)]
    for path in paths:
        write_photo(tmp_path / path)
    progress = WatchedProgress()
    index = build_index(raw_of_paths(tmp_path, *paths), seed=1, progress=progress)
    build_index(raw_of_paths(tmp_path, *paths), seed=1, progress=progress, known={r.path: r for r in index.records[:2]})
    assert [(piece.done, piece.total) for piece in progress.pieces] == [(3, 3), (1, 1)]
    assert {(piece.what, piece.unit) for piece in progress.pieces} == {("read", "images")}


def test_processes_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [f"train/a/{n}.jpg" for n in range(40)]
    for path in paths:
        write_photo(tmp_path / path)
    (tmp_path / paths[30]).write_bytes(b"")
    raw = raw_of_paths(tmp_path, *paths)
    expected = build_index(raw, seed=1)
    monkeypatch.setattr(pooling, "PATIENCE_S", 0.0)
    pooled: list[int] = []
    in_pool = pooling._in_pool

    def spy(
        work: Callable[..., object], items: list[tuple[object, ...]], *, workers: int, chunk: int
    ) -> Iterator[object]:
        pooled.append(len(items))
        return in_pool(work, items, workers=workers, chunk=chunk)

    monkeypatch.setattr(pooling, "_in_pool", spy)
    assert build_index(raw, seed=1, workers=1) == expected
    assert pooled == [39]
    build_index(raw, seed=1, workers=0)
    assert pooled == [39]


def test_a_process_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying:
        def __init__(self, *args: object, **keywords: object) -> None:
            pass

        def map(self, *args: object, **keywords: object) -> Iterator[object]:
            raise BrokenProcessPool

        def shutdown(self, *, cancel_futures: bool) -> None:
            assert cancel_futures

    monkeypatch.setattr(pooling, "ProcessPoolExecutor", Dying)
    monkeypatch.setattr(pooling, "PATIENCE_S", 0.0)
    for n in range(2):
        write_photo(tmp_path / f"train/a/{n}.jpg")
    with pytest.raises(DataError, match=r"a process that reads photographs died.* 0 workers"):
        build_index(raw_of_paths(tmp_path, "train/a/0.jpg", "train/a/1.jpg"), seed=1, workers=2)


def records_of(counts: dict[str, int]) -> list[ImageRecord]:
    return [
        ImageRecord(path=f"{label}/{n}.jpg", label=label, split="train", width_px=1, height_px=1, checksum=f"{n}")
        for label, count in counts.items()
        for n in range(count)
    ]


@pytest.mark.parametrize("seed", [0, 123])
def test_split_is_a_fifth_of_each_class_and_leaves_none_empty(seed: int) -> None:
    counts = {"a": 1, "b": 2, "c": 3, "d": 8, "e": 100, "f": 203}
    drawn = draw_split(records_of(counts), seed=seed)
    tested = {label: sum(r.split == "test" and r.label == label for r in drawn) for label in counts}
    assert tested == {"a": 0, "b": 1, "c": 1, "d": 2, "e": 20, "f": 41}


def test_split_does_not_depend_on_order_and_follows_the_seed() -> None:
    records = records_of({"a": 30, "b": 30})
    drawn = {r.path: r.split for r in draw_split(records, seed=5)}
    shuffled = random.Random(1).sample(records, len(records))  # noqa: S311 - a test's shuffle
    assert {r.path: r.split for r in draw_split(shuffled, seed=5)} == drawn
    assert {r.path: r.split for r in draw_split(records, seed=6)} != drawn
    numbers = [{path[2:] for path, split in drawn.items() if split == "test" and path[0] == label} for label in "ab"]
    assert numbers[0] != numbers[1]  # classes do not share their draws


def test_split_of_one_class_does_not_move_with_another() -> None:
    alone = draw_split(records_of({"a": 30}), seed=5)
    together = draw_split(records_of({"a": 30, "b": 7}), seed=5)
    assert together[:30] == alone


def test_every_rank_is_drawn_evenly() -> None:
    often = [0] * 10
    for seed in range(400):
        for place, record in enumerate(draw_split(records_of({"a": 10}), seed=seed)):
            often[place] += record.split == "test"
    spread = math.sqrt(400 * 0.2 * 0.8)
    assert max(abs(count - 80) for count in often) < 4 * spread


def test_bad_files_take_no_place_in_the_split(tmp_path: Path) -> None:
    write_photo(tmp_path / "train/a/1.jpg")
    write_photo(tmp_path / "train/a/2.jpg")
    for n in range(3, 9):
        (tmp_path / f"train/a/{n}.jpg").write_bytes(b"")
    raw = raw_of_paths(tmp_path, *(f"train/a/{n}.jpg" for n in range(1, 9)), origin=None)
    for seed in range(8):
        index = build_index(raw, seed=seed)
        assert index.split_origin == f"stratified 80/20, seed {seed}"
        assert sorted(record.split for record in index.usable()) == ["test", "train"]
