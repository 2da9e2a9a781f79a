"""Run stages in order, skip what is unchanged, and say so."""

import contextlib
import dataclasses
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from leadpp import __version__
from leadpp.config import Config, build_config, read_yaml, write_yaml
from leadpp.data.index import ImageIndex, open_data, read_index, write_index
from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.engine.plan import check_share
from leadpp.engine.runtime import Progress, SilentProgress, pick_device, restarted_by, worker_count
from leadpp.errors import ArtifactError, ConfigError, DataError, LeadppError
from leadpp.io.artifacts import remove_partials, write_json, write_text
from leadpp.io.ledger import newest_checkpoint
from leadpp.io.lock import exclusive
from leadpp.pipeline.fingerprints import fingerprint, sees_objects
from leadpp.pipeline.job import STAGES, Job, Texts
from leadpp.pipeline.memory import Memory
from leadpp.pipeline.origin import origin_of, sources_of
from leadpp.pipeline.sharing import Leading, follow

_OUTPUTS = {
    "localize": ("localizer.safetensors", "boxes.parquet", "indicators.safetensors"),
    "prototypes": ("prototypes.safetensors",),
    "train": ("checkpoints",),
    "evaluate": ("evaluation.json", "embeddings"),
    "report": ("report.html",),
}
_UNLABELLED_OUTPUTS = _OUTPUTS | {"evaluate": ("photographs.csv", "embeddings")}
_BESIDE = {"train": ("metrics.jsonl",)}
"""What a stage writes besides, and could be done without."""
_TEXT_ROLES = ("names", "descriptions", "prototypes")


def run(
    data: Path | str,
    run: Path | str,
    *,
    stages: Sequence[str] = STAGES,
    settings: Mapping[str, Any] | None = None,
    config: Path | str | None = None,
    texts: Texts | None = None,
    boxes_csv: Path | str | None = None,
    resume: bool = False,
    write_crops: bool = False,
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Run stages over a folder of photographs, skipping those whose inputs and settings are unchanged.

    Args:
        data: A prepared folder, an ImageFolder with or without ``train/`` and ``test/``, a flat folder, or archives:
            ``shards/{0000..0099}.tar``.
        run: The run folder, new or to go on with; a run that is gone on with keeps its settings unless told otherwise.
        stages: Which of :data:`STAGES` to run; their order is always that of the pipeline.
        settings: Nested settings that go over everything else, for instance ``{"train": {"epochs": 5}}``.
        config: A YAML file of settings.
        texts: Names, descriptions or prototypes; without any the student learns without a teacher.
        boxes_csv: True boxes (``path,x0,y0,x1,y1``) if they are not in ``data/bboxes.csv``.
        resume: Continue an interrupted training from its newest checkpoint.
        write_crops: Write the object crops as files into ``run/crops``.
        progress: Who is told what is being done.
        ranks: This process among those that do the run together; all of them call this in the same way.

    Returns:
        Results by stage, ready for JSON; ``"index"`` comes first. Nothing in processes after the first.

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
        boxes_csv=Path(boxes_csv) if boxes_csv else None,
        resume=resume,
        write_crops=write_crops,
        progress=(progress if ranks.leads else None) or SilentProgress(),
        ranks=ranks,
    )
    pick_device(job.config.train.device, processes=ranks.local_count)
    if not ranks.leads:
        follow(job, _RUNNERS)
        return {}
    leading = Leading(job)
    with leading.dismissing():
        return run_job(job, [name for name in STAGES if name in stages], leading=leading)


def resolve_config(run: Path, *, settings: Mapping[str, Any], config: Path | None) -> Config:
    """Build the settings of a run: those it already has, or a file's, with the given ones over them.

    A run folder's own ``config.yaml`` is the base unless a file, a preset or networks are given.
    """
    layers: list[Mapping[str, Any]] = []
    own = run / "config.yaml"
    if config is not None:
        layers.append(read_yaml(config))
    elif not {"preset", "networks"} & settings.keys() and own.is_file():
        layers.append(read_yaml(own))
    return build_config(*layers, settings)


def open_finished(run: Path, *, settings: Mapping[str, Any], config: Path | None = None) -> Config:
    """Build the settings of a run that is there, as :func:`resolve_config` does.

    Raises:
        DataError: There is no such folder.
    """
    if not run.is_dir():
        raise DataError(f"{run}: no such run folder; expected one that `leadpp run` has filled")
    return resolve_config(run, settings=settings, config=config)


