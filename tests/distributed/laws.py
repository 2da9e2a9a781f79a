"""What holds in each of several processes that encode, fit and collect together; an assertion that fails ends it."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from leadpp.data.views import Batch
from leadpp.distributed import ranks as module
from leadpp.distributed.launch import read_launch
from leadpp.distributed.meeting import together
from leadpp.distributed.ranks import Ranks
from leadpp.engine.encoders import Asked, Encoder, ask, ask_no_more, asked, encode_photographs
from leadpp.engine.locating import FoundBoxes, collect_boxes
from leadpp.engine.runtime import SilentProgress
from leadpp.models.localizer import Localizer, LocalizerSettings
from tests.unit.models.colour import colour_backbone

COUNTS = (1, 2, 3, 5, 13)
"""Photographs: fewer than processes, as many, and more."""


class Numbered:
    """Pictures whose pixels say which they are."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> Batch:
        return {"image": torch.full((3, 2, 2), 10 + place, dtype=torch.uint8), "index": torch.tensor(place)}


def encoder(name: str = "student") -> Encoder:
    def encode(images: Tensor) -> dict[str, Tensor]:
        values = images.float().mean(dim=(1, 2, 3))
        return {"gap": torch.stack([values, -values, values**2], dim=1), "embedding": values[:, None]}

    return Encoder(name=name, title=name, encode=encode, measured=("gap",), facts={"checkpoint": f"{name}.pt"})


def encoded(ranks: Ranks, count: int, *, batch_size: int) -> dict[str, Tensor]:
    return encode_photographs(
        encoder(),
        Numbered(count),
        batch_size=batch_size,
        workers=ranks.rank if count == max(COUNTS) else 0,  # each process has as many readers as it likes
        device=torch.device("cpu"),
        progress=SilentProgress(),
        what="",
        ranks=ranks,
    )


def features_come_to_the_first_in_order(ranks: Ranks) -> None:
    for count in COUNTS:
        for batch_size in (1, 2, 5):
            found = encoded(ranks, count, batch_size=batch_size)
            share = ranks.share_of_batches(count, batch_size=batch_size)
            places = range(count) if ranks.leads else range(count)[share]
            assert set(found) == ({"gap", "embedding"} if len(places) else set())
            for name, values in found.items():
                expected = encoder().encode(10 + torch.tensor(places)[:, None, None, None])[name]
                assert torch.equal(values, expected), (count, batch_size, name)


def what_is_asked_for_is_encoded(ranks: Ranks) -> None:
    looks: list[tuple[str, dict[str, object]]] = [("student", {"view": 1}), ("student", {"view": None}), ("last", {})]
    if ranks.leads:
        for name, look in looks:
            ask(ranks, encoder(name), look)
        ask_no_more(ranks)
        return
    made: list[str] = []

    def makers(names: Sequence[str]) -> Iterator[Encoder]:
        for name in names:
            made.append(name)
            yield encoder(name)

    found: list[Asked] = [*asked(ranks, makers(["student", "frozen", "last"]))]
    assert [(each.encoder.name, each.look) for each in found] == looks
    assert made == ["student", "frozen", "last"]


def one_localizer_is_fitted_on_what_all_see(ranks: Ranks) -> None:
    generator = torch.Generator().manual_seed(3)
    pictures = torch.randint(0, 256, (max(COUNTS), 3, 48, 48), generator=generator, dtype=torch.uint8)
    for count in COUNTS:
        settings = LocalizerSettings(size=48, stages=2, zero_rows=True)
        share = ranks.share_of_batches(count, batch_size=2)
        mine = torch.split(pictures[share], 2) if share.stop > share.start else ()
        found = Localizer(colour_backbone(), settings).fit(mine, ranks=ranks)
        expected = Localizer(colour_backbone(), settings).fit(torch.split(pictures[:count], 2))
        assert found.images_ == count
        for one, other in zip(found.directions_, expected.directions_, strict=True):
            for name in ("mean", "vector"):
                torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=1e-10)
            numbers = [[each.spread, each.explained_frac, *each.margins.values()] for each in (one, other)]
            torch.testing.assert_close(*map(torch.tensor, numbers), rtol=0, atol=1e-7)


def boxes_come_to_the_first_in_order(ranks: Ranks) -> None:
    places = [*range(10)][ranks.rank :: ranks.count] if ranks.rank != 1 else []
    sides = torch.arange(4 * len(places)).view(-1, 4) + 100 * ranks.rank
    found = collect_boxes(
        FoundBoxes(
            object_xyxy=sides,
            crop_xyxy=sides + 1,
            score=tuple(-place / 7 for place in places),
            area_frac=tuple(place / 10 for place in places),
            fallback=tuple(place % 2 == 0 for place in places),
        ),
        places,
        ranks=ranks,
    )
    expected = [place for place in range(10) if place % ranks.count != 1] if ranks.leads else places
    assert found.score == tuple(-place / 7 for place in expected)
    assert found.fallback == tuple(place % 2 == 0 for place in expected)
    assert found.object_xyxy.tolist() == [
        [100 * (place % ranks.count) + 4 * (place // ranks.count) + side for side in range(4)] for place in expected
    ]
    assert torch.equal(found.crop_xyxy, found.object_xyxy + 1)


if __name__ == "__main__":
    with together(read_launch()) as us:
        for block_bytes in (1 << 26, 1):  # one message, and one a row
            module._BLOCK_BYTES = block_bytes
            features_come_to_the_first_in_order(us)
            boxes_come_to_the_first_in_order(us)
        what_is_asked_for_is_encoded(us)
        one_localizer_is_fitted_on_what_all_see(us)
