"""Evaluate: features of the student, of the frozen network it began as and of the teacher, measured side by side."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.config.tree import Config
from leadpp.data.boxes import read_boxes
from leadpp.data.index import ImageIndex, ImageRecord
from leadpp.data.views import EvalSet, ProbeSet, Samples
from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.engine.answers import answer, choose_temperatures, embeddings_of, misfit
from leadpp.engine.calibrating import Fit
from leadpp.engine.determinism import deterministic_if_asked
from leadpp.engine.encoders import (
    EMBEDDING,
    Encoder,
    ask,
    ask_no_more,
    asked,
    clear_embeddings,
    encode_photographs,
    frozen_encoder,
    possible_sets,
    student_encoder,
    teacher_encoder,
    teacher_names,
)
from leadpp.engine.exam import Exam, examine_names
from leadpp.engine.features import FeatureBank, load_features, save_features, save_order
from leadpp.engine.measures import MeasureSettings, evaluate_features
from leadpp.engine.naming import knowledge_without_names
from leadpp.engine.probe import ProbeSettings
from leadpp.engine.runtime import Progress, SilentProgress, pick_device, worker_count
from leadpp.errors import DataError
from leadpp.functional.metrics import top_k_accuracy
from leadpp.io.artifacts import write_json
from leadpp.models.teacher import load_teachers
from leadpp.text.names import match_names
from leadpp.text.prototypes import Prototypes, other_makers, read_spaces

_SPLITS = ("train", "test")
_ANSWER = "answer"
_FEATURE_WORDS = {
    "gap": "average of the feature map",
    "attention": "average of the feature map under the attention, unit length",
    EMBEDDING: "unit vector in the space of the prototypes",
    _ANSWER: "mixture of the teachers' answers, each in its own space",
}


@deterministic_if_asked
def evaluate(
    *,
    index: ImageIndex,
    run: Path,
    config: Config,
    run_hash: str = "",
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
) -> list[dict[str, Any]]:
    """Measure every encoder on every set, and write ``evaluation.json`` and ``embeddings/``.

    What the run has decides the rows: without a checkpoint there are none of the student, without prototypes (unless
    ``teacher.use`` is ``yes``) none of the teacher, without ``boxes.parquet`` none on crops; a note says so. Features
    are saved as ``embeddings/<encoder>-<feature>-<set>-<split>.npy`` in the order of ``embeddings/<split>.parquet``.
    Of several processes all encode, each a share; the first measures and writes.

    Args:
        index: Labelled photographs with a train and a test part.
        run: The run folder.
        config: The settings.
        run_hash: What the figures are of, which each row carries as ``run``; none does when left out.
        progress: Who is told what is being done.
        ranks: This process among those that evaluate together.

    Returns:
        One object per encoder, feature and set, the student's first: ``encoder``, ``feature``, ``set``, the figures of
        :func:`~leadpp.engine.measures.evaluate_features`, ``naming_student`` and ``naming_teacher`` where class
        prototypes are known and the network learnt with them, ``counts`` and ``protocol``; where prototypes have names
        also the figures of :func:`~leadpp.engine.naming.naming_figures`. Several teachers have rows each (``teacher_1``
        and so on), and ``naming_teacher`` is what they name together, in a row of its own too. What a page shows of the
        names besides, and which knowledge went into them, is in the file alone, under ``names``.
        Nothing in processes after the first.

    Raises:
        DataError: There are no labels, no test or training photographs, one class, or nothing to evaluate.
        LeadppError: Anything else that the user can mend.
    """
    job = _prepare(index, run, config, progress or SilentProgress(), ranks)
    if not ranks.leads:
        for each in asked(ranks, _encoders(job)):
            _encode(job, each.encoder, _Look(**each.look))
        return []
    rows: list[dict[str, Any]] = []
    seen: list[Encoder] = []
    for encoder in _encoders(job):
        rows += _encoder_rows(job, encoder)
        seen.append(encoder)
    ask_no_more(ranks)
    if not rows:
        raise DataError(
            f"{run}: nothing to evaluate: evaluate.encoders names {', '.join(config.evaluate.encoders)}, and the run "
            "has none of them; run train first, or add frozen"
        )
    rows += _together(job, rows)
    by_teacher = {row["set"]: row["naming_teacher"] for row in rows if "naming_teacher" in row}
    for row in rows:
        if row["encoder"] == "student" and row["set"] in by_teacher:
            row["naming_teacher"] = by_teacher[row["set"]]
    names = _examine_names(job, rows, seen)
    of = {"run": run_hash} if run_hash else {}
    rows = [{**row, **of} for row in rows]
    write_json(run / "evaluation.json", {**of, "rows": rows, "names": names}, kind="evaluation")
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
    spaces: tuple[Prototypes, ...]
    """Prototypes of the classes in the space of each teacher; none where they are not known."""
    ranks: Ranks


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """One way to look at the photographs of one split."""

    set_name: str
    split: str
    view: int | None = None
    """Number of the random view; None is the test view."""

    @property
    def words(self) -> str:
        """What is looked at, for a person."""
        return f"{self.set_name}, {self.split if self.view is None else f'random view {self.view + 1}'}"


def _prepare(index: ImageIndex, run: Path, config: Config, progress: Progress, ranks: Ranks) -> _Job:
    records = _labelled(index, progress)
    sets = possible_sets(run, config.evaluate.sets, progress=progress)
    parts = {}
    for split in _SPLITS:
        crops = read_boxes(run / "boxes.parquet", records[split]).crop_xyxy if "crop" in sets else None
        labels = [index.class_index(str(record.label)) for record in records[split]]
        parts[split] = _Part(records=records[split], labels=torch.tensor(labels), crops_xyxy=crops)
    if ranks.leads:
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
        spaces=_class_prototypes(index, run, config, progress),
        ranks=ranks,
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


def _class_prototypes(index: ImageIndex, run: Path, config: Config, progress: Progress) -> tuple[Prototypes, ...]:
    """Prototypes in the order of the classes, or none where it cannot be known which is whose."""
    path = run / "prototypes.safetensors"
    if config.teacher.use == "no" or config.text.match == "free" or not path.exists():
        return ()
    spaces = read_spaces(path)
    if spaces[0].names is None:
        progress.note("the prototypes hold no class names, so naming is not measured; give them with --names")
        return ()
    order = match_names(spaces[0].names, index.classes, mode=config.text.match)
    return tuple(space.ordered(order) for space in spaces)


def _encoders(job: _Job) -> Iterator[Encoder]:
    """Load one network at a time, the student first."""
    makers = {"student": _student, "frozen": _frozen, "teacher": _teachers}
    for name, make in makers.items():
        if name in job.config.evaluate.encoders:
            yield from make(job)


def _student(job: _Job) -> Iterator[Encoder]:
    encoder = student_encoder(job.run, backbone=job.config.student.backbone, device=job.device)
    if encoder is None:
        job.progress.note("no checkpoint in the run, so there are no rows of the student; run train first")
        return
    yield encoder


def _frozen(job: _Job) -> Iterator[Encoder]:
    yield frozen_encoder(job.config.student.backbone, device=job.device)


def _teachers(job: _Job) -> Iterator[Encoder]:
    settings = job.config.teacher
    path = job.run / "prototypes.safetensors"
    if settings.use == "no" or (settings.use == "auto" and not path.exists()):
        return
    teachers = load_teachers(
        models=settings.models,
        model=settings.model,
        pretrained=settings.pretrained,
        factory=settings.factory,
        normalization=settings.normalization,
    )
    spaces = read_spaces(path) if path.exists() else ()
    for note in other_makers(spaces, (teacher.name for teacher in teachers)):
        job.progress.note(note)
    for teacher, name in zip(teachers, teacher_names(len(teachers)), strict=True):
        yield teacher_encoder(teacher, device=job.device, name=name)


def _encoder_rows(job: _Job, encoder: Encoder) -> Iterator[dict[str, Any]]:
    by_set = {name: _set_rows(job, encoder, set_name=name) for name in job.sets}
    for feature in range(len(encoder.measured)):
        for rows in by_set.values():
            yield rows[feature]


def _set_rows(job: _Job, encoder: Encoder, *, set_name: str) -> list[dict[str, Any]]:
    fixed = {split: _fixed_features(job, encoder, set_name=set_name, split=split) for split in _SPLITS}
    settings = job.config.evaluate
    views = [
        _features(job, encoder, _Look(set_name=set_name, split="train", view=view))
        for view in range(min(settings.probe_views, settings.probe_epochs))
    ]
    naming = _naming(job, encoder, fixed["test"])
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
        protocol = _protocol(job, encoder.title, feature=feature, set_name=set_name)
        protocol |= {**encoder.facts, **found.pop("protocol")}
        counts = found.pop("counts") | {"test_also_in_train": len(job.index.leaked)}
        row = {"encoder": encoder.name, "feature": feature, "set": set_name, **found, **naming}
        rows.append({**row, "counts": counts, "protocol": protocol})
    return rows


def _fixed_features(job: _Job, encoder: Encoder, *, set_name: str, split: str) -> dict[str, Tensor]:
    features = _features(job, encoder, _Look(set_name=set_name, split=split))
    for name, values in features.items():
        save_features(job.run / "embeddings" / f"{encoder.name}-{name}-{set_name}-{split}.npy", values)
    return features


def _features(job: _Job, encoder: Encoder, look: _Look) -> dict[str, Tensor]:
    """Have all processes encode, as the first asks them to."""
    ask(job.ranks, encoder, dataclasses.asdict(look))
    return _encode(job, encoder, look)


def _encode(job: _Job, encoder: Encoder, look: _Look) -> dict[str, Tensor]:
    return encode_photographs(
        encoder,
        _samples(job, look),
        batch_size=job.config.evaluate.batch_size,
        workers=worker_count(job.config.input.workers, processes=job.ranks.local_count),
        device=job.device,
        progress=job.progress,
        what=f"{encoder.name}, {look.words}",
        ranks=job.ranks,
    )


def _samples(job: _Job, look: _Look) -> Samples:
    part, root, size = job.parts[look.split], job.index.root, job.config.input.size
    boxes = part.crops_xyxy if look.set_name == "crop" else None
    if look.view is None:
        return EvalSet(part.records, root=root, size=size, fit=job.config.evaluate.view, crop_boxes_xyxy=boxes)
    seed, view = job.config.seed, look.view
    return ProbeSet(part.records, root=root, size=size, seed=seed, view=view, crop_boxes_xyxy=boxes)


def _naming(job: _Job, encoder: Encoder, features: Mapping[str, Tensor]) -> dict[str, float]:
    """Measure naming: by the student's answers in all spaces together, and by each teacher's in its own."""
    embeddings = embeddings_of(features)
    if not (job.spaces and embeddings and encoder.names_classes):
        return {}
    own = dict(zip(teacher_names(len(job.spaces)), job.spaces, strict=True)).get(encoder.name)
    spaces = job.spaces if own is None else (own,)
    if differ := misfit(embeddings, spaces):
        job.progress.note(f"the {encoder.name}'s {differ}, so its naming is not measured")
        return {}
    return {f"naming_{encoder.name}": _naming_accuracy(job, embeddings, spaces)}


def _naming_accuracy(job: _Job, embeddings: Sequence[Tensor], spaces: Sequence[Prototypes]) -> float:
    temperatures = choose_temperatures(spaces, chosen=job.config.loss.distillation_temperature)
    seen = answer(embeddings, [space.vectors for space in spaces], temperatures=temperatures)
    return top_k_accuracy(seen.log_probs, job.parts["test"].labels, k=1)


def _together(job: _Job, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Measure what several teachers name together, on each set on which all of them can name."""
    names = teacher_names(len(job.spaces))
    known = {(row["encoder"], row["set"]) for row in rows if f"naming_{row['encoder']}" in row}
    for set_name in job.sets:
        if len(names) > 1 and known.issuperset((name, set_name) for name in names):
            files = [job.run / "embeddings" / f"{name}-{EMBEDDING}-{set_name}-test.npy" for name in names]
            accuracy = _naming_accuracy(job, [load_features(path) for path in files], job.spaces)
            title = ", ".join(space.model for space in job.spaces)
            yield {
                "encoder": "teacher",
                "feature": _ANSWER,
                "set": set_name,
                "naming_teacher": accuracy,
                "counts": {"test": len(job.parts["test"].labels)},
                "protocol": _protocol(job, title, feature=_ANSWER, set_name=set_name),
            }


