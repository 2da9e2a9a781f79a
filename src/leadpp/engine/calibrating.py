"""How sure a student may say it is: a temperature fitted to its teacher's confidence, kept in the run as naming.json.

Nobody's labels are asked for, so the promise is small: over the photographs of the fit the student is on average as
sure as its teacher is at the temperature it was trained with; with several teachers its mixture of all spaces is as
sure as theirs. Where the teacher is too sure, so is the student; any single photograph may be named with any
confidence; and of a photograph whose kind has no name nothing is said at all.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.engine.answers import misfit
from leadpp.engine.encoders import EMBEDDING, teacher_names
from leadpp.engine.features import embedding_names, load_features
from leadpp.engine.neighbours import unit_rows
from leadpp.functional.calibration import match_by, match_confidence, mean_confidence
from leadpp.functional.distillation import Distribution
from leadpp.functional.mixture import mix_answers
from leadpp.functional.randomness import generator_for
from leadpp.io.artifacts import file_digest, read_json, write_json
from leadpp.io.ledger import newest_checkpoint
from leadpp.models.teacher import Teacher
from leadpp.text.prototypes import Prototypes

CALIBRATION_NAME = "naming.json"
PROMISE = (
    "At this temperature the student is on average as sure as its teacher, or its teachers together, on the run's own "
    "photographs. Nobody's labels went into it: if the teacher is too sure, so is the student; it says nothing about a "
    "single photograph, nor about photographs of kinds that have no name in the list."
)
"""What a fitted temperature can and cannot promise; stands beside every name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The temperatures at which an encoder names, one a space (one a teacher), and how they came to be."""

    temperatures: tuple[float, ...]
    """Each divides the cosines between embeddings and prototypes in its space."""
    how: str
    """In words."""
    fitted: bool = False
    """Whether they were matched to the teachers' confidence."""
    targets: tuple[float, ...] = ()
    """Mean confidence of each teacher, and last, where there are several, of their mixture."""
    reached: tuple[float, ...] = ()
    """Mean confidence of the student in each space, at its temperature, and last, where there are several spaces, of
    their mixture: this is what was matched then."""
    images: int = 0
    """Training photographs of the fit."""
    teachers: tuple[str, ...] = ()
    """Whose confidence was taken."""
    teacher_temperatures: tuple[float, ...] = ()
    """At which temperatures."""


def teacher_calibration(
    spaces: Sequence[Prototypes], *, teachers: Sequence[Teacher], usual: Sequence[float]
) -> Calibration:
    """Take each teacher at its own temperature, one over its logit scale, or at ``usual`` where nothing tells it.

    Args:
        spaces: Prototypes of each teacher, which may tell its temperature.
        teachers: The teachers, in the same order, or none if they are not there.
        usual: ``loss.distillation_temperature``, for each space.
    """
    told: list[float | None] = [getattr(teacher, "temperature", None) for teacher in teachers] or [None] * len(spaces)
    own = [space.temperature or temperature for space, temperature in zip(spaces, told, strict=True)]
    how = "its own temperature" if None not in own else "loss.distillation_temperature, as nothing tells its own"
    return Calibration(
        temperatures=tuple(each or other for each, other in zip(own, usual, strict=True)),
        how=how if len(spaces) == 1 else f"of each teacher {how}",
        teachers=tuple(teacher.name for teacher in teachers),
    )


def given_temperature(temperature: float, *, spaces: int) -> Calibration:
    """Take a temperature as it was set, in every space."""
    how = "set by name.temperature; nothing is known of its confidence"
    return Calibration(temperatures=(temperature,) * spaces, how=how)


def uncalibrated(usual: Sequence[float], *, reason: str) -> Calibration:
    """Take the temperatures of the distillation where none could be fitted."""
    how = f"loss.distillation_temperature, not calibrated: {reason}"
    return Calibration(temperatures=tuple(usual), how=how)


