"""Settings of the student and its training."""

import re
from dataclasses import dataclass
from typing import Literal

from leadpp.config.requirement import require

_RHYTHM = re.compile(r"(?P<minutes>\d+(\.\d+)?) ?min|(?P<count>\d+) ?(?P<unit>epochs?|steps?)?", re.ASCII)
"""How often checkpoints are written, as :attr:`CheckpointConfig.every` says it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentConfig:
    """The trained encoder."""

    backbone: str = "resnet50.tv_in1k"
    """Any timm model with a feature map; `local-dir:FOLDER`, `hf-hub:NAME`, `builtin:world-backbone`."""
    embedding_dim: int = 0
    """Width D of the embedding; 0 takes the prototypes' width, or 512 without a teacher. With several teachers, of the
    embedding in the first one's space, which is contrasted."""
    attention_channels: int = 32
    """Channels of the attention head's 1x1 convolution."""
    attention_scaling: Literal["image", "batch"] = "image"
    """Min-max scaling of the attention map: per image, or (reference) over the batch."""
    batchnorm: Literal["eval", "train"] = "eval"
    """Whether the backbone's BatchNorm keeps its stored statistics in training, or (paper) takes those of the batch."""

    def __post_init__(self) -> None:
        require(self.embedding_dim >= 0, f"student.embedding_dim must be 0 or more, got {self.embedding_dim}")
        require(self.attention_channels >= 1, "student.attention_channels must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Weights, temperatures and forms of the objective."""

    alpha: float = 0.5
    """Scale of the contrastive terms."""
    global_global: float = 1.0
    """Weight of whole-with-whole contrast, times alpha."""
    global_object: float = 0.1
    """Weight of whole-with-object contrast, times alpha."""
    object_object: float = 1.0
    """Weight of object-with-object contrast, times alpha."""
    distillation: float = 3.2
    """Weight of mean(w_d KL) with `reduction: mean`."""
    alignment: float = 0.016
    """Weight of the mean attention alignment with `reduction: mean`."""
    structure: float = 1.0
    """Weight of keeping the neighbourhoods that the backbone saw in a batch before it learned; 0 does not keep them."""
    structure_temperature: float = 0.1
    """Divides the cosines between photographs where neighbourhoods are compared."""
    structure_teacher: float = 0.8
    """How much the teacher's opinion counts, times w_d, beside the first backbone's, in the view that both saw."""
    reduction: Literal["mean", "reference"] = "mean"
    """Means over the batch, or the reference's sums (beta / C, 0.001 alpha, divided by its number of processes)."""
    reference_beta: float = 20.0
    """beta of the reference's distillation sum; used with `reduction: reference`."""
    reference_alignment: float = 0.001
    """Weight (times alpha) of the reference's alignment sum; used with `reduction: reference`."""
    reference_world_size: int = 2
    """Processes over which the reference averaged its sums; used with `reduction: reference`."""
    contrastive_temperature: float = 0.27
    """Divides the InfoNCE logits."""
    distillation_temperature: float = 0.02
    """Divides the cosines with the prototypes; 0: each teacher's own temperature, one over its logit scale."""
    contrast_weighting: Literal["entropy", "one", "half"] = "entropy"
    """w_c: squared normalised entropy of the teacher, 1, or 0.5. Without a teacher it is 1."""
    distill_weighting: Literal["entropy", "one", "half"] = "entropy"
    """w_d: one minus squared normalised entropy, 1, or 0.5."""
    distill_view: Literal["both", "object", "global"] = "both"
    """Where the student is held to the teacher's answer: `both` holds its object and its whole view to what the teacher
    sees in the object; or one view, which the teacher sees too (paper: the object's)."""
    log_form: Literal["log-softmax", "softmax-log"] = "log-softmax"
    """The stable logarithm, or the reference's."""
    alignment_form: Literal["reference", "scaled"] = "reference"
    """Grad-CAM as it is, or scaled to [0, 1] per image first."""

    def __post_init__(self) -> None:
        require(self.contrastive_temperature > 0, "loss.contrastive_temperature must be above 0")
        require(self.distillation_temperature >= 0, "loss.distillation_temperature must be 0 or more")
        require(self.structure_temperature > 0, "loss.structure_temperature must be above 0")
        require(
            0 <= self.structure_teacher <= 1,
            f"loss.structure_teacher must be from 0 to 1, got {self.structure_teacher}",
        )
        require(self.reference_world_size >= 1, "loss.reference_world_size must be at least 1")
        terms = ("global_global", "global_object", "object_object", "distillation", "alignment", "structure")
        for name in ("alpha", *terms):
            require(getattr(self, name) >= 0, f"loss.{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """The training loop."""

    epochs: int = 100
    """Passes over the training photographs."""
    batch_size: int = 64
    """Photographs in a step, all devices together."""
    learning_rate: float = 0.02
    """Peak rate of SGD."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """Weight decay of SGD."""
    schedule: Literal["cosine-step", "cosine-epoch", "step"] = "cosine-step"
    """Cosine by step; (reference) cosine by epoch counted from 1; or x0.1 at 60 % and 80 % of the epochs."""
    warmup_epochs: float = 1.0
    """Linear warm-up of the rate, in epochs; used with `cosine-step`."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    backbone_rate: float = 1.0
    """Rate of the backbone as a multiple of the learning rate; projector and attention head learn at that itself."""
    layer_decay: float = 1.0
    """Each earlier stage of the backbone learns at this multiple of the next one's rate."""
    head_warmup_epochs: float = 1.0
    """Epochs, at most a quarter of all, in which projector and attention head learn alone; the backbone stands still,
    BatchNorm statistics too."""
    anchor: float = 0.0
    """Pull of the backbone's weights towards their first values (L2-SP); above 0 it replaces weight decay there."""
    average_decay: float = 0.0
    """What a moving average of the student keeps at each step (0.99, say); the average is then the result. 0: none."""
    blend: float = 0.5
    """Share of the trained backbone in the result, the rest being as it began (WiSE-FT); 1 is all trained."""
    key_momentum: float = 0.997
    """Momentum of the key encoder's moving average."""
    key_update: Literal["step", "forward"] = "step"
    """Move the key encoder once a step, or (reference) before each of its three forwards."""
    forwards: Literal["once", "reference"] = "once"
    """Encode each view once, or (reference) the first whole view and the second object view twice."""
    queue_size: int = 0
    """Negatives in each queue; 0: the largest multiple of the batch in the training set, at most 65,536."""
    key_timing: Literal["after-step", "reference"] = "after-step"
    """When object keys join their queue: after the step, or (reference) before the third term is scored."""
    micro_batches: int = 0
    """Parts in which the encoders take a batch, each computed again in the backward pass: less memory, the same result.
    0: the whole batch, and smaller parts of it when memory runs out."""
    key_bn: Literal["sync", "shuffle", "local"] = "sync"
    """Whose batch BatchNorm goes by in training where several processes train together (torchrun): that of all, as one
    process would; or each process's own share, which for the keys is drawn anew from the whole batch (`shuffle`, as in
    MoCo) or is the process's own too (`local`)."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the forward passes; `auto` is bf16 where the device has matrix units for it, else fp32."""
    compile: bool = False
    """Compile the networks with torch.compile before training; takes minutes, and needs a compiler on a CPU. Where it
    cannot be done, a line says why, and training goes on without."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1` or `mps`."""
    monitor_every: int = 1
    """Epochs between kNN and purity@10 on held-out labels; 0 never."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"train.epochs must be at least 1, got {self.epochs}")
        require(self.micro_batches >= 0, f"train.micro_batches must be 0 or more, got {self.micro_batches}")
        require(self.batch_size >= 2, f"train.batch_size must be at least 2, got {self.batch_size}")
        require(self.learning_rate >= 0, f"train.learning_rate must be 0 or more, got {self.learning_rate}")
        require(0 <= self.key_momentum <= 1, f"train.key_momentum must be in [0, 1], got {self.key_momentum}")
        require(0 <= self.momentum < 1, f"train.momentum must be in [0, 1), got {self.momentum}")
        require(self.weight_decay >= 0, f"train.weight_decay must be 0 or more, got {self.weight_decay}")
        require(self.queue_size >= 0, f"train.queue_size must be 0 or more, got {self.queue_size}")
        require(self.warmup_epochs >= 0, f"train.warmup_epochs must be 0 or more, got {self.warmup_epochs}")
        require(self.clip_norm >= 0, f"train.clip_norm must be 0 or more, got {self.clip_norm}")
        require(self.backbone_rate >= 0, f"train.backbone_rate must be 0 or more, got {self.backbone_rate}")
        require(0 < self.layer_decay <= 1, f"train.layer_decay must be above 0 and at most 1, got {self.layer_decay}")
        require(
            self.head_warmup_epochs >= 0, f"train.head_warmup_epochs must be 0 or more, got {self.head_warmup_epochs}"
        )
        require(0 <= self.average_decay < 1, f"train.average_decay must be in [0, 1), got {self.average_decay}")
        require(0 <= self.blend <= 1, f"train.blend must be from 0 to 1, got {self.blend}")
        require(self.anchor >= 0, f"train.anchor must be 0 or more, got {self.anchor}")
        require(self.monitor_every >= 0, f"train.monitor_every must be 0 or more, got {self.monitor_every}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointConfig:
    """What is kept of a training."""

    every: str = "10epochs"
    """How often: `10epochs` (or `10`), `500steps`, `10min`; there is always one after the last epoch. It is written
    beside the training, which waits for its copy only."""
    keep: int = 2
    """How many of the newest checkpoints to keep; 0 keeps all. With 2 or more, one that is damaged does no harm."""
    keep_every: int = 0
    """Every so manieth checkpoint is kept for good; 0 keeps none for good."""
    best: Literal["", "knn", "purity10"] = ""
    """Keep the checkpoint that was best by this figure of held-out training photographs, too; it looks at labels."""

    def __post_init__(self) -> None:
        require(
            bool(_RHYTHM.fullmatch(self.every)) and self.rhythm[0] > 0,
            "checkpoint.every must be a number above 0 of epochs, steps or min, such as 2epochs, 500steps or 10min, "
            f"got {self.every!r}",
        )
        require(self.keep >= 0, f"checkpoint.keep must be 0 or more, got {self.keep}")
        require(self.keep_every >= 0, f"checkpoint.keep_every must be 0 or more, got {self.keep_every}")

    @property
    def rhythm(self) -> tuple[float, Literal["epochs", "steps", "minutes"]]:
        """How many of what lie between two checkpoints."""
        found = _RHYTHM.fullmatch(self.every)
        assert found is not None  # noqa: S101 - it was checked when the tree was built
        if found["minutes"]:
            return float(found["minutes"]), "minutes"
        return float(found["count"]), "steps" if found["unit"] and found["unit"].startswith("step") else "epochs"
