"""A drawn data set and a run before its evaluation: coloured objects on reddish ground, so that crops show more."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from leadpp.config.tree import Config, EvaluateConfig, InputConfig, StudentConfig, TeacherConfig, TrainConfig
from leadpp.data.index import ImageIndex, ImageRecord
from leadpp.engine.restore import describe_student
from leadpp.io.artifacts import write_table
from leadpp.io.checkpoint import save_checkpoint
from leadpp.io.ledger import checkpoint_path, keep_newest
from leadpp.models.backbone import create_backbone
from leadpp.models.student import Student
from leadpp.text.prototypes import Prototypes, write_prototypes

COLOURS = {"blue": (30, 40, 220), "green": (30, 200, 40), "red": (220, 40, 30), "yellow": (210, 200, 20)}
TRAIN, TEST = 4, 3
SIDE = 24
HERE = "tests.unit.stages.evaluation_world"


def hue(images: Tensor) -> Tensor:
    """Mean colour without its grey part, unit length."""
    colour = images.double().mean(dim=(2, 3))
    return torch.nn.functional.normalize(colour - colour.mean(dim=1, keepdim=True), dim=1).float()


class ColourTeacher:
    """Names the mean colour of what it sees, and knows the words for four colours."""

    embedding_dim = 3
    name = "colour"

    def encode_images(self, images: Tensor) -> Tensor:
        return hue(images)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        words = [next((name for name in COLOURS if name in text.lower()), "red") for text in texts]
        return hue(torch.tensor([COLOURS[name] for name in words])[:, :, None, None])

    def to(self, device: torch.device, /) -> object:
        return self


def colour_teacher() -> ColourTeacher:
    return ColourTeacher()


class ForgetfulTeacher(ColourTeacher):
    """Runs out of memory."""

    def encode_images(self, images: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")


def forgetful_teacher() -> ForgetfulTeacher:
    return ForgetfulTeacher()


@dataclasses.dataclass(frozen=True)
class World:
    """A data set, its settings, and a finished run without evaluation."""

    index: ImageIndex
    config: Config
    run: Path


def draw(path: Path, name: str, generator: torch.Generator) -> tuple[int, int]:
    """A picture with a square of the class's colour on reddish ground; return the square's corner."""
    pixels = torch.full((48, 48, 3), 128) + torch.randint(-40, 40, (48, 48, 1), generator=generator)
    pixels[:, :, 0] += 70
    x, y = (int(torch.randint(0, 48 - SIDE, (), generator=generator)) for _ in range(2))
    noise = torch.randint(-25, 25, (SIDE, SIDE, 3), generator=generator)
    pixels[y : y + SIDE, x : x + SIDE] = torch.tensor(COLOURS[name]) + noise
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clamp(0, 255).to(torch.uint8).numpy()).save(path)
    return x, y


def draw_data(root: Path) -> tuple[ImageIndex, pa.Table]:
    generator = torch.Generator().manual_seed(1)
    records, rows = [], []
    for split, count in (("train", TRAIN), ("test", TEST)):
        for name in COLOURS:
            for number in range(count):
                path = f"{split}/{name}/{number}.png"
                x, y = draw(root / path, name, generator)
                records.append(record(path, label=name, split=split))
                sides = {"x0": x, "y0": y, "x1": x + SIDE, "y1": y + SIDE}
                boxes = {f"{part}_{side}": value for part in ("object", "crop") for side, value in sides.items()}
                rows.append({**boxes, "path": path, "fallback": False, "width_px": 48, "height_px": 48})
    index = ImageIndex(root=root, source="folder", classes=tuple(COLOURS), records=tuple(records), split_origin="given")
    return index, pa.Table.from_pylist(rows)


def record(path: str, *, label: str | None, split: Any) -> ImageRecord:  # noqa: ANN401 - a literal type
    return ImageRecord(
        path=path, label=label, split=split, width_px=48, height_px=48, true_box_xyxy=None, checksum=path
    )


def draw_world(root: Path) -> World:
    """Draw the data; the run has boxes and a checkpoint, and no prototypes."""
    index, boxes = draw_data(root / "data")
    backbone, run = save_backbone(root / "backbone"), root / "run"
    write_table(run / "boxes.parquet", boxes, kind="boxes")
    save_student(run, backbone)
    config = Config(
        input=InputConfig(size=32, workers=0),
        student=StudentConfig(backbone=backbone),
        teacher=TeacherConfig(factory=f"{HERE}:colour_teacher"),
        train=TrainConfig(device="cpu"),
        evaluate=EvaluateConfig(probe_epochs=3, probe_views=2, batch_size=5, kmeans_restarts=2),
    )
    return World(index=index, config=config, run=run)


def save_backbone(folder: Path) -> str:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = timm.create_model("test_resnet", num_classes=7)
    folder.mkdir()
    settings = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "input_size": [3, 32, 32]}
    config = {"architecture": "test_resnet", "num_classes": 7, "pretrained_cfg": settings}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), folder / "model.safetensors")
    return f"local-dir:{folder}"


def save_student(run: Path, backbone: str, *, class_count: int = 4, embedding_dim: int = 3) -> None:
    student = Student(
        create_backbone(backbone), embedding_dim=embedding_dim, generator=torch.Generator().manual_seed(3)
    )
    with torch.no_grad():
        for weight in student.backbone.parameters():
            weight.mul_(1.1)  # trained: no longer the frozen network
    path = checkpoint_path(run / "checkpoints", epoch=7)
    metadata = describe_student(student, backbone=backbone) | {"epoch": 7, "class_count": class_count}
    save_checkpoint(path, modules={"student": student}, optimizer=None, metadata=metadata)
    keep_newest(run / "checkpoints", path, keep=2)


def save_prototypes(run: Path, *, names: tuple[str, ...] | None = ("Yellow", "red", "Green", "001.blue")) -> None:
    order = ["yellow", "red", "green", "blue"]
    colours = torch.tensor([COLOURS[name] for name in order]).double()[:, :, None, None]
    write_prototypes(run / "prototypes.safetensors", Prototypes(vectors=hue(colours), names=names))
