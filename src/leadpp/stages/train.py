"""Train the student: boxes and prototypes of the run in, checkpoints and metrics out."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from leadpp import __version__
from leadpp.config.reader import PRESETS
from leadpp.config.tree import AugmentConfig, Config, InputConfig, LossConfig, TeacherConfig
from leadpp.data.boxes import read_boxes
from leadpp.data.cache import PhotoCache
from leadpp.data.index import ImageIndex, ImageRecord
from leadpp.data.replay import ReplayedSet
from leadpp.data.transforms import training_recipe
from leadpp.data.views import EvalSet, ViewSet, eval_loader, train_loader
from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.engine.answers import choose_temperatures
from leadpp.engine.compiling import compile_networks, eagerly
from leadpp.engine.determinism import deterministic_if_asked
from leadpp.engine.lessons import Consensus, Lessons, Space, remember_answers
from leadpp.engine.memory import memory_told
from leadpp.engine.monitor import NeighbourMonitor, choose_heldout
from leadpp.engine.plan import LoopPlan, check_share
from leadpp.engine.restore import describe_student
from leadpp.engine.runtime import (
    Progress,
    SilentProgress,
    core_count,
    pick_device,
    pick_precision,
    worker_count,
)
from leadpp.engine.step import StepPlan
from leadpp.engine.trainer import Monitor, OtherTrainingError, Trainer
from leadpp.engine.waiting import Reading
from leadpp.errors import ConfigError, TextError
from leadpp.functional.objective import Objective, ViewName
from leadpp.functional.randomness import generator_for
from leadpp.models.backbone import create_backbone
from leadpp.models.learner import Learner
from leadpp.models.student import Student
from leadpp.models.teacher import load_teachers
from leadpp.text.prototypes import Prototypes, other_makers, read_spaces

_WIDTH_WITHOUT_TEACHER = 512
_LARGEST_QUEUE = 65_536
_MONITOR_PHOTOGRAPHS = 2_000
_MONITOR_SHARE = 0.2
Resume = bool | Literal["if-same"]
_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@deterministic_if_asked
def train(
    *,
    index: ImageIndex,
    run: Path,
    config: Config,
    resume: Resume = False,
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Train on the training photographs of an index.

    Reads ``boxes.parquet`` where a term looks at objects, and ``prototypes.safetensors`` where there is a teacher;
    writes ``checkpoints/``, ``metrics.jsonl`` and, where TensorBoard is installed, ``tensorboard/`` in the run folder.

    Args:
        index: The photographs; labels serve the monitor alone.
        run: The run folder.
        config: The settings.
        resume: Go on from the newest checkpoint, if there is one; ``if-same`` trains from the start where it is of
            another training.
        progress: Who is told what is being done.
        ranks: This process among those that train together; each learns from its share of every batch.

    Returns:
        Ready for JSON; see :meth:`~leadpp.engine.trainer.Trainer.fit`.

    Raises:
        LeadppError: Anything the user can mend.
    """
    progress = progress or SilentProgress()
    device = pick_device(config.train.device)
    _check_shares(config, ranks)
    objective = _objective(config.loss)
    taught = _spaces(run, config, objective, progress)
    views = objective.views(taught=bool(taught))
    if not views:
        raise ConfigError(
            "no term of the loss has weight (without a teacher nothing is distilled); raise one of loss.*"
        )
    records = index.usable("train")
    crops = read_boxes(run / "boxes.parquet", records).crop_xyxy if _sees_objects(views) else None
    samples = _view_set(
        records,
        objective,
        views,
        crops,
        root=index.root,
        run=run,
        config=config,
        progress=progress,
        processes=ranks.local_count,
    )
    loader = train_loader(
        samples,
        batch_size=config.train.batch_size,
        workers=worker_count(config.input.workers, processes=ranks.local_count),
        pin_memory=device.type == "cuda",
        share=ranks.share(config.train.batch_size),
    )
    lessons = None
    if taught:
        lessons = _lessons(taught, config, device, progress)
        if config.teacher.view != "augmented":
            asked = _asked_views(samples, objective, index=index, run=run, config=config)
            lessons = _remember(lessons, asked, config=config, device=device, progress=progress, ranks=ranks)
    learner = _learner(config, objective, taught, photographs=len(records)).to(device)
    learner.divide(config.train.micro_batches)
    monitor: Monitor | None = _monitor(records, index=index, config=config, device=device, ranks=ranks)
    if config.train.compile:
        progress.note(_compile(learner, lessons, config, device, ranks=ranks))
        monitor = None if monitor is None else eagerly(monitor)
    trainer = Trainer(
        learner,
        objective=objective,
        order=_order(config, device),
        loop=_loop(config, device),
        lessons=lessons,
        run=run,
        metadata=_metadata(learner.student, config, records, taught, crops=crops),
        progress=progress,
        monitor=monitor,
        reading=_reading(config.input, device, processes=ranks.local_count),
        photographs=[record.path for record in records],
        ranks=ranks,
    )
    if resume:
        _go_on(trainer, epochs=config.train.epochs, anew_if_other=resume == "if-same", progress=progress)
    with memory_told(device, batch_size=config.train.batch_size):
        return trainer.fit(loader)


