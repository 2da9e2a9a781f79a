"""A finished run as one that names: its student, its prototypes, its localizer, and how sure the student may be."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from leadpp.config.tree import Config
from leadpp.data.boxes import read_boxes
from leadpp.data.index import ImageIndex, ImageRecord, read_index
from leadpp.engine.answers import choose_temperatures, embeddings_of, misfit
from leadpp.engine.calibrating import (
    Calibration,
    Fit,
    calibrate,
    fit_places,
    given_temperature,
    identity,
    read_calibration,
    uncalibrated,
    write_calibration,
)
from leadpp.engine.encoders import EMBEDDING, Encoder, student_encoder, teacher_encoder, teacher_names
from leadpp.engine.locating import BoxReader, FoundBoxes, find_boxes
from leadpp.engine.runtime import Progress, pick_device, worker_count
from leadpp.engine.sight import Sight
from leadpp.errors import ArtifactError, DataError, LeadppError, TextError
from leadpp.io.artifacts import read_tensors
from leadpp.models.localizer import Localizer
from leadpp.models.teacher import Teacher, load_teachers
from leadpp.text.prototypes import Prototypes, other_makers, read_spaces

Namer = Literal["student", "teacher"]
LOCALIZER_NAME = "localizer.safetensors"
PROTOTYPES_NAME = "prototypes.safetensors"
BOXES_NAME = "boxes.parquet"
INDEX_NAME = "index.parquet"


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run folder and what it takes to name with it; networks are loaded when they are asked for."""

    run: Path
    config: Config
    progress: Progress

    @functools.cached_property
    def sight(self) -> Sight:
        """How its networks look at photographs."""
        return Sight(
            size=self.config.input.size,
            fit=self.config.evaluate.view,
            batch_size=self.config.evaluate.batch_size,
            workers=worker_count(self.config.input.workers),
            device=pick_device(self.config.train.device),
            progress=self.progress,
        )

    @functools.cached_property
    def spaces(self) -> tuple[Prototypes, ...]:
        """Its prototypes, which have names, in the space of each teacher.

        Raises:
            TextError: It has none, or they have no names.
        """
        path = self.run / PROTOTYPES_NAME
        if not path.exists():
            raise TextError(
                f"{self.run}: no {PROTOTYPES_NAME}, so there are no names to give; make them with "
                "`leadpp prototypes build`, and a student that learnt with them with `leadpp run`"
            )
        found = read_spaces(path)
        if found[0].names is None:
            raise TextError(f"{path}: holds no names; give them to `leadpp prototypes build` with --names")
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The names that photographs can be given."""
        return self.spaces[0].names or ()

    @property
    def vectors(self) -> tuple[Tensor, ...]:
        """The prototypes alone, one tensor a space."""
        return tuple(space.vectors for space in self.spaces)

    @property
    def usual(self) -> tuple[float, ...]:
        """The temperature of the distillation in each space."""
        return choose_temperatures(self.spaces, chosen=self.config.loss.distillation_temperature)

    @functools.cached_property
    def student(self) -> Encoder:
        """Its student.

        Raises:
            DataError: It has none, or one that does not name.
        """
        found = student_encoder(self.run, backbone=self.config.student.backbone, device=self.sight.device)
        if found is None:
            raise DataError(f"{self.run}: no checkpoint, so there is no student to name with; run train first")
        return found

    @functools.cached_property
    def teachers(self) -> tuple[Teacher, ...]:
        """Its teachers, in the order of the spaces.

        Raises:
            WeightsError: The weights of one are not to be had.
            TextError: The prototypes are of another number of teachers.
        """
        settings = self.config.teacher
        found = load_teachers(
            models=settings.models,
            model=settings.model,
            pretrained=settings.pretrained,
            factory=settings.factory,
            normalization=settings.normalization,
        )
        if len(found) != len(self.spaces):
            raise TextError(
                f"{self.run / PROTOTYPES_NAME}: prototypes of {len(self.spaces)} teachers, but the settings name "
                f"{len(found)}; make the prototypes with the teachers that are used"
            )
        for note in other_makers(self.spaces, (teacher.name for teacher in found)):
            self.progress.note(note)
        return found

    @functools.cached_property
    def index(self) -> ImageIndex:
        """The photographs it was made from.

        Raises:
            ArtifactError: It keeps no index, or a damaged one.
        """
        return read_index(self.run / INDEX_NAME)

    @property
    def set_name(self) -> str:
        """What is looked at: ``crop`` where it is wanted and objects can be found, else ``whole``."""
        return "crop" if self.config.name.set == "crop" and (self.run / LOCALIZER_NAME).exists() else "whole"

    def check_namer(self, encoder: Encoder) -> None:
        """Refuse an encoder whose embedding cannot be held against the prototypes.

        Raises:
            DataError: The student learnt without prototypes.
        """
        if not encoder.names_classes:
            by_teacher = (
                ", or let the teacher name with --name.by teacher" if (self.run / PROTOTYPES_NAME).exists() else ""
            )
            raise DataError(
                f"{self.run}: its student learnt without prototypes, so it cannot name; train it with names or "
                f"descriptions{by_teacher}"
            )

    def find(self, records: Sequence[ImageRecord], *, root: Path) -> FoundBoxes | None:
        """Find the objects of new photographs, or return None where whole photographs are looked at.

        Raises:
            ArtifactError: The localizer is damaged.
            LeadppError: Anything else that the user can mend.
        """
        if self.set_name == "whole":
            return None
        path, device = self.run / LOCALIZER_NAME, self.sight.device
        localizer = Localizer.load(path)
        localizer.backbone.to(device)
        reader = BoxReader(root=root, asked=self.config.localize.batch_size, workers=self.sight.workers, device=device)
        policy = read_tensors(path, kind="localizer")[1].get("policy", "square")
        return find_boxes(localizer, records, reader, policy=policy, progress=self.progress)

    def embed(
        self, who: Namer, records: Sequence[ImageRecord], *, root: Path, crops: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Embed photographs, or their crops, in the space of each teacher; one a space, each (N, D).

        Raises:
            TextError: A space is of another width than its prototypes.
            LeadppError: Anything else that the user can mend.
        """
        if who == "student":
            return self.fitting(embeddings_of(self.look(self.student, records, root=root, crops=crops)), who=who)
        names = teacher_names(len(self.teachers))
        encoders = (
            teacher_encoder(teacher, device=self.sight.device, name=name)
            for teacher, name in zip(self.teachers, names, strict=True)
        )
        found = [self.look(encoder, records, root=root, crops=crops)[EMBEDDING] for encoder in encoders]
        return self.fitting(found, who=who)

    def look(
        self, encoder: Encoder, records: Sequence[ImageRecord], *, root: Path, crops: Tensor | None
    ) -> dict[str, Tensor]:
        """Make all features of photographs, or of their crops."""
        what = f"{encoder.name}, {'whole photographs' if crops is None else 'object crops'}"
        return self.sight.features(encoder, records, root=root, crops_xyxy=crops, what=what)

    def fitting(self, embeddings: Sequence[Tensor], *, who: Namer) -> tuple[Tensor, ...]:
        """Refuse embeddings of other widths than the prototypes.

        Raises:
            TextError: They differ.
        """
        if differ := misfit(embeddings, self.spaces):
            raise TextError(f"{self.run}: the {who}'s {differ}; make the prototypes with the teacher that is used")
        return tuple(embeddings)

    def calibration(self) -> Calibration:
        """Return the temperature of the student: as set, as kept in the run, or fitted now and then kept.

        Where it cannot be fitted (the teacher or the photographs of the run are not to be had) a line says why, and the
        temperature of the distillation stands in.
        """
        if self.config.name.temperature:
            return given_temperature(self.config.name.temperature, spaces=len(self.spaces))
        of = identity(self.run, self.spaces, self._how_fitted())
        known = read_calibration(self.run, set_name=self.set_name, of=of)
        if known is not None:
            return known
        try:
            fitted = self._fit()
        except LeadppError as error:
            self.progress.note(f"the temperature of the names is not calibrated: {error}")
            return uncalibrated(self.usual, reason=str(error))
        try:
            write_calibration(self.run, fitted, set_name=self.set_name, of=of)
        except ArtifactError as error:
            self.progress.note(f"the fitted temperature is not kept: {error}")
        return fitted

    def _how_fitted(self) -> Fit:
        config = self.config
        try:
            photographs = self.index.digest()
        except ArtifactError:
            photographs = None
        return Fit(
            photographs=photographs,
            size=config.input.size,
            view=config.evaluate.view,
            images=config.name.fit_images,
            seed=config.seed,
            normalization=config.teacher.normalization,
            usual=self.usual,
        )

    def _fit(self) -> Calibration:
        records = self.index.usable("train") or self.index.usable()
        if not records:
            raise DataError(f"{self.run}: its index holds no photographs")
        chosen = fit_places(len(records), most=self.config.name.fit_images, seed=self.config.seed)
        some = [records[place] for place in chosen]
        crops = read_boxes(self.run / BOXES_NAME, some).crop_xyxy if self.set_name == "crop" else None
        teachers = self.teachers  # before the student looks at anything: they may not be to be had
        self.progress.note(f"fitting the temperature of names to the teacher's confidence on {len(some)} photographs")
        student, taught = (self.embed(who, some, root=self.index.root, crops=crops) for who in ("student", "teacher"))
        return calibrate(student, taught, self.spaces, teachers=teachers, usual=self.usual)
