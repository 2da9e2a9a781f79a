"""k-means of this package against scikit-learn's: inertia and time on the same data with as many starts.

    python -m benchmarks.kmeans [--items 5794 --features 2048 --classes 200] [--out TABLE.md]

Both seed by greedy k-means++ and keep the best of their starts; each runs in a process of its own, so that the threads
of two libraries do not get into each other's way. The data are noisy clouds, one a class, which ``--noise`` mixes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.bench.measure import peak_mb

SIDES = ("ours", "scikit-learn")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=5794)
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--noise", type=float, default=1.0, help="standard deviation of the clouds (default: 1)")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    asked = parser.parse_args(words)
    if asked.side:
        print(json.dumps(measure(asked.side, asked)))
        return
    text = "\n".join(report({side: in_fresh_process(side, asked) for side in SIDES}, asked)) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


def report(found: dict[str, dict[str, list[float]]], asked: argparse.Namespace) -> list[str]:
    """Return the lines of the document."""
    ours, theirs = (found[side] for side in SIDES)
    excess = [a / b - 1 for a, b in zip(ours["inertia"], theirs["inertia"], strict=True)]
    return [
        "# k-means beside scikit-learn's",
        "",
        f"{asked.items} x {asked.features}, {asked.classes} clusters, noise {asked.noise:g}, {asked.starts} starts, "
        f"seeds 0 to {asked.seeds - 1}, {asked.threads} threads; medians over seeds, inertia as mean.",
        "",
        "| | wall, s | processor, s | inertia | peak, MB |",
        "|---|---|---|---|---|",
        *(
            f"| {side} | {statistics.median(each['wall']):.2f} | {statistics.median(each['cpu']):.2f} "
            f"| {statistics.fmean(each['inertia']):.6g} | {each['peak'][0]:.0f} |"
            for side, each in found.items()
        ),
        "",
        f"Our inertia over theirs, seed by seed: {', '.join(f'{100 * each:+.3f} %' for each in excess)}.",
    ]


def in_fresh_process(side: str, asked: argparse.Namespace) -> dict[str, list[float]]:
    words = [sys.executable, "-m", "benchmarks.kmeans", "--side", side]
    for name in ("items", "features", "classes", "noise", "starts", "seeds", "threads"):
        words += [f"--{name}", str(getattr(asked, name))]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(side: str, asked: argparse.Namespace) -> dict[str, list[float]]:
    import numpy as np

    random = np.random.default_rng(0)  # without torch, which scikit-learn's process has no need of
    centres = 0.3 * random.standard_normal((asked.classes, asked.features), dtype=np.float32)
    points = asked.noise * random.standard_normal((asked.items, asked.features), dtype=np.float32)
    points += centres[np.arange(asked.items) % asked.classes]
    cluster = (ours if side == "ours" else theirs)(points, asked)
    found: dict[str, list[float]] = {"wall": [], "cpu": [], "inertia": []}
    for seed in range(asked.seeds):
        wall, cpu = time.perf_counter(), time.process_time()
        found["inertia"].append(cluster(seed))
        found["wall"].append(time.perf_counter() - wall)
        found["cpu"].append(time.process_time() - cpu)
    return found | {"peak": [peak_mb()]}


def ours(points: object, asked: argparse.Namespace) -> Callable[[int], float]:
    import torch

    from leadpp.engine.clusters import kmeans
    from leadpp.functional.randomness import generator_for

    torch.set_num_threads(asked.threads)
    features = torch.as_tensor(points)
    return lambda seed: (
        kmeans(features, clusters=asked.classes, generator=generator_for(seed, "kmeans"), restarts=asked.starts).inertia
    )


def theirs(points: object, asked: argparse.Namespace) -> Callable[[int], float]:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    threadpool_limits(asked.threads)
    return lambda seed: float(KMeans(asked.classes, n_init=asked.starts, random_state=seed).fit(points).inertia_)


if __name__ == "__main__":
    main()
