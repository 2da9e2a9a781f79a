"""Name photographs: find the object, embed it, hold it against the prototypes, and write what came of it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.config.tree import Config
from leadpp.data.building import build_index
from leadpp.data.index import ImageIndex, ImageRecord
from leadpp.data.sources.given import read_given
from leadpp.engine.calibrating import PROMISE, Calibration, teacher_calibration
from leadpp.engine.determinism import deterministic_if_asked
from leadpp.engine.naming import name_answers
from leadpp.engine.runtime import Progress, SilentProgress, worker_count
from leadpp.functional.metrics import first_items
from leadpp.io.artifacts import replacing, write_json
from leadpp.stages.names.files import NAMES, check_folder, write_names_csv, write_names_table
from leadpp.stages.names.opening import Namer, OpenRun
from leadpp.stages.names.page import write_names_page

_KIND = "names"
_BLOCK = 4096


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What one encoder calls N photographs, the best names first."""

    calibration: Calibration
    probs: Tensor
    """(N, k)."""
    places: Tensor
    """Of the names, (N, k)."""


@deterministic_if_asked
def name(
    images: Sequence[Path], *, run: Path, out: Path | None = None, config: Config, progress: Progress | None = None
) -> dict[str, Any]:
    """Name photographs, and write ``names.csv``, ``names.json``, ``names.parquet`` and ``names.html``.

    The object is found by the run's localizer, if it has one; the student's embedding of it is held against the run's
    prototypes; and the cosines become probabilities at a temperature that was fitted without labels: the student is on
    average as sure as its teacher was on the run's training photographs, or its teachers together; see
    :mod:`leadpp.engine.calibrating` for what that can and cannot promise.

    Args:
        images: Photographs and folders of them.
        run: A finished run with prototypes.
        out: Where the files go; ``names`` in the run folder when left out.
        config: The settings of the run; ``name`` says how.
        progress: Who is told what is being done.

    Returns:
        What ``names.json`` holds: ``images``, ``bad`` (``path`` and ``reason`` of what cannot be read), ``looked_at``,
        ``by`` (the calibration of each namer, and how many photographs it is ``unsure`` of), ``promise``, ``out``,
        ``files``, and ``photographs``: ``path``, ``width_px``, ``height_px``, ``box_xyxy`` (None without a localizer),
        and for each namer ``unsure`` and ``names``, each with its ``probability``.

    Raises:
        DataError: A path leads nowhere, nothing can be read, or something cannot and ``input.bad_images`` is ``error``.
        TextError: The run has no names.
        ArtifactError: The folder holds other files of these names, or the disk refused.
    """
    progress = progress or SilentProgress()
    opened = OpenRun(run=run, config=config, progress=progress)
    folder = out or run / "names"
    check_folder(folder, kind=_KIND, files=NAMES)
    names = opened.names
    index = _open(images, config, progress)
    records = index.usable()
    boxes = opened.find(records, root=index.root)
    answers = _answers(opened, index, None if boxes is None else boxes.crop_xyxy)
    objects = [None] * len(records) if boxes is None else boxes.object_xyxy.tolist()
    rows = [
        _row(record, objects[place], {who: _said(answer, names, place, config) for who, answer in answers.items()})
        for place, record in enumerate(records)
    ]
    document = {
        "images": len(records),
        "bad": [{"path": record.path, "reason": record.reason} for record in index.bad],
        "looked_at": _looked_at(opened),
        "by": {
            who: {**dataclasses.asdict(answer.calibration), "unsure": sum(row[who]["unsure"] for row in rows)}
            for who, answer in answers.items()
        },
        "promise": PROMISE if any(answer.calibration.fitted for answer in answers.values()) else "",
        "unsure_below": config.name.unsure,
        "out": str(folder),
        "files": list(NAMES),
        "photographs": rows,
    }
    _write(folder, document, records, index.root, config)
    return document


def _open(images: Sequence[Path], config: Config, progress: Progress) -> ImageIndex:
    index = build_index(
        read_given(images),
        seed=config.seed,
        bad_images=config.input.bad_images,
        workers=worker_count(config.input.workers),
        progress=progress,
    )
    for note in index.notes():
        progress.note(note)
    return index


def _answers(opened: OpenRun, index: ImageIndex, crops: Tensor | None) -> dict[str, _Answer]:
    by = opened.config.name.by
    answers: dict[str, _Answer] = {}
    if by in ("student", "both"):
        opened.check_namer(opened.student)
        answers["student"] = _answer(opened, index, crops, who="student", calibration=opened.calibration())
    if by in ("teacher", "both"):
        own = teacher_calibration(opened.spaces, teachers=opened.teachers, usual=opened.usual)
        answers["teacher"] = _answer(opened, index, crops, who="teacher", calibration=own)
    return answers


def _answer(
    opened: OpenRun, index: ImageIndex, crops: Tensor | None, *, who: Namer, calibration: Calibration
) -> _Answer:
    embeddings = opened.embed(who, index.usable(), root=index.root, crops=crops)
    found = []
    for start in range(0, len(embeddings[0]), _BLOCK):  # so that memory does not grow with photographs times names
        part = [each[start : start + _BLOCK] for each in embeddings]
        said = name_answers(part, opened.vectors, temperatures=calibration.temperatures)
        places = first_items(said.log_probs, k=opened.config.name.top)[1]
        found.append((said.probs.gather(1, places), places))
    probs, places = (torch.cat(parts) for parts in zip(*found, strict=True))
    return _Answer(calibration=calibration, probs=probs, places=places)


def _said(answer: _Answer, names: Sequence[str], place: int, config: Config) -> dict[str, Any]:
    probs = answer.probs[place].tolist()
    best = [
        {"name": names[which], "probability": round(prob, 6)}
        for which, prob in zip(answer.places[place].tolist(), probs, strict=True)
    ]
    return {"unsure": probs[0] < config.name.unsure, "names": best}


def _row(record: ImageRecord, box: Sequence[int] | None, said: dict[str, Any]) -> dict[str, Any]:
    sizes = {"width_px": record.width_px, "height_px": record.height_px}
    return {"path": record.path, **sizes, "box_xyxy": box, **said}


def _looked_at(opened: OpenRun) -> str:
    if opened.set_name == "crop":
        return "the object in each photograph, found by the run's localizer"
    why = "as name.set says" if opened.config.name.set == "whole" else "because the run has no localizer"
    return f"whole photographs, {why}"


def _write(folder: Path, document: dict[str, Any], records: Sequence[ImageRecord], root: Path, config: Config) -> None:
    """Write the page first and rename it last: it reads photographs once more, and is what may fail."""
    csv, json, parquet, html = (folder / file for file in NAMES)
    with replacing(html) as partial:
        write_names_page(partial, document, records, root=root, thumbnails=config.name.thumbnails)
        write_json(json, document, kind=_KIND)
        write_names_csv(csv, document)
        write_names_table(parquet, document)
