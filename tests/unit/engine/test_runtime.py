import pytest
import torch

from leadpp.engine.runtime import SilentProgress, pick_device, worker_count
from leadpp.errors import ConfigError


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match="must be auto"):
        pick_device("toaster")
    with pytest.raises(ConfigError, match="no such device"):
        pick_device("cuda:99")


def test_workers() -> None:
    assert worker_count(3) == 3
    assert worker_count(-1) >= 0


def test_silent_progress_keeps_notes_and_yields_everything() -> None:
    progress = SilentProgress()
    assert list(progress.track([1, 2], total=2, what="x")) == [1, 2]
    progress.note("hello")
    assert progress.notes == ["hello"]
