import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from leadpp.engine.plan import LoopPlan
from leadpp.engine.saving import CheckpointWriter, Rhythm
from leadpp.errors import ArtifactError
from leadpp.io.artifacts import read_tensors
from leadpp.io.ledger import Keeping, newest_checkpoint


def saved(path: Path) -> Mapping[str, Tensor]:
    return read_tensors(path, kind="checkpoint")[0]


def test_what_is_written_is_what_was_there_when_it_was_asked_for(tmp_path: Path) -> None:
    """The thread is held up until the training has moved on."""
    moved_on = threading.Event()
    weight, first = torch.ones(2, 3), torch.zeros(2)

    def finish(copies: dict[str, Tensor]) -> dict[str, Tensor]:
        assert moved_on.wait(30)
        return {"result.w": copies["student.w"] + 1}

    writer = CheckpointWriter(tmp_path, fixed=("first.",))
    for number in (1, 2):
        moved_on.clear()
        path = tmp_path / f"epoch-000{number}.safetensors"
        writer.save(path, {"student.w": weight, "first.w": first}, {"n": number}, keeping=Keeping(), finish=finish)
        assert writer.busy
        assert newest_checkpoint(tmp_path) == (None if number == 1 else tmp_path / "epoch-0001.safetensors")
        weight += 1
        moved_on.set()
        writer.settle()
        assert not writer.busy
        assert saved(path)["student.w"].tolist() == [[number] * 3] * 2
        assert saved(path)["result.w"].tolist() == [[number + 1] * 3] * 2
    assert writer.count == 2
    writer.close()


def test_errors_of_the_thread_are_told_once_it_is_done(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("in the way", encoding="utf-8")
    writer = CheckpointWriter(tmp_path / "folder")
    writer.check()
    writer.save(tmp_path / "folder/epoch-0001.safetensors", {"a.b": torch.ones(1)}, {}, keeping=Keeping())
    while writer.busy:
        threading.Event().wait(0.01)
    with pytest.raises(ArtifactError, match="a file stands where a folder is meant"):
        writer.check()
    writer.check()  # and not again
    writer.close()


def test_the_end_of_a_process_waits_for_what_is_written(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path)
    path = tmp_path / "epoch-0001.safetensors"
    writer.save(path, {"a.b": torch.ones(500, 500)}, {}, keeping=Keeping())
    writer.close()
    assert saved(path)["a.b"].sum() == 250_000


@pytest.mark.parametrize(
    ("every", "unit", "expected"),
    [
        (2, "epochs", [6, 12]),
        (1, "epochs", [3, 6, 9, 12]),
        (4, "steps", [4, 8, 12]),
        (0.25, "minutes", [2, 4, 6, 8, 10, 12]),
    ],
)
def test_rhythms(every: float, unit: str, expected: list[int]) -> None:
    """Three steps an epoch, ten seconds a step."""
    now = 0.0
    plan = LoopPlan(epochs=4, batch_size=1, checkpoint_every=every, checkpoint_unit=unit)  # type: ignore[arg-type]
    rhythm = Rhythm(plan, clock=lambda: now)
    found = []
    for step in range(1, 13):
        now += 10
        if rhythm.due(step=step, epoch=step // 3, epoch_ends=step % 3 == 0):
            found.append(step)
            rhythm.saved()
    assert found == expected


def test_what_is_due_stays_due_until_it_is_saved() -> None:
    rhythm = Rhythm(LoopPlan(epochs=1, batch_size=1, checkpoint_every=2, checkpoint_unit="steps"))
    assert [rhythm.due(step=step, epoch=0, epoch_ends=False) for step in (1, 2, 3)] == [False, True, True]
    rhythm.saved()
    assert not rhythm.due(step=5, epoch=0, epoch_ends=False)
