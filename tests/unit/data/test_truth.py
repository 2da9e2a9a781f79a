"""Tables of true boxes."""

import dataclasses
import unicodedata
from pathlib import Path

import pytest

from leadpp.data.raw import RawData, RawRecord
from leadpp.data.truth import add_boxes, read_boxes, write_boxes
from leadpp.errors import DataError

HEADER = "path,x0,y0,x1,y1\n"


def table(folder: Path, text: str, name: str = "bboxes.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def raw_of_paths(root: Path, *paths: str) -> RawData:
    records = tuple(RawRecord(path=path, label=None, split=None, box_xyxy=(0.0, 0.0, 1.0, 1.0)) for path in paths)
    return RawData(source="folder", root=root, classes=(), records=records)


def test_boxes_are_read_with_and_without_mark_and_spare_columns(tmp_path: Path) -> None:
    path = table(tmp_path, "\ufeffpath,label,x0,y0,x1,y1\n./a/1.jpg,Jay,1,2,3.5,4\nb\\2.jpg,x, 0 ,0,9,9\n")
    assert read_boxes(path) == {"a/1.jpg": (1.0, 2.0, 3.5, 4.0), "b/2.jpg": (0.0, 0.0, 9.0, 9.0)}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.jpg,1,2,x,4", "could not convert string to float: 'x'"),
        ("a.jpg,1,2,3", "a.jpg has fewer than four edges"),
        ("a.jpg,1,2,,4", "a.jpg has fewer than four edges"),
        (",1,2,3,4", "no path"),
        ("a.jpg,5,2,3,4", "a.jpg has an empty box 5,2,3,4"),
        ("a.jpg,1,4,3,4", "a.jpg has an empty box 1,4,3,4"),
        ("a.jpg,1,2,inf,4", "a.jpg has an edge that is no finite number"),
        ("ok.jpg,1,2,3,4", "ok.jpg has a box already"),
    ],
)
def test_malformed_rows_are_counted_and_the_first_is_named(tmp_path: Path, row: str, reason: str) -> None:
    path = table(tmp_path, f"{HEADER}ok.jpg,0,0,1,1\n{row}\nz.jpg,a,b,c,d\n")
    with pytest.raises(DataError) as caught:
        read_boxes(path)
    assert f"2 of 3 rows are malformed, first line 3: {reason}; expected path,x0,y0,x1,y1" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "found"), [("a,b\n1,2\n", "a,b"), ("", "nothing"), ("a.jpg,1,2,3,4\n", "a.jpg,1,2")])
def test_a_header_is_asked_for(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(DataError, match=f"expected a header with path,x0,y0,x1,y1, found {found}"):
        read_boxes(table(tmp_path, text))


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.csv: cannot read the boxes: no such file or directory"):
        read_boxes(tmp_path / "gone.csv")
    (tmp_path / "bytes.csv").write_bytes(HEADER.encode() + b"\xff\xfe,1,2,3,4\n")
    with pytest.raises(DataError, match=r"bytes.csv: not a CSV file in UTF-8"):
        read_boxes(tmp_path / "bytes.csv")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    boxes = {'a, "b"/é.jpg': (0.25, 1.0, 1234567.5, 3.0), "c.jpg": (0.0, 0.0, 1.0, 1.0)}
    write_boxes(tmp_path / "boxes.csv", boxes)
    assert read_boxes(tmp_path / "boxes.csv") == boxes
    assert (tmp_path / "boxes.csv").read_text(encoding="utf-8").startswith(HEADER)


def test_the_table_in_the_folder_is_found(tmp_path: Path) -> None:
    table(tmp_path, f"{HEADER}a.jpg,1,2,3,4\n")
    boxed = add_boxes(raw_of_paths(tmp_path, "a.jpg", "b.jpg"), None)
    assert [record.box_xyxy for record in boxed.records] == [(1.0, 2.0, 3.0, 4.0), (0.0, 0.0, 1.0, 1.0)]
    assert boxed.remarks == ()


def test_no_table_changes_nothing(tmp_path: Path) -> None:
    raw = raw_of_paths(tmp_path, "a.jpg")
    assert add_boxes(raw, None) == raw


@pytest.mark.parametrize("content", [b"name,left\nx,1\n", b"", b"\xff\xfe\x00"])
def test_a_found_table_of_another_form_is_passed_over_with_a_remark(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bboxes.csv").write_bytes(content)
    raw = raw_of_paths(tmp_path, "a.jpg")
    remark = "bboxes.csv is not read: its header is not path,x0,y0,x1,y1"
    assert add_boxes(raw, None) == dataclasses.replace(raw, remarks=(remark,))


def test_a_given_table_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a header"):
        add_boxes(raw_of_paths(tmp_path, "a.jpg"), table(tmp_path, "name,left\nx,1\n"))


def test_rows_without_photographs_are_counted(tmp_path: Path) -> None:
    path = table(tmp_path, f"{HEADER}a.jpg,1,2,3,4\ngone.jpg,1,2,3,4\nalso gone.jpg,1,2,3,4\n", "mine.csv")
    boxed = add_boxes(raw_of_paths(tmp_path, "a.jpg"), path)
    assert boxed.remarks == ("2 rows of mine.csv name no photograph (first: gone.jpg)",)
    assert boxed.records[0].box_xyxy == (1.0, 2.0, 3.0, 4.0)


def test_a_table_of_other_photographs_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, f"{HEADER}gone.jpg,1,2,3,4\n")
    with pytest.raises(DataError, match=r"no row names a photograph of .* \(first: gone.jpg\)"):
        add_boxes(raw_of_paths(tmp_path, "a.jpg"), path)


def test_accents_may_be_written_either_way(tmp_path: Path) -> None:
    table(tmp_path, HEADER + unicodedata.normalize("NFD", "é.jpg") + ",1,2,3,4\n")
    boxed = add_boxes(raw_of_paths(tmp_path, "é.jpg"), None)
    assert boxed.records[0].box_xyxy == (1.0, 2.0, 3.0, 4.0)