def _examine_names(job: _Job, rows: list[dict[str, Any]], encoders: Sequence[Encoder]) -> dict[str, Any]:
    """Measure the names that student and teachers give; where there are none, say only what else went in."""
    path, config = job.run / "prototypes.safetensors", job.config
    spaces = read_spaces(path) if config.teacher.use != "no" and path.exists() else ()
    teachers = [encoder.teacher for encoder in encoders if encoder.teacher is not None]
    teachers = teachers if len(teachers) == len(spaces) else []  # others than those that the prototypes are of
    student = any(encoder.name == "student" and encoder.names_classes for encoder in encoders)
    if not spaces or spaces[0].names is None or not (student or teachers):
        texts = (spaces[0].made or "unknown") if spaces and (student or teachers) else ""
        return {"knowledge": knowledge_without_names(texts=texts), "promise": "", "rows": []}
    exam = Exam(
        run=job.run,
        namers=[*(["student"] if student else []), *(["teacher"] if teachers else [])],
        teachers=teachers,
        sets=job.sets,
        labels=job.parts["test"].labels,
        classes=job.index.classes,
        spaces=spaces,
        match=config.text.match,
        template=config.text.templates[0],
        fit=Fit(
            photographs=job.index.digest(),
            size=config.input.size,
            view=config.evaluate.view,
            images=config.name.fit_images,
            seed=config.seed,
            normalization=config.teacher.normalization,
            usual=choose_temperatures(spaces, chosen=config.loss.distillation_temperature),
        ),
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


def _protocol(job: _Job, title: str, *, feature: str, set_name: str) -> dict[str, Any]:
    config = job.config
    seen = "whole photographs" if set_name == "whole" else "crop boxes of boxes.parquet"
    return {
        "data": {"source": job.index.source, "digest": job.index.digest(), "classes": len(job.index.classes)},
        "split": job.index.split_origin,
        "set": seen,
        "view": config.evaluate.view,
        "size": config.input.size,
        "encoder": title,
        "feature": _FEATURE_WORDS[feature],
    }
