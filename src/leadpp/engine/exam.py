"""The names of a run put to the test: saved embeddings, fitted temperatures, and figures for rows and pages."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from leadpp.engine.calibrating import (
    PROMISE,
    Calibration,
    Fit,
    calibrate_saved,
    identity,
    saved_embeddings,
    teacher_calibration,
    uncalibrated,
    write_calibration,
)
from leadpp.engine.naming import Vocabulary, knowledge, naming_details, naming_figures
from leadpp.models.teacher import Teacher
from leadpp.text.encoding import encode_texts, fill_template
from leadpp.text.names import match_names
from leadpp.text.prototypes import Prototypes


@dataclass(frozen=True, kw_only=True)
class Exam:
    """What is asked, of whom, and how."""

    run: Path
    """Holds the embeddings that evaluate saved."""
    namers: Sequence[str]
    """Whose embeddings can be held against the prototypes: ``student``, ``teacher``."""
    teachers: Sequence[Teacher]
    """All teachers, in the order of their spaces; none where they were not evaluated."""
    sets: Sequence[str]
    """``whole``, ``crop`` or both."""
    labels: Tensor
    """Class numbers of the N test photographs, (N,)."""
    classes: tuple[str, ...]
    """The true names."""
    spaces: Sequence[Prototypes]
    """Prototypes in the space of each teacher; they have names."""
    match: Literal["exact", "subset", "free"]
    """How names and classes belong together."""
    template: str
    """The sentence in which names are compared by their meaning."""
    fit: Fit
    """How the student's temperature is fitted, and how pictures were looked at."""


def examine_names(exam: Exam, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Measure the names that each encoder gives, on every set, and keep the student's temperature in ``naming.json``.

    Args:
        exam: What is asked.
        rows: Those of the evaluation; each comes to hold the figures of its encoder and set.

    Returns:
        ``knowledge`` that went in, the ``promise`` of a fitted temperature, and ``rows``: ``encoder``, ``set``,
        ``calibration``, ``figures`` and what :func:`~leadpp.engine.naming.naming_details` gathers.

    Raises:
        TextError: Names do not match the classes as they should.
        ArtifactError: Embeddings are damaged, or the disk refused.
    """
    vocabulary = _vocabulary(exam)
    found = []
    for set_name in exam.sets:
        calibrations = _calibrations(exam, set_name)
        for who in exam.namers:
            embeddings = saved_embeddings(exam.run, who, exam.spaces, set_name=set_name, split="test")
            if not embeddings:
                continue
            told = calibrations[who]
            figures = naming_figures(
                embeddings, exam.labels, vocabulary, temperatures=told.temperatures, usual=exam.fit.usual
            )
            for row in rows:
                if (row["encoder"], row["set"]) == (who, set_name):
                    row.update(figures)
            details = naming_details(embeddings, exam.labels, vocabulary, temperatures=told.temperatures)
            one = {"encoder": who, "set": set_name, "calibration": dataclasses.asdict(told), "figures": figures}
            found.append(one | details)
    return {"knowledge": _knowledge(exam), "promise": PROMISE, "rows": found}


def _vocabulary(exam: Exam) -> Vocabulary:
    names = exam.spaces[0].names or ()
    sentences = [[fill_template(exam.template, name) for name in some] for some in (names, exam.classes)]
    towers = exam.teachers[:1]
    vectors = [encode_texts(some, encoder=tower).vectors for tower in towers for some in sentences]
    return Vocabulary(
        spaces=tuple(space.vectors for space in exam.spaces),
        names=names,
        classes=exam.classes,
        place_of_class=None if exam.match == "free" else match_names(names, exam.classes, mode=exam.match),
        name_vectors=vectors[0] if vectors else None,
        class_vectors=vectors[1] if vectors else None,
    )


def _calibrations(exam: Exam, set_name: str) -> dict[str, Calibration]:
    """Return at which temperatures each encoder names; the student's are fitted, and kept in the run."""
    told = {"teacher": teacher_calibration(exam.spaces, teachers=exam.teachers, usual=exam.fit.usual)}
    if "student" not in exam.namers:
        return told
    if not exam.teachers:
        return told | {
            "student": uncalibrated(exam.fit.usual, reason="the teacher was not evaluated beside the student")
        }
    fitted = calibrate_saved(
        exam.run,
        exam.spaces,
        set_name=set_name,
        most=exam.fit.images,
        seed=exam.fit.seed,
        teachers=exam.teachers,
        usual=exam.fit.usual,
    )
    if fitted is not None:
        write_calibration(exam.run, fitted, set_name=set_name, of=identity(exam.run, exam.spaces, exam.fit))
    return told | {"student": fitted or uncalibrated(exam.fit.usual, reason="teacher and student differ in width")}


def _knowledge(exam: Exam) -> dict[str, str]:
    return knowledge(
        match=exam.match,
        names=len(exam.spaces[0].vectors),
        classes=len(exam.classes),
        texts=exam.spaces[0].made,
    )
