"""The case ``probe``: a linear probe of a frozen network on photographs that lie on disk."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.bench.case import Case, Work
from benchmarks.obvious.probe import linear_probe as obvious_probe
from leadpp.config.tree import EvaluateConfig
from leadpp.data.index import ImageIndex, open_data
from leadpp.data.views import EvalSet, ProbeSet, eval_loader
from leadpp.engine.features import backbone_features, extract
from leadpp.engine.probe import ProbeResult, ProbeSettings, linear_probe
from leadpp.functional.randomness import generator_for
from leadpp.models.backbone import create_backbone

SEED = 5
VIEWS = EvaluateConfig().probe_views
_CLASSES = 4
_BATCH = 64
_CPU = torch.device("cpu")
_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # kept until the process ends


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """A small image folder and a network of random weights."""

    index: ImageIndex
    backbone: nn.Module
    size: int
    epochs: int

    def labels(self, split: str) -> Tensor:
        """Class numbers of ``train`` or ``test``."""
        records = self.index.usable("train" if split == "train" else "test")
        return torch.tensor([self.index.class_index(str(record.label)) for record in records])

    def fixed(self, split: str) -> EvalSet:
        """The test views of a split."""
        records = self.index.usable("train" if split == "train" else "test")
        return EvalSet(records, root=self.index.root, size=self.size, fit="center-crop")

    def random(self, view: int) -> ProbeSet:
        """One random view of each training photograph."""
        return ProbeSet(self.index.usable("train"), root=self.index.root, size=self.size, seed=SEED, view=view)


def probe(*, quick: bool) -> Case:
    """Compare both ways on 48 and 48 photographs in 100 epochs; quick: on 30 and 30 in 20 epochs."""
    train, test, epochs = (30, 30, 20) if quick else (48, 48, 100)

    def material() -> Material:
        return draw_material(train=train, test=test, epochs=epochs, size=112)

    def obvious() -> Work:
        made = material()
        return lambda: obvious_way(made)

    def fast() -> Work:
        made = material()
        return lambda: fast_way(made, views=VIEWS)

    return Case(
        name="probe",
        protocol=(
            f"{train} training and {test} test JPEGs of 320 x 240 on disk, ResNet-18 of random weights at 112 px, "
            f"{epochs} epochs, no reading processes. One call trains the probe and makes its curve on test. Obvious: "
            "every epoch reads, crops and encodes all photographs anew. Ours: features of "
            f"{VIEWS} random views and of the test view once, then two probes (one chooses the epoch on held-out "
            f"photographs). The number of epochs over views bounds the ratio: {_bound(train, test, epochs):.0f} here."
        ),
        items=train,
        obvious=obvious,
        fast=fast,
        target=3.0 if quick else 15.0,
    )


def obvious_way(material: Material) -> list[float]:
    """Return the test accuracy after each epoch."""
    labels = material.labels("train")
    views = [material.random(epoch) for epoch in range(material.epochs)]
    test = material.fixed("test")
    return obvious_probe(
        material.backbone,
        first_layer(_CLASSES, 512),
        train_view=lambda epoch, place: views[epoch][place]["image"],
        orders=[
            torch.randperm(len(labels), generator=generator_for(SEED, "probe-order", epoch))
            for epoch in range(material.epochs)
        ],
        labels=labels,
        test_view=lambda place: test[place]["image"],
        test_labels=material.labels("test"),
        learning_rate=30.0,
        batch_size=min(256, len(labels)),
    )


def fast_way(material: Material, *, views: int) -> ProbeResult:
    """Return what the package's probe finds."""
    encode = backbone_features(material.backbone)

    def features(samples: EvalSet | ProbeSet) -> Tensor:
        return extract(eval_loader(samples, batch_size=_BATCH), encode, count=len(samples), device=_CPU)["gap"]

    return linear_probe(
        [features(material.random(view)) for view in range(views)],
        material.labels("train"),
        fixed=features(material.fixed("train")),
        test=(features(material.fixed("test")), material.labels("test")),
        settings=ProbeSettings(epochs=material.epochs),
        seed=SEED,
    )


def first_layer(classes: int, width: int) -> nn.Linear:
    """Return the layer that the package's probe begins with."""
    layer = nn.Linear(width, classes)
    with torch.no_grad():
        layer.weight.copy_(0.01 * torch.randn(classes, width, generator=generator_for(SEED, "probe-weights")))
        layer.bias.zero_()
    return layer


def draw_material(*, train: int, test: int, epochs: int, size: int) -> Material:
    """Draw photographs of one colour a class, noisy, into a temporary folder."""
    folder = tempfile.TemporaryDirectory(prefix="leadpp-bench-")
    _FOLDERS.append(folder)
    random = np.random.default_rng(SEED)
    colours = random.integers(60, 200, (_CLASSES, 3))
    for split, count in (("train", train), ("test", test)):
        for place in range(count):
            of_class = place % _CLASSES
            coarse = colours[of_class] + random.normal(0, 50, (12, 16, 3))
            picture = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((320, 240), Image.Resampling.BICUBIC)
            path = Path(folder.name) / split / f"class-{of_class}" / f"{place:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path, quality=90)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        backbone = create_backbone("resnet18", pretrained=False)
    return Material(index=open_data(Path(folder.name), seed=SEED), backbone=backbone, size=size, epochs=epochs)


def _bound(train: int, test: int, epochs: int) -> float:
    return epochs * (train + test) / ((VIEWS + 1) * train + test)