def _check_shares(config: Config, ranks: Ranks) -> None:
    """Refuse a batch that cannot be divided, and what cannot be done together.

    Raises:
        ConfigError: It is so.
    """
    check_share(config.train.batch_size, processes=ranks.count)
    by_all = config.student.batchnorm == "train" and config.train.key_bn == "sync" and not ranks.alone
    if by_all and (config.train.compile or config.train.micro_batches):
        raise ConfigError(
            "a network that is compiled or computed twice cannot ask other processes for BatchNorm's statistics; set "
            "student.batchnorm to eval, train.key_bn to shuffle or local, or leave out train.compile and "
            "train.micro_batches"
        )


def _objective(loss: LossConfig) -> Objective:
    return Objective(**{item.name: getattr(loss, item.name) for item in dataclasses.fields(Objective)})


def _order(config: Config, device: torch.device) -> StepPlan:
    train = config.train
    return StepPlan(
        forwards=train.forwards,
        key_update=train.key_update,
        key_momentum=train.key_momentum,
        key_timing=train.key_timing,
        key_bn=train.key_bn,
        shuffle_seed=config.seed,
        autocast_dtype=_AUTOCAST[pick_precision(train.precision, device)],
    )


def _loop(config: Config, device: torch.device) -> LoopPlan:
    train, checkpoint = config.train, config.checkpoint
    return LoopPlan(
        epochs=train.epochs,
        batch_size=train.batch_size,
        learning_rate=train.learning_rate,
        momentum=train.momentum,
        weight_decay=train.weight_decay,
        schedule=train.schedule,
        warmup_epochs=train.warmup_epochs,
        clip_norm=train.clip_norm,
        backbone_rate=train.backbone_rate,
        layer_decay=train.layer_decay,
        head_warmup_epochs=train.head_warmup_epochs,
        anchor=train.anchor,
        average_decay=train.average_decay,
        blend=train.blend,
        precision=pick_precision(train.precision, device),
        monitor_every=train.monitor_every,
        checkpoint_every=checkpoint.rhythm[0],
        checkpoint_unit=checkpoint.rhythm[1],
        checkpoint_keep=checkpoint.keep,
        checkpoint_keep_every=checkpoint.keep_every,
        checkpoint_best=checkpoint.best,
    )


def _go_on(trainer: Trainer, *, epochs: int, anew_if_other: bool, progress: Progress) -> None:
    """Load where the training was, and say where that is."""
    try:
        done = trainer.resume()
    except OtherTrainingError as error:
        if not anew_if_other:
            raise
        progress.note(f"training from the start: {error}")
        return
    if trainer.amid_epoch:
        progress.note(f"going on in epoch {done + 1}, after step {trainer.step}")
    elif trainer.step:
        progress.note(
            f"going on after epoch {done}{'' if done < epochs else ', which was the last: nothing is left to do'}"
        )


def _spaces(run: Path, config: Config, objective: Objective, progress: Progress) -> tuple[Prototypes, ...]:
    """Read what each teacher compares pictures with; nothing where the student learns without a teacher."""
    path = run / "prototypes.safetensors"
    if config.teacher.use == "no" or not objective.asks_teacher():
        return ()
    if config.teacher.use == "auto" and not path.exists():
        progress.note("no prototypes in the run, so the student learns without a teacher (w_c = 1, no distillation)")
        return ()
    if not path.exists():
        raise TextError(f"{path}: no such file, but teacher.use is yes; give names, descriptions or prototypes")
    spaces = read_spaces(path)
    if len(spaces[0].vectors) < 2:
        raise TextError(f"{path}: one class only, but the teacher's doubt needs at least 2; set teacher.use to no")
    if config.student.embedding_dim not in (0, spaces[0].dim):
        raise ConfigError(
            f"student.embedding_dim is {config.student.embedding_dim}, but the prototypes are {spaces[0].dim} wide; "
            "leave it at 0, which takes their width"
        )
    return spaces


