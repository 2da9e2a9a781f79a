"""Make one row of one seed: prototypes, training, evaluation, and its figures in ``result.json``."""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

import leadpp
from benchmarks.claims.ground import Ground
from benchmarks.claims.material import place_boxes, spoil_prototypes
from benchmarks.claims.networks import public_name, weights_digests
from benchmarks.claims.rows import Row
from benchmarks.claims.supervised import train_supervised
from benchmarks.teachers.noisy import BASE_VARIABLE
from leadpp import pipeline
from leadpp.config import Config, build_config, to_mapping
from leadpp.config.reader import merge_settings
from leadpp.data.boxes import read_boxes
from leadpp.data.index import read_index
from leadpp.data.views import EvalSet
from leadpp.engine.encoders import EMBEDDING, encode_photographs, teacher_encoder
from leadpp.engine.measures import naming_accuracy
from leadpp.engine.runtime import Progress, pick_device
from leadpp.errors import ArtifactError
from leadpp.io.artifacts import make_folder, read_json, write_json
from leadpp.models.teacher import load_teacher
from leadpp.text.prototypes import read_prototypes

T = TypeVar("T")

RESULT = "result.json"
RESULT_KIND = "claims-row"
NOISY_MODULE = "benchmarks.teachers.noisy"

_ENCODERS = {"trained": "student", "supervised": "student", "frozen": "frozen", "teacher": "teacher"}
_PUBLIC_NAMES = (("localize", "backbone"), ("student", "backbone"), ("teacher", "model"))


def make_row(ground: Ground, row: Row, *, progress: Progress) -> dict[str, Any]:
    """Return the result of a row: the one that is there if it was made of the same things, else a new one.

    Raises:
        LeadppError: Anything the user can mend.
    """
    folder = ground.folder / row.name
    with _noise_base(ground, row):
        config = build_config(row_settings(ground, row))
        identity = row_identity(ground, row, config)
        known = finished(folder, identity)
        if known is not None:
            return known
        result = _make(ground, row, config, progress=progress)
    result |= {"row": row.name, "seed": ground.seed, "identity": identity, "shared": shared_identity(ground)}
    write_json(folder / RESULT, result, kind=RESULT_KIND)
    for part in ("checkpoints", "embeddings"):  # the figures are what is kept of a row
        shutil.rmtree(folder / "run" / part, ignore_errors=True)
    return result


def finished(folder: Path, identity: str | None = None) -> dict[str, Any] | None:
    """Return the result in a row's folder, or None where there is none, or one made of other things."""
    try:
        result = read_json(folder / RESULT, kind=RESULT_KIND)
    except ArtifactError:
        return None
    return result if identity in (None, result.get("identity")) else None


def row_settings(ground: Ground, row: Row) -> dict[str, Any]:
    """Return the settings of a row: what all share, what is its own, and what it is evaluated for."""
    own: dict[str, Any] = {"evaluate": {"encoders": [_ENCODERS[row.kind]]}}
    if not row.taught:
        own["teacher"] = {"use": "no"}
    elif row.noise:
        own["teacher"] = {"use": "yes", "factory": f"{NOISY_MODULE}:strength_{row.noise}"}
    return merge_settings(ground.settings, row.settings, own)


def row_identity(ground: Ground, row: Row, config: Config) -> str:
    """Return 32 hexadecimal digits over all that decides a row's figures: settings, photographs, boxes, networks."""
    parts = {
        "code": code_digest(),
        "row": row.identity(),
        "settings": to_mapping(config),
        "ground": dict(ground.facts),
        "weights": dict(weights_digests(config)),
    }
    return _digest(parts)


def shared_identity(ground: Ground) -> str:
    """Return 32 hexadecimal digits over what all rows of all seeds have in common; rows of one table agree in it."""
    config = build_config(ground.settings)
    settings = {name: value for name, value in to_mapping(config).items() if name != "seed"}
    return _digest({"code": code_digest(), "settings": settings, "weights": dict(weights_digests(config))})


@functools.cache
def code_digest() -> str:
    """Return 32 hexadecimal digits over the sources of leadpp, so that no row outlives the code that made it."""
    folder = Path(leadpp.__file__).parent
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _digest(parts: object) -> str:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _make(ground: Ground, row: Row, config: Config, *, progress: Progress) -> dict[str, Any]:
    """Run the parts of a row in a fresh run folder."""
    run = ground.folder / row.name / "run"
    shutil.rmtree(run, ignore_errors=True)
    make_folder(run)
    shutil.copyfile(ground.run / "index.parquet", run / "index.parquet")
    place_boxes(ground.run, run, boxes=row.boxes)
    clock = _Clock()
    if row.taught:
        clock.time("prototypes", lambda: _prototypes(ground, row, run, progress))
    training: Mapping[str, Any] = {}
    if row.kind == "supervised":
        training = clock.time("train", lambda: train_supervised(run=run, config=config, progress=progress))
    elif row.kind == "trained":
        training = clock.time("train", lambda: _stage("train", ground, row, run, progress))
    place_boxes(ground.run, run, boxes="found")  # every row is judged on the same crops
    measured = clock.time("evaluate", lambda: _stage("evaluate", ground, row, run, progress))
    sets = figures_by_set(measured, kind=row.kind)
    if row.taught and (row.noise or row.words == "names"):
        own = clock.time("name by the teacher", lambda: teacher_naming(run, config, progress=progress))
        sets = {name: {**figures, "naming_teacher": own[name]} for name, figures in sets.items()}
    return {
        "sets": sets,
        "seconds": clock.seconds,
        "training": {
            key: training[key]
            for key in ("epochs", "steps", "terms", "loss", "accuracy", "precision")
            if key in training
        },
        "protocol": _public_protocol(measured[0]["protocol"], config),
        "settings": _public_settings(config),
        "weights": dict(weights_digests(config)),
        "ground": dict(ground.facts),
    }


