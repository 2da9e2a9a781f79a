import pytest
import torch

from leadpp.engine.runtime import SilentProgress, pick_device, pick_precision, worker_count
from leadpp.errors import ConfigError


def test_devices() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match="must be auto"):
        pick_device("toaster")
    with pytest.raises(ConfigError, match="no such device"):
        pick_device("cuda:99")


@pytest.mark.parametrize("has_tiles", [True, False])
def test_automatic_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch, has_tiles: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_tiles)
    assert pick_precision("auto", torch.device("cpu")) == ("bf16" if has_tiles else "fp32")
    assert pick_precision("auto", torch.device("mps")) == "fp32"
    assert pick_precision("fp16", torch.device("cpu")) == "fp16"


def test_automatic_precision_without_news_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    assert pick_precision("auto", torch.device("cpu")) == "fp32"


@pytest.mark.parametrize("has_units", [True, False])
def test_automatic_precision_follows_the_gpu(monkeypatch: pytest.MonkeyPatch, has_units: bool) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: has_units and not including_emulation
    )
    assert pick_precision("auto", torch.device("cuda")) == ("bf16" if has_units else "fp32")


def test_workers() -> None:
    assert worker_count(3) == 3
    assert worker_count(-1) >= 0


def test_silent_progress_keeps_notes_and_yields_everything() -> None:
    progress = SilentProgress()
    assert list(progress.track([1, 2], total=2, what="x")) == [1, 2]
    progress.note("hello")
    assert progress.notes == ["hello"]
