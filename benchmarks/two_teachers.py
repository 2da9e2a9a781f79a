"""What a second teacher is worth beside ``world-clip``, in a drawn world: what both answer, and what a student learns.

    python -m benchmarks.two_teachers WORK [--species 20] [--per-species 20] [--seed 0] [--epochs 6] [--out PAGE.md]

WORK is a folder for the world, the second teachers and the runs. The second teachers are ``world-clip`` with noise on
its weights, which therefore errs in ways of its own: a little, much, much and too sure of itself (its logit scale is
two and a half times as large), and altogether random. Each answers at its own temperature.
"""

import argparse
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from leadpp import pipeline
from leadpp.data.index import ImageIndex, open_data
from leadpp.data.views import EvalSet, eval_loader
from leadpp.functional.distillation import Distribution, normalized_entropy, prototype_distribution
from leadpp.functional.mixture import mix
from leadpp.functional.randomness import generator_for
from leadpp.models.builtin import networks_folder
from leadpp.models.teacher import load_teachers
from leadpp.stages.world import make_world
from leadpp.text.descriptions import read_descriptions
from leadpp.text.encoding import encode_texts

FIRST = "builtin:world-clip"
WEIGHTS = "open_clip_model.safetensors"
SECONDS: Mapping[str, tuple[float, float]] = {
    "a little worse": (0.1, 1.0),
    "much worse": (0.2, 1.0),
    "much worse, too sure": (0.2, 2.5),
    "random": (5.0, 1.0),
}
"""Name -> noise on each matrix of weights, in units of its standard deviation, and factor of the logit scale."""
RULES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "equal": torch.ones_like,
    "1 - H²": lambda entropy: 1 - entropy**2,
    "1 - H": lambda entropy: 1 - entropy,
    "(1 - H)²": lambda entropy: (1 - entropy) ** 2,
    "(1 - H)⁴": lambda entropy: (1 - entropy) ** 4,
}
FIGURES = {"knn": "kNN", "cluster_accuracy": "clusters", "naming_student": "naming", "naming_teacher": "by teachers"}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--species", type=int, default=20)
    parser.add_argument("--per-species", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--out", type=Path, help="write the page here as well")
    asked = parser.parse_args(words)
    world = asked.work / "world"
    if not world.exists():
        make_world(world, species=asked.species, per_species=asked.per_species, size=128, seed=asked.seed)
    seconds = {
        name: disturbed_teacher(asked.work / f"teacher-{number}", noise=noise, sureness=sureness)
        for number, (name, (noise, sureness)) in enumerate(SECONDS.items(), start=1)
    }
    shown = asked.species * (asked.per_species // 2)
    lines = [
        "# A second teacher",
        "",
        f"A drawn world, seed {asked.seed}: {asked.species} species with {asked.per_species} photographs each, half of "
        "them for training; one description a species.",
        "Second teachers are `world-clip` with noise on its weights; each teacher at its own temperature.",
        f"One seed, and {shown} photographs for testing: a share has a standard error of about "
        f"{100 * (0.25 / shown) ** 0.5:.1f} points at most.",
        "",
        *answers_table(world, seconds, another=disturbed_teacher(asked.work / "teacher-0", noise=0.1, draw=1)),
    ]
    print("\n".join(lines), flush=True)
    lines += ["", *students_table(world, seconds, work=asked.work, epochs=asked.epochs)]
    print("\n".join(lines), flush=True)
    if asked.out:
        asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def disturbed_teacher(folder: Path, *, noise: float, sureness: float = 1.0, draw: int = 0) -> str:
    """Write ``world-clip`` with noise on its weights and another logit scale, and return its name for settings."""
    shutil.copytree(networks_folder() / "world-clip", folder, dirs_exist_ok=True)
    weights = load_file(folder / WEIGHTS)
    for number, (name, weight) in enumerate(sorted(weights.items())):
        if weight.is_floating_point() and weight.ndim > 1:
            drawn = torch.randn(weight.shape, generator=generator_for(draw, "disturbed", number))
            weights[name] = weight + (noise * weight.float().std() * drawn).to(weight.dtype)
    weights["logit_scale"] = weights["logit_scale"] + math.log(sureness)
    save_file(weights, folder / WEIGHTS)
    return f"local-dir:{folder}"


def answers_table(world: Path, seconds: Mapping[str, str], *, another: str) -> Iterator[str]:
    """Yield what two teachers say together of all true crops, by the rule that weighs them.

    Args:
        world: The photographs.
        seconds: Who answers beside ``world-clip``, by name.
        another: One that is as good as the first of these, and errs in other ways; those two answer together too.
    """
    yield "## What they answer together, on true crops"
    yield ""
    yield "Percent named right, and in brackets the mean surprise at the true name, in nats."
    yield ""
    yield f"| teachers | first alone | second alone | {' | '.join(RULES)} |"
    yield "|---" * (3 + len(RULES)) + "|"
    index = open_data(world, seed=123)
    labels = torch.tensor([index.class_index(str(record.label)) for record in index.usable()])
    pairs = {f"`world-clip` and one {name}": (FIRST, model) for name, model in seconds.items()}
    pairs["two a little worse than `world-clip`"] = (next(iter(seconds.values())), another)
    for name, models in pairs.items():
        first, second = (answers_of(model, index, world) for model in models)
        mixtures = [weigh([first, second], rule) for rule in RULES.values()]
        cells = [f"{accuracy(one, labels):.1f} ({surprise(one, labels):.2f})" for one in (first, second, *mixtures)]
        yield f"| {name} | {' | '.join(cells)} |"


def answers_of(model: str, index: ImageIndex, world: Path) -> Distribution:
    """Ask one teacher about every true crop."""
    (teacher,) = load_teachers(models=[model])
    records = index.usable()
    boxes = torch.tensor([record.true_box_xyxy for record in records])
    samples = EvalSet(records, root=index.root, size=96, fit="squeeze", crop_boxes_xyxy=boxes)
    batches = eval_loader(samples, batch_size=64, workers=0)
    embedding = torch.cat([teacher.encode_images(batch["image"]) for batch in batches])
    texts = read_descriptions(world / "descriptions.csv")
    prototypes = encode_texts([texts[name][0] for name in index.classes], encoder=teacher).vectors
    temperature: float = getattr(teacher, "temperature", 0.05)
    return prototype_distribution(embedding, prototypes, temperature=temperature)


def weigh(answers: Sequence[Distribution], rule: Callable[[Tensor], Tensor]) -> Distribution:
    """Mix answers by a rule of their entropies."""
    weights = torch.stack([rule(normalized_entropy(answer)) for answer in answers])
    return mix(answers, weights / weights.sum(dim=0))


def accuracy(answer: Distribution, labels: Tensor) -> float:
    return 100 * (answer.log_probs.argmax(dim=1) == labels).double().mean().item()


def surprise(answer: Distribution, labels: Tensor) -> float:
    return -answer.log_probs.double().gather(1, labels[:, None]).mean().item()


def students_table(world: Path, seconds: Mapping[str, str], *, work: Path, epochs: int) -> Iterator[str]:
    """Yield what students have learnt from one teacher and from two, as evaluate measures it."""
    yield f"## What a student learns from them: {epochs} epochs, test figures in percent"
    yield ""
    sets = {"crop": "object crops found without labels", "whole": "whole photographs"}
    columns = [f"{title}, {which}" for which in sets for title in FIGURES.values()]
    yield f"| teachers | {' | '.join(columns)} |"
    yield "|---" * (1 + len(columns)) + "|"
    both = {f"and one {name}": [FIRST, model] for name, model in seconds.items()}
    alone = {f"one {name}, alone": [model] for name, model in seconds.items()}
    for number, (name, models) in enumerate({"`world-clip` alone": [FIRST], **both, **alone}.items()):
        found = measured(world, work / f"run-{number}", models, epochs=epochs)
        for title, encoder in {"no training": "frozen", name: "student"}.items():
            if encoder == "student" or number == 0:
                cells = [cell(found, encoder, which, figure) for which in sets for figure in FIGURES]
                yield f"| {title} | {' | '.join(cells)} |"


def measured(world: Path, run: Path, models: Sequence[str], *, epochs: int) -> list[dict[str, Any]]:
    """Train and evaluate a student of some teachers."""
    settings = {
        "networks": "world",
        "input": {"workers": 0},
        "teacher": {"models": list(models)},
        "loss": {"distillation_temperature": 0},
        "train": {"epochs": epochs, "monitor_every": 0},
        "evaluate": {"probe_epochs": 1},
    }
    texts = pipeline.Texts(descriptions=world / "descriptions.csv")
    stages = ("localize", "prototypes", "train", "evaluate")
    rows: list[dict[str, Any]] = pipeline.run(world, run, stages=stages, settings=settings, texts=texts)["evaluate"]
    return rows


def cell(rows: Sequence[Mapping[str, Any]], encoder: str, which: str, figure: str) -> str:
    (row,) = [row for row in rows if (row["encoder"], row["feature"], row["set"]) == (encoder, "gap", which)]
    return f"{100 * row[figure]:.1f}" if figure in row else "–"


if __name__ == "__main__":
    main()
