"""The frozen vision-language model that tells the student what it sees.

Shape letters: B batch, D embedding, H W rows and columns, N texts.
"""

import difflib
import importlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.errors import WeightsError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_TEXT_BATCH = 32
_PREFIXES = ("local-dir:", "hf-hub:", "builtin:")


class Teacher(Protocol):
    """What the method needs of a vision-language model; one of your own is named by ``teacher.factory``.

    One that also has ``context_tokens`` and ``count_tokens(text)`` (see :class:`leadpp.text.splitting.TokenCounter`)
    has its long texts split; one that has not is taken to read texts of any length. One that also has a number
    ``temperature`` is taken at that where ``loss.distillation_temperature`` is 0.
    """

    embedding_dim: int
    """The width D of both embeddings."""
    name: str
    """What reports and files call it."""

    def encode_images(self, images: Tensor) -> Tensor:
        """Embed square pictures; no gradient flows.

        Args:
            images: Shape (B, 3, H, W), uint8 from 0 to 255 or float from 0 to 1, any size, not normalised.

        Returns:
            Unit rows, shape (B, D).
        """
        ...

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as unit rows, shape (N, D)."""
        ...

    def to(self, device: torch.device, /) -> object:
        """Move its weights to a device."""
        ...


Interpolation = Literal["bicubic", "bilinear"]

_NEEDED = ("embedding_dim", "name", "encode_images", "encode_texts", "to")


def load_teacher(
    *,
    model: str = "ViT-B-16",
    pretrained: str = "openai",
    factory: str = "",
    normalization: Literal["own", "imagenet"] = "own",
) -> Teacher:
    """Build the teacher that the settings name.

    Args:
        model: An open_clip model, ``local-dir:FOLDER``, ``hf-hub:OWNER/NAME`` or ``builtin:world-clip``.
        pretrained: The open_clip tag or a file of its weights; not used with the three prefixes.
        factory: ``package.module:function`` that returns a teacher; replaces all the others.
        normalization: Pixel statistics: the model's own, or ImageNet's, which the reference feeds it.

    Raises:
        WeightsError: There is no such model, factory or file, or the weights are not to be had.
    """
    if factory:
        return teacher_from_factory(factory)
    return OpenClipTeacher.load(model, pretrained=pretrained, normalization=normalization)


def load_teachers(
    *,
    models: Sequence[str] = (),
    model: str = "ViT-B-16",
    pretrained: str = "openai",
    factory: str = "",
    normalization: Literal["own", "imagenet"] = "own",
) -> tuple[Teacher, ...]:
    """Build all teachers that the settings name, in their order.

    Args:
        models: Several, each ``MODEL:TAG`` of open_clip or a name with one of the three prefixes; empty takes the one
            that the others name.
        model: As :func:`load_teacher`.
        pretrained: As :func:`load_teacher`.
        factory: As :func:`load_teacher`; goes over all the others.
        normalization: As :func:`load_teacher`, of each.

    Raises:
        WeightsError: There is no such model, factory or file, the weights are not to be had, or one is named twice.
    """
    twice = next((name for place, name in enumerate(models) if name in models[:place]), None)
    if twice is not None:
        raise WeightsError(f"teacher.models names {twice!r} twice; each teacher has one space")
    if factory or not models:
        return (load_teacher(model=model, pretrained=pretrained, factory=factory, normalization=normalization),)
    pairs = [model_and_tag(name) for name in models]
    return tuple(load_teacher(model=name, pretrained=tag, normalization=normalization) for name, tag in pairs)


def model_and_tag(name: str) -> tuple[str, str]:
    """Divide what ``teacher.models`` calls a teacher into what :func:`load_teacher` calls model and pretrained.

    >>> model_and_tag("ViT-B-16:openai"), model_and_tag("builtin:world-clip")
    (('ViT-B-16', 'openai'), ('builtin:world-clip', ''))

    Raises:
        WeightsError: It has neither a tag nor a prefix.
    """
    if name.startswith(_PREFIXES):
        return name, ""
    model, _, tag = name.partition(":")
    if not tag:
        raise WeightsError(f"teacher.models: expected MODEL:TAG or one of {', '.join(_PREFIXES)}, got {name!r}")
    return model, tag


class Tokenizer(Protocol):
    """What turns words into the numbers that a text tower reads."""

    context_length: int

    def __call__(self, texts: list[str]) -> Tensor:
        """Return one row of ``context_length`` tokens a text, cut or filled up to that length."""
        ...


class OpenClipTeacher(nn.Module):
    """Both towers of an open_clip model: frozen, in evaluation mode, fed with pixels and words as they are.

    Args:
        clip: The model.
        tokenizer: Of its text tower.
        name: What reports and files call it.
        mean: Of the pixels that it was trained with, by channel.
        std: Likewise.
        interpolation: How its pictures were brought to its size.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        clip: nn.Module,
        *,
        tokenizer: Tokenizer,
        name: str,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: Interpolation = "bicubic",
    ) -> None:
        super().__init__()
        self.clip = clip.eval().requires_grad_(False)
        self.name = name
        self.tokenizer = tokenizer
        visual: Any = clip.visual
        size = visual.image_size
        self.image_size: tuple[int, int] = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        self.context_tokens = tokenizer.context_length
        self.interpolation: Interpolation = interpolation
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.embedding_dim: int = self.encode_texts(["a"]).shape[1]

    @property
    def temperature(self) -> float | None:
        """What divides its cosines by its own training, one over its logit scale; None where it has none."""
        scale = getattr(self.clip, "logit_scale", None)
        return None if scale is None else math.exp(-float(scale))

    @property
    def logit_bias(self) -> float | None:
        """What SigLIP adds to every logit, so that a sigmoid suits; None for other models.

        It is the same for all classes and cancels in a softmax over them, so that nothing here asks for it.
        """
        bias = getattr(self.clip, "logit_bias", None)
        return None if bias is None else float(bias)

    @property
    def image_tower(self) -> nn.Module:
        """The network that sees pictures, normalised."""
        tower = self.clip.visual
        assert isinstance(tower, nn.Module)  # noqa: S101 - what every open_clip model has
        return tower

    @classmethod
    def load(cls, model: str, *, pretrained: str, normalization: Literal["own", "imagenet"] = "own") -> Self:
        """Read an open_clip model; see :func:`load_teacher`.

        Raises:
            WeightsError: Unknown, or its weights are not to be had.
        """
        # Here because open_clip takes seconds to import, which a teacher of one's own need not wait for.
        from leadpp.models.openclip import open_clip_parts

        parts = open_clip_parts(model, pretrained)
        mean, std = (parts.mean, parts.std) if normalization == "own" else (IMAGENET_MEAN, IMAGENET_STD)
        return cls(
            parts.model,
            tokenizer=parts.tokenizer,
            name=parts.name,
            mean=mean,
            std=std,
            interpolation=parts.interpolation,
        )

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever is asked of the module around it."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Embed pictures of any size, (B, 3, H, W) uint8 or float in [0, 1] -> unit rows (B, D).

        Pictures are brought to the tower's size on the teacher's device (by its own interpolation, antialiased) and
        normalised with its statistics. Those that are not square are squeezed; of square ones, as the crops of this
        package are, SigLIP's squeezing and CLIP's cropping to a square make the same.
        """
        pixels = images.to(self.mean.device)
        pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
        if pixels.shape[-2:] != self.image_size:
            pixels = F.interpolate(pixels, size=self.image_size, mode=self.interpolation, antialias=True).clamp(0, 1)
        clip: Any = self.clip
        return F.normalize(clip.encode_image((pixels - self.mean) / self.std).float(), dim=1)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as unit rows (N, D); what is longer than ``context_tokens`` is cut."""
        clip: Any = self.clip
        rows = []
        for start in range(0, len(texts), _TEXT_BATCH):
            tokens = self.tokenizer(list(texts[start : start + _TEXT_BATCH])).to(self.mean.device)
            rows.append(F.normalize(clip.encode_text(tokens).float(), dim=1))
        return torch.cat(rows)

    def count_tokens(self, text: str) -> int:
        """Return the tokens of the whole text, marks of start and end included."""
        words: Any = self.tokenizer
        if hasattr(words, "encode"):
            return len(words.encode(text)) + 2
        if getattr(words, "tokenizer_mode", "") == "clips":  # begin, end, and a mark of class in the last place
            return len(words.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) + 3
        return len(words.tokenizer(getattr(words, "clean_fn", str)(text), verbose=False)["input_ids"])


