"""The same views from any number of processes, others in any other place, and one clear line when a file is lost."""

import itertools
import os
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import get_worker_info

from leadpp.data import reading as reading_module
from leadpp.data import views as views_module
from leadpp.data.building import build_index
from leadpp.data.images import Decoded, decode_image, read_image
from leadpp.data.index import ImageRecord
from leadpp.data.photo import Photo
from leadpp.data.raw import RawData, RawRecord
from leadpp.data.reading import read_photograph
from leadpp.data.transforms import apply_augmentation, fixed_view
from leadpp.data.views import (
    Batch,
    EpochSampler,
    EvalSet,
    ProbeSet,
    SampleKey,
    ViewSet,
    eval_loader,
    finish_views,
    train_loader,
)
from leadpp.errors import DataError
from leadpp.functional.objective import VIEW_NAMES, ViewName

COUNT, WIDTH, HEIGHT, SIZE = 7, 60, 48, 24


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        noise = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def make_records(count: int = COUNT) -> list[ImageRecord]:
    return [
        ImageRecord(path=f"{n}.png", label=None, split="train", width_px=WIDTH, height_px=HEIGHT, checksum="")
        for n in range(count)
    ]


BOXES = torch.tensor([[n, 5, n + 30, 40] for n in range(COUNT)])


def make_views(root: Path, *, seed: int = 5, names: Sequence[ViewName] = VIEW_NAMES, count: int = COUNT) -> ViewSet:
    boxes = BOXES[:count]
    return ViewSet(make_records(count), root=root, size=SIZE, seed=seed, crop_boxes_xyxy=boxes, views=names)


def assert_equal(one: Iterable[Batch], other: Iterable[Batch]) -> None:
    for left, right in itertools.zip_longest(one, other):
        assert left.keys() == right.keys()
        for name in left:
            assert torch.equal(left[name], right[name]), name


def test_a_sample_has_four_views_and_its_index(root: Path) -> None:
    sample = make_views(root)[SampleKey(0, 3)]
    assert set(sample) == {*VIEW_NAMES, "index"}
    assert sample["index"].item() == 3
    for name in VIEW_NAMES:
        assert (sample[name].shape, sample[name].dtype) == ((3, SIZE, SIZE), torch.uint8)


