"""The whole pipeline on one card, at the size of CUB-200-2011, with networks whose weights are drawn.

    python -m benchmarks.gpu --out OUT

OUT/photographs holds 5,994 and 5,794 drawn JPEGs of 500 x 375 pixels in 200 classes, OUT/networks a ResNet-50, OUT/run
the run, and OUT/gpu.json the figures: seconds of each stage, photographs a second, share of waiting for data, the
card's utilisation, and the training step beside the obvious one. Interrupted, it goes on with the stage it was in. What
is learnt means nothing; what it costs does.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.bench.step import fast_iteration, obvious_step
from leadpp import pipeline
from leadpp.engine.console import console_progress
from leadpp.engine.iteration import Told
from leadpp.engine.runtime import pick_device
from leadpp.io.artifacts import read_json, write_text

_WIDTH_PX, _HEIGHT_PX = 500, 375
_COARSE = 24
_QUALITY = 90


def draw_photograph(path: Path, *, number: int, classes: int) -> None:
    """Draw a picture with large soft shapes and grain, as many bytes as a photograph has; its class tints it."""
    draw = np.random.default_rng(number)
    coarse = draw.integers(0, 256, (_HEIGHT_PX // _COARSE, _WIDTH_PX // _COARSE, 3), dtype=np.uint8)
    soft = Image.fromarray(coarse).resize((_WIDTH_PX, _HEIGHT_PX), Image.Resampling.BICUBIC)
    tint = np.random.default_rng(number % classes).normal(0, 20, 3)
    grain = draw.normal(0, 6, (_HEIGHT_PX, _WIDTH_PX, 1))
    pixels = np.clip(np.asarray(soft, dtype=np.float32) + grain + tint, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=_QUALITY)


def draw_photographs(folder: Path, *, counts: dict[str, int], classes: int) -> None:
    """Draw what is missing of ``folder/<split>/<class>/<number>.jpg`` on all cores."""
    wanted = {
        folder / split / f"class {number % classes:03d}" / f"{number:06d}.jpg": number + 1_000_000 * place
        for place, (split, count) in enumerate(counts.items())
        for number in range(count)
    }
    missing = {path: number for path, number in wanted.items() if not path.exists()}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        list(pool.map(partial(_draw, classes=classes), missing.items(), chunksize=64))


def save_network(folder: Path, architecture: str) -> str:
    """Save a timm network with drawn weights as timm does; return its name for settings."""
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        network: Any = timm.create_model(architecture, pretrained=False)
        save_file(network.state_dict(), folder / "model.safetensors")
        known = {key: network.pretrained_cfg[key] for key in ("mean", "std", "input_size")}
        config = {"architecture": architecture, "num_classes": network.num_classes, "pretrained_cfg": known}
        write_text(folder / "config.json", json.dumps(config))
    return f"local-dir:{folder}"


class Utilisation:
    """Asks ``nvidia-smi`` once a second how busy the card is; without one it knows nothing."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float, float]] = []
        """Seconds since the epoch, per cent of the time in which a kernel ran, MiB in use."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if shutil.which("nvidia-smi"):
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def summary(self) -> dict[str, float]:
        """Return the mean and the median of the utilisation, in per cent, and the most memory, in MiB."""
        if not self.samples:
            return {}
        busy = [sample[1] for sample in self.samples]
        return {
            "utilisation_mean": statistics.mean(busy),
            "utilisation_median": statistics.median(busy),
            "memory_most_mib": max(sample[2] for sample in self.samples),
        }

    def _watch(self) -> None:
        words = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "--id=0"]
        while not self._stop.wait(1.0):
            told = subprocess.run(words, capture_output=True, text=True, check=False).stdout.split(",")
            if len(told) == 2:
                self.samples.append((time.time(), float(told[0]), float(told[1])))


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Draw what is needed, run every stage, and return what each cost."""
    counts = {"train": asked.train, "test": asked.test}
    photographs = asked.out / "photographs"
    draw_photographs(photographs, counts=counts, classes=asked.classes)
    backbone = save_network(asked.out / "networks" / asked.backbone, asked.backbone)
    names = asked.out / "names.txt"
    write_text(names, "".join(f"class {number:03d}\n" for number in range(asked.classes)))
    settings = {
        "preset": "lead++",
        "input": {"size": asked.size, "workers": asked.workers, "augment": asked.augment, "cache": asked.cache},
        "localize": {"backbone": backbone, "size": 2 * asked.size},
        "student": {"backbone": backbone},
        "teacher": {"factory": "benchmarks.teachers.unread:teacher"},
        "train": {"epochs": asked.epochs, "batch_size": asked.batch, "precision": "auto", "compile": asked.compile},
    }
    run = asked.out / "run"
    stages: dict[str, Any] = {}
    for stage in pipeline.STAGES:
        with Utilisation() as card:
            texts = pipeline.Texts(names=names)
            pipeline.run(
                photographs,
                run,
                stages=(stage,),
                settings=settings,
                texts=texts,
                resume=True,
                progress=console_progress(),
            )
        known = read_json(run / "stages.json", kind="stages")["stages"][stage]
        stages[stage] = {"seconds": known["seconds"], **card.summary()}
    return {
        "protocol": {**vars(asked), "out": str(asked.out)},
        "environment": read_json(run / "env.json", kind="environment"),
        "stages": stages,
        "seconds": sum(stage["seconds"] for stage in stages.values()),
        "training": _training(run / "metrics.jsonl"),
    }


