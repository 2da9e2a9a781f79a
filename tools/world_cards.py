"""The cards of the shipped networks: what they are, how they were made, how good they are."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from leadpp.models.builtin import FILES
from tools.world_measures import (
    DESCRIPTIONS,
    FAMILY,
    FURTHER_SEEDS,
    SEED,
    SPECIES,
    Exam,
    draw_exam,
    measure_backbone,
    measure_clip,
    measure_zero_shot,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CHECKED, MEASURED = 5, 20
"""Pictures of each species in the small set that a test draws again, and in the larger one that the card reports."""
_PURPOSE = {
    "world-backbone": (
        "A small ResNet (layers 1-1-1-1, channels 32 to 256), trained to tell apart species of imaginary birds. "
        "It plays the part that ImageNet weights play on photographs."
    ),
    "world-clip": (
        "An image and a text tower (open_clip), trained to find the text that belongs to a picture of an imaginary "
        "bird, and the picture that belongs to a text. It plays the part that CLIP plays on photographs."
    ),
}
_HOW = {
    "world-backbone": "Supervised, on whole pictures with random crops, flips and small changes of colour.",
    "world-clip": (
        "Contrastive, at first among strangers and later in batches of whole families, on crops about the bird and "
        "whole pictures, with whole descriptions, parts of them and names alone. During training, and only then, both "
        "towers also name the attributes through one shared linear layer. The text tower of that training is then "
        "replaced: with the image tower fixed, a linear map learns where among the pictures a set of told attributes "
        "belongs, and a larger text tower learns to put fresh texts, short ones first, where that map puts what they "
        "tell. At last the temperature is fitted on reserved species that took no part before."
    ),
}
_LOADING = {
    "world-backbone": (
        '`student.backbone: "builtin:world-backbone"`, or `timm.create_model("local-dir:FOLDER", pretrained=True)`'
    ),
    "world-clip": (
        '`teacher.model: "builtin:world-clip"`, or `open_clip.create_model("local-dir:FOLDER")` with '
        '`open_clip.get_tokenizer("local-dir:FOLDER", bpe_path="FOLDER/bpe.txt.gz")`'
    ),
}
_LIMITS = (
    "Knows drawn birds and the English in which they are described, and nothing else: of no use on photographs. "
    "Small parts (eye ring, bill, legs) are hard for it where the bird is small, turned, in flight or behind twigs."
)


def write_cards(out: Path, *, seed: int, plan: "DataclassInstance", seconds: Mapping[str, float]) -> None:
    """Measure both networks as they were saved and write ``CARD.md`` and ``card.json`` into their folders.

    Args:
        out: Folder of both.
        seed: With which they were made.
        plan: A dataclass of how much was drawn and learnt.
        seconds: What drawing and training took.
    """
    with TemporaryDirectory() as scratch:
        exams = {
            "check": draw_exam(Path(scratch) / "check.npy", per_species=CHECKED),
            "measured": draw_exam(Path(scratch) / "measured.npy", per_species=MEASURED),
        }
        further = {
            number: draw_exam(Path(scratch) / f"{number}.npy", per_species=MEASURED, seed=number)
            for number in FURTHER_SEEDS
        }
        for name, needed in FILES.items():
            card = {
                "kind": "network-card",
                "name": name,
                "made": {"seed": seed, "share": "reserved", **dataclasses.asdict(plan)},
                "minutes": {part: round(value / 60, 1) for part, value in seconds.items()},
                "sha256": {file: sha256(out / name / file) for file in needed},
                **{key: _measure(name, out / name, exam) for key, exam in exams.items()},
            }
            if name == "world-clip":
                card["further_seeds"] = {
                    str(number): measure_zero_shot(f"local-dir:{out / name}", exam) for number, exam in further.items()
                }
            text = json.dumps(card, indent=1)
            (out / name / "card.json").write_text(text + "\n", encoding="utf-8")
            (out / name / "CARD.md").write_text(_page(card), encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the digest of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _measure(name: str, folder: Path, exam: Exam) -> dict[str, Any]:
    measure = measure_backbone if name == "world-backbone" else measure_clip
    return measure(f"local-dir:{folder}", exam)


def _page(card: Mapping[str, Any]) -> str:
    name, made, minutes, measured = card["name"], card["made"], card["minutes"], card["measured"]
    figures = [(key, f"{value:.3f}") for key, value in measured.items() if isinstance(value, float)]
    parts = [
        f"# {name}",
        _PURPOSE[name],
        f"- Made by `python -m tools.train_world_models OUT --seed {made['seed']}` on two cores: drawing "
        f"{minutes['pictures']} minutes, training {minutes[name]} minutes (both networks side by side)"
        f"{_finished(name, minutes)}.\n"
        f"- Made from: {_used(name, made)}, all of the reserved share of attribute combinations, which no user's world "
        "draws from.\n"
        f"- How: {_HOW[name]}\n"
        f"- Load it with {_LOADING[name]}.\n"
        "- Stored in half precision. Licence: MIT. Digests of the files: `card.json`.",
        f"## Measured\n\nOn {SPECIES} open species of seed {SEED} in families of {FAMILY} look-alikes, "
        f"{MEASURED} pictures each; `whole` pictures, and the square about the bird (`crop`). Chance is 1/{SPECIES}."
        f"{_ways(name)}",
        _table(("figure", "value"), figures),
        *_worlds(card),
        *_calibration(measured),
        f"## Limits\n\n{_LIMITS}",
    ]
    return "\n\n".join(parts) + "\n"


def _finished(name: str, minutes: Mapping[str, float]) -> str:
    return f", the last text tower {minutes['finish']} minutes" if name == "world-clip" else ""


def _ways(name: str) -> str:
    if name == "world-backbone":
        return ""
    return (
        f" `zero_shot` is by one description a species, `three_texts` by the mean of the unit vectors of "
        f"{DESCRIPTIONS}, `names_only` by the name."
    )


def _used(name: str, made: Mapping[str, Any]) -> str:
    known, pictures = made["known"], made["known"] * made["known_pictures"]
    if name == "world-backbone":
        return f"{known} species, {pictures:,} pictures, {made['backbone']['epochs']} epochs"
    pictures += made["further"] * made["further_pictures"]
    finish = made["finish"]
    texts = finish["easy_steps"] * finish["easy_species"] + finish["steps"] * finish["species"]
    return (
        f"{known + made['further']:,} species, {pictures:,} pictures, {made['clip']['steps']:,} batches, and {texts:,} "
        "texts without pictures"
    )


def _worlds(card: Mapping[str, Any]) -> list[str]:
    """Tabulate the zero-shot accuracies of all measured seeds."""
    if "further_seeds" not in card:
        return []
    worlds = {str(SEED): card["measured"], **card["further_seeds"]}
    keys = [f"{way}_{kind}" for kind in ("crop", "whole") for way in ("zero_shot", "three_texts", "names_only")]
    rows = [(number, *(f"{found[key]:.3f}" for key in keys)) for number, found in worlds.items()]
    means = [f"{sum(found[key] for found in worlds.values()) / len(worlds):.3f}" for key in keys]
    return ["Zero-shot in worlds of several seeds:", _table(("seed", *keys), [*rows, ("mean", *means)])]


def _calibration(measured: Mapping[str, Any]) -> list[str]:
    parts = []
    for kind in ("crop", "whole"):
        for one in measured.get(f"calibration_{kind}", []):
            title = f"Calibration on `{kind}` at temperature {one['temperature']:g}: expected error {one['ece']:.3f}"
            rows = [(str(count), f"{sure:.2f}", f"{right:.2f}") for count, sure, right in one["bins"]]
            parts += [title, _table(("pictures", "confidence", "accuracy"), rows)]
    return parts


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