def figures_by_set(measured: list[dict[str, Any]], *, kind: str) -> dict[str, dict[str, float]]:
    """Take from the rows of an evaluation the plain feature of each set, and call its own naming ``naming``."""
    wanted = "embedding" if kind == "teacher" else "gap"
    found = {}
    for row in measured:
        if row["feature"] != wanted:
            continue
        figures = {key: float(value) for key, value in row.items() if isinstance(value, int | float)}
        own = figures.pop(f"naming_{row['encoder']}", None)
        found[row["set"]] = figures if own is None else {**figures, "naming": own}
    return found


def teacher_naming(run: Path, config: Config, *, progress: Progress) -> dict[str, float]:
    """Name the test photographs by the row's own teacher and prototypes; return the accuracy of each evaluated set."""
    index = read_index(run / "index.parquet")
    records = tuple(record for record in index.usable("test") if record.label is not None)
    labels = torch.tensor([index.class_index(str(record.label)) for record in records])
    prototypes = read_prototypes(run / "prototypes.safetensors").vectors
    device = pick_device(config.train.device)
    teacher = config.teacher
    encoder = teacher_encoder(
        load_teacher(
            model=teacher.model,
            pretrained=teacher.pretrained,
            factory=teacher.factory,
            normalization=teacher.normalization,
        ),
        device=device,
    )
    found: dict[str, float] = {}
    for name in config.evaluate.sets:
        crops = read_boxes(run / "boxes.parquet", records).crop_xyxy if name == "crop" else None
        samples = EvalSet(
            records, root=index.root, size=config.input.size, fit=config.evaluate.view, crop_boxes_xyxy=crops
        )
        batch = config.evaluate.batch_size
        told: dict[str, Any] = {"progress": progress, "what": f"teacher, {name}"}
        features = encode_photographs(encoder, samples, batch_size=batch, workers=0, device=device, **told)
        found[name] = naming_accuracy(features[EMBEDDING], prototypes, labels)
    return found


def _prototypes(ground: Ground, row: Row, run: Path, progress: Progress) -> None:
    role = "names" if row.words == "names" else "descriptions"
    given = {role: ground.texts[role]} if role in ground.texts else {}
    _stage("prototypes", ground, row, run, progress, texts=pipeline.Texts(**given))
    spoil_prototypes(run / "prototypes.safetensors", words=row.words, seed=ground.seed)


def _stage(
    stage: str, ground: Ground, row: Row, run: Path, progress: Progress, *, texts: pipeline.Texts | None = None
) -> Any:  # noqa: ANN401 - JSON of any shape
    settings = row_settings(ground, row)
    found = pipeline.run(ground.data, run, stages=(stage,), settings=settings, texts=texts, progress=progress)
    return found[stage]


def _public_settings(config: Config) -> dict[str, Any]:
    settings = to_mapping(config)
    for group, name in _PUBLIC_NAMES:
        settings[group][name] = public_name(settings[group][name])
    return settings


def _public_protocol(protocol: Mapping[str, Any], config: Config) -> dict[str, Any]:
    names = [config.student.backbone, config.teacher.model]
    return {
        key: public_name(str(value)) if value in names else value for key, value in protocol.items() if key != "set"
    }


class _Clock:
    """Wall time of the parts of a row, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name: str, part: Callable[[], T]) -> T:
        """Run a part and note how long it took."""
        started = time.perf_counter()
        result = part()
        self.seconds[name] = round(time.perf_counter() - started, 2)
        return result


@contextlib.contextmanager
def _noise_base(ground: Ground, row: Row) -> Iterator[None]:
    """Tell the noisy teachers, for one row, which teacher the other rows have."""
    before = os.environ.get(BASE_VARIABLE)
    if row.noise:
        teacher = build_config(ground.settings).teacher
        os.environ[BASE_VARIABLE] = teacher.factory or teacher.model
    try:
        yield
    finally:
        os.environ.pop(BASE_VARIABLE, None)
        if before is not None:
            os.environ[BASE_VARIABLE] = before
