"""The networks whose features are kept: loaded from a run, and asked for the features of photographs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.data.views import Samples, eval_loader
from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.engine.features import Encode, backbone_features, extract, student_features, teacher_features
from leadpp.engine.restore import load_student, names_classes, unlearnt_features
from leadpp.engine.runtime import Progress
from leadpp.errors import ArtifactError, DataError, LeadppError
from leadpp.io.ledger import newest_checkpoint
from leadpp.models.backbone import create_backbone
from leadpp.models.teacher import Teacher

EMBEDDING = "embedding"
"""Name of the features in the space of the prototypes, in the first of them where there are several."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """One network whose features are looked at."""

    name: str
    """``student``, ``frozen`` or ``teacher``; of several teachers ``teacher_1`` and so on."""
    title: str
    """Which network it is."""
    encode: Encode
    measured: tuple[str, ...]
    """Its features that are compared with those of others."""
    names_classes: bool = False
    """Whether its embedding can be held against the prototypes."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else a reader should know of it."""
    teacher: Teacher | None = None
    """The teacher that it is, if it is one."""


def student_encoder(run: Path, *, backbone: str, device: torch.device) -> Encoder | None:
    """Load the student of the newest checkpoint of a run; None where the run has no checkpoint.

    Raises:
        CheckpointError: The checkpoint is damaged, or of another backbone.
        WeightsError: The backbone is unknown here.
    """
    path = newest_checkpoint(run / "checkpoints")
    if path is None:
        return None
    student, metadata = load_student(path, backbone=backbone)
    facts = {"checkpoint": path.relative_to(run).as_posix(), "epoch": metadata.get("epoch"), **_how_made(metadata)}
    without = unlearnt_features(metadata)
    return Encoder(
        name="student",
        title=metadata["backbone"],
        encode=student_features(student.to(device), without=without),
        measured=tuple(name for name in ("gap", "attention") if name not in without),
        names_classes=names_classes(metadata),
        facts={key: value for key, value in facts.items() if value is not None},
    )


