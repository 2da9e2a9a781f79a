"""What a training is told: how long, how fast and how carefully to learn."""

from dataclasses import dataclass
from typing import Literal

from leadpp.errors import ConfigError
from leadpp.functional.schedule import Schedule


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopPlan:
    """How long, how fast and how carefully to learn."""

    epochs: int
    """Passes over the photographs."""
    batch_size: int
    """Photographs in a step."""
    learning_rate: float = 0.02
    """Peak rate of SGD."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """Weight decay of SGD."""
    schedule: Schedule = "cosine-step"
    """How the rate goes from step to step; see :func:`~leadpp.functional.schedule.learning_rate`."""
    warmup_epochs: float = 1.0
    """Linear rise of the rate, in epochs."""
    clip_norm: float = 0.0
    """Largest norm of the gradient; 0 does not clip."""
    backbone_rate: float = 1.0
    """Rate of the backbone as a multiple of that of the heads."""
    layer_decay: float = 1.0
    """Each earlier stage of the backbone learns at this multiple of the next one's rate."""
    head_warmup_epochs: float = 0.0
    """Epochs in which the heads learn alone, while the backbone stands still; at most a quarter of all."""
    anchor: float = 0.0
    """Pull of the backbone towards its first weights, in place of weight decay; needs a learner that keeps them."""
    average_decay: float = 0.0
    """What the average of the student keeps at each step; 0 does not average, and the student itself is the result."""
    blend: float = 1.0
    """Share of the trained backbone in the result; the rest is as it began, and needs a learner that keeps it."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the encoders; the gradients of fp16 are scaled so that they do not vanish."""
    monitor_every: int = 1
    """Epochs between two calls of the monitor; 0 never calls it."""
    checkpoint_every: float = 10
    """Epochs, steps or minutes between two checkpoints; there is always one after the last epoch."""
    checkpoint_unit: Literal["epochs", "steps", "minutes"] = "epochs"
    """What is counted between checkpoints."""
    checkpoint_keep: int = 2
    """How many of the newest checkpoints to keep; 0 keeps all."""
    checkpoint_keep_every: int = 0
    """Every so manieth checkpoint is kept for good; 0 keeps none for good."""
    checkpoint_best: str = ""
    """The monitor's figure, the higher the better, whose best checkpoint is kept besides; empty for none."""


def check_share(batch_size: int, *, processes: int) -> None:
    """Refuse a batch that several processes cannot divide into shares of one size.

    Raises:
        ConfigError: They cannot.
    """
    if batch_size % processes == 0:
        return
    below = batch_size // processes * processes
    near = [str(size) for size in (below, below + processes) if size]
    raise ConfigError(
        f"train.batch_size is {batch_size}, which {processes} processes cannot divide evenly; set it to "
        f"{' or '.join(near)}: it is the batch of all processes together"
    )
