"""SigLIP, EVA, MobileCLIP and their like: small models of their build, with tokenizers and statistics of their own."""

import math
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as oracle

from leadpp.errors import WeightsError
from leadpp.models.openclip import open_clip_parts
from leadpp.models.teacher import OpenClipTeacher, load_teacher
from leadpp.text.encoding import encode_texts
from tests.unit.models.tiny_clip import EVA, MEAN, MOBILE, SIGLIP, STD, WORDS, write_custom_clip, write_tiny_clip

KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "siglip": (SIGLIP, "bicubic"),
    "eva": (EVA, "bicubic"),
    "mobile": (MOBILE, "bilinear"),
}


@pytest.fixture(scope="session", params=KINDS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, OpenClipTeacher]:
    """A model as it was written, and the teacher that was read."""
    config, interpolation = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    mode = "squash" if request.param == "siglip" else "shortest"
    model = write_custom_clip(folder, config, interpolation=interpolation, resize_mode=mode)
    return model, OpenClipTeacher.load(f"local-dir:{folder}", pretrained="")


def _by_hand(model: Any, images: Tensor, interpolation: str) -> Tensor:  # noqa: ANN401 - open_clip types nothing
    pixels = oracle.resize(
        images.float() / 255, list(model.visual.image_size), interpolation=InterpolationMode(interpolation)
    )
    with torch.no_grad():
        rows: Tensor = model.encode_image(oracle.normalize(pixels.clamp(0, 1), list(MEAN), list(STD)))
    return F.normalize(rows, dim=1)