def _lessons(taught: tuple[Prototypes, ...], config: Config, device: torch.device, progress: Progress) -> Lessons:
    settings = config.teacher
    teachers = load_teachers(
        models=settings.models,
        model=settings.model,
        pretrained=settings.pretrained,
        factory=settings.factory,
        normalization=settings.normalization,
    )
    if len(teachers) != len(taught):
        raise TextError(
            f"the prototypes are in the spaces of {len(taught)} teachers, but there are {len(teachers)} to learn from; "
            "make the prototypes with the teachers that are used"
        )
    for note in other_makers(taught, (teacher.name for teacher in teachers)):
        progress.note(note)
    temperatures = choose_temperatures(taught, chosen=config.loss.distillation_temperature)
    spaces = []
    for teacher, prototypes, temperature in zip(teachers, taught, temperatures, strict=True):
        prototypes.check_width(teacher.embedding_dim, of=f"the teacher {teacher.name}")
        teacher.to(device)
        spaces.append(Space(teacher=teacher, prototypes=prototypes.vectors.to(device), temperature=temperature))
    return Lessons(tuple(spaces))


def _asked_views(
    samples: ViewSet, objective: Objective, *, index: ImageIndex, run: Path, config: Config
) -> EvalSet | ReplayedSet:
    """Return what the teacher is asked about before training: photographs as they are, or the draws of its view."""
    seen, draws, records = objective.teacher_view(), config.teacher.draws, samples.records
    if draws:
        return ReplayedSet(samples.only(seen), view=seen, draws=draws)
    of_objects = seen == "object_1"
    return EvalSet(
        records,
        root=index.root,
        size=config.input.size,
        fit=config.teacher.fit,
        crop_boxes_xyxy=read_boxes(run / "boxes.parquet", records).crop_xyxy if of_objects else None,
    )


def _remember(
    lessons: Lessons,
    samples: EvalSet | ReplayedSet,
    *,
    config: Config,
    device: torch.device,
    progress: Progress,
    ranks: Ranks,
) -> Lessons:
    alone, draws = Consensus(), config.teacher.draws
    share = ranks.share(len(samples))
    loader = eval_loader(
        samples,
        batch_size=config.evaluate.batch_size,
        workers=worker_count(config.input.workers, processes=ranks.local_count),
        share=share,
    )
    return remember_answers(
        lessons,
        progress.track(
            loader,
            total=share.stop - share.start,
            what="ask the teacher" if len(lessons.spaces) == 1 else "ask the teachers",
            size=lambda batch: len(batch["index"]),
        ),
        device=device,
        consensus=alone if draws else Consensus(neighbours=config.teacher.neighbours, balance=config.teacher.balance),
        temperature=config.loss.distillation_temperature,
        draws=draws or 1,
        ranks=ranks,
    )


def _learner(config: Config, objective: Objective, taught: tuple[Prototypes, ...], *, photographs: int) -> Learner:
    first, *further = [space.dim for space in taught] or [config.student.embedding_dim or _WIDTH_WITHOUT_TEACHER]
    student = Student(
        create_backbone(config.student.backbone),
        embedding_dim=first,
        further_dims=further,
        attention_channels=config.student.attention_channels,
        attention_scaling=config.student.attention_scaling,
        batchnorm=config.student.batchnorm,
        generator=generator_for(config.seed, "student heads"),
    )
    return Learner(
        student,
        queues=objective.queues(),
        queue_size=config.train.queue_size or automatic_queue_size(photographs, batch_size=config.train.batch_size),
        generator=generator_for(config.seed, "first negatives"),
        keep_first=config.train.anchor > 0 or config.train.blend < 1 or objective.uses("structure"),
    )


