"""Settings of words and of those who read them: prototypes and the teacher."""

import math
from dataclasses import dataclass
from typing import Literal

from leadpp.config.requirement import require


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """How names and descriptions become prototypes."""

    template: str = "a photo of a {}."
    """The sentence for a class of which only the name is known; {} is the name. Several, divided by |, are averaged."""
    mix: str = ""
    """`names=W` with W from 0 to 1: a prototype is W of the sentences around the class's name and 1 - W of its
    descriptions; without descriptions there is nothing to mix."""
    long: Literal["split", "truncate", "summary"] = "split"
    """Texts longer than the tower reads. `split`: at ends of sentences and words, and averaged; `summary`: the
    sentences that fit together and are most like the whole; `truncate` (reference): the rest is not read."""
    match: Literal["exact", "subset", "free"] = "exact"
    """`exact`: names and classes match one to one; `subset`: names without a class are dropped; `free`: the names are
    a vocabulary of their own (classes are unknown or an LLM invented them), measured as clusters and by meaning, not as
    right or wrong."""

    def __post_init__(self) -> None:
        require(
            all("{}" in one for one in self.templates),
            f"text.template must contain {{}} in each sentence, got {self.template!r}",
        )
        require(
            len(set(self.templates)) == len(self.templates),
            f"text.template has the same sentence twice, got {self.template!r}",
        )
        require(
            not self.mix or 0 <= self.names_share <= 1,
            f"text.mix must be names=W with W from 0 to 1, or empty, got {self.mix!r}",
        )

    @property
    def templates(self) -> tuple[str, ...]:
        """The sentences of `template`, at least one."""
        return tuple(one.strip() for one in self.template.split("|"))

    @property
    def names_share(self) -> float:
        """W of `mix`; 0 where it is empty, and not a number where it is malformed."""
        word, _, share = self.mix.partition("=")
        if not self.mix:
            return 0.0
        try:
            return float(share) if word.strip() == "names" else math.nan
        except ValueError:
            return math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherConfig:
    """The frozen vision-language model."""

    use: Literal["auto", "yes", "no"] = "auto"
    """`auto`: teach if the run has prototypes; `no`: contrast alone (w_c = 1)."""
    model: str = "ViT-B-16"
    """An open_clip model, `local-dir:FOLDER`, `hf-hub:NAME`, `builtin:world-clip`."""
    pretrained: str = "openai"
    """The open_clip tag or file of its weights; not used with a prefix."""
    models: tuple[str, ...] = ()
    """Several teachers at once, each with a space of its own: `MODEL:TAG` of open_clip, or a name with a prefix as
    `model` takes it; replaces `model` and `pretrained`. Each is heard as far as it is sure; the student has a projector
    for each, and contrasts in the first one's space."""
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
        require(
            self.view in {"clean", "augmented"} or self.draws >= 1,
            f"teacher.view must be clean, augmented or cached:K with a whole number K of at least 1, got {self.view!r}",
        )
        require(self.neighbours >= 0, f"teacher.neighbours must be 0 or more, got {self.neighbours}")
        require(0 <= self.balance <= 1, f"teacher.balance must be from 0 to 1, got {self.balance}")

    @property
    def draws(self) -> int:
        """K of `view: cached:K`, and 0 for any other."""
        word, _, count = self.view.partition(":")
        return int(count) if word == "cached" and count.isascii() and count.isdecimal() else 0
