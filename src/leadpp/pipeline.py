"""The order of the stages: what each depends on, what is skipped and why, and what a run folder remembers."""

import dataclasses
import datetime
import hashlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from leadpp import __version__
from leadpp.config import Config, build_config, read_yaml, to_mapping, write_yaml
from leadpp.data.index import ImageIndex, open_data, read_index, write_index
from leadpp.engine.runtime import Progress, SilentProgress, pick_device, worker_count
from leadpp.errors import ArtifactError, ConfigError, DataError, LeadppError
from leadpp.io.artifacts import file_digest, make_folder, read_json, write_json, write_text

STAGES = ("localize", "prototypes", "train", "evaluate", "report")
"""Every stage after the index, in order."""

_OUTPUTS = {
    "localize": ("localizer.safetensors", "boxes.parquet"),
    "prototypes": ("prototypes.safetensors",),
    "train": ("checkpoints",),
    "evaluate": ("evaluation.json",),
    "report": ("report.html",),
}


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What the user says of the classes; at most one of the three, but names may go with ``.pt`` prototypes."""

    names: Path | None = None
    """A file with one class name a line."""
    descriptions: Path | None = None
    """A CSV or JSON file of descriptions."""
    prototypes: Path | None = None
    """Ready prototypes: the reference's ``.pt`` or our ``.safetensors``."""

    def given(self) -> list[Path]:
        """List the files that were named."""
        return [path for path in (self.names, self.descriptions, self.prototypes) if path is not None]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of the pipeline: where it reads, where it writes, and what it was told."""

    data: Path
    run: Path
    config: Config
    texts: Texts = field(default_factory=Texts)
    boxes_csv: Path | None = None
    resume: bool = False
    write_crops: bool = False
    progress: Progress = field(default_factory=SilentProgress)


def run(
    data: Path | str,
    run: Path | str,
    *,
    stages: Sequence[str] = STAGES,
    settings: Mapping[str, Any] | None = None,
    config: Path | str | None = None,
    texts: Texts | None = None,
    boxes_csv: Path | None = None,
    resume: bool = False,
    write_crops: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run stages over a folder of photographs, skipping those whose inputs and settings are unchanged.

    Args:
        data: A prepared folder, an ImageFolder with or without ``train/`` and ``test/``, or a flat folder.
        run: The run folder, new or to go on with; a run that is gone on with keeps its settings unless told otherwise.
        stages: Which of :data:`STAGES` to run; their order is always that of the pipeline.
        settings: Nested settings that go over everything else, for instance ``{"train": {"epochs": 5}}``.
        config: A YAML file of settings.
        texts: Names, descriptions or prototypes; without any the student learns without a teacher.
        boxes_csv: True boxes (``path,x0,y0,x1,y1``) if they are not in ``data/bboxes.csv``.
        resume: Continue an interrupted training from its newest checkpoint.
        write_crops: Write the object crops as files into ``run/crops``.
        progress: Who is told what is being done.

    Returns:
        Results by stage, ready for JSON; ``"index"`` comes first.

    Raises:
        LeadppError: Anything the user can mend; finished stages stay finished.
    """
    unknown = [name for name in stages if name not in STAGES]
    if unknown:
        raise ConfigError(f"unknown stage {unknown[0]!r}; the stages are {', '.join(STAGES)}")
    folder = Path(run)
    job = Job(
        data=Path(data),
        run=folder,
        config=resolve_config(folder, settings=settings or {}, config=Path(config) if config else None),
        texts=texts or Texts(),
        boxes_csv=boxes_csv,
        resume=resume,
        write_crops=write_crops,
        progress=progress or SilentProgress(),
    )
    return _run_job(job, [name for name in STAGES if name in stages])


def resolve_config(run: Path, *, settings: Mapping[str, Any], config: Path | None) -> Config:
    """Build the settings of a run: those it already has, or a file's, with the given ones over them.

    A run folder's own ``config.yaml`` is the base unless a file or a preset is given.
    """
    layers: list[Mapping[str, Any]] = []
    own = run / "config.yaml"
    if config is not None:
        layers.append(read_yaml(config))
    elif "preset" not in settings and own.is_file():
        layers.append(read_yaml(own))
    return build_config(*layers, settings)


def _run_job(job: Job, stages: Sequence[str]) -> dict[str, Any]:
    pick_device(job.config.train.device)
    _check_texts(job)
    index = _index_stage(job)
    write_text(job.run / "config.yaml", write_yaml(job.config))
    write_json(job.run / "env.json", describe_environment(), kind="environment")
    results: dict[str, Any] = {"index": _index_summary(index)}
    for number, name in enumerate(stages, start=1):
        reason = _why_not(job, index, name, alone=len(stages) == 1)
        if reason:
            job.progress.note(f"[{number}/{len(stages)}] {name}: left out, {reason}")
            continue
        results[name] = _run_stage(job, index, name, heading=f"[{number}/{len(stages)}] {name}")
    return results


