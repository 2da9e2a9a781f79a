"""The same views with and without the cache, in every kind of process, within its bound, and nothing left behind."""

import gc
import multiprocessing
import os
import shutil
import tempfile
import threading
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from leadpp.data import cache as cache_module
from leadpp.data import reading
from leadpp.data import views as views_module
from leadpp.data.cache import CacheKind, PhotoCache
from leadpp.data.index import ImageRecord
from leadpp.data.photo import Photo
from leadpp.data.transforms import TRAIN_RECIPE, draw_augmentation, least_crop_side
from leadpp.data.views import Batch, SampleKey, ViewSet, train_loader
from leadpp.errors import DataError

COUNT, WIDTH, HEIGHT = 6, 83, 61
BYTES = WIDTH * HEIGHT * 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        noise = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=95)
    return folder


def make_views(root: Path, *, size: int = 60, cut: int = 0) -> ViewSet:
    records = [
        ImageRecord(
            path=f"{n}.jpg",
            label=None,
            split="train",
            width_px=WIDTH,
            height_px=HEIGHT - cut,
            cut_bottom_px=cut,
            checksum="",
        )
        for n in range(COUNT)
    ]
    return ViewSet(records, root=root, size=size, seed=5)


def make_cache(views: ViewSet, folder: Path, *, kind: CacheKind = "ram", photographs: float = COUNT) -> PhotoCache:
    limit = photographs * BYTES / 1e9
    return PhotoCache(views.records, views.lasting_scales(), kind=kind, folder=folder, limit_gb=limit)


def assert_near(one: Batch, other: Batch, *, levels: float) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert (one[name].float() - other[name].float()).abs().mean() <= levels, name


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_views_are_bit_for_bit_those_without_a_cache(root: Path, tmp_path: Path, kind: CacheKind) -> None:
    plain, cached = make_views(root), make_views(root)
    cached.keep(make_cache(cached, tmp_path, kind=kind))
    for epoch in range(2):  # the first one fills it, the second one reads it
        for place in range(COUNT):
            assert_near(plain[SampleKey(epoch, place)], cached[SampleKey(epoch, place)], levels=0)


@pytest.mark.parametrize("cut", [0, 7])
def test_reduced_photographs_are_kept_reduced(root: Path, tmp_path: Path, cut: int) -> None:
    plain, cached = make_views(root, size=8, cut=cut), make_views(root, size=8, cut=cut)
    assert set(cached.lasting_scales()) == {2}
    cache = make_cache(cached, tmp_path)
    assert cache.size_bytes < COUNT * BYTES / 3
    cached.keep(cache)
    first, again = cached[SampleKey(0, 1)], cached[SampleKey(0, 1)]
    assert_near(first, again, levels=0)
    assert_near(first, plain[SampleKey(0, 1)], levels=8)  # a cell of the noise is ten pixels, a pixel of the view too
    kept = cache.read(1)
    assert kept is not None
    assert kept.scale == 2


def test_what_is_stored_is_not_decoded_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = make_views(root)
    cache = make_cache(views, tmp_path, photographs=2.5)
    views.keep(cache)
    read: list[str] = []
    whole = reading.read_photo

    def counting(record: ImageRecord, *, root: Path, scale: int = 1) -> Photo:
        read.append(record.path)
        return whole(record, root=root, scale=scale)

    monkeypatch.setattr(views_module, "read_photo", counting)
    for epoch in range(3):
        for place in range(COUNT):
            views[SampleKey(epoch, place)]
    beyond = [f"{n}.jpg" for n in range(2, COUNT)]
    assert read == [f"{n}.jpg" for n in range(COUNT)] + 2 * beyond
    assert cache.photographs == 2
    assert cache.describe() == "cache: 2 photographs, 0.0 MB in memory; 4 of 6 do not fit and are decoded every time"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_process_sees_what_another_one_stores(root: Path, tmp_path: Path, method: str, kind: CacheKind) -> None:
    views = make_views(root)
    cache = make_cache(views, tmp_path, kind=kind)
    here = views[SampleKey(0, 2)]
    cache.write(0, _read(views, 0))
    context: Any = multiprocessing.get_context(method)
    worker = context.Process(target=_store_all, args=(cache, views))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert all(cache.read(place) is not None for place in range(COUNT))
    views.keep(cache)
    assert_near(views[SampleKey(0, 2)], here, levels=0)


