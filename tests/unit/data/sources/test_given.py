"""Photographs named by files and folders: which are found, under which paths, and what is never opened."""

import os
from pathlib import Path

import pytest

from leadpp.data.sources.given import read_given
from leadpp.errors import DataError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a flat and a nested folder."""
    for path in ("flat/1.jpg", "flat/2.png", "flat/notes.txt", "nested/a/b/3.jpg", "nested/4.webp", "odd.bin"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*paths: Path | str) -> list[str]:
    return [record.path for record in read_given([Path(path) for path in paths]).records]


def test_files_and_folders_may_be_mixed(here: Path) -> None:
    assert found("flat", "nested", "odd.bin") == [
        "flat/1.jpg", "flat/2.png", "nested/4.webp", "nested/a/b/3.jpg", "odd.bin",
    ]  # fmt: skip
    assert found(here / "flat") == [f"{here}/flat/1.jpg", f"{here}/flat/2.png"]
    assert found("nested/..")[:2] == ["nested/../flat/1.jpg", "nested/../flat/2.png"]
    raw = read_given([Path("flat")])
    assert (raw.root, raw.classes, {record.label for record in raw.records}) == (here, (), {None})
    assert raw.remarks == ("1 files that are no photographs are left out (1 .txt)",)


def test_what_is_named_twice_is_taken_once(here: Path) -> None:
    assert found("flat/2.png", "flat", here / "flat", "./flat/../flat/1.jpg") == ["flat/2.png", "flat/1.jpg"]


def test_links_in_circles_end_and_pipes_are_not_opened(here: Path) -> None:
    (here / "flat" / "up").symlink_to(here, target_is_directory=True)
    (here / "flat" / "self.jpg").symlink_to("self.jpg")
    os.mkfifo(here / "flat" / "pipe.jpg")
    (here / "linked.jpg").symlink_to("flat/1.jpg")
    raw = read_given([Path("flat"), Path("linked.jpg")])
    paths = [record.path for record in raw.records]
    assert "linked.jpg" in paths
    assert "flat/1.jpg" in paths
    assert not [path for path in paths if "pipe" in path or "self" in path]
    assert len(paths) < 20
    with pytest.raises(DataError, match="neither a file nor a folder"):
        found("flat/pipe.jpg")
    with pytest.raises(DataError, match="too many levels"):
        found("flat/self.jpg")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gone.jpg", "gone.jpg: no such file or directory; expected a photograph or a folder"),
        ("empty", "empty: no photographs there"),
        ("texts", "no photographs there; 1 files that are no photographs are left out"),
        (os.fsdecode(b"caf\xe9.jpg"), "its name is not valid UTF-8"),
    ],
)
def test_mistakes_are_one_clear_line(here: Path, path: str, message: str) -> None:
    (here / "empty").mkdir()
    (here / "texts").mkdir()
    (here / "texts" / "1.txt").touch()
    with pytest.raises(DataError, match=message):
        found(path)
