"""Draw a small folder of coloured shapes and two tiny random-weight networks, so that the whole road can be run.

The networks are stand-ins without any knowledge: figures made with them mean nothing. Tests are what this is for; the
demo is ``leadpp demo``.
"""

import json
import math
from pathlib import Path

import open_clip
import timm
import torch
from PIL import Image, ImageDraw, ImageFilter
from safetensors.torch import save_file

from leadpp.functional.randomness import derive_seed, generator_for

Colour = tuple[int, int, int]

CLASSES: dict[str, tuple[str, Colour]] = {
    "Red Disc": ("disc", (205, 60, 50)),
    "Blue Disc": ("disc", (60, 90, 200)),
    "Red Square": ("square", (205, 60, 50)),
    "Blue Square": ("square", (60, 90, 200)),
    "Green Triangle": ("triangle", (60, 150, 70)),
    "Gold Triangle": ("triangle", (215, 170, 50)),
}
"""Name -> shape and colour of each class."""

SETTINGS = """\
input: {{size: 64, workers: 0}}
localize: {{backbone: "local-dir:{root}/backbone", size: 128}}
student: {{backbone: "local-dir:{root}/backbone"}}
teacher: {{model: "local-dir:{root}/teacher"}}
train: {{epochs: {epochs}, batch_size: 16, learning_rate: 0.005}}
evaluate: {{probe_epochs: 20, probe_views: 2, kmeans_restarts: 2}}
"""


def draw_picture(kind: str, colour: Colour, generator: torch.Generator) -> tuple[Image.Image, list[int]]:
    """Draw one shape on a cluttered ground; return the picture and the shape's half-open box in pixels."""

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    def tint(low: int, high: int) -> Colour:
        return number(low, high), number(low, high), number(low, high)

    width, height = number(120, 170), number(110, 150)
    picture = Image.new("RGB", (width, height), tint(110, 190))
    canvas = ImageDraw.Draw(picture)
    for _ in range(14):
        x, y, side = number(-10, width), number(-10, height), number(6, 26)
        canvas.ellipse((x, y, x + side, y + side // 2), fill=tint(80, 210))
    side = number(40, 76)
    x0, y0 = number(2, width - side - 2), number(2, height - side - 2)
    red, green, blue = (min(255, max(0, value + number(-18, 19))) for value in colour)
    canvas.polygon(_corners(kind, x0, y0, side), fill=(red, green, blue), outline=(30, 30, 30))
    return picture.filter(ImageFilter.GaussianBlur(0.6)), [x0, y0, x0 + side, y0 + side]


def _corners(kind: str, x0: int, y0: int, side: int) -> list[tuple[float, float]]:
    if kind == "square":
        return [(x0, y0), (x0 + side, y0), (x0 + side, y0 + side), (x0, y0 + side)]
    if kind == "triangle":
        return [(x0 + side / 2, y0), (x0 + side, y0 + side), (x0, y0 + side)]
    angles = [math.tau * step / 90 for step in range(90)]
    return [(x0 + side / 2 * (1 + math.cos(angle)), y0 + side / 2 * (1 + math.sin(angle))) for angle in angles]


def draw_photos(out: Path, *, train: int, test: int, seed: int = 0) -> None:
    """Write ``train/`` and ``test/`` folders of every class, with ``bboxes.csv``."""
    lines = ["path,x0,y0,x1,y1"]
    for split, count in (("train", train), ("test", test)):
        for name, (kind, colour) in CLASSES.items():
            folder = out / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                place = (list(CLASSES).index(name), split == "test", number)
                picture, box = draw_picture(kind, colour, generator_for(seed, "demo", *map(int, place)))
                picture.save(folder / f"{number:03d}.jpg", quality=90)
                lines.append(f"{split}/{name}/{number:03d}.jpg," + ",".join(map(str, box)))
    (out / "bboxes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_backbone(folder: Path, *, architecture: str = "test_resnet", seed: int = 0) -> Path:
    """Write a timm folder (``local-dir:``) with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "backbone"))
        model = timm.create_model(architecture, pretrained=False, num_classes=0)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")
    pretrained = {"input_size": [3, 64, 64], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    config = {"architecture": architecture, "num_classes": 0, "pretrained_cfg": {**pretrained, "num_classes": 0}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def write_teacher(folder: Path, *, dim: int = 32, seed: int = 0) -> Path:
    """Write an open_clip folder (``local-dir:``) with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "teacher"))
        model = open_clip.CLIP(embed_dim=dim, vision_cfg=vision, text_cfg=text)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
    model_cfg = {"embed_dim": dim, "vision_cfg": vision, "text_cfg": text}
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def draw_demo(out: Path, *, train: int = 24, test: int = 10, epochs: int = 4) -> None:
    """Write photographs, names, both networks and the settings of the demo into one folder."""
    draw_photos(out / "photos", train=train, test=test)
    (out / "names.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    write_backbone(out / "backbone")
    write_teacher(out / "teacher")
    (out / "settings.yaml").write_text(SETTINGS.format(root=out.as_posix(), epochs=epochs), encoding="utf-8")
