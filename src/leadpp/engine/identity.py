"""What must be the same for a training to go on from a checkpoint; rate and number of epochs, for one, may change."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from leadpp.engine.plan import LoopPlan
from leadpp.engine.step import StepPlan
from leadpp.functional.objective import Objective

_IDENTITY = frozenset(
    {"backbone", "embedding_dim", "further_dims", "attention_channels", "attention_scaling", "batchnorm"}
    | {"input_size", "augment", "batch_size", "seed", "fingerprint", "object_boxes", "prototypes"}
    | {"teacher", "teacher_view", "teacher_normalization"}
)
"""What counts of that which a training says of itself, besides objective and order."""
_GROUPING = ("backbone_rate", "layer_decay", "head_warmup_epochs", "anchor", "average_decay", "blend")
"""Settings of the loop that decide which weights share a group of the optimizer, and what a checkpoint holds."""
_ORDER = ("forwards", "key_update", "key_timing", "key_bn")
_SINCE: dict[str, Any] = {
    "train.key_bn": "sync",
    "augment": {},
    "further_dims": [],
    "teacher_view": "augmented",
    "loss.structure": 0.0,
    "loss.structure_teacher": 0.0,
    "train.backbone_rate": 1.0,
    "train.layer_decay": 1.0,
    "train.head_warmup_epochs": 0.0,
    "train.anchor": 0.0,
    "train.average_decay": 0.0,
    "train.blend": 1.0,
}
"""What younger settings were, in effect, in checkpoints that do not tell of them."""
_UNTOLD = frozenset({"object_boxes", "teacher_normalization", "train.forwards", "train.key_update", "train.key_timing"})
"""What is taken to be the same where an older checkpoint does not tell of it."""
_SPELT = {
    "teacher_view": "teacher.view",
    "teacher_normalization": "teacher.normalization",
    "object_boxes": "crop boxes of digest",
    "input_size": "input.size",
    "batch_size": "train.batch_size",
}
"""Settings whose names in checkpoints are not those that the user knows."""


def identity(metadata: Mapping[str, Any], *, objective: Objective, order: StepPlan, loop: LoopPlan) -> dict[str, Any]:
    """Gather what makes a training the training it is, ready for JSON.

    Args:
        metadata: What its checkpoints say of network, data and teacher.
        objective: What is minimised.
        order: The order of events in a step.
        loop: How long, how fast and how carefully.
    """
    losses = {f"loss.{name}": value for name, value in dataclasses.asdict(objective).items()}
    if not objective.uses("structure"):
        del losses["loss.structure_temperature"], losses["loss.structure_teacher"]
    settings = {f"train.{name}": getattr(loop, name) for name in _GROUPING}
    settings |= {f"train.{name}": getattr(order, name) for name in _ORDER}
    known = {name: value for name, value in sorted(metadata.items()) if name in _IDENTITY}
    return known | losses | settings


def first_difference(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Say in words in what a checkpoint is of another training; empty if it is of the same.

    Args:
        wanted: The :func:`identity` of the training that is to go on.
        found: What the checkpoint says; older ones do not say everything.
    """
    for name, expected in wanted.items():
        if name in _UNTOLD and name not in found:
            continue
        value = found.get(name, _SINCE.get(name))
        if value != expected:
            return f"{_SPELT.get(name, name)} {value!r}, this training has {expected!r}"
    return ""
