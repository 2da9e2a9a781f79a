"""Import weights: a checkpoint of the reference, of MoCo or of torchvision becomes a run folder of ours."""

from pathlib import Path
from typing import Any, Literal

from leadpp import __version__
from leadpp.config.reader import build_config, write_yaml
from leadpp.config.tree import Config
from leadpp.engine.restore import describe_student
from leadpp.engine.runtime import Progress, SilentProgress
from leadpp.errors import ArtifactError
from leadpp.functional.randomness import generator_for
from leadpp.io.artifacts import file_digest, make_folder, replacing_folder, write_json, write_tensors, write_text
from leadpp.io.checkpoint import load_exactly, save_checkpoint
from leadpp.io.foreign import ForeignCheckpoint, read_foreign
from leadpp.io.ledger import checkpoint_path, keep_newest
from leadpp.models.backbone import create_backbone
from leadpp.models.foreign import ForeignKind, ForeignWeights, sort_weights, timm_config
from leadpp.models.student import Student

TextSpace = Literal["auto", "yes", "no"]

_WIDTH_WITHOUT_PROJECTOR = 512
_TITLES: dict[ForeignKind, str] = {
    "reference": "checkpoint of the LEAD++ reference",
    "lcr": "checkpoint of LCR or a relative of it",
    "moco": "checkpoint of MoCo",
    "network": "network of torchvision",
}
_PRESETS: dict[ForeignKind, str] = {"reference": "paper", "lcr": "moco", "moco": "moco", "network": "moco"}
"""Settings nearest to those under which the weights came to be."""
_FACTS = "import.json"