def calibrate(
    student: Sequence[Tensor],
    taught: Sequence[Tensor],
    spaces: Sequence[Prototypes],
    *,
    teachers: Sequence[Teacher],
    usual: Sequence[float],
) -> Calibration:
    """Match the student's mean confidence to its teacher's, on the same photographs.

    With several teachers each space is matched to its own first, which settles how warm the spaces are beside each
    other; then all the temperatures are multiplied by the one factor at which the mixture, which is what gives names,
    is on average as sure as the teachers' mixture.

    Args:
        student: Embeddings of N photographs, one a space, each (N, D) with the D of its space.
        taught: Each teacher's of the same.
        spaces: Prototypes of the same C classes.
        teachers: Who they are.
        usual: ``loss.distillation_temperature``, which stands in where nothing tells a teacher's own temperature.
    """
    own = teacher_calibration(spaces, teachers=teachers, usual=usual)
    ours, theirs = (_cosines(embeddings, spaces) for embeddings in (student, taught))
    targets = _confidences(theirs, own.temperatures)
    temperatures = tuple(
        match_confidence(cosines, target=target, usual=temperature).value
        for cosines, target, temperature in zip(ours, targets, own.temperatures, strict=False)
    )
    if len(spaces) > 1:
        common = match_by(
            lambda factor: _mixed_confidence(ours, [factor * each for each in temperatures]),
            target=targets[-1],
            usual=1.0,
        )
        temperatures = tuple(common.value * each for each in temperatures)
    return Calibration(
        temperatures=temperatures,
        how=f"fitted without labels to the mean confidence of {_told(own, targets)} over "
        f"{len(student[0]):,} training photographs",
        fitted=True,
        targets=targets,
        reached=_confidences(ours, temperatures),
        images=len(student[0]),
        teachers=own.teachers,
        teacher_temperatures=own.temperatures,
    )


def _cosines(embeddings: Sequence[Tensor], spaces: Sequence[Prototypes]) -> list[Tensor]:
    return [unit_rows(each) @ space.vectors.T for each, space in zip(embeddings, spaces, strict=True)]


def _confidences(cosines: Sequence[Tensor], temperatures: Sequence[float]) -> tuple[float, ...]:
    """Return the mean confidence in each space, and last, where there are several, that of their mixture."""
    each = [mean_confidence(one, temperature=own) for one, own in zip(cosines, temperatures, strict=True)]
    return (*each, _mixed_confidence(cosines, temperatures)) if len(each) > 1 else tuple(each)


def _mixed_confidence(cosines: Sequence[Tensor], temperatures: Sequence[float]) -> float:
    """Return the mean confidence of the mixture of spaces, as :func:`~leadpp.engine.answers.answer` mixes them."""
    logs = [(one.double() / own).log_softmax(dim=1) for one, own in zip(cosines, temperatures, strict=True)]
    return float(mix_answers([Distribution(each.exp(), each) for each in logs]).probs.amax(dim=1).mean())


def _told(own: Calibration, targets: Sequence[float]) -> str:
    told = ", ".join(
        f"{name} {target:.3f} at {temperature:.4g}"
        for name, target, temperature in zip(own.teachers, targets, own.temperatures, strict=False)
    )
    who = "the teacher" if len(own.teachers) == 1 else f"the teachers' mixture, {targets[-1]:.3f}"
    return f"{who} ({told}; {own.how})"


def calibrate_saved(
    run: Path,
    spaces: Sequence[Prototypes],
    *,
    set_name: str,
    most: int,
    seed: int,
    teachers: Sequence[Teacher],
    usual: Sequence[float],
) -> Calibration | None:
    """Fit on the embeddings that a run keeps of its training photographs, at most so many, as :func:`calibrate` does.

    Returns:
        None where the run keeps none of the student or of a teacher, or of another width than the prototypes.

    Raises:
        ArtifactError: They are damaged.
    """
    student = saved_embeddings(run, "student", spaces, set_name=set_name, split="train")
    taught = saved_embeddings(run, "teacher", spaces, set_name=set_name, split="train")
    if not student or not taught or not len(student[0]):
        return None
    places = fit_places(len(student[0]), most=most, seed=seed)
    chosen = [[each[places] for each in embeddings] for embeddings in (student, taught)]
    return calibrate(chosen[0], chosen[1], spaces, teachers=teachers, usual=usual)


