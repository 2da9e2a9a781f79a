"""The upper bound: the student's backbone trained on the labels, as a checkpoint that ``leadpp evaluate`` reads."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.config.tree import Config
from leadpp.data.boxes import read_boxes
from leadpp.data.index import read_index
from leadpp.data.transforms import training_recipe
from leadpp.data.views import ViewSet, train_loader
from leadpp.engine.restore import describe_student
from leadpp.engine.runtime import Progress, pick_device
from leadpp.functional.objective import ViewName
from leadpp.functional.randomness import generator_for
from leadpp.functional.schedule import learning_rate
from leadpp.io.checkpoint import save_checkpoint
from leadpp.io.ledger import checkpoint_path, keep_newest
from leadpp.models.backbone import create_backbone
from leadpp.models.student import Student

RATE, MOMENTUM, DECAY = 0.02, 0.9, 5e-4
WARMUP_EPOCHS = 1.0
VIEWS: tuple[ViewName, ...] = ("global_1", "object_1")
"""The views that gradients reach in LEAD++ too."""


def train_supervised(*, run: Path, config: Config, progress: Progress) -> dict[str, Any]:
    """Train backbone and one linear layer with cross-entropy on a whole and an object view of each photograph.

    Epochs, batch, picture size, boxes, views and their draws are those of the method; rate and schedule are this
    benchmark's own (SGD 0.02 with warm-up and cosine), so that settings that hold
    the method back do not lower the bound.

    Args:
        run: Run folder with ``index.parquet`` and ``boxes.parquet``; a checkpoint is written in it.
        config: Whose ``seed``, ``input``, ``student`` and ``train`` are used.
        progress: Who is told.

    Returns:
        ``epochs`` and the mean ``loss`` and ``accuracy`` of the last one, for JSON.
    """
    index = read_index(run / "index.parquet")
    records = tuple(record for record in index.usable("train") if record.label is not None)
    labels = torch.tensor([index.class_index(str(record.label)) for record in records])
    samples = ViewSet(
        records,
        root=index.root,
        size=config.input.size,
        seed=config.seed,
        crop_boxes_xyxy=read_boxes(run / "boxes.parquet", records).crop_xyxy,
        views=VIEWS,
        recipe=training_recipe(**asdict(config.augment)),
    )
    loader = train_loader(samples, batch_size=config.train.batch_size)
    device = pick_device(config.train.device)
    student, layer = _networks(config, classes=len(index.classes))
    student, layer = student.to(device).train(), layer.to(device)
    optimizer = torch.optim.SGD(
        [*student.backbone.parameters(), *layer.parameters()], lr=RATE, momentum=MOMENTUM, weight_decay=DECAY
    )
    told: list[tuple[float, float]] = []
    for epoch in range(config.train.epochs):
        told = []
        for place, batch in enumerate(loader.epoch(epoch)):
            step = epoch * loader.batches_per_epoch + place
            for group in optimizer.param_groups:
                group["lr"] = _rate(step, per_epoch=loader.batches_per_epoch, epochs=config.train.epochs)
            optimizer.zero_grad(set_to_none=True)
            loss, right = _score(student, layer, batch, labels[batch["index"]].to(device), device)
            torch.autograd.backward(loss)
            optimizer.step()
            told.append((loss.item(), right))
        progress.note(f"  epoch {epoch + 1}/{config.train.epochs}: {_means(told)}")
    _save(student, run=run, config=config)
    return {"epochs": config.train.epochs, **_means(told)}


def _networks(config: Config, *, classes: int) -> tuple[Student, nn.Linear]:
    backbone = create_backbone(config.student.backbone)
    student = Student(backbone, embedding_dim=128, generator=generator_for(config.seed, "student heads"))
    layer = nn.Linear(backbone.feature_dim, classes, device="meta").to_empty(device="cpu")  # draws from no global
    nn.init.normal_(layer.weight, std=0.01, generator=generator_for(config.seed, "supervised layer"))
    nn.init.zeros_(layer.bias)
    return student, layer


def _rate(step: int, *, per_epoch: int, epochs: int) -> float:
    return learning_rate(
        "cosine-step", step, steps_per_epoch=per_epoch, epochs=epochs, warmup_epochs=WARMUP_EPOCHS, peak=RATE
    )


def _score(
    student: Student, layer: nn.Linear, batch: dict[str, Tensor], labels: Tensor, device: torch.device
) -> tuple[Tensor, float]:
    """Return the mean loss of the views, and the share of the last that is named right."""
    losses, right = [], 0.0
    for view in VIEWS:
        logits = layer(student(batch[view].to(device)).feature)
        losses.append(F.cross_entropy(logits, labels))
        right = (logits.argmax(dim=1) == labels).float().mean().item()
    return torch.stack(losses).mean(), right


def _means(told: list[tuple[float, float]]) -> dict[str, float]:
    count = max(1, len(told))
    return {name: sum(pair[place] for pair in told) / count for place, name in enumerate(("loss", "accuracy"))}


def _save(student: Student, *, run: Path, config: Config) -> None:
    path = checkpoint_path(run / "checkpoints", epoch=config.train.epochs)
    metadata = describe_student(student, backbone=config.student.backbone)
    metadata |= {"epoch": config.train.epochs, "class_count": 0}
    save_checkpoint(path, modules={"student": student}, optimizer=None, metadata=metadata)
    keep_newest(path.parent, path, keep=1)