def run_job(
    job: Job, stages: Sequence[str], *, headings: Sequence[str] = (), leading: Leading | None = None
) -> dict[str, Any]:
    """Run stages as :func:`run` does, with settings that are ready.

    Args:
        job: What is run; its settings are taken as they are, whatever the run folder's own are.
        stages: Some of :data:`STAGES`, in their order.
        headings: What stands before the news of each stage, one a stage; counted from 1 when left out.
        leading: Tells the other processes, if there are any.

    Returns:
        Results by stage, ready for JSON; ``"index"`` comes first.

    Raises:
        LeadppError: Anything the user can mend; finished stages stay finished.
    """
    headings = headings or [f"[{number}/{len(stages)}] {name}" for number, name in enumerate(stages, start=1)]
    leading = leading or Leading(job)
    pick_device(job.config.train.device)
    _check_folders(job)
    job = _with_remembered(job)
    index, previous = _open_index(job)
    _check_early(job, index, stages)
    with exclusive(job.run), _settings_kept(job):
        remove_partials(job.run)
        _own_index(job, index, previous=previous)
        results: dict[str, Any] = {"index": _index_summary(index)}
        for name, heading in zip(stages, headings, strict=True):
            reason = "" if len(stages) == 1 else _why_not(job, index, name)
            if reason:
                job.progress.note(f"{heading}: left out, {reason}")
                continue
            results[name] = _run_stage(job, index, name, heading=heading, leading=leading)
        if job.write_crops and "localize" in results:
            _write_crops(job, index)
    return results


@contextlib.contextmanager
def _settings_kept(job: Job) -> Iterator[None]:
    """Write settings and environment into the run; if the user made a mistake, put the former settings back."""
    path = job.run / "config.yaml"
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    write_text(path, write_yaml(job.config))
    write_json(job.run / "env.json", describe_environment(deterministic=job.config.deterministic), kind="environment")
    try:
        yield
    except LeadppError:
        with contextlib.suppress(OSError, ArtifactError):
            path.unlink() if before is None else write_text(path, before)
        raise


def _with_remembered(job: Job) -> Job:
    """Add the files that the run was given before, where this call names none.

    Raises:
        DataError: A file is not there.
    """
    memory = Memory(job.run)
    if not job.texts.given():
        known = {role: Path(path) for role, path in memory.inputs.items() if role in _TEXT_ROLES}
        job = dataclasses.replace(job, texts=Texts(**known))
    if job.boxes_csv is None and "boxes" in memory.inputs:
        job = dataclasses.replace(job, boxes_csv=Path(memory.inputs["boxes"]))
    wanted = dict(job.texts.given()) if job.config.teacher.use != "no" else {}
    if job.boxes_csv is not None:
        wanted["boxes"] = job.boxes_csv
    for role, path in wanted.items():
        if not path.is_file():
            again = f"; this run was given it before: give --{role} again" if role in memory.inputs else ""
            found = "a folder" if path.is_dir() else "no such file"
            raise DataError(f"{path}: {found}; expected {'a file of ' if path.is_dir() else ''}{role} there{again}")
    return job


def _check_early(job: Job, index: ImageIndex, stages: Sequence[str]) -> None:
    """Find mistakes of the data and the words before the stages that take long."""
    if list(stages) == ["evaluate"] and not index.labelled:
        raise DataError(
            f"{job.data}: evaluation needs labels, found none; put photographs into folders named after their classes "
            "(leadpp run writes features, clusters and names without labels)"
        )
    if "evaluate" in stages and len(index.classes) == 1:
        raise DataError(
            f"{job.data}: found one class, {index.classes[0]!r}, and with one there is nothing to tell apart; add "
            "classes, or give the folder of the photographs itself to learn without labels"
        )
    photographs, batch = len(index.usable("train")), job.config.train.batch_size
    if "train" in stages:
        check_share(batch, processes=job.ranks.count)
    if "train" in stages and photographs < batch:
        raise DataError(
            f"{job.data}: training needs at least one batch of {batch} photographs, found {photographs}; lower "
            "train.batch_size or add photographs"
        )
    if "prototypes" in stages and job.texts.given() and job.config.teacher.use != "no":
        from leadpp.stages.prototypes import check_texts

        check_texts(index=index, config=job.config, **job.texts.given())


def _run_stage(job: Job, index: ImageIndex, name: str, *, heading: str, leading: Leading) -> Any:  # noqa: ANN401 - JSON of any shape
    memory = Memory(job.run)
    now = fingerprint(job, index, name)
    known = memory.stages.get(name, {})
    outputs = (_OUTPUTS if index.labelled else _UNLABELLED_OUTPUTS)[name]
    if known.get("fingerprint") == now and all((job.run / output).exists() for output in outputs):
        job.progress.note(f"{heading}: unchanged, skipped")
        return known["summary"] if name != "report" else known["summary"] | {"report": str(job.run / "report.html")}
    job.progress.note(heading)
    made_from = sources_of(job, index, name)
    before = _stamps(job.run, outputs)
    memory.forget(name)
    started = time.monotonic()
    try:
        with leading.stage(name, index):
            summary = _RUNNERS[name](job, index)
    except (LeadppError, KeyboardInterrupt):
        if known and _stamps(job.run, outputs) == before:  # nothing was touched, so what was finished still is
            memory.restore(name, known)
        raise
    seconds = time.monotonic() - started
    origin = origin_of(job.run, (*outputs, *_BESIDE.get(name, ())), made_from=made_from)
    memory.remember(name, fingerprint=now, seconds=seconds, summary=summary, origin=origin)
    if name == "prototypes":
        memory.keep(job.texts.given(), instead_of=_TEXT_ROLES)
    job.progress.note(f"{heading}: done in {seconds:.1f} s")
    return summary