def saved_embeddings(
    run: Path, who: str, spaces: Sequence[Prototypes], *, set_name: str, split: str
) -> tuple[Tensor, ...]:
    """Read the embeddings in every space that a run keeps of its photographs.

    Args:
        run: The run folder.
        who: ``student``, which has one in every space, or ``teacher``: each of them in its own.
        spaces: Prototypes in every space.
        set_name: ``whole`` or ``crop``.
        split: ``train`` or ``test``.

    Returns:
        One a space, each (N, D); none where one is missing or of another width than its prototypes.

    Raises:
        ArtifactError: One is damaged.
    """
    count = len(spaces)
    names = (
        [f"student-{name}" for name in embedding_names(count)]
        if who == "student"
        else [f"{name}-{EMBEDDING}" for name in teacher_names(count)]
    )
    paths = [run / "embeddings" / f"{name}-{set_name}-{split}.npy" for name in names]
    if not all(path.exists() for path in paths):
        return ()
    found = tuple(load_features(path) for path in paths)
    return () if misfit(found, spaces) else found


def fit_places(count: int, *, most: int, seed: int) -> list[int]:
    """Draw the photographs of the fit from ``count``, at most so many, in rising order."""
    order = torch.randperm(count, generator=generator_for(seed, "temperature of names"))
    return sorted(order[:most].tolist())


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """What a temperature depends on beside the files of its run."""

    photographs: str | None
    """Digest of the index; None where there is none."""
    size: int
    """Side of the pictures that were looked at."""
    view: str
    """Their form, ``evaluate.view``."""
    images: int
    """Most photographs, ``name.fit_images``."""
    seed: int
    """Draws them."""
    normalization: str
    """Pixel statistics that the teachers are fed with, ``teacher.normalization``."""
    usual: tuple[float, ...]
    """``loss.distillation_temperature`` in each space, which stands in for a teacher's own."""


def identity(run: Path, spaces: Sequence[Prototypes], fit: Fit) -> dict[str, Any]:
    """Say, ready for JSON, of what a temperature is: student, prototypes and their makers, boxes, pictures, settings.

    Teachers are known by the names that the prototypes tell; none has to be loaded for it.

    Raises:
        ArtifactError: A file cannot be read.
    """
    kept = {"prototypes": run / "prototypes.safetensors", "boxes": run / "boxes.parquet"}
    files = {role: path if path.exists() else None for role, path in kept.items()}
    files |= {"checkpoint": newest_checkpoint(run / "checkpoints")}
    return {
        **{role: path and file_digest(path) for role, path in files.items()},
        **dataclasses.asdict(fit),
        "teachers": [space.model for space in spaces],
        "usual": list(fit.usual),
    }


def read_calibration(run: Path, *, set_name: str, of: dict[str, Any]) -> Calibration | None:
    """Return what was fitted for a set, or None where nothing was, or of something else; see :func:`identity`.

    Raises:
        ArtifactError: ``naming.json`` is damaged.
    """
    path = run / CALIBRATION_NAME
    known = read_json(path, kind="naming") if path.exists() else {}
    if known.get("of") != of or set_name not in known["sets"]:
        return None
    stored: dict[str, Any] = known["sets"][set_name]
    told: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    return Calibration(**told)


def write_calibration(run: Path, calibration: Calibration, *, set_name: str, of: dict[str, Any]) -> None:
    """Keep what was fitted for a set; what was of something else goes.

    Raises:
        ArtifactError: ``naming.json`` is damaged, or the disk refused.
    """
    path = run / CALIBRATION_NAME
    known = read_json(path, kind="naming") if path.exists() else {}
    sets = known["sets"] if known.get("of") == of else {}
    sets = sets | {set_name: dataclasses.asdict(calibration)}
    write_json(path, {"of": of, "promise": PROMISE, "sets": sets}, kind="naming")