def automatic_queue_size(photographs: int, *, batch_size: int) -> int:
    """Return the largest multiple of the batch that the training set holds, at most 65,536 or one batch.

    >>> automatic_queue_size(5994, batch_size=64)
    5952
    """
    return max(1, min(photographs, _LARGEST_QUEUE) // batch_size) * batch_size


def _sees_objects(views: tuple[ViewName, ...]) -> bool:
    return any(view.startswith("object") for view in views)


def _view_set(
    records: tuple[ImageRecord, ...],
    objective: Objective,
    views: tuple[ViewName, ...],
    crops: Tensor | None,
    *,
    root: Path,
    run: Path,
    config: Config,
    progress: Progress,
    processes: int,
) -> ViewSet:
    samples = ViewSet(
        records,
        root=root,
        size=config.input.size,
        seed=config.seed,
        crop_boxes_xyxy=crops,
        views=views,
        recipe=training_recipe(**dataclasses.asdict(config.augment)),
        finished=config.input.augment == "cpu",
        replayed={objective.teacher_view(): config.teacher.draws} if config.teacher.draws else {},
    )
    if config.input.cache != "none":
        cache = PhotoCache(
            records,
            samples.lasting_scales(),
            kind=config.input.cache,
            folder=run,
            limit_gb=config.input.cache_limit_gb,
            processes=processes,
        )
        progress.note(cache.describe())
        samples.keep(cache)
    return samples


def _compile(learner: Learner, lessons: Lessons | None, config: Config, device: torch.device, *, ranks: Ranks) -> str:
    shape = (config.train.batch_size // ranks.count, 3, config.input.size, config.input.size)
    return compile_networks(
        learner.train(),
        lessons,
        batch=torch.zeros(shape, dtype=torch.uint8, device=device),
        autocast_dtype=_AUTOCAST[pick_precision(config.train.precision, device)],
    )


def _reading(settings: InputConfig, device: torch.device, *, processes: int) -> Reading:
    return Reading(
        workers=worker_count(settings.workers, processes=processes),
        cores=core_count() // processes,
        cached=settings.cache != "none",
        on_device=settings.augment == "device",
        accelerated=device.type != "cpu",
    )


def _monitor(
    records: tuple[ImageRecord, ...], *, index: ImageIndex, config: Config, device: torch.device, ranks: Ranks
) -> NeighbourMonitor | None:
    """Set up the measuring between epochs: a fifth of the labelled training photographs ask, the others vote."""
    labelled = [record for record in records if record.label is not None]
    if config.train.monitor_every == 0 or len(labelled) < 2:
        if config.checkpoint.best:
            raise ConfigError(
                f"checkpoint.best is {config.checkpoint.best}, but nothing is measured in training: that needs labels "
                "and train.monitor_every of at least 1; leave checkpoint.best empty"
            )
        return None
    generator = generator_for(config.seed, "monitor")
    drawn = torch.randperm(len(labelled), generator=generator)[:_MONITOR_PHOTOGRAPHS].sort().values.tolist()
    asked = [labelled[place] for place in drawn]
    samples = EvalSet(asked, root=index.root, size=config.input.size, fit="center-crop")
    return NeighbourMonitor(
        eval_loader(
            samples,
            batch_size=config.evaluate.batch_size,
            workers=worker_count(config.input.workers, processes=ranks.local_count),
            pin_memory=device.type == "cuda",
            share=ranks.share(len(asked)),
        ),
        labels=_labels(asked, index),
        heldout=choose_heldout(len(asked), share=_MONITOR_SHARE, generator=generator),
        ranks=ranks,
    )


def _labels(records: list[ImageRecord], index: ImageIndex) -> Tensor:
    return torch.tensor([index.class_index(record.label) for record in records if record.label is not None])


def _metadata(
    student: Student,
    config: Config,
    records: tuple[ImageRecord, ...],
    taught: tuple[Prototypes, ...],
    *,
    crops: Tensor | None,
) -> dict[str, Any]:
    vectors = [space.vectors.tolist() for space in taught]
    return describe_student(student, backbone=config.student.backbone) | {
        "input_size": config.input.size,
        "batch_size": config.train.batch_size,
        "seed": config.seed,
        "preset": config.preset,
        "deterministic": config.deterministic,
        "precision": pick_precision(config.train.precision, pick_device(config.train.device)),
        "augment": _changes(config.augment),
        "class_count": len(vectors[0]) if taught else 0,
        "prototypes": _digest(vectors if len(vectors) > 1 else vectors[0]) if taught else None,
        "teacher": _who_teaches(config.teacher) if taught else None,
        "teacher_view": _teaching(config.teacher) if taught else "augmented",
        "teacher_normalization": config.teacher.normalization if taught else "",
        "fingerprint": _digest([(record.path, record.checksum, record.cut_bottom_px) for record in records]),
        "object_boxes": "" if crops is None else _digest(crops.tolist()),
        "code_version": __version__,
    }


def _changes(augment: AugmentConfig) -> dict[str, float]:
    """Return in what the views differ from the paper's."""
    paper = PRESETS["paper"]["augment"]
    return {name: value for name, value in dataclasses.asdict(augment).items() if value != paper[name]}


def _who_teaches(teacher: TeacherConfig) -> str:
    return teacher.factory or ", ".join(teacher.models) or f"{teacher.model} {teacher.pretrained}"


def _teaching(teacher: TeacherConfig) -> str:
    """Say what of the teacher's answers is learnt from."""
    if teacher.view != "clean":
        return teacher.view
    return f"clean, {teacher.fit}, {teacher.neighbours} neighbours, balance {teacher.balance}"


def _digest(content: object) -> str:
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=16).hexdigest()