def _check_folders(job: Job) -> None:
    if job.run.exists() and not job.run.is_dir():
        raise ArtifactError(f"{job.run}: a file stands where the run folder is meant; choose another --run")
    if job.run.resolve().is_relative_to(job.data.resolve()):
        raise ConfigError(f"{job.run}: the run folder lies in the data folder {job.data}; choose a --run outside it")


def _open_index(job: Job) -> tuple[ImageIndex, ImageIndex | None]:
    """Open the photographs; return also the index that the run has of them, if it can be read."""
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
        most_pixels=job.config.input.most_pixels,
        workers=worker_count(job.config.input.workers),
        progress=job.progress,
        previous=previous,
    )
    return index, previous


def _own_index(job: Job, index: ImageIndex, *, previous: ImageIndex | None) -> None:
    memory = Memory(job.run)
    memory.own(job.data, index.digest())
    if job.boxes_csv is not None:
        memory.keep({"boxes": job.boxes_csv}, instead_of=("boxes",))
    if index != previous:
        write_index(job.run / "index.parquet", index)
    for note in index.notes():
        job.progress.note(note)


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


def _stamps(run: Path, outputs: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return path, size and time of everything that a stage has written."""
    tops = [run / output for output in outputs]
    files = [path for top in tops for path in (sorted(top.rglob("*")) if top.is_dir() else [top]) if path.is_file()]
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def _why_not(job: Job, index: ImageIndex, name: str) -> str:
    """Say why a stage of a whole run does not apply; a stage asked for alone runs, or fails with its own reason."""
    if name == "localize" and not sees_objects(job.config) and "crop" not in job.config.evaluate.sets:
        return "no term and no evaluated set uses object boxes"
    if name == "prototypes" and job.config.teacher.use == "no":
        return "teacher.use is no"
    if name == "prototypes" and not job.texts.given() and "prototypes" not in Memory(job.run).stages:
        if job.has_prototypes:
            return "the prototypes that lie in the run are used"
        if job.config.teacher.use == "auto":
            return "no names, descriptions or prototypes were given, so the student learns without a teacher (w_c = 1)"
    if name == "evaluate" and index.labelled and len({record.label for record in index.usable("test")}) < 2:
        return "the test photographs are not of two classes or more"
    return ""


def _localize(job: Job, index: ImageIndex) -> dict[str, Any]:
    from leadpp.stages.localize import localize

    return localize(index=index, run=job.run, config=job.config, progress=job.progress, ranks=job.ranks)


def _write_crops(job: Job, index: ImageIndex) -> None:
    from leadpp.stages.localize import write_crops

    written = write_crops(index=index, run=job.run, out=job.run / "crops", progress=job.progress)
    job.progress.note(f"{written['crops']} crops are in {written['out']}")


def _prototypes(job: Job, index: ImageIndex) -> dict[str, Any]:
    from leadpp.stages.prototypes import build_prototypes

    texts = job.texts.given()
    return build_prototypes(index=index, run=job.run, config=job.config, progress=job.progress, **texts)


def _train(job: Job, index: ImageIndex) -> dict[str, Any]:
    from leadpp.stages.train import train

    restarted = restarted_by()
    if job.resume or restarted:
        if not job.resume:
            job.progress.note(f"{restarted} says that this job was started again: training goes on if it had begun")
        return train(
            index=index,
            run=job.run,
            config=job.config,
            resume=job.resume or "if-same",
            progress=job.progress,
            ranks=job.ranks,
        )
    newest = newest_checkpoint(job.run / "checkpoints")
    if newest is not None:
        job.progress.note(f"training from the start; {newest.name} gives way (--resume would go on from it)")
    return train(index=index, run=job.run, config=job.config, progress=job.progress, ranks=job.ranks)


def _evaluate(job: Job, index: ImageIndex) -> list[dict[str, Any]] | dict[str, Any]:
    if not index.labelled:
        from leadpp.stages.embed import embed

        job.progress.note("no labels: features, clusters and names are written, nothing is measured")
        return embed(index=index, run=job.run, config=job.config, progress=job.progress, ranks=job.ranks)
    from leadpp.stages.evaluate import evaluate

    run_hash = fingerprint(job, index, "evaluate")
    return evaluate(
        index=index, run=job.run, config=job.config, run_hash=run_hash, progress=job.progress, ranks=job.ranks
    )


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


def describe_environment(*, deterministic: bool = False) -> dict[str, Any]:
    """Say which versions, which machine and how many threads compute a run; by what command comes last."""
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
        "threads": 1 if deterministic else torch.get_num_threads(),
        "cuda": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "command": sys.argv,
    }
