"""The frozen dataclass tree; every field says what it means, and the tree is checked when it is built."""

from dataclasses import dataclass, field
from typing import Literal

from leadpp.config.language import LLMConfig
from leadpp.config.learning import CheckpointConfig, LossConfig, StudentConfig, TrainConfig
from leadpp.config.outcome import DiscoverConfig, EvaluateConfig, NameConfig, ReportConfig
from leadpp.config.photographs import AugmentConfig, InputConfig, LocalizeConfig
from leadpp.config.requirement import require
from leadpp.config.words import TeacherConfig, TextConfig

__all__ = [
    "AugmentConfig",
    "CheckpointConfig",
    "Config",
    "DiscoverConfig",
    "EvaluateConfig",
    "InputConfig",
    "LLMConfig",
    "LocalizeConfig",
    "LossConfig",
    "NameConfig",
    "Networks",
    "Preset",
    "ReportConfig",
    "StudentConfig",
    "TeacherConfig",
    "TextConfig",
    "TrainConfig",
]

Preset = Literal["lead++", "lead", "moco", "paper"]
Networks = Literal["", "world"]


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
    deterministic: bool = False
    """The same bits whatever the number of threads, and on a GPU each time: deterministic algorithms, no TF32, and one
    thread for what the CPU computes. Slower; an operation that has no such form is an error (docs/decisions/0072)."""
    input: InputConfig = field(default_factory=InputConfig)
    """How photographs are read."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """What the views for training are made with."""
    localize: LocalizeConfig = field(default_factory=LocalizeConfig)
    """How the object is found."""
    text: TextConfig = field(default_factory=TextConfig)
    """How words become prototypes."""
    llm: LLMConfig = field(default_factory=LLMConfig)
    """The language model that writes words."""
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
    name: NameConfig = field(default_factory=NameConfig)
    """How photographs are named."""
    discover: DiscoverConfig = field(default_factory=DiscoverConfig)
    """How clusters are found for which no name fits."""

    def __post_init__(self) -> None:
        require(self.seed >= 0, f"seed must be 0 or more, got {self.seed}")