def _read(views: ViewSet, place: int) -> Photo:
    return reading.read_photo(views.records[place], root=views.root, scale=1)


def _store_all(cache: PhotoCache, views: ViewSet) -> None:
    assert cache.read(0) is not None
    for place in range(COUNT):
        cache.write(place, _read(views, place))


def test_batches_are_the_same_from_any_number_of_processes(root: Path, tmp_path: Path) -> None:
    alone, shared = make_views(root), make_views(root)
    cache = make_cache(shared, tmp_path)
    shared.keep(cache)
    batches = zip(
        train_loader(alone, batch_size=3).epoch(0), train_loader(shared, batch_size=3, workers=2).epoch(0), strict=True
    )
    for one, other in batches:
        assert_near(one, other, levels=0)
    assert all(cache.read(place) is not None for place in range(COUNT))


def test_nothing_is_left_behind(root: Path, tmp_path: Path) -> None:
    views = make_views(root)
    gc.collect()
    opened = Path("/proc/self/fd")
    before = len(list(opened.iterdir())) if opened.exists() else 0
    cache = make_cache(views, tmp_path, kind="disk")
    views.keep(cache)
    views[SampleKey(0, 0)]
    assert list(tmp_path.iterdir()) == []
    views.cache = None
    del cache
    gc.collect()
    if before:
        assert len(list(opened.iterdir())) == before


def test_a_photograph_of_another_size_than_expected_is_not_kept(root: Path, tmp_path: Path) -> None:
    views = make_views(root, size=8)  # kept at scale 2
    cache = make_cache(views, tmp_path)
    cache.write(0, _read(views, 0))  # whole
    assert cache.read(0) is None


def test_no_room_at_all_is_one_clear_line(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = make_views(root)
    with pytest.raises(DataError, match=r"input\.cache ram: no room for a single photograph .*set input") as caught:
        make_cache(views, tmp_path, photographs=0.5)
    assert "\n" not in str(caught.value)

    def refuse(descriptor: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(DataError, match=r"input\.cache disk: cannot reserve 0\.1 MB in .*: no space left on device"):
        make_cache(views, tmp_path, kind="disk")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match="cannot reserve"):
        make_cache(views, Path(tempfile.gettempdir()), kind="disk")


@pytest.mark.parametrize("limit_gb", [0.0, 0.001])
def test_processes_of_one_machine_share_its_room(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit_gb: float
) -> None:
    views = make_views(root)
    scales = views.lasting_scales()
    whole = PhotoCache(views.records, scales, kind="ram", folder=tmp_path).size_bytes
    monkeypatch.setattr(cache_module, "_free_bytes", lambda kind, folder: 2e6 if limit_gb else 2 * whole)
    alone, *three = (
        PhotoCache(
            views.records, scales, kind="ram", folder=tmp_path, limit_gb=limit_gb and whole / 1e9, processes=count
        )
        for count in (1, 3, 3, 3)
    )
    assert alone.photographs == COUNT
    assert 0 < sum(each.size_bytes for each in three) <= whole


def test_the_disk_keeps_room_for_the_whole_file(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reserved: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "posix_fallocate", lambda descriptor, *part: reserved.append((os.dup(descriptor), *part)))
    views = make_views(root)
    cache = make_cache(views, tmp_path, kind="disk")
    ((descriptor, offset, length),) = reserved
    assert (offset, length) == (0, os.fstat(descriptor).st_size)
    os.close(descriptor)
    assert length > cache.size_bytes  # what is noted of each photograph lies there too


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_run_folder_that_is_not_there_yet(root: Path, tmp_path: Path, kind: CacheKind) -> None:
    views = make_views(root)
    assert make_cache(views, tmp_path / "runs" / "new", kind=kind).photographs == COUNT
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"input\.cache disk: .*file is no folder to write to: file exists") as caught:
        make_cache(views, tmp_path / "file", kind="disk")
    assert "\n" not in str(caught.value)


def test_to_store_one_photograph_looks_at_no_other(tmp_path: Path) -> None:
    record = ImageRecord(path="a.jpg", label=None, split="train", width_px=1, height_px=1, checksum="")
    many = 50_000
    cache = PhotoCache([record] * many, [1] * many, kind="ram", folder=tmp_path)
    photo = Photo(torch.ones(1, 1, 3, dtype=torch.uint8))
    cache.write(0, photo)
    tracemalloc.start()
    cache.write(1, photo)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cache.read(1) is not None
    assert peak_bytes < many  # eight times as much for a list of the others


