from pathlib import Path

import pytest
import torch

from leadpp.engine.restore import describe_student, load_student
from leadpp.errors import CheckpointError, WeightsError
from leadpp.functional.randomness import generator_for
from leadpp.io.checkpoint import save_checkpoint
from leadpp.models.backbone import create_backbone
from leadpp.models.student import Student
from tests.unit.tiny import save_tiny_network


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_network(tmp_path_factory.mktemp("weights") / "resnet")


def trained_student(backbone: str) -> Student:
    """Return a student that has drifted from the weights it began with, with settings that are no defaults."""
    student = Student(
        create_backbone(backbone),
        embedding_dim=7,
        attention_channels=5,
        attention_scaling="batch",
        batchnorm="eval",
        generator=generator_for(1, "student"),
    )
    with torch.no_grad():
        for tensor in student.state_dict().values():
            tensor.mul_(1.01) if tensor.is_floating_point() else tensor.add_(1)
    return student.eval()


def test_the_student_comes_back_as_it_was(backbone: str, tmp_path: Path) -> None:
    student = trained_student(backbone)
    path = tmp_path / "epoch-0003.safetensors"
    metadata = describe_student(student, backbone=backbone) | {"epoch": 3}
    save_checkpoint(path, modules={"student": student, "key": torch.nn.Linear(1, 1)}, optimizer=None, metadata=metadata)
    loaded, told = load_student(path)
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=generator_for(1, "images"), dtype=torch.uint8)
    with torch.no_grad():
        expected, found = student(images), loaded(images)
        assert torch.equal(found.embedding, expected.embedding)
        assert torch.equal(loaded.attention_feature(found.feature_map), student.attention_feature(expected.feature_map))
    assert not loaded.training
    assert (loaded.attention_scaling, loaded.batchnorm) == ("batch", "eval")
    assert (told["epoch"], told["embedding_dim"], told["backbone"]) == (3, 7, backbone)


def test_every_projector_comes_back_and_older_checkpoints_have_one(backbone: str, tmp_path: Path) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=generator_for(1, "images"), dtype=torch.uint8)
    for further in ([], [4, 9]):
        student = Student(
            create_backbone(backbone), embedding_dim=7, further_dims=further, generator=generator_for(1, "student")
        ).eval()
        metadata = describe_student(student, backbone=backbone) | {"epoch": 3}
        if not further:
            del metadata["further_dims"]  # as it was when there was one teacher
        path = tmp_path / "epoch-0003.safetensors"
        save_checkpoint(path, modules={"student": student}, optimizer=None, metadata=metadata)
        loaded, _ = load_student(path)
        with torch.no_grad():
            for expected, found in zip(student(images).embeddings, loaded(images).embeddings, strict=True):
                assert torch.equal(found, expected)
        assert loaded.further_dims == tuple(further)


def test_checkpoints_that_are_no_student_of_theirs(backbone: str, tmp_path: Path) -> None:
    student = trained_student(backbone)
    whole = describe_student(student, backbone=backbone)
    lacking = {name: value for name, value in whole.items() if name != "attention_channels"}
    other = save_tiny_network(tmp_path / "other", architecture="test_efficientnet")
    for metadata, error, message in (
        (lacking, CheckpointError, "does not say its attention_channels"),
        (whole | {"backbone": other}, CheckpointError, "of another backbone or other settings"),
        (whole | {"embedding_dim": 8}, CheckpointError, r"'projector\.2\.weight' has shape \(7, "),
        (whole | {"backbone": "local-dir:/gone"}, WeightsError, "/gone: no such folder"),
    ):
        path = tmp_path / "one.safetensors"
        save_checkpoint(path, modules={"student": student}, optimizer=None, metadata=metadata)
        with pytest.raises(error, match=message):
            load_student(path)


def test_the_backbone_may_have_moved_but_not_changed(backbone: str, tmp_path: Path) -> None:
    student = trained_student(backbone)
    path = tmp_path / "one.safetensors"
    metadata = describe_student(student, backbone="local-dir:/gone")
    save_checkpoint(path, modules={"student": student}, optimizer=None, metadata=metadata)
    loaded, _ = load_student(path, backbone=backbone)
    assert torch.equal(loaded.state_dict()["projector.0.weight"], student.state_dict()["projector.0.weight"])
    other = save_tiny_network(tmp_path / "other", architecture="test_efficientnet")
    with pytest.raises(CheckpointError, match=r"trained from 'local-dir:/gone', while the settings name .*other"):
        load_student(path, backbone=other)


def test_the_result_of_a_training_goes_before_its_student(backbone: str, tmp_path: Path) -> None:
    student, result = trained_student(backbone), trained_student(backbone)
    with torch.no_grad():
        result.projector.get_parameter("0.bias").fill_(3.0)
    path = tmp_path / "epoch-0003.safetensors"
    metadata = describe_student(student, backbone=backbone)
    save_checkpoint(path, modules={"student": student, "result": result}, optimizer=None, metadata=metadata)
    restored, _ = load_student(path)
    assert restored.projector.get_parameter("0.bias").tolist() == [3.0] * len(result.projector.get_parameter("0.bias"))