def _run_stage(job: Job, index: ImageIndex, name: str, *, heading: str) -> Any:  # noqa: ANN401 - JSON of any shape
    memory = _Memory(job.run)
    fingerprint = _fingerprint(job, index, name)
    known = memory.stages.get(name, {})
    there = all((job.run / output).exists() for output in _OUTPUTS[name])
    if known.get("fingerprint") == fingerprint and there and not (name == "localize" and job.write_crops):
        job.progress.note(f"{heading}: unchanged, skipped")
        return known["summary"]
    job.progress.note(heading)
    memory.forget(name)
    started = time.monotonic()
    summary = _RUNNERS[name](job, index)
    seconds = time.monotonic() - started
    # A stage may add to what the fingerprint reads only through its own outputs, so it is taken before the stage runs.
    memory.remember(name, fingerprint=fingerprint, seconds=seconds, summary=summary)
    job.progress.note(f"{heading}: done in {seconds:.1f} s")
    return summary


class _Memory:
    """What ``stages.json`` knows of the finished stages."""

    def __init__(self, run: Path) -> None:
        self._path = run / "stages.json"
        content = read_json(self._path, kind="stages") if self._path.exists() else {}
        self.data: dict[str, str] = content.get("data", {})
        self.stages: dict[str, dict[str, Any]] = content.get("stages", {})

    def remember(self, name: str, *, fingerprint: str, seconds: float, summary: object) -> None:
        self.stages[name] = {
            "fingerprint": fingerprint,
            "seconds": round(seconds, 3),
            "finished": datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
            "summary": summary,
        }
        self._write()

    def forget(self, name: str) -> None:
        if self.stages.pop(name, None) is not None:
            self._write()

    def own(self, data: Path, digest: str) -> None:
        """Note whose run this is; refuse if it is another data folder's."""
        here = str(data.resolve())
        if self.data and self.data["path"] != here and self.data["digest"] != digest:
            raise DataError(
                f"{self._path.parent}: this run folder belongs to the data in {self.data['path']}, not to {here}; "
                "choose another --run, or give that --data"
            )
        if self.data != {"path": here, "digest": digest}:
            self.data = {"path": here, "digest": digest}
            self._write()

    def _write(self) -> None:
        write_json(self._path, {"data": self.data, "stages": self.stages}, kind="stages")


def _index_stage(job: Job) -> ImageIndex:
    if job.run.exists() and not job.run.is_dir():
        raise ArtifactError(f"{job.run}: a file stands where the run folder is meant; choose another --run")
    if job.run.resolve().is_relative_to(job.data.resolve()):
        raise ConfigError(f"{job.run}: the run folder lies in the data folder {job.data}; choose a --run outside it")
    memory = _Memory(job.run)
    path = job.run / "index.parquet"
    previous = None
    if path.exists():
        try:
            previous = read_index(path)
        except LeadppError as error:
            job.progress.note(f"the index is made anew: {error}")
    index = open_data(
        job.data,
        seed=job.config.seed,
        bad_images=job.config.input.bad_images,
        boxes_csv=job.boxes_csv,
        workers=worker_count(job.config.input.workers),
        progress=job.progress,
        previous=previous,
    )
    make_folder(job.run)
    memory.own(job.data, index.digest())
    if index != previous:
        write_index(path, index)
    for note in index.notes():
        job.progress.note(note)
    return index


def _index_summary(index: ImageIndex) -> dict[str, Any]:
    return {
        "source": index.source,
        "classes": len(index.classes),
        "train": len(index.usable("train")),
        "test": len(index.usable("test")),
        "bad": len(index.records) - len(index.usable()),
        "split": index.split_origin,
        "digest": index.digest(),
    }


def _check_texts(job: Job) -> None:
    for path in job.texts.given():
        if not path.is_file():
            raise DataError(f"{path}: no such file; expected names, descriptions or prototypes there")


def _uses_teacher(job: Job) -> bool:
    if job.config.teacher.use == "no":
        return False
    return bool(job.texts.given()) or (job.run / "prototypes.safetensors").exists() or job.config.teacher.use == "yes"


def _needs_objects(config: Config) -> bool:
    loss = config.loss
    contrast = loss.global_object > 0 or loss.object_object > 0 or loss.alignment > 0
    return contrast or (loss.distill_view == "object" and loss.distillation > 0) or "crop" in config.evaluate.sets


