import pytest
import torch

from leadpp.distributed.cards import own_card
from leadpp.engine.runtime import pick_device
from leadpp.errors import ConfigError


@pytest.mark.parametrize(
    ("cards", "shown", "rank", "processes", "own"),
    [
        (4, "", 2, 4, 2),
        (4, "0,1,2,3", 3, 4, 3),
        (1, "3", 2, 4, 0),  # srun --gpus-per-task=1
        (1, "GPU-5d2f", 1, 2, 0),
        (1, "", 1, 2, None),
        (2, "0,1", 0, 4, None),
        (0, "", 0, 2, None),
        (1, "", 0, 1, 0),
    ],
)
def test_own_card(  # noqa: PLR0917
    monkeypatch: pytest.MonkeyPatch, cards: int, shown: str, rank: int, processes: int, own: int | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert own_card(rank, processes=processes) == own
    if cards == 0:
        return
    if own is None:
        with pytest.raises(ConfigError, match=f"{processes} processes here, each in need of a GPU"):
            pick_device("auto", processes=processes)
    else:
        assert pick_device("auto", processes=processes) == torch.device("cuda")
