"""How many cached random views the linear probe needs to learn as it does with a new view in every epoch.

    python -m benchmarks.probe_views DATA WEIGHTS [--size 96] [--seeds 0 1 2] [--out TABLE.md]

DATA is an image folder with ``train/`` and ``test/``; WEIGHTS a timm folder (``config.json``, ``model.safetensors``).
Every training photograph is shown in as many random views as there are epochs, and the frozen network's features of
all of them are kept. The obvious way learns from view e in epoch e; R cached views are the first R of the same views,
reused in turn. Both see the same first weights, orders and held-out part of a seed, so that only the views differ.
"""

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from leadpp.data.index import ImageIndex, ImageRecord, open_data
from leadpp.data.reading import read_photo
from leadpp.data.transforms import PROBE_RECIPE, apply_augmentation, draw_augmentation
from leadpp.data.views import EvalSet, eval_loader
from leadpp.engine.features import backbone_features, extract
from leadpp.engine.probe import ProbeResult, ProbeSettings, linear_probe
from leadpp.functional.randomness import generator_for
from leadpp.models.backbone import create_backbone

EPOCHS = 100
CACHED = (1, 2, 4, 8, 16, 32)
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Photographs of both splits with their class numbers, and the network that looks at them."""

    index: ImageIndex
    size: int
    network: nn.Module

    def records(self, split: str) -> tuple[ImageRecord, ...]:
        """Photographs of ``train`` or ``test``."""
        return tuple(self.index.usable("train" if split == "train" else "test"))

    def labels(self, split: str) -> Tensor:
        """Class numbers, (N,)."""
        return torch.tensor([self.index.class_index(str(record.label)) for record in self.records(split)])

    def fixed(self, split: str) -> Tensor:
        """Features in the test view, (N, F)."""
        records = self.records(split)
        samples = EvalSet(records, root=self.index.root, size=self.size, fit="center-crop")
        batches = eval_loader(samples, batch_size=64)
        return extract(batches, backbone_features(self.network), count=len(records), device=CPU)["gap"]

    @torch.no_grad()
    def views(self, *, seed: int, count: int) -> list[Tensor]:
        """Features of the training photographs in so many random views, each (N, F); a photograph is decoded once."""
        encode = backbone_features(self.network)
        of_photographs = []
        for place, record in enumerate(self.records("train")):
            photo = read_photo(record, root=self.index.root)
            region = (0, 0, record.width_px, record.height_px)
            drawn = [
                draw_augmentation(region, recipe=PROBE_RECIPE, generator=generator_for(seed, "probe", view, place))
                for view in range(count)
            ]
            pictures = torch.stack([apply_augmentation(photo, each, size=self.size) for each in drawn])
            of_photographs.append(torch.cat([encode(part)["gap"] for part in torch.split(pictures, 50)]))
        return list(torch.stack(of_photographs, dim=1))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--size", type=int, default=96, help="side of the views in pixels")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the table here as well")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    network = create_backbone(f"local-dir:{options.weights}")
    material = Material(index=open_data(options.data, seed=123), size=options.size, network=network)
    found: dict[int, list[ProbeResult]] = {}
    for seed in options.seeds:
        started = time.perf_counter()
        for count, result in probe_all(material, seed=seed, epochs=options.epochs):
            found.setdefault(count, []).append(result)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    text = "\n".join(report(material, found, seeds=options.seeds, epochs=options.epochs)) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


def probe_all(material: Material, *, seed: int, epochs: int) -> Iterator[tuple[int, ProbeResult]]:
    """Yield the number of views and what the probe found with them, the obvious way last."""
    views = material.views(seed=seed, count=epochs)
    fixed, test = material.fixed("train"), (material.fixed("test"), material.labels("test"))
    for count in (*CACHED, epochs):
        yield (
            count,
            linear_probe(
                views[:count],
                material.labels("train"),
                fixed=fixed,
                test=test,
                settings=ProbeSettings(epochs=epochs),
                seed=seed,
            ),
        )


def report(
    material: Material, found: Mapping[int, Sequence[ProbeResult]], *, seeds: Sequence[int], epochs: int
) -> Iterator[str]:
    """Yield the lines of the document."""
    train, test = len(material.records("train")), len(material.records("test"))
    shown = [epoch for epoch in range(1, epochs + 1) if epoch % max(1, epochs // 10) == 0]
    yield from (
        "# Cached views against a new view in every epoch",
        "",
        f"Linear probe of the frozen network, {material.size} px, "
        f"{len(material.index.classes)} classes, {train} training",
        f"and {test} test photographs, {epochs} epochs, seeds {', '.join(map(str, seeds))}. Test accuracy in percent,",
        f"mean ± standard deviation over seeds. {epochs} views are the obvious way: a new view in every epoch.",
        "",
        "| views | " + " | ".join(f"epoch {epoch}" for epoch in shown) + " | held-out choice |",
        "|---|" + "---|" * (len(shown) + 1),
    )
    for count, results in found.items():
        curves = torch.tensor([result.test_curve for result in results])
        cells = [spread(curves[:, epoch - 1]) for epoch in shown]
        yield f"| {count} | " + " | ".join([*cells, spread(torch.tensor([heldout(each) for each in results]))]) + " |"
    yield from ("", *differences(found, shown))


def differences(found: Mapping[int, Sequence[ProbeResult]], shown: Sequence[int]) -> Iterator[str]:
    """Yield, for each number of cached views, how far its curve is from the obvious way's, beside the seeds' spread."""
    *cached, obvious = found
    reference = torch.tensor([result.test_curve for result in found[obvious]])
    late = slice(len(reference[0]) * 6 // 10, None)
    yield "Points over the obvious way, seed by seed (mean ± standard deviation), and the obvious way's own spread:"
    yield from (
        "",
        f"| views | mean of epochs {shown[0]} to {shown[-1]} | after the first drop of the rate | held-out choice |",
    )
    yield "|---|---|---|---|"
    places = torch.tensor(shown) - 1
    chosen = torch.tensor([heldout(each) for each in found[obvious]])
    for count in cached:
        curves = torch.tensor([result.test_curve for result in found[count]])
        gap = curves - reference
        held = torch.tensor([heldout(each) for each in found[count]]) - chosen
        yield f"| {count} | {spread(gap[:, places].mean(1))} | {spread(gap[:, late].mean(1))} | {spread(held)} |"
    own = [reference[:, places].mean(1), reference[:, late].mean(1), chosen]
    yield f"| {obvious}, spread over seeds | " + " | ".join(f"± {100 * each.std():.2f}" for each in own) + " |"


def heldout(result: ProbeResult) -> float:
    return result.last if result.heldout is None else result.heldout


def spread(values: Tensor) -> str:
    deviation = values.std().item() if len(values) > 1 else 0.0
    return f"{100 * values.mean():.2f} ± {100 * deviation:.2f}"


if __name__ == "__main__":
    main()
