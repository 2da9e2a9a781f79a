"""How sure a student may say it is: a temperature fitted to its teacher's confidence, kept in the run as naming.json.

Nobody's labels are asked for, so the promise is small: over the photographs of the fit the student is on average as
sure as its teacher is at the temperature it was trained with. Where the teacher is too sure, so is the student; any
single photograph may be named with any confidence; and of a photograph whose kind has no name nothing is said at all.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.engine.encoders import EMBEDDING
from leadpp.engine.features import load_features
from leadpp.engine.neighbours import unit_rows
from leadpp.functional.calibration import match_confidence, mean_confidence
from leadpp.functional.randomness import generator_for
from leadpp.io.artifacts import file_digest, read_json, write_json
from leadpp.io.checkpoint import newest_checkpoint
from leadpp.models.teacher import Teacher, own_temperature

CALIBRATION_NAME = "naming.json"
PROMISE = (
    "At this temperature the student is on average as sure as its teacher was on the run's own photographs. Nobody's "
    "labels went into it: if the teacher is too sure, so is the student; it says nothing about a single photograph, "
    "nor about photographs of kinds that have no name in the list."
)
"""What a fitted temperature can and cannot promise; stands beside every name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The temperature of the student's names, and how it came to be."""

    temperature: float
    """Divides the cosines between embedding and prototypes."""
    how: str
    """In words."""
    fitted: bool = False
    """Whether it was matched to the teacher's confidence."""
    target: float | None = None
    """Mean confidence of the teacher."""
    reached: float | None = None
    """Mean confidence of the student at that temperature."""
    images: int = 0
    """Training photographs of the fit."""
    teacher: str = ""
    """Whose confidence was taken."""
    teacher_temperature: float | None = None
    """At which temperature."""


def teacher_calibration(teacher: Teacher, *, usual: float) -> Calibration:
    """Take a teacher at its own temperature, or at ``usual`` where it names none."""
    own = own_temperature(teacher)
    how = "its own, one over its logit scale" if own else "loss.distillation_temperature, as it names none of its own"
    return Calibration(temperature=own or usual, how=how, teacher=teacher.name)


def given_temperature(temperature: float) -> Calibration:
    """Take a temperature as it was set."""
    return Calibration(temperature=temperature, how="set by name.temperature; nothing is known of its confidence")


def uncalibrated(usual: float, *, reason: str) -> Calibration:
    """Take the temperature of the distillation where none could be fitted."""
    return Calibration(temperature=usual, how=f"loss.distillation_temperature, not calibrated: {reason}")


def calibrate(student: Tensor, taught: Tensor, prototypes: Tensor, *, teacher: Teacher, usual: float) -> Calibration:
    """Match the student's mean confidence to the teacher's, on the same photographs.

    Args:
        student: Embeddings of N photographs, shape (N, D).
        taught: The teacher's of the same, shape (N, D).
        prototypes: Unit rows, shape (C, D).
        teacher: Says its name and its temperature, one over its logit scale.
        usual: ``loss.distillation_temperature``, which stands in where it names no temperature.
    """
    own = own_temperature(teacher) or usual
    of_student, of_teacher = (unit_rows(each) @ prototypes.T for each in (student, taught))
    target = mean_confidence(of_teacher, temperature=own)
    found = match_confidence(of_student, target=target, usual=own)
    whose = "its own temperature" if own_temperature(teacher) else "loss.distillation_temperature, as it names none,"
    return Calibration(
        temperature=found.value,
        how=f"fitted without labels: the mean confidence of {teacher.name}, {target:.3f}, at {whose} {own:.4g} over "
        f"{len(student):,} training photographs",
        fitted=True,
        target=target,
        reached=found.reached,
        images=len(student),
        teacher=teacher.name,
        teacher_temperature=own,
    )


def calibrate_saved(
    run: Path, prototypes: Tensor, *, set_name: str, most: int, seed: int, teacher: Teacher, usual: float
) -> Calibration | None:
    """Fit on the embeddings that a run keeps of its training photographs, at most so many, as :func:`calibrate` does.

    Returns:
        None where the run keeps none of the student or of the teacher, or of another width than the prototypes.

    Raises:
        ArtifactError: They are damaged.
    """
    paths = [run / "embeddings" / f"{who}-{EMBEDDING}-{set_name}-train.npy" for who in ("student", "teacher")]
    if not all(path.exists() for path in paths):
        return None
    student, taught = (load_features(path) for path in paths)
    if {student.shape[1], taught.shape[1]} != {prototypes.shape[1]} or not len(student):
        return None
    places = fit_places(len(student), most=most, seed=seed)
    return calibrate(student[places], taught[places], prototypes, teacher=teacher, usual=usual)


def fit_places(count: int, *, most: int, seed: int) -> list[int]:
    """Draw the photographs of the fit from ``count``, at most so many, in rising order."""
    order = torch.randperm(count, generator=generator_for(seed, "temperature of names"))
    return sorted(order[:most].tolist())


def identity(run: Path, *, size: int, view: str) -> dict[str, Any]:
    """Say of which student and prototypes, and of which pictures, a temperature is.

    Raises:
        ArtifactError: A file cannot be read.
    """
    checkpoint, prototypes = newest_checkpoint(run / "checkpoints"), run / "prototypes.safetensors"
    files = {"checkpoint": checkpoint, "prototypes": prototypes if prototypes.exists() else None}
    return {**{role: path and file_digest(path) for role, path in files.items()}, "size": size, "view": view}


def read_calibration(run: Path, *, set_name: str, of: dict[str, Any]) -> Calibration | None:
    """Return what was fitted for a set, or None where nothing was, or for another student or other prototypes.

    Raises:
        ArtifactError: ``naming.json`` is damaged.
    """
    path = run / CALIBRATION_NAME
    known = read_json(path, kind="naming") if path.exists() else {}
    if known.get("of") != of or set_name not in known["sets"]:
        return None
    return Calibration(**known["sets"][set_name])


def write_calibration(run: Path, calibration: Calibration, *, set_name: str, of: dict[str, Any]) -> None:
    """Keep what was fitted for a set; that of other students goes.

    Raises:
        ArtifactError: ``naming.json`` is damaged, or the disk refused.
    """
    path = run / CALIBRATION_NAME
    known = read_json(path, kind="naming") if path.exists() else {}
    sets = known["sets"] if known.get("of") == of else {}
    sets = sets | {set_name: dataclasses.asdict(calibration)}
    write_json(path, {"of": of, "promise": PROMISE, "sets": sets}, kind="naming")
