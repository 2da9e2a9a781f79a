"""One run by one, two and four processes: how far what they find is apart, and how long it takes.

    python -m benchmarks.processes WORK [--counts 1 2 4] [--species 10] [--per-species 24] [--out PAGE.md]

WORK is a folder for a drawn world and the runs. Each run is ``leadpp run`` as torchrun starts it, over gloo on this
machine, with the networks that come along; BatchNorm goes by the whole batch, and one thread is given to each process.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from leadpp.io.artifacts import read_tensors
from leadpp.io.checkpoint import read_checkpoint
from leadpp.io.ledger import newest_checkpoint
from leadpp.stages.world import make_world

NETWORKS = {
    "teacher.model": "builtin:world-clip",
    "student.backbone": "builtin:world-backbone",
    "localize.backbone": "builtin:world-backbone",
}
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "the package's own": {},
    "BatchNorm by the batch": {"student.batchnorm": "train"},
    "paper": {"preset": "paper"},
}
COMMON: Mapping[str, object] = {
    "train.epochs": 2, "train.batch_size": 16, "train.device": "cpu", "input.size": 96, "input.workers": 0,
    "train.learning_rate": 0.005, "train.precision": "fp32",
}  # fmt: skip
COLUMNS = (
    "direction", "boxes", "first loss", "losses", "gradient norm", "weights", "queues", "embeddings", "neighbours",
    "fitted",
)  # fmt: skip


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--species", type=int, default=10)
    parser.add_argument("--per-species", type=int, default=24)
    parser.add_argument("--out", type=Path, help="write the page here as well")
    asked = parser.parse_args(words)
    world = asked.work / "world"
    if not world.exists():
        make_world(world, species=asked.species, per_species=asked.per_species, size=128, seed=0)
    rows = []
    for name, settings in SETTINGS.items():
        folder = asked.work / name.replace(" ", "-").replace("'", "")
        one = folder / "1"
        for title, count, threads in (*((str(count), count, 1) for count in asked.counts), ("1, of two threads", 1, 2)):
            run = folder / title.replace(", ", "-").replace(" ", "-")
            took = start(world, run, settings, count=count, threads=threads)
            rows.append({"settings": name, "processes": title, **differences(one, run), **took})
    page = table(rows, photographs=asked.species * asked.per_species)
    print(page)
    if asked.out:
        asked.out.write_text(page, encoding="utf-8")


def start(world: Path, run: Path, settings: Mapping[str, object], *, count: int, threads: int) -> dict[str, float]:
    """Do a run by so many processes, unless it is there, and return the seconds of its stages.

    Raises:
        RuntimeError: One of the processes failed.
    """
    if (run / "report.html").exists():
        return seconds(run)
    shutil.rmtree(run, ignore_errors=True)
    given = {**NETWORKS, **COMMON, **settings}
    command = [sys.executable, "-m", "leadpp", "run", "--data", str(world), "--run", str(run)]
    command += ["--names", str(world / "names.txt"), *(w for k, v in given.items() for w in (f"--{k}", str(v)))]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    children = []
    for rank in range(count):
        numbers = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": count}
        own = {name: str(value) for name, value in numbers.items()}
        own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": str(threads)}
        children.append(subprocess.Popen(command, env=os.environ | own, stdout=subprocess.DEVNULL))
    if any(child.wait() for child in children):
        raise RuntimeError(f"{run}: a process failed")
    return seconds(run)


def seconds(run: Path) -> dict[str, float]:
    """Return how long the shared stages of a run took, and all of them."""
    stages = json.loads((run / "stages.json").read_text(encoding="utf-8"))["stages"]
    took = {f"{name} s": stages[name]["seconds"] for name in ("localize", "train", "evaluate")}
    return took | {"whole s": sum(stage["seconds"] for stage in stages.values())}


def differences(one: Path, other: Path) -> dict[str, float]:
    """Return by how much two runs differ at most."""
    boxes = [pq.read_table(run / "boxes.parquet").to_pydict() for run in (one, other)]
    sides = [name for name in boxes[0] if name.startswith(("object_", "crop_"))]
    apart = [a != b for name in sides for a, b in zip(boxes[0][name], boxes[1][name], strict=True)]
    directions = [_directions(run / "localizer.safetensors") for run in (one, other)]
    steps = [[line for line in _lines(run) if line["event"] == "step"] for run in (one, other)]
    pairs = list(zip(*steps, strict=True))
    states = [_state(run) for run in (one, other)]
    arrays = [sorted((run / "embeddings").glob("*.npy")) for run in (one, other)]
    return {
        "direction": _most(directions[0], directions[1]),
        "boxes": sum(apart),
        "first loss": abs(pairs[0][0]["loss"] - pairs[0][1]["loss"]) / abs(pairs[0][0]["loss"]),
        "losses": max(abs(a["loss"] - b["loss"]) / abs(a["loss"]) for a, b in pairs),
        "gradient norm": max(abs(a["gradient_norm"] - b["gradient_norm"]) / a["gradient_norm"] for a, b in pairs),
        "weights": _most(*({n: t for n, t in s.items() if n.startswith("student")} for s in states)),
        "queues": _most(*({n: t for n, t in s.items() if n.startswith("queues")} for s in states)),
        "embeddings": max(
            _most({"": torch.from_numpy(a)}, {"": torch.from_numpy(b)})
            for a, b in zip(*([np.load(path, allow_pickle=False) for path in some] for some in arrays), strict=True)
        ),
        "neighbours": _apart(one, other, ("knn", "rank1", "map", "purity10")),
        "fitted": _apart(one, other, ("probe_heldout", "cluster_accuracy", "nmi")),
    }


def _directions(path: Path) -> dict[str, Tensor]:
    tensors, _ = read_tensors(path, kind="localizer")
    return {name: tensor for name, tensor in tensors.items() if name.startswith("vector")}


def _lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _state(run: Path) -> dict[str, Tensor]:
    sections = {}
    if path := newest_checkpoint(run / "checkpoints"):
        sections = dict(read_checkpoint(path).sections)
    return {f"{section}.{name}": tensor for section, some in sections.items() for name, tensor in some.items()}


def _apart(one: Path, other: Path, names: Sequence[str]) -> float:
    """Return by how much some figures of two evaluations differ at most."""
    rows = [json.loads((run / "evaluation.json").read_text(encoding="utf-8"))["rows"] for run in (one, other)]
    apart: list[float] = [abs(a[name] - b[name]) for a, b in zip(*rows, strict=True) for name in names if name in a]
    return max(apart)


def _most(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the largest difference, as a share of the largest number of its tensor."""
    floats = [(tensor.double(), other[name].double()) for name, tensor in one.items() if tensor.is_floating_point()]
    return max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-12)) for a, b in floats)


