from pathlib import Path

import pytest
import torch
from PIL import Image

from leadpp.data.index import ImageRecord
from leadpp.data.replay import ReplayedSet
from leadpp.data.views import SampleKey, ViewSet
from leadpp.functional.randomness import generator_for


@pytest.fixture
def records(tmp_path: Path) -> list[ImageRecord]:
    found = []
    for number in range(3):
        noise = torch.randint(0, 256, (30, 30, 3), generator=generator_for(1, "photo", number), dtype=torch.uint8)
        Image.fromarray(noise.numpy()).save(tmp_path / f"{number}.png")
        found.append(
            ImageRecord(
                path=f"{number}.png",
                label=None,
                split="train",
                width_px=30,
                height_px=30,
                true_box_xyxy=None,
                checksum="",
            )
        )
    return found


def test_draws_of_the_replayed_view_begin_again_and_those_of_others_do_not(
    records: list[ImageRecord], tmp_path: Path
) -> None:
    free = ViewSet(records, root=tmp_path, size=16, seed=5)
    for draws in (1, 3):
        replayed = ViewSet(records, root=tmp_path, size=16, seed=5, replayed={"object_1": draws})
        for epoch in range(7):
            ours, plain = replayed.draw(SampleKey(epoch, 1)), free.draw(SampleKey(epoch, 1))
            assert ours["object_1"] == free.draw(SampleKey(epoch % draws, 1))["object_1"]
            assert [ours[name] == plain[name] for name in ("global_1", "global_2", "object_2")] == [True] * 3
        crops = {replayed.draw(SampleKey(epoch, 1))["object_1"].crop_xyxy for epoch in range(7)}
        assert len(crops) == draws


@pytest.mark.parametrize("finished", [True, False])
def test_the_set_shows_what_training_will_show(records: list[ImageRecord], tmp_path: Path, finished: bool) -> None:
    samples = ViewSet(records, root=tmp_path, size=16, seed=5, replayed={"object_1": 2}, finished=finished)
    asked = ReplayedSet(samples.only("object_1"), view="object_1", draws=2)
    training = ViewSet(records, root=tmp_path, size=16, seed=5)
    assert len(asked) == 6
    for number in range(6):
        epoch, index = divmod(number, 3)
        sample = asked[number]
        assert torch.equal(sample["image"], training[SampleKey(epoch, index)]["object_1"])
        assert int(sample["index"]) == index
    assert samples.views != ("object_1",)