def import_weights(
    checkpoint: Path,
    out: Path,
    *,
    text_space: TextSpace = "auto",
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a run folder around weights that another program trained.

    It holds ``checkpoints/`` with the student, ``config.yaml``, ``backbone/`` (the network as timm saves it, for
    ``local-dir:OUT/backbone``) and ``import.json``, which says what was found. ``evaluate.encoders`` names the student
    alone, because the weights of other networks may not be at hand. Optimizer, key encoder and queues are checked and
    left out: a training does not go on from them (see docs/decisions/0055).

    Args:
        checkpoint: A file of ``torch.save``.
        out: The run folder, new or empty; written whole or not at all.
        text_space: Whether the embedding lies in the space of CLIP's texts, so that the student can name; ``auto``
            takes that of the reference's checkpoints for granted, and that of no others.
        seed: Draws the weights of heads that the checkpoint has not.
        progress: Who is told what is left out and what is drawn.

    Returns:
        Ready for JSON: the content of ``import.json`` and ``out``.

    Raises:
        CheckpointError: It cannot be read, or is not whole, or is of a network that is no ResNet of torchvision.
        ArtifactError: ``out`` is not empty, or the disk refused.
    """
    progress = progress or SilentProgress()
    out = out.resolve()
    _check_out(out)
    found = read_foreign(checkpoint)
    weights = sort_weights(found.state, source=checkpoint)
    names_classes = _names_classes(weights, text_space, checkpoint)
    config = _config(weights, seed)
    student = _student(weights, config, checkpoint)
    facts = _facts(checkpoint, found, weights) | {"names_classes": names_classes, "seed": seed}
    for line in _notes(facts):
        progress.note(line)
    with replacing_folder(out) as partial:
        _write_checkpoint(partial, student, config, facts)
        _write_backbone(partial / "backbone", weights)
        write_text(partial / "config.yaml", write_yaml(config))
        write_json(partial / _FACTS, facts, kind="import")
    return facts | {"out": str(out)}


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise ArtifactError(f"{out}: a file stands where the run folder is meant; choose another OUT")
    if out.is_dir() and any(out.iterdir()):
        raise ArtifactError(f"{out}: expected a new or empty folder, found files in it; choose another OUT")


def _names_classes(weights: ForeignWeights, text_space: TextSpace, checkpoint: Path) -> bool:
    if text_space == "yes" and not weights.projector:
        raise ArtifactError(
            f"{checkpoint}: it has no projector, so its features lie in no space of texts; leave --text-space at auto"
        )
    return text_space == "yes" or (text_space == "auto" and weights.kind == "reference" and bool(weights.projector))


def _config(weights: ForeignWeights, seed: int) -> Config:
    student: dict[str, Any] = {"backbone": weights.architecture}
    if weights.attention_channels is not None:
        student["attention_channels"] = weights.attention_channels
    return build_config(
        {"preset": _PRESETS[weights.kind], "seed": seed, "student": student, "evaluate": {"encoders": ["student"]}}
    )


def _student(weights: ForeignWeights, config: Config, checkpoint: Path) -> Student:
    student = Student(
        create_backbone(weights.architecture, pretrained=False),
        embedding_dim=weights.embedding_dim or _WIDTH_WITHOUT_PROJECTOR,
        attention_channels=config.student.attention_channels,
        attention_scaling=config.student.attention_scaling,
        batchnorm=config.student.batchnorm,
        generator=generator_for(config.seed, "heads beside imported weights"),
    )
    load_exactly(student.backbone, {f"network.{name}": t for name, t in weights.backbone.items()}, source=checkpoint)
    if weights.projector:
        load_exactly(student.projector, weights.projector, source=checkpoint)
    if weights.attention:
        load_exactly(student.attention, weights.attention, source=checkpoint)
    return student.eval()


def _facts(checkpoint: Path, found: ForeignCheckpoint, weights: ForeignWeights) -> dict[str, Any]:
    """Say what was found, what was left out, and what was put in the place of what is not there."""
    return {
        "file": checkpoint.name,
        "blake2b": file_digest(checkpoint),
        "source": weights.kind,
        "title": f"{_TITLES[weights.kind]}, {checkpoint.name}",
        "backbone": weights.architecture,
        "epoch": found.epoch,
        "tensors": len(found.state),
        "embedding_dim": weights.embedding_dim,
        "left_out": [*weights.left_out, *(name for name in found.also if name not in ("epoch", "arch"))],
        "drawn": [name for name in ("projector", "attention") if not getattr(weights, name)],
        "remarks": list(weights.remarks),
        "code_version": __version__,
    }


def _notes(facts: dict[str, Any]) -> list[str]:
    notes = [f"{facts['title']}: {facts['tensors']} tensors, all checked; the network is a {facts['backbone']}"]
    if facts["left_out"]:
        notes.append(f"left out: {', '.join(facts['left_out'])}")
    if "attention" in facts["drawn"]:
        notes.append("it has no attention head, so there is no attended feature; the one put there is drawn at random")
    if "projector" in facts["drawn"]:
        notes.append("it has no projector, so there is no embedding; the one put there is drawn at random")
    notes += facts["remarks"]
    space = (
        "in the space of CLIP's texts, so that prototypes name" if facts["names_classes"] else "in no space of texts"
    )
    return notes if "projector" in facts["drawn"] else [*notes, f"its embedding lies {space}"]


def _write_checkpoint(run: Path, student: Student, config: Config, facts: dict[str, Any]) -> None:
    path = checkpoint_path(make_folder(run / "checkpoints"), epoch=facts["epoch"] or 0)
    metadata = describe_student(student, backbone=config.student.backbone) | {
        "epoch": facts["epoch"],
        "preset": config.preset,
        "seed": config.seed,
        "names_classes": facts["names_classes"],
        "drawn": facts["drawn"],
        "imported": f"{facts['title']} (BLAKE2b {facts['blake2b']})",
        "code_version": __version__,
    }
    save_checkpoint(path, modules={"student": student}, optimizer=None, metadata=metadata)
    keep_newest(path.parent, path, keep=1)


def _write_backbone(folder: Path, weights: ForeignWeights) -> None:
    """Write the network as timm saves one, so that it can be the beginning of a training or localize."""
    write_json(folder / "config.json", timm_config(weights.architecture), kind="timm-network")
    write_tensors(folder / "model.safetensors", weights.backbone, kind="timm-network")