def test_the_four_views_of_a_photograph_are_cut_from_one_decode(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counting(path: Path, *, scale: int, most_pixels: int, **others: int) -> Decoded:
        read.append(path)
        return decode_image(path, scale=scale, most_pixels=most_pixels, **others)

    monkeypatch.setattr(reading_module, "decode_image", counting)
    make_views(root)[SampleKey(0, 2)]
    assert read == [root / "2.png"]


def test_object_views_stay_in_the_crop_box_and_global_views_do_not(root: Path) -> None:
    views = make_views(root)
    limits: dict[ViewName, list[int]] = {"object_1": [4, 5, 34, 40], "global_2": [0, 0, WIDTH, HEIGHT]}
    for name, expected in limits.items():
        crops = np.array([views.draw(SampleKey(epoch, 4))[name].crop_xyxy for epoch in range(100)])
        assert [*crops[:, :2].min(axis=0), *crops[:, 2:].max(axis=0)] == expected, name


def test_what_was_drawn_is_what_is_shown(root: Path) -> None:
    views = make_views(root)
    key = SampleKey(1, 6)
    photo = Photo.of(decode_image(root / "6.png"))
    sample = views[key]
    for name, drawn in views.draw(key).items():
        assert torch.equal(sample[name], apply_augmentation(photo, drawn, size=SIZE))


def test_views_are_a_function_of_seed_epoch_sample_and_name(root: Path) -> None:
    first = make_views(root).draw(SampleKey(2, 3))
    again = make_views(root).draw(SampleKey(2, 3))
    assert first == again
    others = [
        make_views(root).draw(SampleKey(1, 3)),
        make_views(root).draw(SampleKey(2, 4)),
        make_views(root, seed=6).draw(SampleKey(2, 3)),
    ]
    for name in VIEW_NAMES:
        assert all(other[name] != first[name] for other in others)
    assert len(set(first.values())) == 4


def test_a_view_does_not_depend_on_which_others_are_wanted(root: Path) -> None:
    names: tuple[ViewName, ...] = ("global_2", "object_1")
    few, all_four = make_views(root, names=names)[SampleKey(0, 1)], make_views(root)[SampleKey(0, 1)]
    assert set(few) == {*names, "index"}
    assert all(torch.equal(few[name], all_four[name]) for name in names)


def test_without_boxes_object_views_see_the_whole_photograph(root: Path) -> None:
    bare = ViewSet(make_records(), root=root, size=SIZE, seed=5)
    crops = np.array([bare.draw(SampleKey(epoch, 0))["object_2"].crop_xyxy for epoch in range(100)])
    assert [*crops[:, :2].min(axis=0), *crops[:, 2:].max(axis=0)] == [0, 0, WIDTH, HEIGHT]


@pytest.mark.parametrize("box", [[3, 3, 3, 9], [0, 0, WIDTH + 1, 9], [-1, 0, 9, 9], [5, 9, 9, 8]])
def test_a_box_that_does_not_fit_its_photograph_is_refused(root: Path, box: list[int]) -> None:
    boxes = BOXES.clone()
    boxes[2] = torch.tensor(box)
    with pytest.raises(DataError, match=r"2\.png: the crop box .* is empty or leaves the photograph of 60 x 48"):
        EvalSet(make_records(), root=root, size=SIZE, fit="squeeze", crop_boxes_xyxy=boxes)


def test_a_photograph_that_changed_its_size_is_refused(root: Path) -> None:
    stale = ImageRecord(path="0.png", label=None, split="train", width_px=61, height_px=HEIGHT, checksum="")
    with pytest.raises(DataError, match=r"0\.png: 60 x 48 pixels, the index has 61 x 48"):
        read_photograph(stale, root=root)


def test_the_cut_of_a_record_is_made(root: Path) -> None:
    cut = ImageRecord(
        path="0.png", label=None, split="train", width_px=WIDTH, height_px=HEIGHT - 20, cut_bottom_px=20, checksum=""
    )
    assert read_photograph(cut, root=root).size == (WIDTH, HEIGHT - 20)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_the_same_byte_for_byte_with_any_number_of_processes(root: Path, workers: int) -> None:
    alone = train_loader(make_views(root), batch_size=3)
    shared = train_loader(make_views(root), batch_size=3, workers=workers)
    for epoch in (0, 1):
        assert_equal(alone.epoch(epoch), shared.epoch(epoch))


def test_epochs_differ_in_order_and_in_views(root: Path) -> None:
    loader = train_loader(make_views(root), batch_size=7)
    (first,), (second,) = loader.epoch(0), loader.epoch(1)
    assert sorted(first["index"].tolist()) == sorted(second["index"].tolist()) == list(range(7))
    assert first["index"].tolist() != second["index"].tolist()
    back = second["global_1"][second["index"].argsort()]
    assert not (first["global_1"][first["index"].argsort()] == back).flatten(1).all(dim=1).any()


def test_shares_put_together_are_the_batches(root: Path) -> None:
    whole = list(train_loader(make_views(root), batch_size=4).epoch(3, first=0))
    shares = [slice(0, 1), slice(1, 4)]
    loaders = [train_loader(make_views(root), batch_size=4, share=share) for share in shares]
    assert [loader.batches_per_epoch for loader in loaders] == [len(whole)] * 2
    parts = zip(*(loader.epoch(3) for loader in loaders), strict=True)
    assert_equal(({name: torch.cat([part[name] for part in some]) for name in some[0]} for some in parts), whole)


def test_an_epoch_can_be_left_at_any_batch(root: Path) -> None:
    loader = train_loader(make_views(root), batch_size=2, workers=1)
    whole = list(loader.epoch(4))
    assert len(whole) == loader.batches_per_epoch == 3
    next(iter(loader.epoch(1)))
    assert_equal(loader.epoch(4), whole)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_can_be_begun_at_any_batch_without_reading_those_before(root: Path, workers: int) -> None:
    views = make_views(root)
    whole = list(train_loader(views, batch_size=2).epoch(4))
    for place in whole[0]["index"].tolist():  # photographs of the first batch are gone
        views.records = tuple(
            replace(record, path="gone.png") if number == place else record
            for number, record in enumerate(views.records)
        )
    loader = train_loader(views, batch_size=2, workers=workers)
    assert_equal(loader.epoch(4, first=1), whole[1:])
    assert_equal(loader.epoch(4, first=2), whole[2:])
    assert list(loader.epoch(4, first=3)) == []
    with pytest.raises(DataError, match=r"gone\.png"):
        list(loader.epoch(4))


def test_loading_leaves_the_global_generator_alone(root: Path) -> None:
    before = torch.get_rng_state()
    list(train_loader(make_views(root, count=2), batch_size=2, workers=1).epoch(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("count", "batch_size", "batches"), [(10, 3, 3), (9, 3, 3), (4, 4, 1)])
def test_an_order_is_a_permutation_without_the_short_rest(count: int, batch_size: int, batches: int) -> None:
    sampler = EpochSampler(count, batch_size=batch_size, seed=1)
    sampler.start(5)
    keys = list(sampler)
    flat = [key.index for batch in keys for key in batch]
    assert [len(batch) for batch in keys] == [batch_size] * batches
    assert len(sampler) == batches
    assert len(set(flat)) == len(flat)
    assert set(flat) <= set(range(count))
    assert {key.epoch for batch in keys for key in batch} == {5}


def test_every_photograph_stands_in_the_dropped_rest_at_some_time() -> None:
    sampler = EpochSampler(5, batch_size=4, seed=0)
    dropped = set()
    for epoch in range(60):
        sampler.start(epoch)
        dropped |= set(range(5)) - {key.index for batch in sampler for key in batch}
    assert dropped == set(range(5))


def test_an_order_depends_on_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[list[SampleKey]]:
        sampler = EpochSampler(40, batch_size=5, seed=seed)
        sampler.start(epoch)
        assert len(sampler) == 8
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert [[key.index for key in batch] for batch in order(1, 3)] != [[k.index for k in b] for b in order(1, 2)]
    assert order(2, 2) != order(1, 2)


def test_fewer_photographs_than_a_batch_are_an_error_that_says_so(root: Path) -> None:
    with pytest.raises(DataError, match=r"at least one batch of 8 photographs, found 7; lower train\.batch_size"):
        train_loader(make_views(root), batch_size=8)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_photograph_lost_after_indexing_is_named_in_one_line(root: Path, workers: int) -> None:
    records = make_records()
    records[3] = ImageRecord(path="gone.png", label=None, split="train", width_px=9, height_px=9, checksum="")
    views = ViewSet(records, root=root, size=SIZE, seed=0)
    with pytest.raises(DataError, match=r"gone\.png") as caught:
        list(train_loader(views, batch_size=3, workers=workers).epoch(0))
    assert "\n" not in str(caught.value)


class _Deadly:
    """Ends the process that reads it."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: object, /) -> Batch:
        assert get_worker_info() is not None
        os.kill(os.getpid(), signal.SIGKILL)
        return {}


def test_a_reading_process_that_dies_is_told_in_one_line() -> None:
    with pytest.raises(DataError, match=r"a process that reads photographs died .* input\.workers") as caught:
        list(eval_loader(_Deadly(), batch_size=1, workers=1))
    assert "\n" not in str(caught.value)


class _Faulty:
    """Has a mistake of ours in it."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: object, /) -> Batch:
        raise RuntimeError("shapes differ")


def test_our_own_mistakes_are_not_dressed_up() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(eval_loader(_Faulty(), batch_size=1))


@pytest.mark.parametrize("fit", ["center-crop", "squeeze"])
def test_evaluation_shows_each_photograph_once_in_order(root: Path, fit: str) -> None:
    samples = EvalSet(make_records(), root=root, size=SIZE, fit="squeeze" if fit == "squeeze" else "center-crop")
    batches = list(eval_loader(samples, batch_size=3, workers=1))
    assert [batch["index"].tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    images = torch.cat([batch["image"] for batch in batches])
    for number in range(COUNT):
        photo = Photo.of(decode_image(root / f"{number}.png"))
        expected = fixed_view(photo, (0, 0, WIDTH, HEIGHT), size=SIZE, fit=samples.fit)
        assert torch.equal(images[number], expected)


def test_evaluation_of_crops_equals_evaluation_of_cut_photographs(root: Path, tmp_path: Path) -> None:
    records = []
    for number, box in enumerate(BOXES.tolist()):
        read_image(root / f"{number}.png").crop(tuple(box)).save(tmp_path / f"{number}.png")
        records.append(
            ImageRecord(path=f"{number}.png", label=None, split="test", width_px=30, height_px=35, checksum="")
        )
    crops = EvalSet(make_records(), root=root, size=SIZE, fit="center-crop", crop_boxes_xyxy=BOXES)
    files = EvalSet(records, root=tmp_path, size=SIZE, fit="center-crop")
    assert len(crops) == COUNT
    assert_equal((crops[n] for n in range(COUNT)), (files[n] for n in range(COUNT)))


def test_probe_views_are_a_function_of_seed_view_and_photograph(root: Path) -> None:
    def images(*, seed: int = 0, view: int = 0) -> torch.Tensor:
        samples = ProbeSet(make_records(), root=root, size=SIZE, seed=seed, view=view, crop_boxes_xyxy=BOXES)
        assert len(samples) == COUNT
        (batch,) = eval_loader(samples, batch_size=COUNT)
        assert batch["index"].tolist() == list(range(COUNT))
        return batch["image"]

    first = images()
    assert torch.equal(images(), first)
    for other in (images(view=1), images(seed=1)):
        assert not (other == first).flatten(1).all(dim=1).any()


def test_probe_views_differ_from_training_views_of_the_same_numbers(root: Path) -> None:
    probe = ProbeSet(make_records(), root=root, size=SIZE, seed=5, view=0)[0]["image"]
    sample = ViewSet(make_records(), root=root, size=SIZE, seed=5)[SampleKey(0, 0)]
    assert all(not torch.equal(probe, sample[name]) for name in VIEW_NAMES)


def test_ctrl_c_waits_until_the_reading_processes_stand() -> None:
    reached: list[str] = []

    def start() -> None:
        with views_module._interrupts_held():
            signal.raise_signal(signal.SIGINT)
            reached.append("end of the start")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert reached == ["end of the start"]
    elsewhere = threading.Thread(target=start_quietly, args=(reached,))
    elsewhere.start()
    elsewhere.join()
    assert reached[-1] == "started in another thread"


def start_quietly(reached: list[str]) -> None:
    with views_module._interrupts_held():
        reached.append("started in another thread")


def test_views_finished_on_the_device_are_those_of_the_reader(root: Path) -> None:
    boxes = BOXES
    here = ViewSet(make_records(), root=root, size=SIZE, seed=5, crop_boxes_xyxy=boxes)
    there = ViewSet(make_records(), root=root, size=SIZE, seed=5, crop_boxes_xyxy=boxes, finished=False)
    for workers in (0, 1):
        (expected,) = train_loader(here, batch_size=7).epoch(3)
        (unfinished,) = train_loader(there, batch_size=7, workers=workers).epoch(3)
        assert not torch.equal(unfinished["global_1"], expected["global_1"])
        found = finish_views(unfinished, VIEW_NAMES, torch.device("cpu"))
        for name in VIEW_NAMES:
            distance = (found[name].int() - expected[name].int()).abs()
            # The blur beside the decoder has weights of 8 bits; without blur both are the same byte for byte.
            assert distance.max() <= 4, name
            assert distance.float().mean() < 0.3, name
            sharp = [here.draw(SampleKey(3, place))[name].blur_sigma_px == 0 for place in expected["index"].tolist()]
            assert any(sharp)
            assert distance[torch.tensor(sharp)].max() == 0, name


def test_some_views_are_finished_alone_and_finished_ones_pass(root: Path) -> None:
    names: tuple[ViewName, ...] = ("object_2", "global_1")
    some = ViewSet(make_records(), root=root, size=SIZE, seed=5, views=names, finished=False)
    every = ViewSet(make_records(), root=root, size=SIZE, seed=5, finished=False)
    (few,), (all_four,) = (list(train_loader(one, batch_size=7).epoch(0)) for one in (some, every))
    cpu = torch.device("cpu")
    assert few["changes"].shape == (7, 2, 11)
    alone, among = finish_views(few, ["global_1"], cpu), finish_views(all_four, ["global_1", "object_2"], cpu)
    assert list(alone) == ["global_1"]
    assert torch.equal(alone["global_1"], among["global_1"])
    assert torch.equal(finish_views(few, ["object_2"], cpu)["object_2"], among["object_2"])
    finished: Batch = dict(among.items())
    assert finish_views(finished, ["object_2"], cpu)["object_2"] is among["object_2"]


def test_a_reading_process_is_silent_about_a_parent_that_left(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: told.append(str(error)))
    before = signal.getsignal(signal.SIGINT)
    try:
        views_module._leave_interrupts_alone(0)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    for error in (ConnectionResetError("reset"), ValueError("a mistake")):
        sys.excepthook(type(error), error, None)
    assert told == ["a mistake"]


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_photograph_that_is_too_large_is_decoded_at_half_and_means_the_same(tmp_path: Path, orientation: int) -> None:
    """Odd sides and turned ones, so that the corner of the photograph lies between pixels of what is decoded."""
    columns, rows = np.meshgrid(np.linspace(0, 6, 301), np.linspace(0, 4, 201))
    pixels = np.stack([128 + 100 * np.sin(columns), 128 + 100 * np.cos(rows), 40 * columns], axis=2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "1.jpg", quality=98, exif=exif)
    raw = RawData(
        source="folder", root=tmp_path, classes=(), split_origin="none",
        records=(RawRecord(path="1.jpg", label=None, split="train"),),
    )  # fmt: skip
    (large,) = build_index(raw, seed=0, most_pixels=301 * 201 - 1).records
    (usual,) = build_index(raw, seed=0).records
    assert (large.least_scale, usual.least_scale) == (2, 1)
    halves, whole = (np.asarray(read_photograph(one, root=tmp_path)).astype(int) for one in (large, usual))
    assert halves.shape == whole.shape
    assert np.abs(halves - whole).max() <= 8
    boxes = torch.tensor([[20, 30, 141, 121]])
    one, other = (
        ViewSet([record], root=tmp_path, size=100, seed=1, crop_boxes_xyxy=boxes)[SampleKey(0, 0)]
        for record in (large, usual)
    )
    assert one["object_1"].shape == other["object_1"].shape == (3, 100, 100)
    assert ViewSet([large], root=tmp_path, size=100, seed=1).lasting_scales() == [2]
    views = [
        EvalSet([record], root=tmp_path, size=64, fit="center-crop", crop_boxes_xyxy=boxes)[0]
        for record in (large, usual)
    ]
    assert (views[0]["image"].int() - views[1]["image"].int()).abs().max() <= 8


def test_a_photograph_that_became_a_bomb_since_is_not_decoded(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "0.png")
    record = ImageRecord(path="0.png", label=None, split="train", width_px=9, height_px=9, checksum="")
    Image.new("RGB", (3000, 3000)).save(tmp_path / "0.png")
    with pytest.raises(DataError, match=r"0.png: .*more than .* megapixels"):
        read_photograph(record, root=tmp_path)
