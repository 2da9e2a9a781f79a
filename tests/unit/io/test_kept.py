import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from torch import Tensor

from leadpp.functional.randomness import generator_for
from leadpp.io import kept
from leadpp.io.kept import KeptMaps

Usage = namedtuple("Usage", "total used free")


def batches() -> list[list[Tensor]]:
    """Two stages of 5 photographs in batches of 2, 2 and 1; one map is as large as half precision cannot hold."""
    generator = generator_for(1, "maps")
    stages = [torch.randn(5, 3, 6, 4, generator=generator), torch.randn(5, 7, 3, 2, generator=generator)]
    stages[1][2] *= 1e6
    return [[stage[first : first + 2] for stage in stages] for first in (0, 2, 4)]


@pytest.mark.parametrize("in_memory", [True, False])
def test_batches_come_back_in_order_rounded_to_half_precision(
    tmp_path: Path, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_IN_MEMORY_BYTES", 1 << 20 if in_memory else 100)
    with KeptMaps(tmp_path, images=5, most_bytes=1e6) as maps:
        for batch in batches():
            maps.append(batch)
        assert (maps.images, maps.refusal) == (5, "")
        assert list(tmp_path.iterdir()) == []  # a kill leaves nothing behind
        for _ in range(2):
            again = list(maps.batches())
            assert [[each.shape for each in batch] for batch in again] == [[e.shape for e in b] for b in batches()]
            for first, second in zip(again, batches(), strict=True):
                for actual, expected in zip(first, second, strict=True):
                    largest = expected.abs().amax(dim=(1, 2, 3), keepdim=True)
                    assert bool(((actual - expected).abs() <= largest * 2**-11).all())


def test_values_that_half_precision_holds_are_plainly_rounded(tmp_path: Path) -> None:
    values = torch.randn(2, 3, 4, 4, generator=generator_for(2, "maps")) * 100
    with KeptMaps(tmp_path, images=2, most_bytes=1e6) as maps:
        maps.append([values])
        ((again,),) = maps.batches()
    torch.testing.assert_close(again, values.half().float(), rtol=0, atol=0)


def test_no_more_than_allowed_is_kept_and_the_first_batch_tells(tmp_path: Path) -> None:
    photograph = 2 * (3 * 6 * 4 + 7 * 3 * 2)
    with KeptMaps(tmp_path, images=5, most_bytes=5 * photograph - 1) as maps:
        for batch in batches():
            maps.append(batch)
        assert maps.images == 0
        assert "they take 0.0 MB" in maps.refusal
        assert list(maps.batches()) == []
    with KeptMaps(tmp_path, images=5, most_bytes=5 * photograph) as maps:
        maps.append(batches()[0])
        assert maps.images == 2


def test_a_full_disk_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 0, 1000))
    with KeptMaps(tmp_path, images=5, most_bytes=1e6) as maps:
        maps.append(batches()[0])
        assert "are free in" in maps.refusal
        assert str(tmp_path) in maps.refusal


def test_a_disk_that_refuses_later_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: KeptMaps, maps: list[Tensor]) -> None:
        raise OSError(28, "No space left on device")

    with KeptMaps(tmp_path, images=5, most_bytes=1e6) as maps:
        maps.append(batches()[0])
        monkeypatch.setattr(KeptMaps, "_write", refuse)
        maps.append(batches()[1])
        monkeypatch.undo()
        maps.append(batches()[2])
        assert maps.images == 0
        assert "No space left" in maps.refusal
        assert list(maps.batches()) == []