def _why_not(job: Job, index: ImageIndex, name: str, *, alone: bool) -> str:
    """Say why a stage of a whole run does not apply; a stage asked for alone always runs, or fails with its reason."""
    if alone:
        return ""
    if name == "localize" and not _needs_objects(job.config):
        return "no term and no evaluated set uses object boxes"
    if name == "prototypes" and job.config.teacher.use == "no":
        return "teacher.use is no"
    if name == "prototypes" and not job.texts.given():
        if (job.run / "prototypes.safetensors").exists():
            return "the run's own prototypes are used"
        if job.config.teacher.use == "auto":
            return "no names, descriptions or prototypes were given, so the student learns without a teacher (w_c = 1)"
    if name == "evaluate" and not index.labelled:
        return "the photographs have no labels"
    return ""


def _fingerprint(job: Job, index: ImageIndex, name: str) -> str:
    config = job.config
    parts: dict[str, object] = {"code": __version__, "stage": name, "data": index.digest(), "seed": config.seed}
    groups = {
        "localize": ("localize",),
        "prototypes": ("text", "teacher"),
        "train": ("student", "loss", "train", "teacher"),
        "evaluate": ("evaluate", "teacher", "student", "text"),
        "report": tuple(item.name for item in dataclasses.fields(config) if item.name not in ("preset", "seed")),
    }[name]
    parts |= {group: to_mapping(getattr(config, group)) for group in groups}
    parts["size"] = config.input.size if name != "localize" else None
    if name == "localize":
        parts["weights"] = _weights_identity(config.localize.backbone)
    elif name == "prototypes":
        parts["texts"] = [file_digest(path) for path in job.texts.given()]
        parts["weights"] = _weights_identity(config.teacher.model)
    elif name == "train":
        parts["weights"] = _weights_identity(config.student.backbone)
        parts["teaches"] = _uses_teacher(job)
        parts["inputs"] = _digests(job.run, ("boxes.parquet", "prototypes.safetensors"))
    elif name == "evaluate":
        parts["inputs"] = _digests(job.run, ("boxes.parquet", "prototypes.safetensors", *_checkpoints(job.run)))
    else:
        parts["stages"] = {key: value["fingerprint"] for key, value in _Memory(job.run).stages.items() if key != name}
    return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def _weights_identity(name: str) -> list[str]:
    """Name a network by its words, and one on disk by the bytes of its files too."""
    folder = Path(name.removeprefix("local-dir:"))
    if not name.startswith("local-dir:") or not folder.is_dir():
        return [name]
    return [name, *(file_digest(path) for path in sorted(folder.iterdir()) if path.is_file())]


def _digests(run: Path, names: Iterable[str]) -> dict[str, str]:
    return {name: file_digest(run / name) for name in names if (run / name).is_file()}


def _checkpoints(run: Path) -> list[str]:
    return [str(path.relative_to(run)) for path in sorted((run / "checkpoints").glob("*")) if path.is_file()]


def _localize(job: Job, index: ImageIndex) -> dict[str, Any]:
    from leadpp.stages.localize import localize, write_crops

    results = localize(index=index, run=job.run, config=job.config, progress=job.progress)
    if job.write_crops:
        write_crops(index=index, run=job.run, out=job.run / "crops", progress=job.progress)
    return results


def _prototypes(job: Job, index: ImageIndex) -> dict[str, Any]:
    from leadpp.stages.prototypes import build_prototypes

    return build_prototypes(
        index=index,
        run=job.run,
        config=job.config,
        names=job.texts.names,
        descriptions=job.texts.descriptions,
        prototypes=job.texts.prototypes,
        progress=job.progress,
    )


def _train(job: Job, index: ImageIndex) -> dict[str, Any]:
    from leadpp.stages.train import train

    return train(index=index, run=job.run, config=job.config, resume=job.resume, progress=job.progress)


def _evaluate(job: Job, index: ImageIndex) -> list[dict[str, Any]]:
    from leadpp.stages.evaluate import evaluate

    return evaluate(index=index, run=job.run, config=job.config, progress=job.progress)


def _report(job: Job, index: ImageIndex) -> dict[str, Any]:
    from leadpp.stages.report import report

    return report(index=index, run=job.run, config=job.config, progress=job.progress)


_RUNNERS: dict[str, Callable[[Job, ImageIndex], Any]] = {
    "localize": _localize,
    "prototypes": _prototypes,
    "train": _train,
    "evaluate": _evaluate,
    "report": _report,
}


def describe_environment() -> dict[str, Any]:
    """Say which versions and which machine compute a run."""
    import torch

    packages = (
        "torch",
        "torchvision",
        "timm",
        "open_clip_torch",
        "numpy",
        "scipy",
        "scikit-learn",
        "pillow",
        "pyarrow",
    )
    return {
        "leadpp": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in packages},
        "threads": torch.get_num_threads(),
        "cuda": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "command": sys.argv,
    }
