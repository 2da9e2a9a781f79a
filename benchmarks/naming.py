"""Whether the student names better than its teacher out of the same words, and whether kinds without a name are found.

    python -m benchmarks.naming WORK [--seeds 1000 1001 1002] [--cells names one three mixed one-of-each families]

Every cell is one training in the world of the demo (40 species, 50 photographs of each, half of them to train on), with
the networks and settings of ``leadpp demo``. Three kinds of words: the names alone, one description of each species,
three of each; and, where ``text.mix`` is a setting, one description mixed with the name. For ``discover`` the words of
some species are left out: one of each family of five look-alikes, or two whole families. A finished cell is kept in
``results/naming.json`` beside this file and not computed again; ``results/naming.md`` is made of what is there.
"""

import argparse
import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import roc_auc_score

from leadpp import pipeline
from leadpp.config import build_config, option_fields, read_yaml
from leadpp.engine.console import PlainProgress
from leadpp.io.artifacts import read_json, write_text
from leadpp.pipeline.comparing import lend_boxes
from leadpp.stages.names import discover
from leadpp.stages.world import make_world

RESULTS = Path(__file__).parent / "results"
SPECIES, PER_SPECIES, SIZE_PX = 40, 50, 128
FAMILY = 5
WORDS = {
    "names": "names alone",
    "one": "one description",
    "three": "three descriptions",
    "mixed": "one description, names mixed in by half",
}
LEFT_OUT = {"one-of-each": "one species of each family", "families": "two whole families"}
SETTINGS: dict[str, Any] = {
    "networks": "world",
    "teacher": {"use": "yes"},
    "train": {"monitor_every": 0},
    "evaluate": {
        "encoders": ["student", "teacher"],
        "probe_views": 1,
        "probe_epochs": 1,
        "kmeans_restarts": 3,
    },
}
FIGURES = {
    "naming_accuracy": "right",
    "naming_top5": "first 5",
    "naming_cluster_accuracy": "as clusters",
    "semantic_accuracy": "meaning",
    "naming_ece": "ECE fitted",
    "naming_ece_usual": "ECE 0.05",
    "naming_coverage_90": "kept at 90 %",
    "naming_aurc": "AURC",
}
Cells = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="where worlds and runs go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1000])
    parser.add_argument("--cells", nargs="+", choices=[*WORDS, *LEFT_OUT], default=[*WORDS, *LEFT_OUT])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cells = read_cells()
    for seed in options.seeds:
        for kind in options.cells:
            key = f"{kind}/{seed}"
            if key in cells or (kind == "mixed" and not can_mix()):
                continue
            cells[key] = measure(options.work / str(seed), kind, seed=seed)
            write_text(RESULTS / "naming.json", json.dumps(cells, indent=1, sort_keys=True) + "\n")
            write_text(RESULTS / "naming.md", "\n".join(page(cells)) + "\n")
            print(f"{key}: done", flush=True)


def read_cells() -> Cells:
    path = RESULTS / "naming.json"
    cells: Cells = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return cells


def can_mix() -> bool:
    return any(leaf.path == ("text", "mix") for leaf in option_fields())


def measure(folder: Path, kind: str, *, seed: int) -> dict[str, Any]:
    """Train one student and return what is measured of it."""
    world = folder / "world"
    if not (world / "world.json").is_file():
        make_world(
            world, species=SPECIES, per_species=PER_SPECIES, size=SIZE_PX, seed=seed, descriptions=3, overwrite=True
        )
    run = folder / kind
    boxes = folder / "names"
    if run != boxes and (boxes / "boxes.parquet").is_file() and not (run / "boxes.parquet").is_file():
        lend_boxes(boxes, run)
    words, match = texts_of(world, folder, kind)
    text: dict[str, Any] = {"match": match} | ({"mix": "names=0.5"} if kind == "mixed" else {})
    pipeline.run(
        world,
        run,
        stages=("localize", "prototypes", "train", "evaluate"),
        settings={**SETTINGS, "seed": seed, "text": text},
        texts=words,
        resume=True,
        progress=PlainProgress(every_s=60),
    )
    if kind in LEFT_OUT:
        return strangers(run)
    names = read_json(run / "evaluation.json", kind="evaluation")["names"]
    keep = ("encoder", "set", "calibration", "figures", "confidence")
    return {"rows": [{key: row[key] for key in keep} for row in names["rows"]]}


