"""What grows with the photographs, in figures that can be multiplied: an index, its records, reading from archives.

    python -m benchmarks.scale [--photographs 200] [--records 50000] [--out benchmarks/results/scale.md]

Stages are measured over tar archives of drawn photographs at N, 2N and 4N, and an index of R, 2R and 4R records that
lead nowhere but to one file of holes, each in a fresh process. Files and archives are read by turns in one process.
Where ``faiss`` can be imported, it searches in drawn features. ``docs/scale.md`` is made of these figures.
"""

import argparse
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bench.measure import peak_mb
from benchmarks.growth import exponent

STAGES = ("index", "localize", "train", "embed")
FACTORS = (1, 2, 4)
SHARD = 100
"""Photographs in an archive."""
_FEATURES, _QUERIES = 512, 1000
_SETTINGS: dict[str, Any] = {
    "networks": "world",
    "input": {"workers": 0},
    "train": {"device": "cpu", "epochs": 1, "precision": "fp32", "monitor_every": 0},
    "evaluate": {"sets": ["whole"], "kmeans_restarts": 1},
}
_WIDTH, _HEIGHT, _QUALITY, _DRAWN = 500, 400, 90, 200

Found = dict[str, float]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=200, help="N of the stages (default: 200)")
    parser.add_argument("--records", type=int, default=50_000, help="R of the index (default: 50000)")
    parser.add_argument("--read", type=int, default=2000, help="photographs that are read by turns (default: 2000)")
    parser.add_argument("--items", type=int, default=20_000, help="features that FAISS searches in, doubled twice")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the tables here as well")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.part:
        print(json.dumps(measure(asked)))
        return
    with tempfile.TemporaryDirectory() as folder:
        text = "\n".join(report(asked, Path(folder))) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


def report(asked: argparse.Namespace, folder: Path) -> list[str]:
    """Measure everything and return the lines of the document."""
    lines = [
        "# Scale",
        "",
        f"Threads: {asked.threads}, of a shared machine; processor seconds without imports, unless said otherwise.",
        "",
    ]
    return [
        *lines,
        *stages_table(asked, folder / "stages"),
        *records_table(asked, folder / "records"),
        *reading_table(asked, folder / "reading"),
        *faiss_table(asked, folder / "faiss"),
    ]


def stages_table(asked: argparse.Namespace, folder: Path) -> list[str]:
    sizes = []
    for factor in FACTORS:
        count = factor * asked.photographs
        draw_shards(folder / str(factor), count=count)
        sizes.append(in_fresh_process("stages", count, folder / str(factor), asked))
        print(f"{factor} N: done", file=sys.stderr, flush=True)
    lines = [
        "## Stages over archives",
        "",
        f"N is {asked.photographs} drawn photographs of 128 px in archives of {SHARD}, without labels; the networks "
        "that come with the package, one epoch, reading in the measured process.",
        "",
        "| stage | N, s | 2N, s | 4N, s | exponent | photographs/s at 4N |",
        "|---|---|---|---|---|---|",
    ]
    for part in STAGES:
        seconds = [each[part] for each in sizes]
        cells = " | ".join(f"{each:.2f}" for each in seconds)
        rate = 4 * asked.photographs / seconds[2]
        lines.append(f"| {part} | {cells} | {exponent(seconds):.2f} | {rate:,.0f} |")
    peaks = ", ".join(f"{each['peak']:.0f}" for each in sizes)
    return [*lines, "", f"Peak of a fresh process that does all four, with imports: {peaks} MB.", ""]


def records_table(asked: argparse.Namespace, folder: Path) -> list[str]:
    found: dict[str, list[Found]] = {"records": [], "open": []}
    for factor in FACTORS:
        for part, sizes in found.items():
            sizes.append(in_fresh_process(part, factor * asked.records, folder / str(factor), asked))
    counts = [factor * asked.records for factor in FACTORS]
    heads = " | ".join(f"{count:,}" for count in counts)
    rows = [
        ("headers: read those of an archive, µs a member", "records", "headers", 1e6),
        ("records: bytes a record in `index.parquet`", "records", "file", 1.0),
        ("records: bytes a record in memory, once read", "records", "held", 1.0),
        ("records: write, µs a record", "records", "write", 1e6),
        ("records: read, µs a record", "records", "cpu", 1e6),
        ("records: digest, µs a record", "records", "digest", 1e6),
        ("open: a prepared index, nothing changed, µs a record", "open", "cpu", 1e6),
        ("open: bytes a record at the peak", "open", "peaked", 1.0),
    ]
    lines = ["## An index", "", f"| part | {heads} |", "|---|---|---|---|"]
    for words, part, name, times in rows:
        cells = (times * each[name] / count for each, count in zip(found[part], counts, strict=True))
        lines.append(f"| {words} | {' | '.join(f'{cell:,.1f}' for cell in cells)} |")
    return [*lines, ""]


