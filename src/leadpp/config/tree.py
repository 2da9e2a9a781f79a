"""The frozen dataclass tree; every field says what it means, and the tree is checked when it is built."""

from dataclasses import dataclass, field
from typing import Literal

from leadpp.errors import ConfigError

Preset = Literal["lead++", "lead", "moco", "paper"]
Networks = Literal["", "world"]


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class InputConfig:
    """How photographs are read."""

    size: int = 224
    """Side in pixels of the square pictures that the student sees, in training and evaluation."""
    workers: int = -1
    """Processes that read photographs; -1 takes one less than the cores, 0 reads in the main process."""
    bad_images: Literal["skip", "error"] = "skip"
    """What to do with files that cannot be read: leave them out (and count them) or stop."""
    cache: Literal["none", "ram", "disk"] = "none"
    """Where training keeps decoded photographs after their first epoch: nowhere, in memory, or in a file in the run
    folder that goes when training ends."""
    cache_limit_gb: float = 0.0
    """Most that the cache may take, in GB; photographs beyond it are decoded every time. 0: half of what is free."""
    augment: Literal["cpu", "device"] = "cpu"
    """Where colours and sharpness of training views are changed: by the processes that read, or on the training
    device, which leaves those decoding, cutting and resizing alone."""

    def __post_init__(self) -> None:
        _require(self.size >= 16, f"input.size must be at least 16 pixels, got {self.size}")
        _require(self.workers >= -1, f"input.workers must be -1 or more, got {self.workers}")
        _require(self.cache_limit_gb >= 0, f"input.cache_limit_gb must be 0 or more, got {self.cache_limit_gb}")


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentConfig:
    """How much the training views differ from their photograph.

    The defaults keep colours and most of the object, which tell look-alikes apart; `paper` has those of MoCo v2.
    """

    crop_least: float = 0.4
    """Least share of the photograph's or object's area that a view keeps; the most is all of it."""
    jitter: float = 0.15
    """Largest change of brightness, contrast and saturation, as a share."""
    hue: float = 0.0
    """Largest turn of the hue, in turns of the colour circle."""
    jitter_prob: float = 0.8
    """How often colours are jittered."""
    grey_prob: float = 0.0
    """How often colour is taken away."""
    blur: float = 1.0
    """Largest standard deviation of the blur, in pixels of the finished view; the least is 0.1."""
    blur_prob: float = 0.2
    """How often the view is blurred."""

    def __post_init__(self) -> None:
        _require(0 < self.crop_least <= 1, f"augment.crop_least must be above 0 and at most 1, got {self.crop_least}")
        _require(0 <= self.jitter <= 1, f"augment.jitter must be from 0 to 1, got {self.jitter}")
        _require(0 <= self.hue <= 0.5, f"augment.hue must be from 0 to 0.5, got {self.hue}")
        _require(self.blur >= 0.1, f"augment.blur must be at least 0.1 pixels, got {self.blur}")
        for name in ("jitter_prob", "grey_prob", "blur_prob"):
            _require(0 <= getattr(self, name) <= 1, f"augment.{name} must be from 0 to 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalizeConfig:
    """How the object is found (DDT)."""

    backbone: str = "resnet50.tv_in1k"
    """Any timm model with a feature map; `local-dir:FOLDER`, `hf-hub:NAME`, `builtin:world-backbone`."""
    size: int = 448
    """Side in pixels of the squeezed picture, in fit and in apply."""
    stages: int = 1
    """How many of the network's last stages are fused: the earlier, finer ones follow the last one."""
    upsample: int = 1
    """Cells of the indicator for each cell of the finest map, along each axis: bilinear, before the threshold."""
    threshold: float = 0.0
    """Cells whose min-max scaled indicator is above this are object, from 0 up to 1; the reference's over_num."""
    form: Literal["search", "part"] = "search"
    """What crops are made from: the paper's search over five cut rates, or the plain rectangle of the largest part,
    which is the object box in either case."""
    policy: Literal["auto", "square", "car", "aircraft", "tight"] = "auto"
    """How the object box becomes the crop box; `auto` goes by the dataset, `tight` keeps the object box."""
    fit_images: int = 1000
    """How many training photographs to fit on at most, drawn by the seed; 0 takes all (docs/decisions/0041)."""
    fit_split: Literal["train", "all"] = "train"
    """Which photographs the fit may see; the reference takes train and test together."""
    fit_size: int = 0
    """Side in pixels in the fit if it is to differ from `size`; 0 takes `size` (the reference has 512 and 448)."""
    sign_rule: Literal["loading", "border", "norm"] = "border"
    """What decides which side of the direction is the object: the border of pictures is ground, the entry of largest
    magnitude is positive (the reference), or objects have the longer descriptors (docs/decisions/0011)."""
    batchnorm: Literal["eval", "train-in-apply"] = "eval"
    """Statistics in apply: the stored ones, or (reference) each picture's own."""
    zero_rows: bool = False
    """Keep the reference's all-zero descriptor per 64 images in the fit."""
    box_reading: Literal["xyxy", "reference"] = "xyxy"
    """Whether boxes stay xyxy, or are re-read as xywh where the reference does so."""
    batch_size: int = 0
    """Photographs in one forward pass; 0 goes by the size and the device."""
    keep_gb: float = 4.0
    """What the feature maps of the fit may take in the run folder while the stage is at work, where the fit sees more
    than a tenth of all photographs; these then go through the network once. 0 keeps none (docs/decisions/0041)."""

    def __post_init__(self) -> None:
        _require(self.size >= 32, f"localize.size must be at least 32 pixels, got {self.size}")
        _require(
            self.fit_size == 0 or self.fit_size >= 32, f"localize.fit_size must be 0 or >= 32, got {self.fit_size}"
        )
        _require(0 <= self.threshold < 1, f"localize.threshold must be in [0, 1), got {self.threshold}")
        _require(self.stages >= 1, f"localize.stages must be at least 1, got {self.stages}")
        _require(self.upsample >= 1, f"localize.upsample must be at least 1, got {self.upsample}")
        _require(self.fit_images >= 0, f"localize.fit_images must be 0 or more, got {self.fit_images}")
        _require(self.batch_size >= 0, f"localize.batch_size must be 0 or more, got {self.batch_size}")
        _require(self.keep_gb >= 0, f"localize.keep_gb must be 0 or more, got {self.keep_gb}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """How names and descriptions become prototypes."""

    template: str = "a photo of a {}."
    """The sentence for a class of which only the name is known; {} is the name."""
    long_text: Literal["split", "cut"] = "split"
    """Texts longer than the tower reads: split at sentence and word ends and averaged, or (reference) cut."""
    match: Literal["exact", "subset", "free"] = "exact"
    """`exact`: names and classes match one to one; `subset`: names without a class are dropped; `free`: the names are
    a vocabulary of their own (classes are unknown or an LLM invented them), and naming is not measured."""

    def __post_init__(self) -> None:
        _require("{}" in self.template, f"text.template must contain {{}}, got {self.template!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherConfig:
    """The frozen vision-language model."""

    use: Literal["auto", "yes", "no"] = "auto"
    """`auto`: teach if the run has prototypes; `no`: contrast alone (w_c = 1)."""
    model: str = "ViT-B-16"
    """An open_clip model, `local-dir:FOLDER`, `hf-hub:NAME`, `builtin:world-clip`."""
    pretrained: str = "openai"
    """The open_clip tag or file of its weights; not used with a prefix."""
    factory: str = ""
    """`package.module:function` that returns a teacher of one's own; replaces model and pretrained."""
    normalization: Literal["own", "imagenet"] = "own"
    """Pixel statistics that the teacher is fed with; the reference feeds it ImageNet's."""
    view: str = "clean"
    """What the teacher is asked about in training. `clean`: the object as it is, once for each photograph, so that its
    answers are kept and a step costs no forward of the teacher. `augmented` (paper): the student's own augmented view,
    in every step. `cached:K`: the same for K epochs, after which that view's draws begin again, so that K answers a
    photograph are kept; the student's other views stay new in every epoch."""
    fit: Literal["center-crop", "squeeze"] = "center-crop"
    """With `view: clean`: the object resized to 8/7 of the size and centre-cropped, or squeezed to the size."""
    neighbours: int = 5
    """With `view: clean`: each answer is moved halfway towards those about so many photographs most like it."""
    balance: float = 0.5
    """With `view: clean`: how much of the teacher's preference for some classes over all photographs is taken out,
    from 0 to 1; 1 has it name all classes equally often."""

    def __post_init__(self) -> None:
        _require(
            self.view in {"clean", "augmented"} or self.draws >= 1,
            f"teacher.view must be clean, augmented or cached:K with a whole number K of at least 1, got {self.view!r}",
        )
        _require(self.neighbours >= 0, f"teacher.neighbours must be 0 or more, got {self.neighbours}")
        _require(0 <= self.balance <= 1, f"teacher.balance must be from 0 to 1, got {self.balance}")

    @property
    def draws(self) -> int:
        """K of `view: cached:K`, and 0 for any other."""
        word, _, count = self.view.partition(":")
        return int(count) if word == "cached" and count.isascii() and count.isdecimal() else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentConfig:
    """The trained encoder."""

    backbone: str = "resnet50.tv_in1k"
    """Any timm model with a feature map; `local-dir:FOLDER`, `hf-hub:NAME`, `builtin:world-backbone`."""
    embedding_dim: int = 0
    """Width D of the embedding; 0 takes the prototypes' width, or 512 without a teacher."""
    attention_channels: int = 32
    """Channels of the attention head's 1x1 convolution."""
    attention_scaling: Literal["image", "batch"] = "image"
    """Min-max scaling of the attention map: per image, or (reference) over the batch."""
    batchnorm: Literal["eval", "train"] = "eval"
    """Whether the backbone's BatchNorm keeps its stored statistics in training, or (paper) takes those of the batch."""

    def __post_init__(self) -> None:
        _require(self.embedding_dim >= 0, f"student.embedding_dim must be 0 or more, got {self.embedding_dim}")
        _require(self.attention_channels >= 1, "student.attention_channels must be at least 1")


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
    """Divides the cosines with the prototypes."""
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
        _require(self.contrastive_temperature > 0, "loss.contrastive_temperature must be above 0")
        _require(self.distillation_temperature > 0, "loss.distillation_temperature must be above 0")
        _require(self.structure_temperature > 0, "loss.structure_temperature must be above 0")
        _require(
            0 <= self.structure_teacher <= 1,
            f"loss.structure_teacher must be from 0 to 1, got {self.structure_teacher}",
        )
        _require(self.reference_world_size >= 1, "loss.reference_world_size must be at least 1")
        terms = ("global_global", "global_object", "object_object", "distillation", "alignment", "structure")
        for name in ("alpha", *terms):
            _require(getattr(self, name) >= 0, f"loss.{name} must be 0 or more, got {getattr(self, name)}")


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
        _require(self.epochs >= 1, f"train.epochs must be at least 1, got {self.epochs}")
        _require(self.batch_size >= 2, f"train.batch_size must be at least 2, got {self.batch_size}")
        _require(self.learning_rate >= 0, f"train.learning_rate must be 0 or more, got {self.learning_rate}")
        _require(0 <= self.key_momentum <= 1, f"train.key_momentum must be in [0, 1], got {self.key_momentum}")
        _require(0 <= self.momentum < 1, f"train.momentum must be in [0, 1), got {self.momentum}")
        _require(self.weight_decay >= 0, f"train.weight_decay must be 0 or more, got {self.weight_decay}")
        _require(self.queue_size >= 0, f"train.queue_size must be 0 or more, got {self.queue_size}")
        _require(self.warmup_epochs >= 0, f"train.warmup_epochs must be 0 or more, got {self.warmup_epochs}")
        _require(self.clip_norm >= 0, f"train.clip_norm must be 0 or more, got {self.clip_norm}")
        _require(self.backbone_rate >= 0, f"train.backbone_rate must be 0 or more, got {self.backbone_rate}")
        _require(0 < self.layer_decay <= 1, f"train.layer_decay must be above 0 and at most 1, got {self.layer_decay}")
        _require(
            self.head_warmup_epochs >= 0, f"train.head_warmup_epochs must be 0 or more, got {self.head_warmup_epochs}"
        )
        _require(0 <= self.average_decay < 1, f"train.average_decay must be in [0, 1), got {self.average_decay}")
        _require(0 <= self.blend <= 1, f"train.blend must be from 0 to 1, got {self.blend}")
        _require(self.anchor >= 0, f"train.anchor must be 0 or more, got {self.anchor}")
        _require(self.monitor_every >= 0, f"train.monitor_every must be 0 or more, got {self.monitor_every}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointConfig:
    """What is kept of a training."""

    every: int = 10
    """Epochs between checkpoints; the last epoch is always kept."""
    keep: int = 2
    """How many of the newest checkpoints to keep; 0 keeps all."""

    def __post_init__(self) -> None:
        _require(self.every >= 1, f"checkpoint.every must be at least 1, got {self.every}")
        _require(self.keep >= 0, f"checkpoint.keep must be 0 or more, got {self.keep}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """How features are made and measured."""

    encoders: tuple[Literal["student", "frozen", "teacher"], ...] = ("student", "frozen", "teacher")
    """Rows of the table: the trained encoder, the network it began as, and the teacher (where there is one)."""
    sets: tuple[Literal["whole", "crop"], ...] = ("whole", "crop")
    """Whole photographs, object crops, or both."""
    view: Literal["center-crop", "squeeze"] = "center-crop"
    """The test view: resized to 8/7 of the size and centre-cropped (paper), or squeezed to the size."""
    batch_size: int = 64
    """Photographs in one forward pass."""
    probe_epochs: int = 100
    """Epochs of the linear probe; its rate falls by 10 at 60 % and 80 %."""
    probe_rates: tuple[float, ...] = (30.0,)
    """Rates of the probe's SGD to try, all in one fit; the one is taken that is best on the held-out photographs."""
    probe_decays: tuple[float, ...] = (0.0,)
    """Weight decays of the probe to try, each with each rate."""
    probe_batch_size: int = 256
    """Batch of the probe; a smaller training set is one batch."""
    probe_views: int = 8
    """Random-crop views of each training photograph, reused in turn by the probe's epochs; 100 is the paper's
    protocol (a new view in every epoch); eight come out about a point below (docs/decisions/0042)."""
    heldout: float = 0.2
    """Share of the training photographs on which the probe's epoch, and rate and decay of several, are chosen."""
    chunk: int = 512
    """Most queries compared at a time, fewer in large sets; bounds memory."""
    kmeans_restarts: int = 5
    """Starts of each k-means; the best inertia is kept."""

    def __post_init__(self) -> None:
        _require(bool(self.encoders), "evaluate.encoders must name at least one encoder")
        _require(bool(self.sets), "evaluate.sets must name whole, crop or both")
        _require(self.probe_epochs >= 1, f"evaluate.probe_epochs must be at least 1, got {self.probe_epochs}")
        _require(self.probe_views >= 1, f"evaluate.probe_views must be at least 1, got {self.probe_views}")
        _require(self.probe_batch_size >= 1, "evaluate.probe_batch_size must be at least 1")
        _require(
            bool(self.probe_rates) and min(self.probe_rates) > 0,
            f"evaluate.probe_rates must name rates above 0, got {self.probe_rates}",
        )
        _require(
            bool(self.probe_decays) and min(self.probe_decays) >= 0,
            f"evaluate.probe_decays must name decays of 0 or more, got {self.probe_decays}",
        )
        _require(0 < self.heldout < 1, f"evaluate.heldout must be between 0 and 1, got {self.heldout}")
        _require(self.batch_size >= 1, f"evaluate.batch_size must be at least 1, got {self.batch_size}")
        _require(self.chunk >= 1, f"evaluate.chunk must be at least 1, got {self.chunk}")
        _require(self.kmeans_restarts >= 1, "evaluate.kmeans_restarts must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportConfig:
    """What the report shows."""

    samples: int = 12
    """Photographs in each contact sheet."""
    queries: int = 8
    """Rows of retrieval examples."""
    worst_classes: int = 12
    """Classes in the confusion matrix."""
    projection: Literal["tsne", "pca"] = "tsne"
    """How the 2-D map of the embedding is made."""
    title: str = ""
    """Heading; empty takes the name of the data folder."""

    def __post_init__(self) -> None:
        for name in ("samples", "queries", "worst_classes"):
            _require(getattr(self, name) >= 1, f"report.{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Everything that decides what a run computes."""

    preset: Preset = "lead++"
    """`lead++`, `lead` (one context), `moco` (MoCo v2), or `paper` (all as the reference has it)."""
    networks: Networks = ""
    """`world`: the two small networks that come with the package, with sizes and a length of training that suit them.
    They were made in a drawn world of birds and know nothing of photographs."""
    seed: int = 123
    """The one seed from which every draw is derived."""
    input: InputConfig = field(default_factory=InputConfig)
    """How photographs are read."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """What the views for training are made with."""
    localize: LocalizeConfig = field(default_factory=LocalizeConfig)
    """How the object is found."""
    text: TextConfig = field(default_factory=TextConfig)
    """How words become prototypes."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The frozen vision-language model."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """The trained encoder."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The objective."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """The training loop."""
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    """What is kept of a training."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """How features are measured."""
    report: ReportConfig = field(default_factory=ReportConfig)
    """What the report shows."""

    def __post_init__(self) -> None:
        _require(self.seed >= 0, f"seed must be 0 or more, got {self.seed}")
