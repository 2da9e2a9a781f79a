import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.teachers import conse
from leadpp.errors import WeightsError
from leadpp.models.teacher import load_teacher
from leadpp.text.splitting import TokenCounter

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


class Letters(nn.Module):
    """A sentence encoder that counts letters, with the interface of sentence-transformers."""

    max_seq_length = 9

    @staticmethod
    def tokenizer(text: str, *, verbose: bool) -> dict[str, list[int]]:
        assert not verbose
        return {"input_ids": [0, *map(ord, text), 1]}

    def encode(self, texts: Sequence[str], **settings: bool) -> Tensor:
        assert settings == {"convert_to_tensor": True, "normalize_embeddings": True, "show_progress_bar": False}
        rows = [[1.0 + text.lower().count(letter) for letter in "aeiou"] for text in texts]
        with torch.inference_mode():
            return nn.functional.normalize(torch.tensor(rows), dim=1)


def _folder(folder: Path, classes: int) -> Path:
    """A small classifier with random weights, as timm saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = timm.create_model("test_efficientnet", pretrained=False, num_classes=classes)
    settings = {"architecture": "test_efficientnet", "num_classes": classes}
    pretrained = {**model.pretrained_cfg, "mean": MEAN, "std": STD, "num_classes": classes}
    (folder / "config.json").write_text(json.dumps({**settings, "pretrained_cfg": pretrained}), encoding="utf-8")
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> conse.ConseTeacher:
    monkeypatch.setenv("LEADPP_CONSE_WEIGHTS", str(_folder(tmp_path, 1000)))
    monkeypatch.setattr(conse, "_sentence_encoder", Letters)
    made = load_teacher(factory="benchmarks.teachers.conse:teacher")
    assert isinstance(made, conse.ConseTeacher)
    return made


def test_pictures_become_the_average_of_what_they_may_be() -> None:
    probs = torch.tensor([[0.5, 0.1, 0.3, 0.1], [0.0, 0.0, 0.2, 0.8]])
    sentences = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.6, 0.8]])
    first = [0.5, 0.3]
    second = [0.8 * 0.6, 0.2 + 0.8 * 0.8]
    expected = [[value / math.hypot(*row) for value in row] for row in (first, second)]
    found = conse.convex_combination(probs, sentences, top=2)
    assert found.tolist() == [pytest.approx(row) for row in expected]


def test_the_teacher_asks_the_classifier_with_its_own_statistics(teacher: conse.ConseTeacher) -> None:
    images = torch.randint(0, 256, (2, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    rows = []
    for image in images:
        pixels = (image / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        with torch.no_grad():
            probs = teacher.classifier(pixels[None])[0].softmax(dim=0)
        likeliest = sorted(range(1000), key=lambda position: -probs[position].item())[:10]
        names = conse.imagenet_names()
        row = sum(probs[position] * teacher.encode_texts([names[position]])[0] for position in likeliest)
        assert isinstance(row, Tensor)
        rows.append(row / row.norm())
    assert torch.allclose(teacher.encode_images(images), torch.stack(rows), atol=1e-5)
    assert torch.allclose(teacher.encode_images(images.float() / 255), torch.stack(rows), atol=1e-5)
    smaller = torch.nn.functional.interpolate(images.float() / 255, size=96, mode="area")
    assert teacher.encode_images(smaller).shape == (2, teacher.embedding_dim) == (2, 5)


def test_the_teacher_never_learns_and_its_answers_can_be_learned_from(teacher: conse.ConseTeacher) -> None:
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(weight.requires_grad for weight in teacher.parameters())
    weight = torch.ones(5, requires_grad=True)
    (teacher.encode_texts(["a"]) * weight).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None


def test_the_teacher_says_how_much_it_reads(teacher: conse.ConseTeacher) -> None:
    assert isinstance(teacher, TokenCounter)
    assert (teacher.context_tokens, teacher.count_tokens("wren")) == (9, 6)


def test_imagenet_has_its_thousand_names_in_order() -> None:
    names = conse.imagenet_names()
    assert len(names) == 1000
    assert names[0] == "tench, Tinca tinca"
    assert names[949] == "strawberry"


def test_weights_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LEADPP_CONSE_WEIGHTS", raising=False)
    with pytest.raises(WeightsError, match="set LEADPP_CONSE_WEIGHTS to a timm folder"):
        conse.teacher()
    monkeypatch.setenv("LEADPP_CONSE_WEIGHTS", str(tmp_path / "absent"))
    with pytest.raises(WeightsError, match="absent: no such folder"):
        conse.teacher()
    monkeypatch.setenv("LEADPP_CONSE_WEIGHTS", str(_folder(tmp_path / "few", 7)))
    with pytest.raises(WeightsError, match="expected a classifier of 1000 classes, found 7"):
        conse.teacher()