def _how_made(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Say in which way the student is not the trained one itself, whose it is, and if not in single precision."""
    plain = {"train.average_decay": 0.0, "train.blend": 1.0, "precision": "fp32"}
    found = {name: metadata.get(name, value) for name, value in plain.items()}
    imported = {name: metadata[name] for name in ("imported",) if name in metadata}
    return {name.removeprefix("train."): value for name, value in found.items() if value != plain[name]} | imported


def frozen_encoder(backbone: str, *, device: torch.device) -> Encoder:
    """Load the network that the student began as.

    Raises:
        WeightsError: The backbone is unknown here.
    """
    encode = backbone_features(create_backbone(backbone).to(device))
    return Encoder(name="frozen", title=backbone, encode=encode, measured=("gap",))


def teacher_encoder(teacher: Teacher, *, device: torch.device, name: str = "teacher") -> Encoder:
    """Take a teacher as an encoder."""
    teacher.to(device)
    encode = teacher_features(teacher)
    return Encoder(
        name=name, title=teacher.name, encode=encode, measured=(EMBEDDING,), names_classes=True, teacher=teacher
    )


def teacher_names(count: int) -> tuple[str, ...]:
    """Name teachers as encoders, where there are so many.

    >>> teacher_names(1), teacher_names(2)
    (('teacher',), ('teacher_1', 'teacher_2'))
    """
    return ("teacher",) if count == 1 else tuple(f"teacher_{number}" for number in range(1, count + 1))


def encode_photographs(
    encoder: Encoder,
    samples: Samples,
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
    progress: Progress,
    what: str,
    ranks: Ranks = ALONE,
) -> dict[str, Tensor]:
    """Make the features of photographs, float32 (N, F) by name, in the order of ``samples``.

    Of several processes each encodes a share, and only the first comes to hold the features of all; the others return
    those of their share, or nothing where there are fewer batches than processes.

    Args:
        encoder: Whose features.
        samples: N views.
        batch_size: Photographs in one forward.
        workers: Processes that read photographs.
        device: Where the encoder's network is.
        progress: Shown how far it is.
        what: What is being done, in words.
        ranks: This process among those that encode together; all of them call this with the same photographs.

    Raises:
        DataError: A photograph cannot be read.
        ArtifactError: Another process has another encoder.
        LeadppError: The device has too little memory.
    """
    share = ranks.share_of_batches(len(samples), batch_size=batch_size)
    count, room = share.stop - share.start, len(samples) if ranks.leads else 0
    pin = device.type == "cuda"
    features: dict[str, Tensor] = {}
    if count or ranks.alone:
        batches = eval_loader(samples, batch_size=batch_size, workers=workers, pin_memory=pin, share=share)
        tracked = progress.track(batches, total=count, what=ranks.words(what), size=lambda batch: len(batch["index"]))
        try:
            features = extract(tracked, encoder.encode, count=count, device=device, first=share.start, room=room)
        except torch.OutOfMemoryError as error:
            raise LeadppError(
                f"{device} has too little memory for {batch_size} photographs at a time; lower evaluate.batch_size"
            ) from error
    counts = ranks.everyones(count)
    widths = [[name, values.shape[1]] for name, values in features.items()]
    told = ranks.tell(widths)
    if count and told != widths:
        raise ArtifactError(_unlike(encoder.name))
    for name, width in told:
        ranks.collect(features.get(name, torch.empty(0, width)), counts)
    return features


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the first process asks the others to encode their shares of."""

    encoder: Encoder
    look: Mapping[str, Any]
    """At what, and how; what it holds is the stage's own."""


def ask(ranks: Ranks, encoder: Encoder, look: Mapping[str, Any]) -> None:
    """Ask the other processes to take part in encoding; ``look`` is ready for JSON."""
    ranks.tell({"encoder": encoder.name, "checkpoint": encoder.facts.get("checkpoint"), "look": dict(look)})


def ask_no_more(ranks: Ranks) -> None:
    """Tell the other processes that nothing more is to be encoded."""
    ranks.tell(None)


def asked(ranks: Ranks, encoders: Iterator[Encoder]) -> Iterator[Asked]:
    """Yield what the first process asks for, until it asks for nothing more.

    What is measured, and when, is decided by the first process alone; the others load a network when they are asked
    for it.

    Args:
        ranks: This process, not the first.
        encoders: The networks in the order in which the first process takes them, each made when it is taken.

    Raises:
        ArtifactError: A network is not there, or is another one: not all machines see the same run folder.
    """
    encoder: Encoder | None = None
    for message in iter(ranks.tell, None):
        while encoder is None or encoder.name != message["encoder"]:
            encoder = next(encoders, None)
            if encoder is None:
                raise ArtifactError(_unlike(message["encoder"]))
        if encoder.facts.get("checkpoint") != message["checkpoint"]:
            raise ArtifactError(_unlike(encoder.name))
        yield Asked(encoder=encoder, look=message["look"])


def _unlike(name: str) -> str:
    return f"the {name} of this process is not the first process's; see that all machines have the same run folder"


def possible_sets(run: Path, wanted: Sequence[str], *, progress: Progress) -> tuple[str, ...]:
    """Return which of ``whole`` and ``crop`` are wanted and can be had: crops need the run's ``boxes.parquet``.

    Raises:
        DataError: Crops alone are wanted, and there are no boxes.
    """
    chosen = tuple(name for name in ("whole", "crop") if name in wanted)
    if "crop" not in chosen or (run / "boxes.parquet").exists():
        return chosen
    if chosen == ("crop",):
        raise DataError(
            f"{run}: evaluate.sets asks for crops alone, but it has no boxes.parquet; run localize first, or add whole"
        )
    progress.note("no boxes.parquet in the run, so only whole photographs are evaluated; run localize for crops")
    return ("whole",)


def clear_embeddings(folder: Path) -> None:
    """Remove the features of an earlier evaluation, whose order may be another, and their tables.

    Raises:
        ArtifactError: One cannot be removed.
    """
    try:
        for path in (*folder.glob("*.npy"), *folder.glob("*.parquet")):
            path.unlink()
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot remove old features ({error.strerror}); remove it by hand") from error
