"""From a checkpoint back to the student that the training gives away, for evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadpp.errors import CheckpointError
from leadpp.functional.randomness import generator_for
from leadpp.io.checkpoint import read_checkpoint
from leadpp.models.backbone import create_backbone
from leadpp.models.student import Student


def describe_student(student: Student, *, backbone: str) -> dict[str, Any]:
    """Return what a checkpoint must say of a student for :func:`load_student` to build it again.

    Args:
        student: The query encoder.
        backbone: The name under which its backbone was created.
    """
    return {
        "backbone": backbone,
        "embedding_dim": student.embedding_dim,
        "further_dims": list(student.further_dims),
        "attention_channels": student.attention.conv.out_channels,
        "attention_scaling": student.attention_scaling,
        "batchnorm": student.batchnorm,
    }


def names_classes(metadata: Mapping[str, Any]) -> bool:
    """Tell from a checkpoint's metadata whether the student's embedding can be held against prototypes.

    It can where the student learnt with them, here (``class_count``) or before it was imported (``names_classes``).
    """
    return bool(metadata.get("names_classes", metadata.get("class_count")))


def unlearnt_features(metadata: Mapping[str, Any]) -> frozenset[str]:
    """Return the features of an imported student whose heads came with no weights and were drawn at random."""
    made_by = {"projector": "embedding", "attention": "attention"}
    return frozenset(made_by[head] for head in metadata.get("drawn", ()))


def load_student(path: Path, *, backbone: str | None = None) -> tuple[Student, dict[str, Any]]:
    """Build the student of a checkpoint, in evaluation mode on the CPU.

    Args:
        path: The checkpoint.
        backbone: The network to build, for instance where its ``local-dir:`` folder is now; that of the checkpoint
            when left out.

    Returns:
        The student, and the checkpoint's metadata: what :func:`describe_student` says, epoch, step, and whatever the
        training added.

    Raises:
        CheckpointError: Missing, truncated, or its tensors do not fit the backbone.
        WeightsError: The backbone is unknown here.
    """
    checkpoint = read_checkpoint(path)
    metadata = dict(checkpoint.metadata)
    try:
        student = Student(
            create_backbone(backbone or metadata["backbone"], pretrained=False),
            embedding_dim=metadata["embedding_dim"],
            further_dims=metadata.get("further_dims", ()),  # checkpoints from when there was one teacher do not say
            attention_channels=metadata["attention_channels"],
            attention_scaling=metadata["attention_scaling"],
            batchnorm=metadata["batchnorm"],
            generator=generator_for(0, "overwritten by the checkpoint"),
        )
    except KeyError as error:
        raise CheckpointError(f"{path}: it does not say its {error.args[0]}; train again") from error
    try:
        checkpoint.load_module("result" if "result" in checkpoint.sections else "student", student)
    except CheckpointError as error:
        if backbone in (None, metadata["backbone"]):
            raise
        raise CheckpointError(
            f"{path}: it is of another backbone: trained from {metadata['backbone']!r}, while the settings name "
            f"{backbone!r}; set student.backbone to that network, or train again"
        ) from error
    return student.eval(), metadata
