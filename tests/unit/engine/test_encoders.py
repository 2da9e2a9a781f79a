from pathlib import Path

import torch

from leadpp.engine.encoders import student_encoder
from leadpp.engine.restore import describe_student
from leadpp.functional.randomness import generator_for
from leadpp.io.checkpoint import save_checkpoint
from leadpp.io.ledger import checkpoint_path, keep_newest
from leadpp.models.backbone import create_backbone
from leadpp.models.student import Student
from tests.unit.tiny import save_tiny_network


def test_a_student_says_how_it_was_made(tmp_path: Path) -> None:
    backbone = save_tiny_network(tmp_path / "resnet")
    student = Student(create_backbone(backbone), embedding_dim=3, generator=generator_for(1, "student"))
    path = checkpoint_path(tmp_path / "checkpoints", epoch=2)
    plain = {"checkpoint": "checkpoints/epoch-0002.safetensors", "epoch": 2}
    for told, expected in (
        ({}, {}),
        ({"train.average_decay": 0.0, "train.blend": 1.0}, {}),
        ({"train.average_decay": 0.99, "train.blend": 1.0}, {"average_decay": 0.99}),
        ({"train.average_decay": 0.0, "train.blend": 0.5}, {"blend": 0.5}),
    ):
        metadata = describe_student(student, backbone=backbone) | {"epoch": 2} | told
        save_checkpoint(path, modules={"student": student}, optimizer=None, metadata=metadata)
        keep_newest(path.parent, path, keep=1)
        encoder = student_encoder(tmp_path, backbone=backbone, device=torch.device("cpu"))
        assert encoder is not None
        assert dict(encoder.facts) == plain | expected