def test_a_photograph_too_large_for_its_place_leaves_its_neighbours_alone(root: Path, tmp_path: Path) -> None:
    views = make_views(root)
    cache = make_cache(views, tmp_path, photographs=2)
    for place in (1, 0):
        cache.write(place, _read(views, place))
    before = cache.read(1)
    assert before is not None
    levels = before.levels.clone()
    cache.write(0, Photo(torch.zeros(HEIGHT + 1, WIDTH, 3, dtype=torch.uint8)))
    after, first = cache.read(1), cache.read(0)
    assert after is not None
    assert first is not None
    assert torch.equal(after.levels, levels)
    assert torch.equal(first.levels, _read(views, 0).levels[..., :3])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("change", ["vanished", "other size"])
@pytest.mark.parametrize("workers", [0, 2])
def test_kept_photographs_need_no_file_and_others_are_named(
    root: Path, tmp_path: Path, change: str, workers: int
) -> None:
    folder = tmp_path / "photographs"
    shutil.copytree(root, folder)
    views = make_views(folder)
    views.keep(make_cache(views, tmp_path, photographs=2))
    before = [views[SampleKey(0, place)] for place in range(COUNT)]
    for path in folder.iterdir():
        path.unlink()
        if change != "vanished":
            Image.new("RGB", (WIDTH + 1, HEIGHT)).save(path)
    for place in (0, 1):
        assert_near(views[SampleKey(0, place)], before[place], levels=0)
    reason = "no such file or directory" if change == "vanished" else f"{WIDTH + 1} x {HEIGHT} pixels, the index has"
    with pytest.raises(DataError, match=rf"photographs/[2-5]\.jpg: {reason}") as caught:
        list(train_loader(views, batch_size=COUNT, workers=workers).epoch(0))
    assert "\n" not in str(caught.value)
    del caught
    let_loaders_end()


def let_loaders_end() -> None:
    """Have torch clear away a loader that failed here and now: its own thread trips over that now and then."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":
            thread.join()


def lay_group(folder: Path, names: tuple[str, str, str], *, limit: str, used: int, inactive: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file 1\n{names[2]} {inactive}\nactive_file 3\n")


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_has_left_what_its_tightest_group_leaves(tmp_path: Path, version: int) -> None:
    names, groups = (V1, tmp_path / "memory") if version == 1 else (V2, tmp_path)
    own = tmp_path / "own"
    own.write_text("4:cpuset:/\n3:cpu,memory:/pod/box\n0::/\n" if version == 1 else "0::/pod/box\n")

    def left() -> float:
        return cache_module._left_to_groups(tmp_path, own)

    assert left() == float("inf")  # no group says anything
    lay_group(groups / "pod" / "other", names, limit="1", used=1, inactive=0)
    lay_group(groups / "pod" / "box", names, limit="max", used=900, inactive=0)
    assert left() == float("inf")
    lay_group(groups / "pod" / "box", names, limit="1000", used=900, inactive=700)
    assert left() == 800  # files that were read are given up
    lay_group(groups / "pod", names, limit="1500", used=1300, inactive=300)
    assert left() == 500
    lay_group(groups, names, limit="2000", used=1900, inactive=0)
    assert left() == 100  # in a container the own group may lie at the root
    lay_group(groups, names, limit="2000", used=2100, inactive=0)
    assert left() == 0
    lay_group(groups, names, limit="400", used=100, inactive=200)
    assert left() == 400


def test_without_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert cache_module._left_to_groups(tmp_path, tmp_path / "none") == float("inf")


@pytest.mark.parametrize("region", [(0, 0, 500, 400), (10, 20, 400, 90), (0, 0, 30, 900), (5, 5, 8, 9)])
def test_no_crop_is_smaller_than_the_least_side(region: tuple[int, int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    least = least_crop_side(region, recipe=TRAIN_RECIPE)
    sides: Sequence[int] = [
        min(x1 - x0, y1 - y0)
        for x0, y0, x1, y1 in (
            draw_augmentation(region, recipe=TRAIN_RECIPE, generator=generator).crop_xyxy for _ in range(3000)
        )
    ]
    assert least <= min(sides) <= least * 1.1 + 2
