"""Settings of what is done to photographs: reading, changing, finding the object."""

from dataclasses import dataclass
from typing import Literal

from leadpp.config.requirement import require


@dataclass(frozen=True, kw_only=True, slots=True)
class InputConfig:
    """How photographs are read."""

    size: int = 224
    """Side in pixels of the square pictures that the student sees, in training and evaluation."""
    workers: int = -1
    """Processes that read photographs; -1 takes one less than the cores, 0 reads in the main process."""
    bad_images: Literal["skip", "error"] = "skip"
    """What to do with files that cannot be read: leave them out (and count them) or stop."""
    max_megapixels: float = 128.0
    """Most millions of pixels that are decoded of one photograph, 4 bytes each; a JPEG file may have twice as many and
    is decoded at half its sides. Larger ones are unreadable (docs/decisions/0065)."""
    cache: Literal["none", "ram", "disk"] = "none"
    """Where training keeps decoded photographs after their first epoch: nowhere, in memory, or in a file in the run
    folder that goes when training ends."""
    cache_limit_gb: float = 0.0
    """Most that the cache may take, in GB; photographs beyond it are decoded every time. 0: half of what is free."""
    augment: Literal["cpu", "device"] = "cpu"
    """Where colours and sharpness of training views are changed: by the processes that read, or on the training
    device, which leaves those decoding, cutting and resizing alone."""

    def __post_init__(self) -> None:
        require(self.size >= 16, f"input.size must be at least 16 pixels, got {self.size}")
        require(self.max_megapixels > 0, f"input.max_megapixels must be above 0, got {self.max_megapixels}")
        require(self.workers >= -1, f"input.workers must be -1 or more, got {self.workers}")
        require(self.cache_limit_gb >= 0, f"input.cache_limit_gb must be 0 or more, got {self.cache_limit_gb}")

    @property
    def most_pixels(self) -> int:
        """The most pixels that are decoded of one photograph."""
        return round(self.max_megapixels * 1e6)


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
        require(0 < self.crop_least <= 1, f"augment.crop_least must be above 0 and at most 1, got {self.crop_least}")
        require(0 <= self.jitter <= 1, f"augment.jitter must be from 0 to 1, got {self.jitter}")
        require(0 <= self.hue <= 0.5, f"augment.hue must be from 0 to 0.5, got {self.hue}")
        require(self.blur >= 0.1, f"augment.blur must be at least 0.1 pixels, got {self.blur}")
        for name in ("jitter_prob", "grey_prob", "blur_prob"):
            require(0 <= getattr(self, name) <= 1, f"augment.{name} must be from 0 to 1, got {getattr(self, name)}")


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
        require(self.size >= 32, f"localize.size must be at least 32 pixels, got {self.size}")
        require(self.fit_size == 0 or self.fit_size >= 32, f"localize.fit_size must be 0 or >= 32, got {self.fit_size}")
        require(0 <= self.threshold < 1, f"localize.threshold must be in [0, 1), got {self.threshold}")
        require(self.stages >= 1, f"localize.stages must be at least 1, got {self.stages}")
        require(self.upsample >= 1, f"localize.upsample must be at least 1, got {self.upsample}")
        require(self.fit_images >= 0, f"localize.fit_images must be 0 or more, got {self.fit_images}")
        require(self.batch_size >= 0, f"localize.batch_size must be 0 or more, got {self.batch_size}")
        require(self.keep_gb >= 0, f"localize.keep_gb must be 0 or more, got {self.keep_gb}")
