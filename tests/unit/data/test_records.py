"""What an index holds, says and keeps."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest

from leadpp.data.records import ImageIndex, ImageRecord, Split, read_index, write_index
from leadpp.errors import ArtifactError, DataError
from leadpp.io.artifacts import read_table, write_table


def record(path: str, label: str | None = "a", split: Split = "train", **values: object) -> ImageRecord:
    plain = ImageRecord(path=path, label=label, split=split, width_px=4, height_px=3, checksum=path)
    return dataclasses.replace(plain, **values)  # type: ignore[arg-type]


@pytest.fixture
def index(tmp_path: Path) -> ImageIndex:
    records = (
        record("a/1.jpg", size_bytes=2**40, mtime_ns=2**60, true_box_xyxy=(0.5, 1.0, 2.0, 3.0), cut_bottom_px=20),
        record("a/2.jpg", checksum="a/1.jpg", duplicate_of="a/1.jpg", split="test"),
        record("b/é.jpg", "F/A-18", checksum="a/1.jpg", duplicate_of="a/1.jpg"),
        record("b/4.jpg", "F/A-18", width_px=0, height_px=0, reason="empty file"),
    )
    return ImageIndex(
        root=tmp_path / "photos",
        source="folder",
        classes=("a", "F/A-18"),
        records=records,
        split_origin="given",
        remarks=("seen",),
    )


def test_what_is_written_is_read_back(tmp_path: Path, index: ImageIndex) -> None:
    write_index(tmp_path / "run" / "index.parquet", index)
    assert read_index(tmp_path / "run" / "index.parquet") == index


def test_index_in_its_own_root_moves_with_it(tmp_path: Path, index: ImageIndex) -> None:
    write_index(tmp_path / "photos" / "index.parquet", index)
    (tmp_path / "photos").rename(tmp_path / "moved")
    moved = read_index(tmp_path / "moved" / "index.parquet")
    assert moved == dataclasses.replace(index, root=tmp_path / "moved")


def test_index_without_labels_and_records(tmp_path: Path) -> None:
    empty = ImageIndex(root=tmp_path, source="folder", classes=(), records=(), split_origin="none")
    write_index(tmp_path / "other" / "index.parquet", empty)
    assert read_index(tmp_path / "other" / "index.parquet") == empty
    assert not empty.labelled
    assert empty.notes() == []


def test_only_readable_records_are_usable(index: ImageIndex) -> None:
    assert [r.path for r in index.usable()] == ["a/1.jpg", "a/2.jpg", "b/é.jpg"]
    assert [r.path for r in index.usable("train")] == ["a/1.jpg", "b/é.jpg"]
    assert [r.path for r in index.usable("test")] == ["a/2.jpg"]
    assert [r.path for r in index.bad] == ["b/4.jpg"]


def test_classes_have_places(index: ImageIndex) -> None:
    assert [index.class_index(label) for label in index.classes] == [0, 1]
    with pytest.raises(DataError, match="no class 'c' among the 2 classes"):
        index.class_index("c")


def test_summary_and_notes_tell_numbers(index: ImageIndex) -> None:
    assert index.summary() == [
        "3 photographs, 2 classes: 2 train, 1 test (split: given)",
        "true boxes for 1 photographs",
    ]
    assert index.notes() == [
        "1 of 4 files cannot be read and are left out (b/4.jpg: empty file)",
        "2 exact duplicates (first: a/2.jpg is a/1.jpg)",
        "1 test photographs stand in the training part too (first: a/2.jpg)",
        "1 duplicates have another class than their original (first: b/é.jpg)",
        "1 classes have no test photographs (first: F/A-18)",
        "seen",
    ]


def test_only_the_first_bad_files_are_named(index: ImageIndex) -> None:
    bad = tuple(record(f"{n}.jpg", reason="empty file") for n in range(5))
    note = dataclasses.replace(index, records=(*index.records[:1], *bad)).notes()[0]
    assert note == (
        "5 of 6 files cannot be read and are left out (0.jpg: empty file; 1.jpg: empty file; 2.jpg: empty file; ...)"
    )


def test_notes_on_classes(index: ImageIndex) -> None:
    one = dataclasses.replace(index, classes=("a",), records=(record("1.jpg"),), remarks=())
    assert one.notes() == ["only one class: a"]
    flat = dataclasses.replace(index, classes=(), records=(record("1.jpg", None),), remarks=())
    assert flat.notes() == []
    assert flat.summary() == ["1 photographs, no labels: 1 train, 0 test (split: given)"]


def test_digest_is_of_the_data_and_not_of_its_place(index: ImageIndex) -> None:
    elsewhere = dataclasses.replace(
        index,
        root=Path("/elsewhere"),
        remarks=(),
        records=tuple(dataclasses.replace(r, size_bytes=1, mtime_ns=1) for r in index.records),
    )
    assert elsewhere.digest() == index.digest()
    assert len(index.digest()) == 32


@pytest.mark.parametrize(
    "change",
    [
        {"path": "x"},
        {"label": "a b"},
        {"split": "test"},
        {"checksum": "x"},
        {"true_box_xyxy": (0.5, 1.0, 2.0, 2.0)},
        {"true_box_xyxy": None},
        {"cut_bottom_px": 0},
        {"reason": "damaged"},
    ],
)
def test_digest_follows_every_part_of_the_data(index: ImageIndex, change: dict[str, object]) -> None:
    first = dataclasses.replace(index.records[0], **change)  # type: ignore[arg-type]
    other = dataclasses.replace(index, records=(first, *index.records[1:]))
    assert other.digest() != index.digest()


def test_digest_follows_order_and_classes(index: ImageIndex) -> None:
    assert dataclasses.replace(index, records=index.records[::-1]).digest() != index.digest()
    assert dataclasses.replace(index, classes=index.classes[::-1]).digest() != index.digest()


def test_digest_takes_whole_numbers_as_they_come_back(tmp_path: Path, index: ImageIndex) -> None:
    box = (0, 1, 2, 3)
    whole = dataclasses.replace(index, records=(record("1.jpg", true_box_xyxy=box),))
    write_index(tmp_path / "index.parquet", whole)
    assert read_index(tmp_path / "index.parquet").digest() == whole.digest()


def test_an_index_of_another_form_is_refused(tmp_path: Path, index: ImageIndex) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, index)
    table, metadata = read_table(path, kind="index")
    write_table(path, table.append_column("mood", pa.array(["good"] * 4)), kind="index", metadata=metadata)
    with pytest.raises(ArtifactError, match=r"columns or metadata differ from an index's .*'mood'.*; make it again"):
        read_index(path)
    write_table(path, table, kind="index", metadata={"root": "."})
    with pytest.raises(ArtifactError, match=r"columns or metadata differ from an index's \('source'\)"):
        read_index(path)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("path", ["../1.jpg", "b", "c", "d"]),
        ("path", [None, "b", "c", "d"]),
        ("path", [b"\xff", b"b", b"c", b"d"]),
        ("split", ["train", "test", "val", "train"]),
        ("width_px", [1, 2, 3, None]),
        ("height_px", [1, 2, 3, -4]),
        ("height_px", [1, 2, 3, 2**40]),
        ("checksum", [None, "", "", ""]),
        ("least_scale", [0, 1, 1, 1]),
        ("offset_bytes", [-1, 0, 0, 0]),
        ("offset_bytes", [None, 0, 0, 0]),
        ("archive", ["elsewhere.tar", None, None, None]),
        ("archive", ["", None, None, None]),
        ("archive", ["../x.tar", None, None, None]),
        ("true_box_xyxy", [[0.0, 0.0, 1.0, float("nan")], None, None, None]),
        ("true_box_xyxy", [[0.0, 0.0, 1.0, None], None, None, None]),
        ("true_box_xyxy", [[2.0, 0.0, 1.0, 1.0], None, None, None]),
    ],
)
def test_an_index_that_no_writer_writes_is_refused(
    tmp_path: Path, index: ImageIndex, column: str, values: list[object]
) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, index)
    table, metadata = read_table(path, kind="index")
    kind = pa.binary() if isinstance(values[0], bytes) else pa.infer_type(values)
    table = table.set_column(table.column_names.index(column), column, pa.array(values, kind))
    write_table(path, table, kind="index", metadata=metadata)
    with pytest.raises(ArtifactError, match=r"columns or metadata differ from an index's \(.*\); make it again"):
        read_index(path)


def test_an_index_of_before_the_limit_on_pixels_is_read(tmp_path: Path, index: ImageIndex) -> None:
    path = tmp_path / "index.parquet"
    write_index(path, index)
    table, metadata = read_table(path, kind="index")
    write_table(path, table.drop_columns(["least_scale", "archive", "offset_bytes"]), kind="index", metadata=metadata)
    assert read_index(path) == index
