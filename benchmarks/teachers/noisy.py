"""A teacher made worse: noise on its image embedding, so that it errs without knowing it.

The noise is a function of the picture's pixels alone: the same picture gets the same noise in any batch, in training
and in evaluation, while another view of the same photograph gets other noise. Use it with
``--teacher.factory benchmarks.teachers.noisy:strength_2``. Its base is ``builtin:world-clip``, or what the environment
variable LEADPP_NOISY_BASE names: a model as in ``teacher.model``, or a factory as in ``teacher.factory``.
"""

import hashlib
import os
import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from leadpp.functional.randomness import generator_for
from leadpp.models.teacher import Teacher, load_teacher
from leadpp.text.splitting import TokenCounter

BASE_VARIABLE = "LEADPP_NOISY_BASE"
DEFAULT_BASE = "builtin:world-clip"
STRENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Length of the noise for each strength, where the embedding's own length is 1."""

_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_MODEL_PREFIXES = ("builtin:", "local-dir:", "hf-hub:")


class NoisyTeacher:
    """Another teacher with noise on its image embedding; its texts are untouched.

    Args:
        base: The teacher.
        sigma: Expected length of the noise, in units of the embedding's length.
    """

    def __init__(self, base: Teacher, *, sigma: float) -> None:
        self.base = base
        self.sigma = sigma
        self.embedding_dim = base.embedding_dim
        self.name = f"{base.name} with noise {sigma:g}"
        if isinstance(base, TokenCounter):  # else its texts would be taken to be read whole, whatever their length
            self.context_tokens = base.context_tokens
            self.count_tokens = base.count_tokens

    def encode_images(self, images: Tensor) -> Tensor:
        """Embed pictures as the base does, add the noise, and bring back to unit length; (B, 3, H, W) -> (B, D)."""
        clean = self.base.encode_images(images)
        noise = torch.stack([content_noise(image, dim=clean.shape[1]) for image in as_bytes(images)])
        return F.normalize(clean + self.sigma * noise.to(clean) / clean.shape[1] ** 0.5, dim=1)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as the base does."""
        return self.base.encode_texts(texts)

    def to(self, device: torch.device, /) -> object:
        """Move the base to a device."""
        self.base.to(device)
        return self


def as_bytes(images: Tensor) -> Tensor:
    """Bring pictures, uint8 or float in [0, 1], to uint8 on the CPU; the same picture in both forms is the same."""
    if images.dtype == torch.uint8:
        return images.cpu()
    return (images.float().cpu() * 255).round().clamp(0, 255).byte()


def content_noise(image: Tensor, *, dim: int) -> Tensor:
    """Draw the noise of a picture: uint8 (3, H, W) -> (D,), independent, mean 0, variance 1."""
    digest = hashlib.blake2b(image.contiguous().numpy().tobytes(), digest_size=7).digest()
    return torch.randn(dim, generator=generator_for(int.from_bytes(digest, "little"), "teacher noise"))


def base_teacher() -> Teacher:
    """Load the teacher that LEADPP_NOISY_BASE names.

    Raises:
        WeightsError: There is no such model, or its weights are not to be had.
    """
    named = os.environ.get(BASE_VARIABLE) or DEFAULT_BASE
    if _FACTORY.fullmatch(named) and not named.startswith(_MODEL_PREFIXES):
        return load_teacher(factory=named)
    return load_teacher(model=named)


def strength_1() -> NoisyTeacher:
    """Return the base with the weakest noise."""
    return NoisyTeacher(base_teacher(), sigma=STRENGTHS[0])


def strength_2() -> NoisyTeacher:
    """Return the base with the second strength of noise."""
    return NoisyTeacher(base_teacher(), sigma=STRENGTHS[1])


def strength_3() -> NoisyTeacher:
    """Return the base with the third strength of noise."""
    return NoisyTeacher(base_teacher(), sigma=STRENGTHS[2])


def strength_4() -> NoisyTeacher:
    """Return the base with the strongest noise."""
    return NoisyTeacher(base_teacher(), sigma=STRENGTHS[3])