def test_pictures_are_seen_as_the_model_was_trained_to(both: tuple[nn.Module, OpenClipTeacher]) -> None:
    model, teacher = both
    images = torch.randint(0, 256, (3, 3, 60, 60), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    found = teacher.encode_images(images)
    torch.testing.assert_close(found, _by_hand(model, images, teacher.interpolation), rtol=1e-4, atol=1e-5)
    assert found.shape == (3, teacher.embedding_dim)
    other = "bilinear" if teacher.interpolation == "bicubic" else "bicubic"
    assert not torch.allclose(found, _by_hand(model, images, other), rtol=1e-4, atol=1e-5)


def test_its_temperature_is_one_over_its_logit_scale(both: tuple[nn.Module, OpenClipTeacher]) -> None:
    model, teacher = both
    assert isinstance(model.logit_scale, Tensor)
    assert teacher.temperature == pytest.approx(1 / math.exp(model.logit_scale.item()))
    assert teacher.logit_bias == (None if getattr(model, "logit_bias", None) is None else -10)


def test_a_bias_is_no_matter_among_classes(tmp_path: Path) -> None:
    """What SigLIP's own logits say of the classes is what cosines over its temperature say."""
    model: Any = write_custom_clip(tmp_path, SIGLIP)
    teacher = load_teacher(model=f"local-dir:{tmp_path}")
    assert isinstance(teacher, OpenClipTeacher)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    texts = ["a yellow bird", "a bird with wings", "a tail"]
    with torch.no_grad():
        pixels = oracle.normalize(images.float() / 255, list(MEAN), list(STD))
        logits, _ = model.get_logits(pixels, teacher.tokenizer(texts))
    assert teacher.temperature is not None
    ours = (teacher.encode_images(images) @ teacher.encode_texts(texts).T / teacher.temperature).softmax(dim=1)
    torch.testing.assert_close(ours, logits.softmax(dim=1), rtol=1e-4, atol=1e-5)


def test_words_are_read_by_the_tokenizer_in_the_folder(tmp_path: Path) -> None:
    model: Any = write_custom_clip(tmp_path, SIGLIP)
    teacher = load_teacher(model=f"local-dir:{tmp_path}")
    assert isinstance(teacher, OpenClipTeacher)
    assert teacher.context_tokens == 6
    ids = [[3 + WORDS.index(word) for word in text.split()] + [1] for text in ("a yellow bird", "a bird with wings")]
    tokens = torch.tensor([row + [0] * (6 - len(row)) for row in ids])
    with torch.no_grad():
        rows = model.encode_text(tokens)
    found = teacher.encode_texts(["A yellow bird.", "a  bird with WINGS!"])  # canonical: lower case, no full stops
    torch.testing.assert_close(found, rows / rows.norm(dim=1, keepdim=True))
    assert [teacher.count_tokens(text) for text in ("", "A yellow bird.", "a bird " * 9)] == [1, 4, 19]


def test_long_texts_are_split_by_its_own_count(tmp_path: Path) -> None:
    write_custom_clip(tmp_path, SIGLIP)
    encoded = encode_texts(
        ["a bird with yellow wings and tail", "a bird"], encoder=load_teacher(model=f"local-dir:{tmp_path}")
    )
    assert (encoded.pieces, encoded.long_texts, encoded.longest_tokens) == (3, 1, 8)


def test_a_tokenizer_that_is_not_in_the_folder_is_one_line(tmp_path: Path) -> None:
    write_custom_clip(tmp_path, SIGLIP)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with pytest.raises(WeightsError, match="its tokenizer cannot be read") as caught:
        load_teacher(model=f"local-dir:{tmp_path}")
    assert "\n" not in str(caught.value)


def test_a_model_without_a_scale_has_no_temperature(tmp_path: Path) -> None:
    teacher = load_teacher(model=f"local-dir:{write_tiny_clip(tmp_path)}")
    assert isinstance(teacher, OpenClipTeacher)
    assert teacher.temperature == pytest.approx(0.07)
    assert teacher.logit_bias is None
    del teacher.clip.logit_scale
    assert teacher.temperature is None


class ClipsWords:
    """Splits at spaces and, as CLIPA's does, marks the beginning, the end and the class."""

    context_length = 12
    tokenizer_mode = "clips"

    def __call__(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), 12, dtype=torch.long)

    @staticmethod
    def tokenizer(text: str, *, add_special_tokens: bool, verbose: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        assert not verbose
        return {"input_ids": [len(word) for word in text.split()]}


def test_three_marks_are_counted_where_there_are_three(tmp_path: Path) -> None:
    parts = open_clip_parts(f"local-dir:{write_tiny_clip(tmp_path)}", "")
    teacher = OpenClipTeacher(parts.model, tokenizer=ClipsWords(), name="x", mean=MEAN, std=STD)
    assert teacher.count_tokens("a yellow bird") == 6


@pytest.mark.parametrize(
    ("model", "mean", "interpolation"),
    [
        ("ViT-SO400M-14-SigLIP", (0.5, 0.5, 0.5), "bicubic"),
        ("MobileCLIP-S1", (0.0, 0.0, 0.0), "bilinear"),
        ("EVA02-B-16", (0.48145466, 0.4578275, 0.40821073), "bicubic"),
        ("ViT-B-16-quickgelu", (0.48145466, 0.4578275, 0.40821073), "bicubic"),
    ],
)
def test_a_file_of_weights_is_fed_as_all_known_weights_of_its_model_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, mean: tuple[float, ...], interpolation: str
) -> None:
    """The model itself would be large, so open_clip builds a small one here, and tells what it was asked for."""
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"")
    asked: dict[str, Any] = {}

    def build(name: str, **settings: object) -> nn.Module:
        asked.update(settings, name=name)
        raise RuntimeError("asked for enough")

    monkeypatch.setattr(open_clip, "create_model", build)
    with pytest.raises(WeightsError, match="asked for enough"):
        open_clip_parts(model, str(weights))
    assert (asked["name"], asked["pretrained"]) == (model, str(weights))
    assert tuple(asked["force_preprocess_cfg"]["mean"]) == mean
    assert asked["force_preprocess_cfg"]["interpolation"] == interpolation
