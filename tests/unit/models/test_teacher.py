import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import open_clip
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as oracle

from leadpp.errors import WeightsError
from leadpp.models.teacher import IMAGENET_MEAN, IMAGENET_STD, OpenClipTeacher, load_teacher, load_teachers
from leadpp.text.splitting import TokenCounter
from tests.unit.models.tiny_clip import CONTEXT, DIM, MEAN, SIZE, STD, tiny_model, write_tiny_clip


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def teacher(folder: Path) -> OpenClipTeacher:
    return OpenClipTeacher.load(f"local-dir:{folder}", pretrained="")


def _photographs(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (3, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def _by_hand(images: Tensor, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> Tensor:
    """The same through torchvision and a model of its own, one picture at a time."""
    clip: Any = tiny_model()
    rows = []
    for image in images:
        pixels = oracle.to_dtype(image, torch.float32, scale=True)
        pixels = oracle.resize(pixels, [SIZE, SIZE], interpolation=InterpolationMode.BICUBIC, antialias=True)
        with torch.no_grad():
            row = clip.encode_image(oracle.normalize(pixels.clamp(0, 1), list(mean), list(std))[None])[0]
        rows.append(row / row.pow(2).sum().sqrt())
    return torch.stack(rows)


@pytest.mark.parametrize(("height", "width"), [(SIZE, SIZE), (97, 97), (20, 20), (50, 80)])
def test_pictures_of_any_size_are_embedded_as_torchvision_would(
    teacher: OpenClipTeacher, height: int, width: int
) -> None:
    images = _photographs(height, width)
    found = teacher.encode_images(images)
    assert torch.allclose(found, _by_hand(images), atol=1e-5)
    assert torch.allclose(found.norm(dim=1), torch.ones(3))
    assert found.shape == (3, teacher.embedding_dim) == (3, DIM)


def test_bytes_and_shares_are_the_same_picture(teacher: OpenClipTeacher) -> None:
    images = _photographs(40, 40)
    assert torch.allclose(teacher.encode_images(images), teacher.encode_images(images.double() / 255), atol=1e-6)


def test_imagenet_normalization_is_a_choice(folder: Path, teacher: OpenClipTeacher) -> None:
    images = _photographs(SIZE, SIZE)
    found = load_teacher(model=f"local-dir:{folder}", normalization="imagenet").encode_images(images)
    assert torch.allclose(found, _by_hand(images, IMAGENET_MEAN, IMAGENET_STD), atol=1e-5)
    assert not torch.allclose(found, teacher.encode_images(images), atol=1e-3)


def test_a_teacher_never_learns(teacher: OpenClipTeacher) -> None:
    images = _photographs(SIZE, SIZE).float().div(255).requires_grad_()
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(weight.requires_grad for weight in teacher.parameters())
    answer = teacher.encode_images(images)
    assert not answer.requires_grad
    assert not teacher.encode_texts(["a"]).requires_grad
    assert (answer * torch.ones(DIM, requires_grad=True)).sum().backward() is None  # type: ignore[no-untyped-call]


def test_texts_are_embedded_as_open_clip_would(teacher: OpenClipTeacher) -> None:
    texts = [f"a bird of {number} colours" for number in range(40)] + ["word " * 50]
    clip: Any = tiny_model()
    with torch.no_grad():
        rows = clip.encode_text(open_clip.tokenize(texts, context_length=CONTEXT))
    assert torch.allclose(teacher.encode_texts(texts), rows / rows.norm(dim=1, keepdim=True), atol=1e-5)


@pytest.mark.parametrize("text", ["", "a bird", "Crème brûlée & F/A-18!", "word " * 50])
def test_tokens_are_counted_to_the_end(teacher: OpenClipTeacher, text: str) -> None:
    tokens = open_clip.tokenize([text], context_length=500)[0]
    assert teacher.count_tokens(text) == int(torch.nonzero(tokens).max()) + 1
    assert isinstance(teacher, TokenCounter)
    assert teacher.context_tokens == CONTEXT


class HubTokenizer:
    """Has what open_clip's wrapper of hub tokenizers has: no ``encode``, but a tokenizer inside."""

    context_length = CONTEXT

    def __call__(self, texts: list[str]) -> Tensor:
        return torch.ones(len(texts), CONTEXT, dtype=torch.long)

    @staticmethod
    def clean_fn(text: str) -> str:
        return text.replace("-", "")

    @staticmethod
    def tokenizer(text: str, *, verbose: bool) -> dict[str, list[int]]:
        assert not verbose
        return {"input_ids": [0, *(ord(letter) for letter in text), 1]}


def test_tokens_of_hub_tokenizers_are_counted_too() -> None:
    teacher = OpenClipTeacher(tiny_model(), tokenizer=HubTokenizer(), name="x", mean=MEAN, std=STD)
    assert teacher.count_tokens("a-bc") == 5


FACTORY = """
class Own:
    embedding_dim = 3
    name = "own"
    def encode_images(self, images): ...
    def encode_texts(self, texts): ...
    def to(self, device): ...

class Half:
    name = "half"
    def encode_images(self, images): ...

def own():
    return Own()

def half():
    return Half()

number = 3
"""


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with modules of its own that nothing else knows."""
    (tmp_path / "workshop").mkdir()
    (tmp_path / "workshop" / "teachers.py").write_text(FACTORY, encoding="utf-8")
    (tmp_path / "workshop" / "needy.py").write_text("import a_module_that_is_not_there\n", encoding="utf-8")
    (tmp_path / "workshop" / "torn.py").write_text("def f(:\n", encoding="utf-8")
    (tmp_path / "workshop" / "stale.py").write_text("from os import no_such_thing\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    for name in [name for name in sys.modules if name.split(".")[0] == "workshop"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


@pytest.mark.usefixtures("workshop")
def test_a_factory_of_the_current_directory_replaces_the_model() -> None:
    teacher = load_teacher(model="no such model", factory="workshop.teachers:own")
    assert (teacher.name, teacher.embedding_dim) == ("own", 3)


@pytest.mark.usefixtures("workshop")
@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("workshop.teachers", "must be package.module:function, got 'workshop.teachers'"),
        (":own", "must be package.module:function"),
        ("absent.teachers:own", "no module 'absent' is installed or in"),
        ("workshop.absent:own", "no module 'workshop.absent' is installed or in"),
        ("workshop.needy:own", "workshop.needy needs the module 'a_module_that_is_not_there'"),
        ("workshop.torn:own", "workshop.torn cannot be imported"),
        ("workshop.stale:own", "workshop.stale cannot be imported .*no_such_thing"),
        ("..teachers:own", "cannot be imported"),
        ("workshop.teachers:owm", "workshop.teachers has no function 'owm'; closest: own"),
        ("workshop.teachers:number", "has no function 'number'"),
        ("workshop.teachers:half", "returned a Half that lacks embedding_dim, encode_texts, to;"),
    ],
)
def test_a_factory_that_is_none_says_what_is_wrong(factory: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        load_teacher(factory=factory)


@pytest.mark.parametrize("normalization", ["own", "imagenet"])
def test_the_statistics_move_with_the_teacher_and_are_no_weights(
    folder: Path, normalization: Literal["own", "imagenet"]
) -> None:
    teacher = OpenClipTeacher.load(f"local-dir:{folder}", pretrained="", normalization=normalization)
    assert not {"mean", "std"} & set(teacher.state_dict())
    moved = teacher.to(torch.device("meta"))
    assert moved.mean.device.type == "meta"


def test_several_teachers_are_named_by_model_and_tag() -> None:
    found = load_teachers(models=["builtin:world-clip"])
    assert [teacher.name for teacher in found] == ["builtin:world-clip"]
    with pytest.raises(WeightsError, match="names 'ViT-B-16:openai' twice"):
        load_teachers(models=["ViT-B-16:openai", "ViT-B-16:openai"])
    with pytest.raises(WeightsError, match="expected MODEL:TAG or one of local-dir:"):
        load_teachers(models=["ViT-B-16"])