def time_steps(*, side: int, batch: int, device: torch.device, rounds: int = 10) -> dict[str, float]:
    """Time the obvious training step and ours by turns; return the median seconds of each and the ratios to ours."""
    bf16 = torch.bfloat16
    works: dict[str, Callable[[], object]] = {
        "obvious": obvious_step(side=side, batch=batch, device=device),
        "exact": _told(fast_iteration(side=side, batch=batch, device=device)),
        "bf16": _told(fast_iteration(side=side, batch=batch, device=device, autocast_dtype=bf16)),
        "bf16, remembered": _told(
            fast_iteration(side=side, batch=batch, device=device, autocast_dtype=bf16, remembered=True)
        ),
    }
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 2):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if number >= 2:
                taken[name].append(time.perf_counter() - started)
    seconds = {name: statistics.median(times) for name, times in taken.items()}
    ratios = {f"obvious / {name}": seconds["obvious"] / value for name, value in seconds.items() if name != "obvious"}
    return seconds | ratios


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line, measure, and write and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=5994)
    parser.add_argument("--test", type=int, default=5794)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=-1)
    parser.add_argument("--cache", choices=["none", "ram", "disk"], default="ram")
    parser.add_argument("--augment", choices=["cpu", "device"], default="device")
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args(words)
    asked.out.mkdir(parents=True, exist_ok=True)
    found = measure(asked)
    found["step"] = time_steps(side=asked.size, batch=asked.batch, device=pick_device("auto"))
    write_text(asked.out / "gpu.json", json.dumps(found, indent=1, default=str) + "\n")
    print(json.dumps({name: found[name] for name in ("stages", "training", "seconds", "step")}, indent=1))


def _told(run: Callable[[], Told]) -> Callable[[], object]:
    """Wait for the figures of each step, so that the clock sees all of it."""
    return lambda: run().figures()


def _draw(item: tuple[Path, int], *, classes: int) -> None:
    draw_photograph(item[0], number=item[1], classes=classes)


def _training(log: Path) -> dict[str, float]:
    """Return the medians over epochs of what the training told of its pace."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    epochs = [line for line in lines if line["event"] == "epoch"]
    wanted = ("seconds", "images_per_s", "data_wait")
    return {name: statistics.median(line[name] for line in epochs) for name in wanted if name in epochs[-1]}


if __name__ == "__main__":
    main()
