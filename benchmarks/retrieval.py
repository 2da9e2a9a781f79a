"""Time and peak memory of retrieval and neighbour figures, each in a fresh process, beside one bare matrix product.

    python -m benchmarks.retrieval                                                  the size of CUB's test set
    python -m benchmarks.retrieval --items 100000 --features 512 --classes 1000
    python -m benchmarks.retrieval --growth                                         a quarter, half and all of the items

It prints one line a part: wall and processor seconds (the least of the rounds), the ratio to the product of all rows
with all rows in blocks, and the highest memory of the process, its first number being what the imports alone take.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmarks.bench.measure import peak_mb
from benchmarks.bench.retrieval import draw

_BLOCK = 512
_PARTS = ("product", "retrieval", "knn")
_EXTRA = ("probe", "kmeans")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=5794)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="how often each part is timed (default: 3)")
    parser.add_argument("--growth", action="store_true", help="also at a quarter and at half of the items")
    parser.add_argument("--all", action="store_true", help="also the linear probe and k-means")
    parser.add_argument("--part", choices=(*_PARTS, *_EXTRA), help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.part:
        torch.set_num_threads(asked.threads)
        print(json.dumps(measure(asked.part, asked)))
        return
    print(f"{asked.features} features, {asked.classes} classes, {asked.threads} threads, torch {torch.__version__}")
    for items in [asked.items // 4, asked.items // 2, asked.items] if asked.growth else [asked.items]:
        report(items, asked)


def report(items: int, asked: argparse.Namespace) -> None:
    """Print the parts at one size."""
    print(f"\n{items} items\n")
    print("| part | wall, s | processor, s | of the product | peak, MB |\n|---|---|---|---|---|")
    product = 0.0
    for part in _PARTS + (_EXTRA if asked.all else ()):
        found = in_fresh_process(part, items=items, asked=asked)
        product = product or found["cpu"]
        print(
            f"| {part} ({found['figure']}) | {found['wall']:.2f} | {found['cpu']:.2f} | {found['cpu'] / product:.2f} "
            f"| {found['imports']:.0f} + {found['peak'] - found['imports']:.0f} |",
            flush=True,
        )


def in_fresh_process(part: str, *, items: int, asked: argparse.Namespace) -> dict[str, float]:
    words = [sys.executable, "-m", "benchmarks.retrieval", "--part", part, "--items", str(items)]
    for name in ("features", "classes", "threads", "rounds"):
        words += [f"--{name}", str(getattr(asked, name))]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(part: str, asked: argparse.Namespace) -> dict[str, float | str]:
    work = _WORKS[part]
    imports = peak_mb()
    test = draw(asked.items, features=asked.features, classes=asked.classes, seed=1)
    train = (
        draw(asked.items, features=asked.features, classes=asked.classes, seed=2) if part in ("knn", "probe") else test
    )
    torch.ones(64, 64) @ torch.ones(64, 64)  # the first product loads the linear algebra library
    taken = []
    for _ in range(asked.rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        figure = work(train, test)
        taken.append((time.perf_counter() - wall, time.process_time() - cpu))
    walls, cpus = zip(*taken, strict=True)
    return {"figure": figure, "wall": min(walls), "cpu": min(cpus), "peak": peak_mb(), "imports": imports}


Bank = tuple[Tensor, Tensor]


def product(_: Bank, test: Bank) -> str:
    rows = torch.nn.functional.normalize(test[0], dim=1)
    room = torch.empty(_BLOCK, len(rows))
    for block in torch.split(rows, _BLOCK):
        torch.mm(block, rows.T, out=room[: len(block)])
    return "alone"


def retrieval(_: Bank, test: Bank) -> str:
    from leadpp.engine.neighbours import retrieval as blockwise

    return f"mAP {blockwise(*test).figures['map']:.4f}"


def knn(train: Bank, test: Bank) -> str:
    from leadpp.engine.measures import VOTES
    from leadpp.engine.neighbours import knn_accuracies

    return f"{knn_accuracies(train, test, votes=VOTES)['knn']:.4f}"


def probe(train: Bank, test: Bank) -> str:
    from leadpp.engine.probe import ProbeSettings, linear_probe

    found = linear_probe([train[0]], train[1], fixed=train[0], test=test, settings=ProbeSettings(), seed=0)
    return f"last {found.last:.4f}"


def kmeans(_: Bank, test: Bank) -> str:
    from leadpp.engine.clusters import kmeans as several
    from leadpp.functional.randomness import generator_for

    found = several(test[0], clusters=int(test[1].max()) + 1, generator=generator_for(0, "kmeans"))
    return f"5 starts, inertia {found.inertia:.0f}"


_WORKS: dict[str, Callable[[Bank, Bank], str]] = {
    "product": product,
    "retrieval": retrieval,
    "knn": knn,
    "probe": probe,
    "kmeans": kmeans,
}


if __name__ == "__main__":
    main()
