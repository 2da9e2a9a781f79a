"""How the figures came to be, in words that name no folder of any machine."""

from collections.abc import Mapping
from typing import Any

from benchmarks.claims.results import Results
from benchmarks.claims.rows import REFERENCE
from leadpp.pipeline.running import describe_environment

_TRAINING = ("epochs", "batch_size", "learning_rate", "schedule", "warmup_epochs", "queue_size", "key_momentum")


def protocol(results: Results) -> dict[str, Any]:
    """Return what a reader needs to repeat the figures, ready for JSON."""
    result = results.one(REFERENCE, "frozen")
    environment = describe_environment()
    return {
        "seeds": list(results.seeds),
        "data": {
            seed: row["ground"] for seed in results.seeds for row in _rows_of(results, seed)[:1]
        },  # the boxes and the index differ from seed to seed
        "evaluation": result["protocol"],
        "settings": result["settings"],
        "precision": result.get("training", {}).get("precision", "fp32"),
        "weights": _weights(results),
        "versions": {"leadpp": environment["leadpp"], "python": environment["python"], **environment["packages"]},
        "mixed": results.mixed(),
    }


def protocol_lines(facts: Mapping[str, Any]) -> list[str]:
    """Return the protocol as a Markdown list."""
    settings, measured = facts["settings"], facts["evaluation"]
    probe = measured["probe"]
    loss, train = settings["loss"], settings["train"]
    lines = [
        f"- **Data.** {_data_words(facts)}",
        f"- **Split.** {_first(facts)['split']}; {_first(facts)['train']} training and {_first(facts)['test']} test "
        f"photographs of {_first(facts)['classes']} classes.",
        f"- **Crops.** {_crop_words(facts)} Every row is judged on these crops, the one that trains on true boxes too.",
        f"- **View.** {measured['view']}, {measured['size']} px; features are the average of the last map, of the "
        "teacher its unit embedding.",
        f"- **kNN.** k = {measured['knn']['k']}, temperature {measured['knn']['temperature']}, of test in train. "
        "**Retrieval** (Rank-1, mAP, purity@10): leave one out inside test, cosine.",
        f"- **Probe.** {probe['epochs']} epochs at rate {probe['learning_rate']:g} on {probe['views']} random views, "
        f"unit rows; the epoch is the latest within one standard error of the best on {probe['heldout']:.0%} of the "
        "training photographs, never on test.",
        f"- **Clusters.** k-means with k = {measured['clusters']['k']}, {measured['clusters']['restarts']} starts, "
        "accuracy by the best one-to-one assignment.",
        "- **Naming.** Nearest prototype, by the row's own prototypes; of the teacher row the teacher's.",
        f"- **Training.** {', '.join(f'{name} {train[name]}' for name in _TRAINING)}; temperatures "
        f"{loss['contrastive_temperature']} (contrast) and {loss['distillation_temperature']} (teacher); forwards "
        f"in {facts['precision']}. The last checkpoint is measured: no epoch and no setting was chosen on these seeds.",
        f"- **Seeds.** {', '.join(map(str, facts['seeds']))}; each decides world, boxes, first weights and draws.",
        *(f"- **Weights** of `{name}`: SHA-256 `{digest}`." for name, digest in facts["weights"].items()),
        f"- **Versions.** {', '.join(f'{name} {number}' for name, number in facts['versions'].items())}.",
    ]
    if facts["mixed"]:
        lines.append("- **Careful:** some rows were made with other shared settings, networks or code than others.")
    return lines


def _rows_of(results: Results, seed: int) -> list[Mapping[str, Any]]:
    return [by_seed[seed] for by_seed in results.by_row.values() if seed in by_seed]


def _weights(results: Results) -> dict[str, str]:
    every = [row for by_seed in results.by_row.values() for row in by_seed.values()]
    found = {name: digest for row in every for name, digest in row["weights"].items()}
    return {name: digest for name, digest in found.items() if digest != "not a file here"}


def _first(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    ground: Mapping[str, Any] = next(iter(facts["data"].values()))
    return ground


def _data_words(facts: Mapping[str, Any]) -> str:
    ground = _first(facts)
    digests = ", ".join(f"{seed}: `{row['digest']}`" for seed, row in facts["data"].items())
    if "world" in ground:
        species, count, size = (ground["world"][key] for key in ("species", "per_species", "size"))
        texts = ground["world"].get("descriptions", 1)  # results from when a species had one do not say so
        made = (
            f"`leadpp world` with {species} species, {count} pictures each of {size} px, descriptions of each: {texts}"
        )
    else:
        made = f"the folder `{ground['folder']}`"
    return f"{made}; digest of the index by seed: {digests}."


def _crop_words(facts: Mapping[str, Any]) -> str:
    found = [row["localize"] for row in facts["data"].values()]
    words = f"Objects found by DDT once a seed, crops by the policy `{found[0]['policy']}`"
    if "corloc" not in found[0]:
        return f"{words}."
    figures = (f"{row['corloc']:.3f} / {row['mean_iou']:.3f}" for row in found)
    return f"{words}; CorLoc / mean IoU by seed: {', '.join(figures)}."
