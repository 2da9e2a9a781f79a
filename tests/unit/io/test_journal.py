import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from leadpp.errors import ArtifactError
from leadpp.io.journal import Journal, read_journal


def test_records_come_back_in_their_order_and_go_on(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    with Journal(path) as journal:
        journal.append({"name": "Grünfink", "text": "line\u2028\nbreak"})
        journal.extend([{"n": 1}, {"n": 2}])
    with Journal(path) as journal:
        journal.append({"n": 3})
        assert journal.records == read_journal(path)
    lines = path.read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == read_journal(path)
    assert read_journal(path) == [{"name": "Grünfink", "text": "line\u2028\nbreak"}, {"n": 1}, {"n": 2}, {"n": 3}]
    assert lines[-1] == ""


def test_any_torn_end_is_dropped_and_the_next_record_begins_a_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with Journal(path) as journal:
        journal.extend([{"n": 1}, {"text": "a wing"}])
    whole = path.read_bytes()
    first = len(b'{"n": 1}\n')
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        kept = [{"n": 1}] if length >= first else []
        assert read_journal(path) == kept
        assert path.stat().st_size == length
        with Journal(path) as journal:
            assert journal.records == kept
            journal.append({"n": 9})
        assert read_journal(path) == [*kept, {"n": 9}]


@pytest.mark.parametrize("line", ["{]", "7", "[1]", "", '{"a": "\udcff"}'])
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n' + line.encode(errors="surrogateescape") + b'\n{"n": 2}\n')
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match="line 2: damaged"):
        Journal(path)
    with pytest.raises(ArtifactError, match="line 2: damaged"):
        read_journal(path)
    assert path.read_bytes() == before


def test_one_process_at_a_time_and_nothing_empty_is_left(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    code = f"from pathlib import Path; from leadpp.io.journal import Journal; Journal(Path({str(path)!r}))"
    with Journal(path):
        with pytest.raises(ArtifactError, match="another leadpp is at work on it"):
            Journal(path)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "another leadpp is at work on it" in done.stderr
    assert not path.exists()
    with Journal(path) as journal:
        journal.append({"n": 1})
        journal.clear()
        assert journal.records == []
    assert not path.exists()


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file of this process grow beyond 100 bytes."""
    import signal

    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
def test_a_disk_that_is_full_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with Journal(path) as journal:
        journal.append({"text": "x" * 60})
        with pytest.raises(ArtifactError, match=r"disk is full|file-size limit"):
            journal.append({"text": "y" * 60})
        journal.append({"n": 1})
        assert journal.records == [{"text": "x" * 60}, {"n": 1}] == read_journal(path)


def test_a_record_is_on_disk_when_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "rows.jsonl", list[int]()
    real = os.fsync

    def fsync(number: int) -> None:
        synced.append(os.fstat(number).st_size)
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    with Journal(path) as journal:
        journal.append({"n": 1})
        assert synced == [path.stat().st_size]


def test_a_signal_right_after_a_record_does_not_lose_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(number: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "rows.jsonl"
    with Journal(path) as journal, monkeypatch.context() as patch:
        patch.setattr(os, "fsync", stop)
        with pytest.raises(KeyboardInterrupt):
            journal.append({"n": 1})
    with Journal(path) as journal:
        journal.append({"n": 2})
    assert read_journal(path) == [{"n": 1}, {"n": 2}]


def test_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="folder stands where a file is meant"):
        Journal(tmp_path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_journal(tmp_path)
    assert read_journal(tmp_path / "none.jsonl") == []
