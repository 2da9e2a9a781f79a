"""Feature banks, extraction in place, and files in one order."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from leadpp.engine.features import (
    FeatureBank,
    backbone_features,
    extract,
    load_features,
    save_features,
    save_order,
    student_features,
    teacher_features,
)
from leadpp.errors import ArtifactError, DataError
from leadpp.io.artifacts import read_table
from leadpp.models.student import Student

CPU = torch.device("cpu")


class TinyBackbone(nn.Module):
    """Pixels / 255 through a 1x1 convolution and a BatchNorm, whose two modes give different features."""

    feature_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.conv.weight.normal_(generator=generator)
            self.norm.running_mean.normal_(generator=generator)  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.norm(self.conv(images.float() / 255))
        return found


class ColourTeacher:
    """Names the mean colour."""

    embedding_dim = 3
    name = "colour"

    def encode_images(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(images.float().mean(dim=(2, 3)), dim=1)

    def encode_texts(self, texts: object) -> Tensor:
        raise NotImplementedError

    def to(self, device: torch.device, /) -> object:
        return self


def pictures(count: int = 5) -> Tensor:
    return torch.randint(0, 256, (count, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def batches(images: Tensor, order: list[list[int]]) -> Iterator[dict[str, Tensor]]:
    for rows in order:
        yield {"image": images[rows], "index": torch.tensor(rows)}


def tiny_student() -> Student:
    generator = torch.Generator().manual_seed(2)
    return Student(TinyBackbone(), embedding_dim=3, attention_channels=2, generator=generator)


def test_rows_lie_in_their_items_places_whatever_the_order() -> None:
    images = pictures()
    encode = backbone_features(TinyBackbone())
    straight = extract(batches(images, [[0, 1, 2], [3, 4]]), encode, count=5, device=CPU)["gap"]
    mixed = extract(batches(images, [[4], [2, 0], [1, 3]]), encode, count=5, device=CPU)["gap"]
    torch.testing.assert_close(mixed, straight)
    backbone = TinyBackbone().eval()
    torch.testing.assert_close(straight, backbone(images).mean(dim=(2, 3)).detach())
    assert not straight.requires_grad


def test_a_share_has_its_own_rows_and_leaves_room() -> None:
    images = pictures()
    encode = backbone_features(TinyBackbone())
    whole = extract(batches(images, [[0, 1, 2, 3, 4]]), encode, count=5, device=CPU)["gap"]
    share = extract(batches(images, [[3, 2]]), encode, count=2, device=CPU, first=2, room=7)["gap"]
    assert len(share) == 7
    torch.testing.assert_close(share[:2], whole[2:4])


def test_a_student_gives_three_features_in_one_forward() -> None:
    student, images = tiny_student().train(), pictures()
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    student.backbone.register_forward_hook(count)
    found = extract(batches(images, [[0, 1], [2, 3, 4]]), student_features(student), count=5, device=CPU)
    assert calls == 2
    assert {name: tuple(values.shape) for name, values in found.items()} == {
        "gap": (5, 4),
        "attention": (5, 4),
        "embedding": (5, 3),
    }
    with torch.no_grad():
        output = student(images)
        torch.testing.assert_close(found["gap"], output.feature)
        torch.testing.assert_close(found["embedding"], output.embedding)
        torch.testing.assert_close(found["attention"], student.attention_feature(output.feature_map))
    assert not student.training


def test_a_teacher_gives_its_embedding() -> None:
    images = pictures()
    found = extract(batches(images, [[0, 1, 2, 3, 4]]), teacher_features(ColourTeacher()), count=5, device=CPU)
    torch.testing.assert_close(found["embedding"], ColourTeacher().encode_images(images))


@pytest.mark.parametrize("order", [[], [[0, 1, 2, 3]]])
def test_a_missing_item_is_an_error(order: list[list[int]]) -> None:
    seen = sum(map(len, order))
    with pytest.raises(DataError, match=f"features of 5 photographs, found {seen}"):
        extract(batches(pictures(), order), backbone_features(TinyBackbone()), count=5, device=CPU)


def test_features_come_back_as_they_were(tmp_path: Path) -> None:
    features = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "embeddings" / "student-gap-whole-test.npy"
    save_features(path, features.double())
    assert torch.equal(load_features(path), features)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_order_is_a_table_of_its_own(tmp_path: Path) -> None:
    save_order(tmp_path / "test.parquet", paths=["b/ö.jpg", "a.jpg"], labels=["b", None])
    table, _ = read_table(tmp_path / "test.parquet", kind="embeddings")
    assert table.to_pydict() == {"path": ["b/ö.jpg", "a.jpg"], "label": ["b", None]}


def missing(path: Path) -> None:
    assert not path.exists()


def truncated(path: Path) -> None:
    save_features(path, torch.ones(50, 3))
    path.write_bytes(path.read_bytes()[:200])


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def of_integers(path: Path) -> None:
    np.save(path, np.ones((2, 2), dtype=np.int64))


@pytest.mark.parametrize("spoil", [missing, truncated, pickled, of_integers])
def test_a_file_that_is_no_matrix_of_features_is_an_error(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    spoil(tmp_path / "x.npy")
    with pytest.raises(ArtifactError, match="evaluate writes them"):
        load_features(tmp_path / "x.npy")


def test_a_bank_counts_items_and_classes() -> None:
    bank = FeatureBank(features=torch.eye(3), labels=torch.tensor([4, 0, 4]), paths=("a", "b", "c"))
    assert (len(bank), bank.classes) == (3, 2)


@pytest.mark.parametrize(
    ("features", "labels", "paths", "message"),
    [
        (torch.eye(3), torch.arange(2), (), "3 features, 2 labels"),
        (torch.eye(3), torch.arange(3), ("a",), "1 paths"),
        (torch.ones(3), torch.arange(3), (), r"shape \(3,\)"),
        (torch.eye(3).long(), torch.arange(3), (), "int64"),
        (torch.eye(3), torch.tensor([0, -1, 2]), (), "class numbers from 0"),
        (torch.eye(3), torch.tensor([0.0, 1.0, 2.0]), (), "class numbers from 0"),
    ],
)
def test_a_bank_that_does_not_fit_together_is_an_error(
    features: Tensor, labels: Tensor, paths: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        FeatureBank(features=features, labels=labels, paths=paths)
