"""How time and memory of every stage grow with the number of photographs: at N, 2N and 4N, each in a fresh process.

    python -m benchmarks.growth [--photographs 400] [--items 2000] [--out benchmarks/results/growth.md]

The photographs are drawn (``leadpp world``), the networks those that come with the package, reading in the measured
process. Retrieval, nearest neighbours and k-means get drawn features instead, of which there may be more. A part's time
begins after its imports. The exponent is the slope of log(time) on log(N): 1 is linear, 2 quadratic; below 1 means that
what happens once still counts.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench.measure import peak_mb

SPECIES = 10
STAGES = ("prepare", "localize", "prototypes", "train", "evaluate", "features")
FEATURES = ("product", "retrieval", "knn", "kmeans")
_WIDTH = 512
_CLASSES = 100
_SETTINGS: dict[str, Any] = {
    "networks": "world",
    "input": {"workers": 0},
    "train": {"device": "cpu", "epochs": 1, "precision": "fp32", "monitor_every": 0},
    "evaluate": {"probe_views": 1, "encoders": ["frozen"], "sets": ["whole"], "kmeans_restarts": 1},
}

Found = dict[str, float]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=400, help="N of the stages (default: 400)")
    parser.add_argument("--items", type=int, default=2000, help="N of the parts on drawn features (default: 2000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often a part is done; the least time counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--part", choices=(*STAGES, *FEATURES), help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.part:
        print(json.dumps(measure(asked.part, asked)))
        return
    text = "\n".join(report(asked)) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


def report(asked: argparse.Namespace) -> list[str]:
    """Measure everything and return the lines of the document."""
    found: dict[str, list[Found]] = {part: [] for part in (*STAGES, *FEATURES)}
    with tempfile.TemporaryDirectory() as folder:
        for factor in (1, 2, 4):
            home = Path(folder) / str(factor)
            draw_world(home / "world", count=factor * asked.photographs)
            for part in STAGES:
                found[part].append(in_fresh_process(part, factor * asked.photographs, home, asked))
            for part in FEATURES:
                found[part].append(in_fresh_process(part, factor * asked.items, home, asked))
            print(f"{factor} N: done", file=sys.stderr, flush=True)
    lines = [
        "# Growth",
        "",
        f"N is {asked.photographs} drawn photographs ({SPECIES} species) in the stages and {asked.items} x {_WIDTH} "
        f"features ({_CLASSES} classes) in the rest; {asked.threads} threads, least of {asked.rounds} rounds, "
        "processor seconds without imports; peak of a fresh process with them.",
        "",
        "| part | N, s | 2N, s | 4N, s | exponent | 2N to 4N | peak at N, 2N, 4N, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for part, sizes in found.items():
        seconds = [each["cpu"] for each in sizes]
        cells = " | ".join(f"{each:.2f}" for each in seconds)
        peaks = ", ".join(f"{each['peak']:.0f}" for each in sizes)
        lines.append(f"| {part} | {cells} | {exponent(seconds):.2f} | {seconds[2] / seconds[1]:.2f} | {peaks} |")
    for part in ("retrieval", "knn"):
        ratios = [ours["cpu"] / bare["cpu"] for ours, bare in zip(found[part], found["product"], strict=True)]
        lines += ["", f"{part} over one bare product of all with all: {', '.join(f'{each:.2f}' for each in ratios)}."]
    return lines


def exponent(seconds: Sequence[float]) -> float:
    """Slope of log(seconds) on log(N) at N, 2N and 4N, which least squares takes from the ends alone.

    >>> exponent([1.0, 2.0, 4.0]), exponent([1.0, 4.0, 16.0])
    (1.0, 2.0)
    """
    return math.log2(seconds[2] / seconds[0]) / 2


def draw_world(out: Path, *, count: int) -> None:
    from leadpp.stages.world import make_world

    make_world(out, species=SPECIES, per_species=count // SPECIES, size=128, seed=1)


def in_fresh_process(part: str, count: int, folder: Path, asked: argparse.Namespace) -> Found:
    words = [sys.executable, "-m", "benchmarks.growth", "--part", part, "--count", str(count), "--folder", str(folder)]
    words += ["--rounds", str(asked.rounds), "--threads", str(asked.threads)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(part: str, asked: argparse.Namespace) -> Found:
    import torch

    torch.set_num_threads(asked.threads)
    make = stage_work if part in STAGES else feature_work
    taken = []
    for _ in range(asked.rounds):
        work = make(part, asked)
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        taken.append((time.process_time() - cpu, time.perf_counter() - wall))
    return {"cpu": min(cpu for cpu, _ in taken), "wall": min(wall for _, wall in taken), "peak": peak_mb()}


def stage_work(part: str, asked: argparse.Namespace) -> Callable[[], object]:
    """Make ready for one stage; what it left behind before is removed, so that it works anew."""
    import shutil

    from leadpp import pipeline
    from leadpp.data.index import open_data
    from leadpp.pipeline.job import Texts
    from leadpp.stages.prepare import prepare

    world, home = asked.folder / "world", asked.folder
    if part == "prepare":
        shutil.rmtree(home / "prepared", ignore_errors=True)
        return lambda: prepare("folder", world, home / "prepared")
    if part == "features":
        index = open_data(home / "prepared", seed=1)
        return lambda: encode_all(index)
    (home / "run" / "stages.json").unlink(missing_ok=True)
    shutil.rmtree(home / "run" / "checkpoints", ignore_errors=True)
    texts = Texts(descriptions=world / "descriptions.csv")
    return lambda: pipeline.run(home / "prepared", home / "run", stages=[part], settings=_SETTINGS, texts=texts)


def encode_all(index: Any) -> None:  # noqa: ANN401 - an ImageIndex, imported late
    """Make the frozen network's features of all photographs."""
    import torch

    from leadpp.data.views import EvalSet
    from leadpp.engine.encoders import encode_photographs, frozen_encoder
    from leadpp.engine.runtime import SilentProgress

    device = torch.device("cpu")
    records = [*index.usable("train"), *index.usable("test")]
    encode_photographs(
        frozen_encoder("builtin:world-backbone", device=device),
        EvalSet(records, root=index.root, size=96, fit="center-crop"),
        batch_size=64,
        workers=0,
        device=device,
        progress=SilentProgress(),
        what="all",
    )


def feature_work(part: str, asked: argparse.Namespace) -> Callable[[], object]:
    from benchmarks import retrieval as parts
    from benchmarks.bench.retrieval import draw
    from leadpp.engine.clusters import kmeans
    from leadpp.functional.randomness import generator_for

    test = draw(asked.count, features=_WIDTH, classes=_CLASSES, seed=1)
    if part == "kmeans":  # as many moves at every size, because how many it takes is a matter of luck
        return lambda: kmeans(
            test[0], clusters=_CLASSES, generator=generator_for(0, "kmeans"), restarts=1, iterations=10
        )
    train = draw(asked.count, features=_WIDTH, classes=_CLASSES, seed=2) if part == "knn" else test
    work = {"product": parts.product, "retrieval": parts.retrieval, "knn": parts.knn}[part]
    return lambda: work(train, test)


if __name__ == "__main__":
    main()
