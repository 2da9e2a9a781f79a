"""Frozen features, MoCo, and LEAD++ without and with a weak teacher on photographs of fruit and vegetables.

All arms share data, boxes, backbone weights, seed, epochs, batch, rate and evaluation; they differ in the objective
alone. The teacher is the ConSE stand-in of ``benchmarks/teachers/conse.py``. Run from the root of the project:

    LEADPP_CONSE_WEIGHTS=WEIGHTS python -m benchmarks.produce --data PRODUCE --weights WEIGHTS --out OUT

PRODUCE holds ``train/<kind>``, ``test/<kind>`` and ``descriptions.json``; WEIGHTS is the timm folder of
EfficientNet-Lite0. Arms that are finished are skipped, so an interrupted benchmark can be run again.
"""

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leadpp import pipeline
from leadpp.engine.console import console_progress

TEACHER = {"factory": "benchmarks.teachers.conse:teacher"}

ARMS: dict[str, dict[str, Any]] = {
    "moco": {"preset": "moco", "evaluate": {"encoders": ["student", "frozen"]}},
    "lead++ without teacher": {"preset": "lead++", "teacher": {"use": "no"}},
    "lead++ with weak teacher": {
        "preset": "lead++",
        "teacher": TEACHER,
        "evaluate": {"encoders": ["student", "teacher"]},
    },
    "lead++ with weak teacher, tau 0.1": {
        "preset": "lead++",
        "teacher": TEACHER,
        "loss": {"distillation_temperature": 0.1},
    },
    "the same without entropy weights": {
        "preset": "lead++",
        "teacher": TEACHER,
        "loss": {"distillation_temperature": 0.1, "contrast_weighting": "half", "distill_weighting": "half"},
    },
}
"""Name of each arm -> the settings in which it differs; frozen and teacher rows are measured once."""

COLUMNS = {
    "knn": "kNN",
    "probe_last": "probe, last",
    "probe_heldout": "probe, held-out",
    "rank1": "Rank-1",
    "map": "mAP",
    "purity10": "purity@10",
    "cluster_accuracy": "cluster acc.",
    "nmi": "NMI",
    "naming_student": "naming",
}


def spread_kinds(data: Path, *, kinds: int) -> list[str]:
    """Return every n-th kind of the sorted list, so many in all."""
    names = sorted(path.name for path in (data / "train").iterdir() if path.is_dir())
    step = len(names) / kinds
    return [names[int(number * step)] for number in range(kinds)]


def tuning_kinds(data: Path) -> list[str]:
    """Return every second of the kinds that are not among the 20 of which figures are reported."""
    reported = set(spread_kinds(data, kinds=20))
    names = sorted(path.name for path in (data / "train").iterdir() if path.is_dir())
    return [name for name in names if name not in reported][::2]


def link_kinds(data: Path, out: Path, chosen: Sequence[str]) -> Path:
    """Link some kinds into a folder of their own, ``out/photos``, with their descriptions; return the folder."""
    folder = out / "photos"
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for name in chosen:
            link = folder / split / name
            if not link.exists():
                link.symlink_to((data / split / name).resolve(), target_is_directory=True)
    texts = json.loads((data / "descriptions.json").read_text(encoding="utf-8"))
    subset = {name: f"{name.replace('-', ' ')}: {texts[name]['text']}" for name in chosen}
    (out / "descriptions.json").write_text(json.dumps(subset, indent=1), encoding="utf-8")
    return folder


def settings_for(arm: Mapping[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of one arm: what all share, and what is its own."""
    backbone = f"local-dir:{arguments.weights.resolve()}"
    shared: dict[str, Any] = {
        "seed": arguments.seed,
        "input": {"size": arguments.size, "workers": arguments.workers},
        "localize": {"backbone": backbone, "size": 224},
        "student": {"backbone": backbone, "batchnorm": arguments.batchnorm},
        "train": {
            "epochs": arguments.epochs,
            "batch_size": arguments.batch,
            "learning_rate": arguments.rate,
            "clip_norm": arguments.clip,
            "monitor_every": 5,
        },
        "evaluate": {"view": "squeeze", "encoders": ["student"], "probe_views": arguments.probe_views},
    }
    return {
        name: {**shared[name], **arm[name]} if name in shared and name in arm and name != "seed" else value
        for name, value in {**shared, **arm}.items()
    }


def run_arms(photos: Path, arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Run the boxes once, then every arm from them; return the rows of each arm's evaluation."""
    base = arguments.out / "boxes"
    progress = console_progress()
    first = settings_for({}, arguments)
    pipeline.run(photos, base, stages=("localize",), settings=first, progress=progress)
    rows = {}
    for name in arguments.arms:
        arm = ARMS[name]
        progress.note(f"== {name}")
        folder = arguments.out / name.replace(" ", "-").replace("+", "p").replace(",", "")
        if not folder.exists():
            shutil.copytree(base, folder)
        teaches = arm.get("teacher") == TEACHER
        texts = pipeline.Texts(descriptions=arguments.out / "descriptions.json" if teaches else None)
        results = pipeline.run(photos, folder, settings=settings_for(arm, arguments), texts=texts, progress=progress)
        rows[name] = results["evaluate"]
    return rows


def table(rows: Mapping[str, list[dict[str, Any]]]) -> str:
    """Return a Markdown table of every arm, with the frozen and teacher rows where they were measured."""
    lines = ["| arm | feature | set | " + " | ".join(COLUMNS.values()) + " |", "|---" * (3 + len(COLUMNS)) + "|"]
    for arm, content in rows.items():
        for row in content:
            label = arm if row["encoder"] == "student" else row["encoder"]
            figures = [f"{row[key]:.3f}" if key in row else "–" for key in COLUMNS]
            if row["encoder"] == "teacher" and "naming_teacher" in row:
                figures[-1] = f"{row['naming_teacher']:.3f}"
            lines.append(f"| {label} | {row['feature']} | {row['set']} | " + " | ".join(figures) + " |")
    return "\n".join(lines)


def main() -> None:
    """Read the command line, run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", type=int, default=20)
    parser.add_argument("--probe-views", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.005)
    parser.add_argument("--clip", type=float, default=0.0)
    parser.add_argument("--batchnorm", choices=["train", "eval"], default="train")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=-1)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    photos = link_kinds(arguments.data, arguments.out, spread_kinds(arguments.data, kinds=arguments.kinds))
    print(table(run_arms(photos, arguments)))


if __name__ == "__main__":
    main()
