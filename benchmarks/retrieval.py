"""Time and peak memory of all retrieval and neighbour figures at the size of CUB's test set.

Run it as ``python benchmarks/retrieval.py``; it takes some seconds and prints one line a part.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from leadpp.engine.clusters import kmeans
from leadpp.engine.measures import VOTES
from leadpp.engine.neighbours import knn_accuracies, retrieval
from leadpp.engine.probe import ProbeSettings, linear_probe
from leadpp.functional.randomness import generator_for


def draw(count: int, *, width: int, classes: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw noisy clouds, one a class."""
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, width, generator=generator_for(0, "centres"))
    return 0.3 * centres[labels] + torch.randn(count, width, generator=generator_for(seed, "noise")), labels


def peak_mb() -> float:
    """Highest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def measure(what: str, work: Callable[[], str]) -> None:
    before, started = peak_mb(), time.perf_counter()
    found = work()
    print(f"{what}: {time.perf_counter() - started:.2f} s, peak + {peak_mb() - before:.0f} MB ({found})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=5794)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--all", action="store_true", help="also the linear probe and k-means")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    test = draw(asked.items, width=asked.width, classes=asked.classes, seed=1)
    train = draw(asked.items, width=asked.width, classes=asked.classes, seed=2)
    torch.ones(64, 64) @ torch.ones(64, 64)  # the first product loads the linear algebra library
    print(f"{asked.items} x {asked.width}, {asked.classes} classes, {asked.threads} threads, torch {torch.__version__}")
    measure("retrieval, all figures", lambda: f"mAP {retrieval(*test).figures['map']:.4f}")
    measure("kNN, both settings", lambda: f"kNN {knn_accuracies(train, test, votes=VOTES)['knn']:.4f}")
    if asked.all:
        measure("linear probe, 100 epochs", lambda: f"last {probe(train, test):.4f}")
        measure("k-means, 1 start", lambda: f"inertia {cluster(test[0], asked.classes):.0f}")


def probe(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    views = [train[0]]
    return linear_probe(views, train[1], fixed=train[0], test=test, settings=ProbeSettings(), seed=0).last


def cluster(features: Tensor, classes: int) -> float:
    return kmeans(features, clusters=classes, generator=generator_for(0, "kmeans"), restarts=1).inertia


if __name__ == "__main__":
    main()