def reading_table(asked: argparse.Namespace, folder: Path) -> list[str]:
    found = in_fresh_process("reading", asked.read, folder, asked)
    lines = [
        "## Reading from archives and from files",
        "",
        f"{asked.read:,} JPEG files of {_WIDTH} x {_HEIGHT} px ({found['kilobytes']:.0f} kB each) in one folder, and "
        f"the same in archives of {SHARD}; one process, in random order, by turns, medians of five rounds. Cold: by "
        "the clock, after the system was told to forget them before each round; otherwise a processor second.",
        "",
        "| what | files, photographs/s | archives, photographs/s | archives over files |",
        "|---|---|---|---|",
    ]
    for name, words in (("bytes", "bytes"), ("cold", "bytes, cold"), ("views", "decoded, a view of 224 px")):
        files, tars = found[f"{name} files"], found[f"{name} tars"]
        lines.append(f"| {words} | {files:,.0f} | {tars:,.0f} | {found[f'{name} ratio']:.2f} |")
    return [*lines, "", f"One archive after another as a stream (`tarfile`): {found['stream']:,.0f} photographs/s.", ""]


def faiss_table(asked: argparse.Namespace, folder: Path) -> list[str]:
    import importlib.util

    if importlib.util.find_spec("faiss") is None:
        return ["## FAISS", "", "Not installed, so not measured.", ""]
    sizes = [in_fresh_process("faiss", factor * asked.items, folder, asked) for factor in FACTORS]
    heads = " | ".join(f"{factor * asked.items:,}" for factor in FACTORS)
    lines = [
        "## FAISS",
        "",
        f"The lines of `docs/scale.md` on drawn features of {_FEATURES} numbers, {_QUERIES:,} queries, their 10 "
        "nearest; one thread.",
        "",
        f"| part | {heads} |",
        "|---|---|---|---|",
    ]
    for words, name, form in (
        ("train, s", "train", ".1f"),
        ("add, µs an item", "add", ".0f"),
        ("search, ms a query", "search", ".3f"),
        ("exact search by one product, ms a query", "flat", ".3f"),
        ("bytes an item", "bytes", ".0f"),
        ("share of the true nearest among the 10", "recall", ".3f"),
    ):
        lines.append(f"| {words} | {' | '.join(format(each[name], form) for each in sizes)} |")
    return [*lines, ""]


def draw_shards(folder: Path, *, count: int) -> None:
    """Draw a world and put its photographs into archives, without their classes."""
    from leadpp.stages.world import make_world

    make_world(folder / "world", species=10, per_species=count // 10, size=128, seed=1)
    pictures = sorted((folder / "world").rglob("*.jpg"))
    photographs = [path for path in pictures if path.parent.parent.name in ("train", "test")]
    pack([path.read_bytes() for path in photographs], folder / "shards")


def pack(contents: Sequence[bytes], folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, len(contents), SHARD)):
        with tarfile.open(folder / f"{number:04d}.tar", "w") as archive:
            for place, content in enumerate(contents[start : start + SHARD], start=start):
                info = tarfile.TarInfo(f"{place:08d}.jpg")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def pattern_of(folder: Path) -> Path:
    return folder / f"{{0000..{len(list(folder.glob('*.tar'))) - 1:04d}}}.tar"


def in_fresh_process(part: str, count: int, folder: Path, asked: argparse.Namespace) -> Found:
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "benchmarks.scale", "--part", part, "--count", str(count), "--folder", str(folder)]
    done = subprocess.run([*words, "--threads", str(asked.threads)], check=True, capture_output=True, text=True)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(asked: argparse.Namespace) -> Found:
    import torch

    torch.set_num_threads(asked.threads)
    parts: dict[str, Callable[[argparse.Namespace], Found]] = {
        "stages": measure_stages,
        "records": measure_records,
        "open": measure_open,
        "reading": measure_reading,
        "faiss": measure_faiss,
    }
    return parts[asked.part](asked)


