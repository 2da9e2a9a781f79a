"""Embed: features of photographs that nobody has labelled, their clusters, and names by the prototypes; no figures."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from leadpp.config.tree import Config
from leadpp.data.boxes import read_boxes
from leadpp.data.index import ImageIndex, ImageRecord
from leadpp.data.views import EvalSet
from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.engine.answers import answer, choose_temperatures, embeddings_of, misfit
from leadpp.engine.clusters import kmeans
from leadpp.engine.determinism import deterministic_if_asked
from leadpp.engine.encoders import (
    EMBEDDING,
    Encoder,
    ask,
    ask_no_more,
    asked,
    clear_embeddings,
    encode_photographs,
    possible_sets,
    student_encoder,
    teacher_encoder,
    teacher_names,
)
from leadpp.engine.features import save_features, save_order
from leadpp.engine.runtime import Progress, SilentProgress, pick_device, worker_count
from leadpp.errors import DataError
from leadpp.functional.distillation import normalized_entropy
from leadpp.functional.randomness import generator_for
from leadpp.io.artifacts import write_table, write_text
from leadpp.io.cells import plain, table_text
from leadpp.models.teacher import load_teachers
from leadpp.text.prototypes import Prototypes, other_makers, read_spaces

_MOST_CLUSTERS = 20


@deterministic_if_asked
def embed(
    *, index: ImageIndex, run: Path, config: Config, progress: Progress | None = None, ranks: Ranks = ALONE
) -> dict[str, Any]:
    """Write ``embeddings/`` and ``photographs.csv`` of all photographs; labels are not asked for and not looked at.

    Features are saved as ``embeddings/<encoder>-<feature>-<set>-<split>.npy`` in the order of
    ``embeddings/<split>.parquet``: those of the student of the newest checkpoint, and the teacher's where the run has
    prototypes and ``teacher.use`` is not ``no`` (with several, ``teacher_1`` and so on have theirs, and the student one
    in the space of each). ``photographs.csv`` (and ``photographs.parquet``) has one row a photograph, in index order:
    ``path``, ``split``, and by the first set (whole photographs, if asked for) ``cluster``, by spherical k-means on the
    student's average feature, numbered from 1, the largest first; with prototypes that have names ``name_<who>`` (that
    of the nearest prototype) and ``score_<who>`` (its softmax probability at ``loss.distillation_temperature``) for
    student and teacher, if they learnt with prototypes; and with two prototypes or more ``entropy_teacher``, from 0
    (sure) to 1 (all alike). With several teachers these are of the mixture of what is said in each space.
    Of several processes all encode, each a share; the first does all else.

    Args:
        index: Photographs, with labels or without.
        run: The run folder; it has a checkpoint.
        config: The settings.
        progress: Who is told what is being done.
        ranks: This process among those that embed together.

    Returns:
        ``images``, ``sets``, ``clusters`` and ``clusters_by`` (how their number came to be), ``named`` (whether there
        are names) and ``files``. Nothing in processes after the first.

    Raises:
        DataError: There is no photograph, or no checkpoint.
        LeadppError: Anything else that the user can mend.
    """
    job = _prepare(index, run, config, progress or SilentProgress(), ranks)
    if not ranks.leads:
        for each in asked(ranks, _encoders(job)):
            _encode(job, each.encoder, **each.look)
        return {}
    features = {encoder.name: _all_features(job, encoder) for encoder in _encoders(job)}
    ask_no_more(ranks)
    count, clusters_by = _cluster_count(job)
    columns: dict[str, list[Any]] = {
        "path": [record.path for record in job.records],
        "split": [record.split for record in job.records],
        "cluster": _clusters(job, features["student"]["gap"], count=count),
    }
    told = {"student": embeddings_of(features["student"]) if job.student.names_classes else ()}
    told["teacher"] = tuple(features[name][EMBEDDING] for name in features if name.startswith("teacher"))
    for who, embeddings in told.items():
        if embeddings and job.spaces:
            columns |= _named(job, who, embeddings)
    _write_photographs(run, columns)
    return {
        "images": len(job.records),
        "sets": list(job.sets),
        "clusters": count,
        "clusters_by": clusters_by,
        "named": any(name.startswith("name_") for name in columns),
        "files": ["photographs.csv", "photographs.parquet", "embeddings"],
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """Everything that the encoders have in common."""

    index: ImageIndex
    run: Path
    config: Config
    progress: Progress
    device: torch.device
    records: tuple[ImageRecord, ...]
    sets: tuple[str, ...]
    crops_xyxy: Tensor | None
    student: Encoder
    spaces: tuple[Prototypes, ...]
    """In the space of each teacher; none where nobody teaches."""
    ranks: Ranks

    def places(self) -> dict[str, list[int]]:
        """Places of the photographs of each split that has any."""
        places: dict[str, list[int]] = {}
        for place, record in enumerate(self.records):
            places.setdefault(record.split, []).append(place)
        return places


def _prepare(index: ImageIndex, run: Path, config: Config, progress: Progress, ranks: Ranks) -> _Job:
    records = index.usable()
    if not records:
        raise DataError(f"{index.root}: no photograph can be read, so there is nothing to embed")
    device = pick_device(config.train.device)
    sets = possible_sets(run, config.evaluate.sets, progress=progress)
    crops = read_boxes(run / "boxes.parquet", records).crop_xyxy if "crop" in sets else None
    student = student_encoder(run, backbone=config.student.backbone, device=device)
    if student is None:
        raise DataError(f"{run}: no checkpoint, so there is no student to embed with; run train first")
    path = run / "prototypes.safetensors"
    taught = config.teacher.use != "no" and path.exists()
    job = _Job(
        index=index,
        run=run,
        config=config,
        progress=progress,
        device=device,
        records=records,
        sets=sets,
        crops_xyxy=crops,
        student=student,
        spaces=read_spaces(path) if taught else (),
        ranks=ranks,
    )
    if job.spaces and job.spaces[0].names is None:
        progress.note("the prototypes hold no class names, so photographs are not named; give them with --names")
    if ranks.leads:
        _begin_embeddings(job)
    return job


def _begin_embeddings(job: _Job) -> None:
    clear_embeddings(job.run / "embeddings")
    for split, places in job.places().items():
        part = [job.records[place] for place in places]
        paths, labels = [record.path for record in part], [record.label for record in part]
        save_order(job.run / "embeddings" / f"{split}.parquet", paths=paths, labels=labels)


def _encoders(job: _Job) -> Iterator[Encoder]:
    yield job.student
    if job.spaces:
        settings = job.config.teacher
        teachers = load_teachers(
            models=settings.models,
            model=settings.model,
            pretrained=settings.pretrained,
            factory=settings.factory,
            normalization=settings.normalization,
        )
        for note in other_makers(job.spaces, (teacher.name for teacher in teachers)):
            job.progress.note(note)
        for teacher, name in zip(teachers, teacher_names(len(teachers)), strict=True):
            yield teacher_encoder(teacher, device=job.device, name=name)


def _all_features(job: _Job, encoder: Encoder) -> Mapping[str, Tensor]:
    """Save the features of every set, and return those of the first that tell clusters and names."""
    first: dict[str, Tensor] = {}
    for set_name in job.sets:
        ask(job.ranks, encoder, {"set_name": set_name})
        features = _encode(job, encoder, set_name=set_name)
        for name, values in features.items():
            for split, places in job.places().items():
                path = job.run / "embeddings" / f"{encoder.name}-{name}-{set_name}-{split}.npy"
                save_features(path, values[places])
        first = first or dict(features)
    return first


def _encode(job: _Job, encoder: Encoder, *, set_name: str) -> dict[str, Tensor]:
    samples = EvalSet(
        job.records,
        root=job.index.root,
        size=job.config.input.size,
        fit=job.config.evaluate.view,
        crop_boxes_xyxy=job.crops_xyxy if set_name == "crop" else None,
    )
    return encode_photographs(
        encoder,
        samples,
        batch_size=job.config.evaluate.batch_size,
        workers=worker_count(job.config.input.workers, processes=job.ranks.local_count),
        device=job.device,
        progress=job.progress,
        what=f"{encoder.name}, {set_name}",
        ranks=job.ranks,
    )


def _cluster_count(job: _Job) -> tuple[int, str]:
    count = len(job.records)
    if job.spaces:
        wanted, why = len(job.spaces[0].vectors), "one a prototype"
    else:
        wanted = max(2, min(_MOST_CLUSTERS, round(math.sqrt(count / 2))))
        why = f"the root of half the photographs, from 2 to {_MOST_CLUSTERS}"
    return (wanted, why) if wanted <= count else (count, "one a photograph")


def _clusters(job: _Job, features: Tensor, *, count: int) -> list[int]:
    """Give each photograph the number of its cluster, from 1, the largest first."""
    found = kmeans(
        features,
        clusters=count,
        generator=generator_for(job.config.seed, "clusters of photographs"),
        spherical=True,
        restarts=job.config.evaluate.kmeans_restarts,
    ).assignments
    order = found.bincount(minlength=count).argsort(descending=True, stable=True)
    numbers: list[int] = (order.argsort()[found] + 1).tolist()
    return numbers


def _named(job: _Job, who: str, embeddings: Sequence[Tensor]) -> dict[str, list[Any]]:
    if differ := misfit(embeddings, job.spaces):
        job.progress.note(f"the {who}'s {differ}, so it names nothing")
        return {}
    temperatures = choose_temperatures(job.spaces, chosen=job.config.loss.distillation_temperature)
    seen = answer(embeddings, [space.vectors for space in job.spaces], temperatures=temperatures)
    columns: dict[str, list[Any]] = {}
    if (names := job.spaces[0].names) is not None:
        scores, nearest = seen.probs.max(dim=1)
        columns[f"name_{who}"] = [names[place] for place in nearest.tolist()]
        columns[f"score_{who}"] = scores.tolist()
    if who == "teacher" and len(job.spaces[0].vectors) > 1:
        columns["entropy_teacher"] = normalized_entropy(seen).clamp(0, 1).tolist()
    return columns


def _write_photographs(run: Path, columns: Mapping[str, list[Any]]) -> None:
    types = {"cluster": pa.int32()} | {
        name: pa.float32() for name in columns if name.startswith(("score_", "entropy_"))
    }
    table = pa.table({name: pa.array(values, types.get(name, pa.string())) for name, values in columns.items()})
    write_table(run / "photographs.parquet", table, kind="photographs")
    rows = ([plain(value) for value in row] for row in zip(*columns.values(), strict=True))
    write_text(run / "photographs.csv", table_text(list(columns), rows))