def texts_of(world: Path, folder: Path, kind: str) -> tuple[pipeline.Texts, str]:
    """Return the words of a cell, and how they are matched to the classes."""
    if kind == "names":
        return pipeline.Texts(names=world / "names.txt"), "exact"
    if kind == "three":
        return pipeline.Texts(descriptions=world / "descriptions.csv"), "exact"
    with (world / "descriptions.csv").open(encoding="utf-8", newline="") as stream:
        header, *rows = list(csv.reader(stream))
    first: dict[str, list[str]] = {}
    for row in rows:
        first.setdefault(row[0], row)
    chosen = [row for place, row in enumerate(first.values()) if kind not in LEFT_OUT or place not in left_out(kind)]
    path = folder / f"{kind}.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *chosen])
    return pipeline.Texts(descriptions=path), "free" if kind in LEFT_OUT else "exact"


def left_out(kind: str) -> set[int]:
    """Return the places of the species that the words are silent about."""
    if kind == "one-of-each":
        return {place for place in range(SPECIES) if place % FAMILY == FAMILY // 2}
    return {place for place in range(SPECIES) if place // FAMILY in (2, 5)}


def strangers(run: Path) -> dict[str, Any]:
    """Count which of the clusters without a name are of species that were left out; only here truth is looked at."""
    config = build_config(read_yaml(run / "config.yaml"), {"name": {"set": "crop"}})
    found = discover(run=run, config=config)
    everything = discover(
        run=run, out=run / "all", config=build_config(read_yaml(run / "config.yaml"), {"discover": {"below": 1e9}})
    )
    known = set(read_names(run))
    truth: dict[str, str] = {
        path: path.split("/")[1] for group in everything["groups"] for path in group["photographs"]
    }
    absent = set(truth.values()) - known

    def owner(group: Mapping[str, Any]) -> str:
        species: Counter[str] = Counter(truth[path] for path in group["photographs"])
        return species.most_common(1)[0][0]

    owners = [owner(group) for group in everything["groups"]]
    strange = [name in absent for name in owners]
    flagged = [owner(group) for group in found["groups"]]
    return {
        "clusters": found["clusters"],
        "clusters_of_left_out": sum(strange),
        "auroc": float(roc_auc_score(strange, [-group["fit"] for group in everything["groups"]])),
        "unnamed": found["unnamed"],
        "unnamed_right": sum(name in absent for name in flagged),
        "species_left_out": len(absent),
        "species_with_a_cluster": len(absent & set(owners)),
        "species_found": len(absent & set(flagged)),
        "photographs_right": share(found, truth, absent),
        "photographs_chance": sum(name in absent for name in truth.values()) / len(truth),
    }


def share(found: Mapping[str, Any], truth: Mapping[str, str], absent: set[str]) -> float:
    """Share of photographs of left-out species among those in clusters without a name."""
    paths = [path for group in found["groups"] for path in group["photographs"]]
    return sum(truth[path] in absent for path in paths) / max(1, len(paths))


def read_names(run: Path) -> list[str]:
    with (run / "descriptions.csv").open(encoding="utf-8", newline="") as stream:
        return [row[0] for row in list(csv.reader(stream))[1:]]


def page(cells: Cells) -> Iterator[str]:
    """Yield the lines of the document."""
    seeds = sorted({int(key.partition("/")[2]) for key in cells})
    yield "# Names in the world of the demo"
    yield ""
    yield (
        f"40 species in families of five look-alikes, 50 photographs each, half of them to train on; seeds "
        f"{', '.join(map(str, seeds))}; figures on the 1,000 test photographs of each, in percent, mean over seeds"
    )
    yield "(± standard deviation where there are several). The teacher is `builtin:world-clip`, at its own temperature."
    yield "The student's is fitted without labels to the teacher's mean confidence. A drawn world, and networks made in"
    yield "it: these figures say nothing about photographs. Knowledge that went in: the true names, one for each class."
    for on, title in (("crop", "Object crops"), ("whole", "Whole photographs")):
        yield from ("", f"## {title}", "", *naming_table(cells, seeds, on=on))
    yield from ("", "## Student beside teacher, out of the same words", "", *beside(cells, seeds))
    yield from ("", "## Kinds without a name", "", *strangers_table(cells, seeds))


def naming_table(cells: Cells, seeds: Sequence[int], *, on: str) -> Iterator[str]:
    yield "| words | who | seeds | " + " | ".join([*FIGURES.values(), "temperature"]) + " |"
    yield "|---|---|---|" + "---|" * (len(FIGURES) + 1)
    for kind, words in WORDS.items():
        for who in ("teacher", "student"):
            rows = [row for seed in seeds if (row := row_of(cells, kind, seed, who=who, on=on))]
            if rows:
                figures = [spread([100 * row["figures"][key] for row in rows]) for key in FIGURES]
                warmth = sum(row["calibration"]["temperatures"][0] for row in rows) / len(rows)
                yield f"| {words} | {who} | {len(rows)} | " + " | ".join([*figures, f"{warmth:.3f}"]) + " |"


def beside(cells: Cells, seeds: Sequence[int]) -> Iterator[str]:
    yield "Points of the student over its teacher, seed by seed:"
    yield from ("", "| words | pictures | " + " | ".join([*map(str, seeds), "mean"]) + " |")
    yield "|---|---|" + "---|" * (len(seeds) + 1)
    for kind, words in WORDS.items():
        for on in ("crop", "whole"):
            gaps = [gap_of(cells, kind, seed, on=on) for seed in seeds]
            there = [gap for gap in gaps if gap is not None]
            if there:
                shown = ["" if gap is None else f"{gap:+.1f}" for gap in [*gaps, sum(there) / len(there)]]
                yield f"| {words} | {on} | " + " | ".join(shown) + " |"


def gap_of(cells: Cells, kind: str, seed: int, *, on: str) -> float | None:
    """Return the points of the student over its teacher, or None where the cell is not there yet."""
    student, teacher = (row_of(cells, kind, seed, who=who, on=on) for who in ("student", "teacher"))
    if student is None or teacher is None:
        return None
    return float(100 * (student["figures"]["naming_accuracy"] - teacher["figures"]["naming_accuracy"]))


def row_of(cells: Cells, kind: str, seed: int, *, who: str, on: str) -> dict[str, Any] | None:
    rows = cells.get(f"{kind}/{seed}", {}).get("rows", [])
    return next((row for row in rows if (row["encoder"], row["set"]) == (who, on)), None)


def strangers_table(cells: Cells, seeds: Sequence[int]) -> Iterator[str]:
    yield "`leadpp discover` on object crops, when the words of some species are left out (one description of each"
    yield "other species). A cluster is a species' if it has more photographs of that than of any other; AUROC: of the"
    yield "fit, for clusters of left-out species among all. The rule was chosen on seed 1000, with one species of each"
    yield "family left out; the other rows had no say in it."
    yield ""
    yield (
        "| left out | seed | clusters | of them of left-out species | AUROC | shown without a name | of them right | "
        "species found | photographs right among shown | by chance |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for kind, words in LEFT_OUT.items():
        for seed in seeds:
            one = cells.get(f"{kind}/{seed}")
            if one:
                species = f"{one['species_found']} of {one['species_left_out']}"
                yield (
                    f"| {words} | {seed} | {one['clusters']} | {one['clusters_of_left_out']} | {one['auroc']:.2f} | "
                    f"{one['unnamed']} | {one['unnamed_right']} | {species} | "
                    f"{100 * one['photographs_right']:.0f} % | {100 * one['photographs_chance']:.0f} % |"
                )


def spread(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {torch.tensor(values).std().item():.1f}"


if __name__ == "__main__":
    main()
