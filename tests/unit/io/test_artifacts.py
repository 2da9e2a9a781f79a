import errno
import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from leadpp.errors import ArtifactError
from leadpp.io import artifacts


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file grow over 4 KiB, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_json_round_trip_and_header(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    artifacts.write_json(path, {"x": [1, "é"]}, kind="thing")
    assert artifacts.read_json(path, kind="thing") == {"x": [1, "é"]}
    assert json.loads(path.read_text())["kind"] == "thing"
    assert [item.name for item in path.parent.iterdir()] == ["a.json"]


def test_table_and_tensor_round_trips_carry_metadata(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    artifacts.write_table(tmp_path / "t.parquet", table, kind="t", metadata={"root": "here"})
    read, metadata = artifacts.read_table(tmp_path / "t.parquet", kind="t")
    assert read.to_pydict() == table.to_pydict()
    assert metadata == {"root": "here"}
    shared = torch.arange(6.0).reshape(2, 3)
    artifacts.write_tensors(tmp_path / "t.safetensors", {"a": shared, "b": shared.T}, kind="t", metadata={"n": 1})
    tensors, metadata = artifacts.read_tensors(tmp_path / "t.safetensors", kind="t")
    assert torch.equal(tensors["b"], shared.T)
    assert metadata == {"n": 1}


@pytest.mark.parametrize("suffix", ["json", "parquet", "safetensors"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "folder", "kind", "schema"])
def test_damaged_files_are_one_clear_error(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"file.{suffix}"
    schema = 9 if damage == "schema" else 1
    kind = "other" if damage == "kind" else "thing"
    if suffix == "json":
        artifacts.write_json(path, {"a": 1}, kind=kind, schema=schema)
    elif suffix == "parquet":
        artifacts.write_table(path, pa.table({"a": list(range(1000))}), kind=kind, schema=schema)
    else:
        artifacts.write_tensors(path, {"a": torch.zeros(1000)}, kind=kind, schema=schema)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage in ("missing", "folder"):
        path.unlink()
    if damage == "folder":
        path.mkdir()
    readers = {"json": artifacts.read_json, "parquet": artifacts.read_table, "safetensors": artifacts.read_tensors}
    with pytest.raises(ArtifactError) as caught:
        readers[suffix](path, kind="thing")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_other_tools_are_refused(tmp_path: Path) -> None:
    import pyarrow.parquet as pq
    from safetensors.torch import save_file

    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    (tmp_path / "a.json").write_text("[1]")
    for read, name in (
        (artifacts.read_table, "a.parquet"),
        (artifacts.read_tensors, "a.safetensors"),
        (artifacts.read_json, "a.json"),
    ):
        with pytest.raises(ArtifactError, match="thing"):
            read(tmp_path / name, kind="thing")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with artifacts.replacing(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_what_the_killed_left_goes_and_what_the_living_write_stays(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = [
        f".a.csv.{ended.pid}.partial",
        f".b.csv.{os.getpid()}.partial",
        f".c.csv.{'9' * 30}.partial",
        ".d.0.partial",
    ]
    kept = [".f.csv.partial", "g.csv.1.partial"]
    for name in (*gone, *kept):
        (tmp_path / "names" / name).mkdir(parents=True)
    assert sorted(path.name for path in artifacts.remove_partials(tmp_path)) == sorted(gone)
    assert sorted(path.name for path in (tmp_path / "names").iterdir()) == sorted(kept)


def test_a_file_being_written_outlives_a_run_that_begins(tmp_path: Path) -> None:
    writing = (
        "import sys; from pathlib import Path; from leadpp.io.artifacts import replacing\n"
        "with replacing(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('whole'); print('begun', flush=True); sys.stdin.readline()"
    )
    path = tmp_path / "names" / "names.csv"
    words = [sys.executable, "-c", writing, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        assert artifacts.remove_partials(tmp_path) == []
        process.communicate("\n")
    assert (process.returncode, path.read_text()) == (0, "whole")


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "folder"

    def fill(text: str, *, failure: BaseException | None = None) -> None:
        with artifacts.replacing_folder(path) as partial:
            (partial / "deep").mkdir()
            (partial / "deep" / f"{text}.txt").write_text(text)
            if failure:
                raise failure

    for failure, seen in ((KeyboardInterrupt(), KeyboardInterrupt), (OSError(28, "full"), ArtifactError)):
        with pytest.raises(seen):
            fill("half", failure=failure)
        assert not list(tmp_path.iterdir())
    fill("first")
    fill("second")
    with pytest.raises(ArtifactError, match="the disk is full"):
        fill("third", failure=OSError(28, "full"))
    assert [item.name for item in path.rglob("*.txt")] == ["second.txt"]
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_cannot_be_moved_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old.txt").touch()
    rename = Path.rename

    def stubborn(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stubborn)
    with pytest.raises(ArtifactError, match="permission denied"), artifacts.replacing_folder(path):
        pass
    assert [item.relative_to(tmp_path).as_posix() for item in tmp_path.rglob("*")] == ["folder", "folder/old.txt"]


@pytest.mark.usefixtures("small_files")
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(ArtifactError, match="file-size limit"):
        artifacts.write_tensors(path, {"a": torch.randn(100_000)}, kind="thing")
    with pytest.raises(ArtifactError, match="cannot write"):
        artifacts.write_table(tmp_path / "a.parquet", pa.table({"a": torch.randn(100_000).numpy()}), kind="thing")
    with pytest.raises(ArtifactError, match="file-size limit"):
        artifacts.write_text(tmp_path / "a.txt", "x" * 100_000)
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_file_where_a_folder_is_meant(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="a file stands where a folder is meant"):
        artifacts.write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(ArtifactError, match="a file stands where a folder is meant"):
        artifacts.make_folder(tmp_path / "file")


def test_read_only_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(ArtifactError, match="read-only"):
        artifacts.write_text(tmp_path / "a.txt", "x")
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ArtifactError, match="read-only"):
        artifacts.write_text(tmp_path / "a.txt", "x")


def test_appending_completes_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    artifacts.append_line(path, "one")
    with path.open("a") as stream:
        stream.write("to")
    artifacts.append_line(path, "three")
    assert path.read_text() == "one\nto\nthree\n"
    with pytest.raises(ArtifactError, match="cannot write"):
        artifacts.append_line(tmp_path, "x")


def test_digest_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"same")
    (tmp_path / "b").write_bytes(b"same")
    (tmp_path / "c").write_bytes(b"other")
    assert artifacts.file_digest(tmp_path / "a") == artifacts.file_digest(tmp_path / "b")
    assert artifacts.file_digest(tmp_path / "a") != artifacts.file_digest(tmp_path / "c")
    with pytest.raises(ArtifactError, match="cannot read"):
        artifacts.file_digest(tmp_path / "none")


def test_written_files_can_be_read_by_others_of_the_group(tmp_path: Path) -> None:
    before = os.umask(0o022)
    artifacts.write_text(tmp_path / "a", "x")
    artifacts.write_tensors(tmp_path / "b", {"x": torch.zeros(1)}, kind="thing")
    os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"] == [0o644, 0o644]
