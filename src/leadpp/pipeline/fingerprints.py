"""Fingerprints of stages: everything that decides what a stage computes, and nothing else.

That of ``evaluate`` is the hash of the run, which its figures carry: photographs, boxes, prototypes, the student's
weights, networks and settings of measuring, and the version of the code.

A setting that changes only how fast or where something is computed (device, batch of a frozen network, how often the
training is watched) is left out, so that changing it runs nothing again.
"""

import dataclasses
import hashlib
import importlib.util
import json
from collections.abc import Collection
from pathlib import Path

from leadpp import __version__
from leadpp.config import Config, to_mapping
from leadpp.data.boxes import read_boxes
from leadpp.data.index import ImageIndex
from leadpp.functional.objective import Objective
from leadpp.io.artifacts import file_digest
from leadpp.io.ledger import newest_checkpoint
from leadpp.models.builtin import LOCAL_PREFIX, local_name
from leadpp.models.teacher import model_and_tag
from leadpp.pipeline.job import BOXES, COMPARISON, PROTOTYPES, Job
from leadpp.pipeline.memory import Memory

_WITHOUT_EFFECT = {
    "localize": {"batch_size", "keep_gb"},
    "train": {"compile", "device", "monitor_every"},
    "evaluate": {"batch_size", "chunk"},
}
"""Settings of a group that change no result."""


_OUTSIDE_THE_REPORT = {"preset", "networks", "seed", "deterministic", "llm"}
"""What makes no report another: names of settings, what every stage has, and who wrote the words."""

_OF_TRAINING = {"teacher.view", "teacher.fit", "teacher.neighbours", "teacher.balance"}
"""Settings of the teacher that decide what is learnt from it, and not what it is."""


def fingerprint(job: Job, index: ImageIndex, name: str) -> str:
    """Return 32 hexadecimal digits over the code, the settings and the inputs of a stage.

    Raises:
        ArtifactError: An input of the stage cannot be read.
        WeightsError: A shipped network is named that is missing from the installation.
    """
    parts = {"code": __version__, "stage": name, "seed": job.config.seed, **_PARTS[name](job, index)}
    return _digest(parts | ({"deterministic": True} if job.config.deterministic else {}))


def network_digests(config: Config) -> list[object]:
    """Name the networks of a run by their words and, where they lie on disk, by the bytes of their files.

    Raises:
        WeightsError: A shipped network is named that is missing from the installation.
    """
    taught = _teacher(config) if config.teacher.use != "no" else None
    return [_network(config.localize.backbone), _network(config.student.backbone), taught]


def sees_objects(config: Config) -> bool:
    """Tell whether student or teacher looks at object views in training."""
    settings = {item.name: getattr(config.loss, item.name) for item in dataclasses.fields(Objective)}
    views = Objective(**settings).views(taught=config.teacher.use != "no")
    return any(view.startswith("object") for view in views)


def _localize(job: Job, index: ImageIndex) -> dict[str, object]:
    return {
        "data": [index.source, index.digest()],
        "settings": _settings(job.config, "localize"),
        "weights": _network(job.config.localize.backbone),
    }


def _prototypes(job: Job, index: ImageIndex) -> dict[str, object]:
    return {
        "classes": index.classes,
        "settings": _settings(job.config, "text", "teacher", without=_OF_TRAINING),
        "texts": {role: _file(path) for role, path in job.texts.given().items()},
        "teacher": _teacher(job.config),
    }


def _train(job: Job, index: ImageIndex) -> dict[str, object]:
    records = index.usable("train")
    looks = sees_objects(job.config) and (job.run / BOXES).exists()
    boxes = read_boxes(job.run / BOXES, records).crop_xyxy.tolist() if looks else None
    taught = job.has_prototypes and job.config.teacher.use != "no"
    return {
        "data": [(record.path, record.checksum, record.cut_bottom_px) for record in records],
        "boxes": boxes,
        "size": job.config.input.size,
        "settings": _settings(job.config, "augment", "student", "loss", "train"),
        "weights": _network(job.config.student.backbone),
        "teacher": [_teacher(job.config), _settings(job.config, "teacher"), _file(job.run / PROTOTYPES)]
        if taught
        else None,
    }


def _evaluate(job: Job, index: ImageIndex) -> dict[str, object]:
    newest = newest_checkpoint(job.run / "checkpoints")  # others may be of any moment of the clock
    inputs = [job.run / BOXES, job.run / PROTOTYPES, *([] if newest is None else [newest])]
    names = job.has_prototypes and job.config.teacher.use != "no"
    return {
        "data": [index.split_origin, index.digest()],
        "size": job.config.input.size,
        "settings": _settings(job.config, "evaluate", "teacher", "student", "text", without=_OF_TRAINING),
        "weights": _network(job.config.student.backbone),
        "teacher": _teacher(job.config) if job.has_prototypes or job.config.teacher.use == "yes" else None,
        "inputs": {path.name: _file(path) for path in inputs},
        "naming": [job.config.loss.distillation_temperature, job.config.name.fit_images] if names else None,
    }


def _report(job: Job, index: ImageIndex) -> dict[str, object]:
    groups = [item.name for item in dataclasses.fields(job.config) if item.name not in _OUTSIDE_THE_REPORT]
    stages = {name: stage["fingerprint"] for name, stage in Memory(job.run).stages.items() if name != "report"}
    known = {"data": index.digest(), "settings": _settings(job.config, *groups), "stages": stages}
    return known | ({"beside": _file(job.run / COMPARISON)} if (job.run / COMPARISON).exists() else {})


_PARTS = {
    "localize": _localize,
    "prototypes": _prototypes,
    "train": _train,
    "evaluate": _evaluate,
    "report": _report,
}


def _settings(config: Config, *groups: str, without: Collection[str] = ()) -> dict[str, object]:
    return {
        f"{group}.{key}": value
        for group in groups
        for key, value in to_mapping(getattr(config, group)).items()
        if key not in _WITHOUT_EFFECT.get(group, ()) and f"{group}.{key}" not in without
    }


def _network(name: str) -> list[str | None]:
    """Name a network by its words, and one on disk by the bytes of its files too."""
    source = local_name(name)
    folder = Path(source.removeprefix(LOCAL_PREFIX))
    if not source.startswith(LOCAL_PREFIX) or not folder.is_dir():
        return [name]
    return [_file(path) for path in sorted(folder.iterdir()) if path.is_file()]


def _teacher(config: Config) -> list[object]:
    """Name each teacher by its words, the bytes of its weights, and the source of one's own factory."""
    settings = config.teacher
    if settings.factory:
        return [settings.factory, _source(settings.factory.partition(":")[0])]
    if settings.models:
        return [_open_clip(*model_and_tag(name)) for name in settings.models]
    return _open_clip(settings.model, settings.pretrained)


def _open_clip(model: str, pretrained: str) -> list[object]:
    return [_network(model), pretrained, _file(Path(pretrained))]


def _source(module: str) -> str | None:
    here = Path(*module.split(".")).with_suffix(".py")
    if here.is_file():
        return _file(here)
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return _file(Path(spec.origin)) if spec is not None and spec.origin else None


def _file(path: Path) -> str | None:
    return file_digest(path) if path.is_file() else None


def _digest(parts: object) -> str:
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()