def seconds_of(work: Callable[[], object]) -> float:
    """Return the processor seconds of some work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure_stages(asked: argparse.Namespace) -> Found:
    from leadpp import pipeline
    from leadpp.data.index import open_data

    data, run = pattern_of(asked.folder / "shards"), asked.folder / "run"
    # Asked for with another stage that has nothing to do, evaluation without labels becomes embedding.
    stages = {"localize": ["localize"], "train": ["train"], "embed": ["prototypes", "evaluate"]}
    found = {"index": seconds_of(lambda: open_data(data, seed=1))}
    for name, words in stages.items():
        found[name] = seconds_of(partial(pipeline.run, data, run, stages=words, settings=_SETTINGS))
    return {**found, "peak": peak_mb()}


def read_headers(asked: argparse.Namespace) -> float:
    from leadpp.data.samples import read_shard

    path = asked.folder / "many.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(asked.count):
            info = tarfile.TarInfo(f"{number:08d}.jpg")
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    taken = seconds_of(lambda: read_shard(path))
    path.unlink()
    return taken


def draw_index(asked: argparse.Namespace) -> Any:  # noqa: ANN401 - an ImageIndex, imported late
    """Make an index of photographs that are not there, in an archive of nothing, as ``prepare`` would have."""
    from leadpp.data.places import checksum_of
    from leadpp.data.records import ImageIndex, ImageRecord

    path = asked.folder / "0000.tar"
    path.touch()
    os.truncate(path, asked.count * 50_000)
    records = tuple(
        ImageRecord(
            path=f"0000.tar/{number:012d}.jpg",
            label=f"species {number % 1000}",
            split="test" if number % 5 == 0 else "train",
            width_px=_WIDTH,
            height_px=_HEIGHT,
            checksum=checksum_of(b"%d" % number),
            size_bytes=49_000 + number * 7919 % 1000,
            mtime_ns=path.stat().st_mtime_ns,
            archive="0000.tar",
            offset_bytes=number * 50_000,
        )
        for number in range(asked.count)
    )
    classes = tuple(f"species {number}" for number in range(1000))
    return ImageIndex(root=asked.folder, source="shards", classes=classes, records=records, split_origin="given")


def measure_records(asked: argparse.Namespace) -> Found:
    """Write an index in a process of its own, so that only what is read counts here."""
    from leadpp.data.records import read_index

    path = asked.folder / "index.parquet"
    write = write_in_child(asked)
    read_index(write_small(path.with_name("small.parquet")))  # what is imported and kept for good does not count
    before, began = held_bytes(), time.process_time()
    index = read_index(path)
    found = {"cpu": time.process_time() - began, "held": held_bytes() - before, "file": path.stat().st_size}
    return {**found, "write": write, "digest": seconds_of(index.digest), "headers": read_headers(asked)}


def write_small(path: Path) -> Path:
    from leadpp.data.records import ImageIndex, write_index

    write_index(path, ImageIndex(root=path.parent, source="shards", classes=(), records=(), split_origin="given"))
    return path


def write_in_child(asked: argparse.Namespace) -> float:
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(write_drawn, (asked,))


def write_drawn(asked: argparse.Namespace) -> float:
    from leadpp.data.records import write_index

    index = draw_index(asked)
    return seconds_of(lambda: write_index(asked.folder / "index.parquet", index))


def held_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def measure_open(asked: argparse.Namespace) -> Found:
    """Open what ``records`` has written, as every command on a prepared folder does."""
    from leadpp.data.index import open_data, read_index

    read_index(write_small(asked.folder / "small.parquet"))
    before = held_bytes()
    taken = seconds_of(lambda: open_data(asked.folder, seed=1))
    return {"cpu": taken, "peaked": peak_mb() * 1e6 - before}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Side:
    """Files or archives, and what of them is read."""

    paths: list[Path]
    records: list[Any]
    root: Path
    samples: Any


def measure_reading(asked: argparse.Namespace) -> Found:
    """Read the same photographs from files and from archives, by turns."""
    contents = [content for content, _ in zip(drawn_photographs(), range(_DRAWN), strict=False)]
    contents = [contents[number % _DRAWN] for number in range(asked.count)]
    (asked.folder / "files").mkdir()
    for number, content in enumerate(contents):
        (asked.folder / "files" / f"{number:08d}.jpg").write_bytes(content)
    pack(contents, asked.folder / "shards")
    os.sync()
    sides = {"files": side_of(asked.folder / "files"), "tars": side_of(pattern_of(asked.folder / "shards"))}
    found = {"kilobytes": statistics.mean(map(len, contents)) / 1e3}
    works: dict[str, Callable[[_Side], float]] = {"bytes": read_all, "cold": read_cold, "views": read_views}
    for name, work in works.items():
        rates: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(5):
            for side, own in sides.items():
                rates[side].append(work(own))
        found |= {f"{name} {side}": statistics.median(some) for side, some in rates.items()}
        ratios = [tars / files for files, tars in zip(rates["files"], rates["tars"], strict=True)]
        found[f"{name} ratio"] = statistics.median(ratios)
    found["stream"] = statistics.median(stream(sides["tars"].paths, asked.count) for _ in range(5))
    return found


def drawn_photographs() -> Iterator[bytes]:
    import numpy as np

    from benchmarks.bench.load import draw_photograph

    rng = np.random.default_rng(0)
    while True:
        out = io.BytesIO()
        draw_photograph(_WIDTH, _HEIGHT, rng).save(out, "JPEG", quality=_QUALITY)
        yield out.getvalue()


def side_of(data: Path) -> _Side:
    from leadpp.data.index import open_data
    from leadpp.data.views import EvalSet

    index = open_data(data, seed=1)
    records = list(index.usable())
    random.Random(0).shuffle(records)  # noqa: S311 - an order, no secret
    paths = sorted({index.root / (record.archive or record.path) for record in records})
    samples = EvalSet(records, root=index.root, size=224, fit="center-crop")
    return _Side(paths=paths, records=records, root=index.root, samples=samples)


def read_all(side: _Side, clock: Callable[[], float] = time.process_time) -> float:
    """Return photographs a second."""
    from leadpp.data.places import read_place

    places = [record.place(side.root) for record in side.records]
    began = clock()
    for place in places:
        read_place(place, most_bytes=10**9)
    return len(places) / (clock() - began)


def read_cold(side: _Side) -> float:
    for path in side.paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    return read_all(side, time.perf_counter)


def read_views(side: _Side) -> float:
    count = min(300, len(side.samples))
    began = time.process_time()
    for place in range(count):
        side.samples[place]
    return count / (time.process_time() - began)


def stream(paths: Sequence[Path], count: int) -> float:
    began = time.process_time()
    for path in paths:
        with tarfile.open(path, "r|") as archive:
            for content in map(archive.extractfile, archive):
                if content is not None:
                    content.read()
    return count / (time.process_time() - began)


def measure_faiss(asked: argparse.Namespace) -> Found:
    """Search as the document says, in features of many soft clusters, and compare with exact search."""
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(asked.count // 50, _FEATURES)).astype(np.float32)
    features = centres[rng.integers(0, len(centres), asked.count)]
    features += 0.7 * rng.standard_normal(size=features.shape, dtype=np.float32)
    faiss.normalize_L2(features)
    queries, lists = features[:_QUERIES], round(2 * asked.count**0.5)
    index = faiss.index_factory(_FEATURES, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    some = features[:: max(1, asked.count // (40 * lists))]
    train, add = seconds_of(lambda: index.train(some)), seconds_of(lambda: index.add(features))
    index.nprobe = 32
    search = seconds_of(lambda: index.search(queries, 11))
    flat = seconds_of(lambda: np.argpartition(queries @ features.T, -2, axis=1))
    exact = np.argpartition(queries @ features.T, -2, axis=1)[:, -2:].tolist()
    nearest = [({*row} - {place}).pop() for place, row in enumerate(exact)]
    found = index.search(queries, 11)[1].tolist()
    hits = [true in row for true, row in zip(nearest, found, strict=True)]
    return {
        "train": train,
        "add": 1e6 * add / asked.count,
        "search": 1e3 * search / _QUERIES,
        "flat": 1e3 * flat / _QUERIES,
        "bytes": len(faiss.serialize_index(index)) / asked.count,
        "recall": statistics.mean(hits),
    }


if __name__ == "__main__":
    main()
