from pathlib import Path

import pytest
import torch

from leadpp.errors import ArtifactError, CheckpointError
from leadpp.io.artifacts import write_json
from leadpp.io.checkpoint import write_checkpoint
from leadpp.io.ledger import (
    Keeping,
    checkpoint_path,
    enter_checkpoint,
    keep_newest,
    newest_checkpoint,
    read_ledger,
    read_newest_whole,
)


def touch(folder: Path, *epochs: int) -> list[Path]:
    paths = [checkpoint_path(folder, epoch=epoch) for epoch in epochs]
    for path in paths:
        path.write_bytes(b"")
    return paths


@pytest.mark.parametrize(
    ("keep", "left"),
    [(1, [10_000]), (2, [9_999, 10_000]), (3, [20, 9_999, 10_000]), (9, [10, 20, 9_999, 10_000]), (0, None)],
)
def test_keeping_the_newest(tmp_path: Path, keep: int, left: list[int] | None) -> None:
    newest = touch(tmp_path, 10, 20, 9_999, 10_000)[-1]
    keep_newest(tmp_path, newest, keep=keep)
    expected = [checkpoint_path(tmp_path, epoch=epoch) for epoch in left or (10, 20, 9_999, 10_000)]
    assert sorted(tmp_path.glob("epoch-*")) == sorted(expected)
    assert newest_checkpoint(tmp_path) == newest


def test_later_checkpoints_of_an_earlier_training_go(tmp_path: Path) -> None:
    paths = touch(tmp_path, 2, 4, 50, 60)
    keep_newest(tmp_path, paths[1], keep=2)
    assert sorted(tmp_path.glob("epoch-*")) == paths[:2]


def test_where_there_is_no_newest(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nowhere") is None
    (path,) = touch(tmp_path, 3)
    keep_newest(tmp_path, path, keep=1)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"epoch-0003\.safetensors: no such file, though .*last\.json names it"):
        newest_checkpoint(tmp_path)
    write_json(tmp_path / "last.json", {}, kind="something else")
    with pytest.raises(CheckpointError, match="found 'something else'"):
        newest_checkpoint(tmp_path)


def test_a_checkpoint_that_cannot_be_deleted(tmp_path: Path) -> None:
    old, new = touch(tmp_path, 1, 2)
    old.unlink()
    old.mkdir()
    with pytest.raises(ArtifactError, match=r"epoch-0001\.safetensors: cannot delete an old checkpoint"):
        keep_newest(tmp_path, new, keep=1)


def test_a_pointer_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "stray.safetensors").write_bytes(b"")
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    write_json(folder / "last.json", {"file": "../stray.safetensors"}, kind="last-checkpoint")
    with pytest.raises(CheckpointError, match="no such file"):
        newest_checkpoint(folder)


def test_steps_lie_between_their_epochs(tmp_path: Path) -> None:
    places = [(1, None), (1, 15), (1, 100_000_000), (2, None)]
    paths = [checkpoint_path(tmp_path, epoch=epoch, step=step) for epoch, step in places]
    for path in paths:
        path.write_bytes(b"")
    keep_newest(tmp_path, paths[2], keep=2)  # the end of the second epoch is of an earlier, longer training
    assert set(tmp_path.glob("epoch-*")) == set(paths[1:3])


def test_an_older_folder_is_read_as_it_is(tmp_path: Path) -> None:
    """Without checksums the newest is taken, and what cannot be read gives way."""
    told: list[str] = []
    for epoch in (1, 2):
        write_checkpoint(checkpoint_path(tmp_path, epoch=epoch), {"a.b": torch.ones(1)}, {"epoch": epoch})
    write_json(tmp_path / "last.json", {"file": "epoch-0002.safetensors"}, kind="last-checkpoint")
    found = read_newest_whole(tmp_path, notify=told.append)
    assert found is not None
    assert (found.metadata["epoch"], told) == (2, [])
    checkpoint_path(tmp_path, epoch=2).write_bytes(b"torn")
    found = read_newest_whole(tmp_path, notify=told.append)
    assert found is not None
    assert found.metadata["epoch"] == 1
    assert len(told) == 1
    checkpoint_path(tmp_path, epoch=2).unlink()
    found = read_newest_whole(tmp_path, notify=told.append)
    assert found is not None
    assert found.metadata["epoch"] == 1
    assert "no such file" in told[1]
    assert read_newest_whole(tmp_path / "nowhere", notify=told.append) is None


def test_a_file_between_two_entries_is_not_taken_for_the_newest(tmp_path: Path) -> None:
    """The process died after it had written a checkpoint, and before the pointer named it."""
    for epoch in (1, 2):
        write_checkpoint(checkpoint_path(tmp_path, epoch=epoch), {"a.b": torch.ones(1)}, {"epoch": epoch})
        if epoch == 1:
            keep_newest(tmp_path, checkpoint_path(tmp_path, epoch=1), keep=1)
    found = read_newest_whole(tmp_path, notify=print)
    assert found is not None
    assert found.metadata["epoch"] == 1


def test_a_new_training_keeps_nothing_of_an_old_one(tmp_path: Path) -> None:
    (old,) = touch(tmp_path, 3)
    enter_checkpoint(old, Keeping(for_good=True, best={"value": 1.0}), folder=tmp_path)
    (new,) = touch(tmp_path, 2)
    enter_checkpoint(new, Keeping(newest=0, alone=True), folder=tmp_path)
    ledger = read_ledger(tmp_path)
    assert ledger is not None
    assert (set(ledger.known), ledger.best) == ({new.name}, None)
    assert not old.exists()