def teacher_from_factory(factory: str) -> Teacher:
    """Call ``package.module:function`` and check that it returns a teacher.

    Modules of the current directory can be named, whether or not the command was started as a Python module.

    Raises:
        WeightsError: The text is no such name, there is no such module or function, or its result is no teacher.
    """
    module_name, _, function_name = factory.partition(":")
    if not module_name or not function_name:
        raise WeightsError(f"teacher.factory must be package.module:function, got {factory!r}")
    module = _import(module_name, factory)
    function = getattr(module, function_name, None)
    if not callable(function):
        near = difflib.get_close_matches(function_name, [name for name in dir(module) if not name.startswith("_")])
        hint = f"; closest: {', '.join(near)}" if near else ""
        raise WeightsError(f"teacher.factory {factory!r}: {module_name} has no function {function_name!r}{hint}")
    teacher: Teacher = function()
    lacking = [name for name in _NEEDED if not hasattr(teacher, name)]
    if lacking:
        raise WeightsError(
            f"teacher.factory {factory!r} returned a {type(teacher).__name__} that lacks {', '.join(lacking)}; "
            "see leadpp.models.teacher.Teacher"
        )
    return teacher


def _import(name: str, factory: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise WeightsError(
                f"teacher.factory {factory!r}: no module {error.name!r} is installed or in {here}"
            ) from error
        raise WeightsError(
            f"teacher.factory {factory!r}: {name} needs the module {error.name!r}, which is not installed"
        ) from error
    except (ImportError, SyntaxError, ValueError, TypeError) as error:
        raise WeightsError(f"teacher.factory {factory!r}: {name} cannot be imported ({error})") from error
