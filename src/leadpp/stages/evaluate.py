"""Evaluate: features of the student, of the frozen network it began as and of the teacher, measured side by side."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.config.tree import Config
from leadpp.data.boxes import read_boxes
from leadpp.data.index import ImageIndex, ImageRecord
from leadpp.data.views import EvalSet, ProbeSet, Samples
from leadpp.engine.encoders import (
    EMBEDDING,
    Encoder,
    clear_embeddings,
    encode_photographs,
    frozen_encoder,
    possible_sets,
    student_encoder,
    teacher_encoder,
)
from leadpp.engine.exam import Exam, examine_names
from leadpp.engine.features import FeatureBank, save_features, save_order
from leadpp.engine.measures import MeasureSettings, evaluate_features, naming_accuracy
from leadpp.engine.probe import ProbeSettings
from leadpp.engine.runtime import Progress, SilentProgress, pick_device, worker_count
from leadpp.errors import DataError
from leadpp.io.artifacts import write_json
from leadpp.models.teacher import Teacher, load_teacher
from leadpp.text.names import match_names
from leadpp.text.prototypes import read_prototypes

_SPLITS = ("train", "test")
_FEATURE_WORDS = {
    "gap": "average of the feature map",
    "attention": "average of the feature map under the attention, unit length",
    EMBEDDING: "unit vector in the space of the prototypes",
}


def evaluate(*, index: ImageIndex, run: Path, config: Config, progress: Progress | None = None) -> list[dict[str, Any]]:
    """Measure every encoder on every set, and write ``evaluation.json`` and ``embeddings/``.

    What the run has decides the rows: without a checkpoint there are none of the student, without prototypes (unless
    ``teacher.use`` is ``yes``) none of the teacher, without ``boxes.parquet`` none on crops; a note says so. Features
    are saved as ``embeddings/<encoder>-<feature>-<set>-<split>.npy`` in the order of ``embeddings/<split>.parquet``.

    Args:
        index: Labelled photographs with a train and a test part.
        run: The run folder.
        config: The settings.
        progress: Who is told what is being done.

    Returns:
        One object per encoder, feature and set, the student's first: ``encoder``, ``feature``, ``set``, the figures of
        :func:`~leadpp.engine.measures.evaluate_features`, ``naming_student`` and ``naming_teacher`` where class
        prototypes are known and the network learnt with them, ``counts`` and ``protocol``; where prototypes have names
        also the figures of :func:`~leadpp.engine.naming.naming_figures`. What a page shows of the names besides, and
        which knowledge went into them, is in the file alone, under ``names``.

    Raises:
        DataError: There are no labels, no test or training photographs, one class, or nothing to evaluate.
        LeadppError: Anything else that the user can mend.
    """
    job = _prepare(index, run, config, progress or SilentProgress())
    rows: list[dict[str, Any]] = []
    namers: dict[str, Teacher | None] = {}
    for encoder in _encoders(job):
        rows += _encoder_rows(job, encoder)
        if encoder.names_classes:
            namers[encoder.name] = encoder.teacher
    if not rows:
        raise DataError(
            f"{run}: nothing to evaluate: evaluate.encoders names {', '.join(config.evaluate.encoders)}, and the run "
            "has none of them; run train first, or add frozen"
        )
    by_teacher = {row["set"]: row["naming_teacher"] for row in rows if "naming_teacher" in row}
    for row in rows:
        if row["encoder"] == "student" and row["set"] in by_teacher:
            row["naming_teacher"] = by_teacher[row["set"]]
    names = _examine_names(job, rows, namers)
    write_json(run / "evaluation.json", {"rows": rows, **({"names": names} if names else {})}, kind="evaluation")
    return rows


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """The labelled photographs of one split."""

    records: tuple[ImageRecord, ...]
    labels: Tensor
    crops_xyxy: Tensor | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """Everything that the encoders have in common."""

    index: ImageIndex
    run: Path
    config: Config
    progress: Progress
    device: torch.device
    parts: Mapping[str, _Part]
    sets: tuple[str, ...]
    prototypes: Tensor | None


def _prepare(index: ImageIndex, run: Path, config: Config, progress: Progress) -> _Job:
    records = _labelled(index, progress)
    sets = possible_sets(run, config.evaluate.sets, progress=progress)
    parts = {}
    for split in _SPLITS:
        crops = read_boxes(run / "boxes.parquet", records[split]).crop_xyxy if "crop" in sets else None
        labels = [index.class_index(str(record.label)) for record in records[split]]
        parts[split] = _Part(records=records[split], labels=torch.tensor(labels), crops_xyxy=crops)
    clear_embeddings(run / "embeddings")
    for split, part in parts.items():
        paths, names = [record.path for record in part.records], [record.label for record in part.records]
        save_order(run / "embeddings" / f"{split}.parquet", paths=paths, labels=names)
    return _Job(
        index=index,
        run=run,
        config=config,
        progress=progress,
        device=pick_device(config.train.device),
        parts=parts,
        sets=sets,
        prototypes=_class_prototypes(index, run, config, progress),
    )


def _labelled(index: ImageIndex, progress: Progress) -> dict[str, tuple[ImageRecord, ...]]:
    if not index.labelled:
        raise DataError(
            f"{index.root}: evaluation needs labels, found none; put photographs into folders named after their "
            "classes (leadpp run writes features, clusters and names without labels)"
        )
    records = {"train": index.usable("train"), "test": index.usable("test")}
    known = {split: tuple(r for r in part if r.label is not None) for split, part in records.items()}
    for split, part in known.items():
        if not part:
            raise DataError(
                f"{index.root}: evaluation needs labelled {split} photographs, found none (split: "
                f"{index.split_origin}); give the data a folder {split}/<class>"
            )
        if len(part) < len(records[split]):
            progress.note(f"{len(records[split]) - len(part)} {split} photographs without a label are left out")
    if len({record.label for record in known["test"]}) < 2:
        raise DataError(
            f"{index.root}: evaluation needs test photographs of two classes or more, found one class, "
            f"{known['test'][0].label!r}; add another class"
        )
    return known


def _class_prototypes(index: ImageIndex, run: Path, config: Config, progress: Progress) -> Tensor | None:
    """Prototypes in the order of the classes, or None where it cannot be known which is whose."""
    path = run / "prototypes.safetensors"
    if config.teacher.use == "no" or config.text.match == "free" or not path.exists():
        return None
    prototypes = read_prototypes(path)
    if prototypes.names is None:
        progress.note("the prototypes hold no class names, so naming is not measured; give them with --names")
        return None
    order = match_names(prototypes.names, index.classes, mode=config.text.match)
    return prototypes.ordered(order).vectors


def _encoders(job: _Job) -> Iterator[Encoder]:
    """Load one network at a time, the student first."""
    makers = {"student": _student, "frozen": _frozen, "teacher": _teacher}
    for name, make in makers.items():
        if name in job.config.evaluate.encoders:
            encoder = make(job)
            if encoder is not None:
                yield encoder


def _student(job: _Job) -> Encoder | None:
    encoder = student_encoder(job.run, backbone=job.config.student.backbone, device=job.device)
    if encoder is None:
        job.progress.note("no checkpoint in the run, so there are no rows of the student; run train first")
    return encoder


def _frozen(job: _Job) -> Encoder:
    return frozen_encoder(job.config.student.backbone, device=job.device)


def _teacher(job: _Job) -> Encoder | None:
    settings = job.config.teacher
    if settings.use == "no" or (settings.use == "auto" and not (job.run / "prototypes.safetensors").exists()):
        return None
    teacher = load_teacher(
        model=settings.model,
        pretrained=settings.pretrained,
        factory=settings.factory,
        normalization=settings.normalization,
    )
    return teacher_encoder(teacher, device=job.device)


def _encoder_rows(job: _Job, encoder: Encoder) -> Iterator[dict[str, Any]]:
    by_set = {name: _set_rows(job, encoder, set_name=name) for name in job.sets}
    for feature in range(len(encoder.measured)):
        for rows in by_set.values():
            yield rows[feature]


def _set_rows(job: _Job, encoder: Encoder, *, set_name: str) -> list[dict[str, Any]]:
    fixed = {split: _fixed_features(job, encoder, set_name=set_name, split=split) for split in _SPLITS}
    settings = job.config.evaluate
    views = [
        _view_features(job, encoder, set_name=set_name, view=view)
        for view in range(min(settings.probe_views, settings.probe_epochs))
    ]
    naming = _naming(job, encoder, fixed["test"].get(EMBEDDING))
    rows = []
    for feature in encoder.measured:
        job.progress.note(f"measuring {encoder.name} {feature} on {set_name}")
        banks = {
            split: FeatureBank(features=fixed[split][feature], labels=job.parts[split].labels) for split in _SPLITS
        }
        found = evaluate_features(
            banks["train"],
            banks["test"],
            train_views=[features.pop(feature) for features in views],
            settings=_measure_settings(job),
        )
        protocol = _protocol(job, encoder, feature=feature, set_name=set_name) | found.pop("protocol")
        counts = found.pop("counts") | {"test_also_in_train": len(job.index.leaked)}
        row = {"encoder": encoder.name, "feature": feature, "set": set_name, **found, **naming}
        rows.append({**row, "counts": counts, "protocol": protocol})
    return rows


def _fixed_features(job: _Job, encoder: Encoder, *, set_name: str, split: str) -> dict[str, Tensor]:
    part = job.parts[split]
    samples = EvalSet(
        part.records,
        root=job.index.root,
        size=job.config.input.size,
        fit=job.config.evaluate.view,
        crop_boxes_xyxy=_boxes(part, set_name),
    )
    features = _extract(job, encoder, samples, what=f"{encoder.name}, {set_name}, {split}")
    for name, values in features.items():
        save_features(job.run / "embeddings" / f"{encoder.name}-{name}-{set_name}-{split}.npy", values)
    return features


def _view_features(job: _Job, encoder: Encoder, *, set_name: str, view: int) -> dict[str, Tensor]:
    part = job.parts["train"]
    samples = ProbeSet(
        part.records,
        root=job.index.root,
        size=job.config.input.size,
        seed=job.config.seed,
        view=view,
        crop_boxes_xyxy=_boxes(part, set_name),
    )
    return _extract(job, encoder, samples, what=f"{encoder.name}, {set_name}, random view {view + 1}")


def _boxes(part: _Part, set_name: str) -> Tensor | None:
    return part.crops_xyxy if set_name == "crop" else None


def _extract(job: _Job, encoder: Encoder, samples: Samples, *, what: str) -> dict[str, Tensor]:
    return encode_photographs(
        encoder,
        samples,
        batch_size=job.config.evaluate.batch_size,
        workers=worker_count(job.config.input.workers),
        device=job.device,
        progress=job.progress,
        what=what,
    )


def _naming(job: _Job, encoder: Encoder, embeddings: Tensor | None) -> dict[str, float]:
    if job.prototypes is None or embeddings is None or not encoder.names_classes:
        return {}
    if embeddings.shape[1] != job.prototypes.shape[1]:
        job.progress.note(
            f"the {encoder.name}'s embedding is {embeddings.shape[1]} wide and the prototypes are "
            f"{job.prototypes.shape[1]}, so its naming is not measured"
        )
        return {}
    accuracy = naming_accuracy(embeddings, job.prototypes, job.parts["test"].labels)
    return {f"naming_{encoder.name}": accuracy}


def _examine_names(job: _Job, rows: list[dict[str, Any]], namers: Mapping[str, Teacher | None]) -> dict[str, Any]:
    """Measure the names that student and teacher give; nothing where the prototypes have none."""
    path, config = job.run / "prototypes.safetensors", job.config
    known = read_prototypes(path) if namers and config.teacher.use != "no" and path.exists() else None
    if known is None or known.names is None:
        return {}
    exam = Exam(
        run=job.run,
        namers=namers,
        sets=job.sets,
        labels=job.parts["test"].labels,
        classes=job.index.classes,
        prototypes=known,
        match=config.text.match,
        template=config.text.template,
        usual=config.loss.distillation_temperature,
        fit_images=config.name.fit_images,
        seed=config.seed,
        view=(config.input.size, config.evaluate.view),
    )
    return examine_names(exam, rows)


def _measure_settings(job: _Job) -> MeasureSettings:
    settings = job.config.evaluate
    return MeasureSettings(
        seed=job.config.seed,
        probe=ProbeSettings(
            epochs=settings.probe_epochs,
            rates=settings.probe_rates,
            decays=settings.probe_decays,
            batch_size=settings.probe_batch_size,
            heldout=settings.heldout,
        ),
        chunk=settings.chunk,
        kmeans_restarts=settings.kmeans_restarts,
        device=job.device if job.device.type == "cuda" else None,  # MPS lacks the float64 of the means
    )


def _protocol(job: _Job, encoder: Encoder, *, feature: str, set_name: str) -> dict[str, Any]:
    config = job.config
    seen = "whole photographs" if set_name == "whole" else "crop boxes of boxes.parquet"
    return {
        "data": {"source": job.index.source, "digest": job.index.digest(), "classes": len(job.index.classes)},
        "split": job.index.split_origin,
        "set": seen,
        "view": config.evaluate.view,
        "size": config.input.size,
        "encoder": encoder.title,
        "feature": _FEATURE_WORDS[feature],
        **encoder.facts,
    }