def table(rows: Sequence[Mapping[str, Any]], *, photographs: int) -> str:
    """Lay the differences out as a page."""
    times = ("localize s", "train s", "evaluate s", "whole s")
    head = ("settings", "processes", *COLUMNS, *times)
    lines = ["# One run by several processes", "", (__doc__ or "").split("\n\n")[1].strip(), ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [str(row["settings"]), str(row["processes"])]
        cells += [
            "0" if row[name] == 0 else f"{row[name]:.1e}" if name != "boxes" else str(row[name]) for name in COLUMNS
        ]
        lines.append("| " + " | ".join([*cells, *(f"{row[name]:.1f}" for name in times)]) + " |")
    lines += [
        "",
        "Differences are the largest from one process of one thread: of the fitted direction; how many coordinates of "
        "boxes differ; of losses and norms of gradients as shares of them, of weights with statistics, queues and "
        "embeddings as shares of the largest number of their tensor; of the figures of neighbours (kNN, Rank-1, mAP, "
        "purity@10), and of those that are fitted (probe, clusters), where a hair decides which epoch or start is "
        "taken. "
        "Single precision rounds sums by their order, and training makes such differences grow: one process of two "
        "threads, the last row of each, says how much of them is that. "
        f"{photographs} photographs of 128 pixels, half of them for training; torch {torch.__version__}, "
        f"{os.cpu_count()} cores, so that four processes have half a core each: the seconds say what "
        "speaking costs, not what machines would gain.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
