"""Choose the localizer's settings on the training boxes of the butterflies, and measure once on the test boxes.

    python benchmarks/localize_butterflies.py BUTTERFLIES WEIGHTS [--out TABLE.md] [--sizes 320 448]

BUTTERFLIES is an image folder with ``train/``, ``test/`` and ``bboxes.csv``; WEIGHTS a timm folder (``config.json`` and
``model.safetensors``). Everything is fitted and chosen on the training photographs; the test photographs are touched
once, by the stage itself, with the settings that have the best mean IoU on the training boxes.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from leadpp.config import build_config
from leadpp.data.index import ImageIndex, ImageRecord, open_data
from leadpp.data.views import EvalSet, eval_loader
from leadpp.functional.boxes import box_iou
from leadpp.functional.ddt import Direction, indicator_maps, principal_direction
from leadpp.functional.fusion import StageStatistics, fuse_indicators
from leadpp.functional.part import find_part, part_box, search_box
from leadpp.models.backbone import create_backbone
from leadpp.stages.localize import localize

THRESHOLDS = (0.0, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4)
BATCH = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One way to find boxes, and how well it did on the training photographs."""

    size: int
    stages: int
    earlier: str
    upsample: int
    threshold: float
    form: str
    corloc: float
    mean_iou: float

    def line(self) -> str:
        """Return the row of the table."""
        return (
            f"| {self.size} | {self.stages} | {self.earlier} | {self.upsample} | {self.threshold:.2f} | {self.form} "
            f"| {self.corloc:.3f} | {self.mean_iou:.3f} |"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--out", type=Path, help="write the table here as well")
    parser.add_argument("--sizes", type=int, nargs="+", default=[320, 448])
    options = parser.parse_args(arguments)
    backbone = f"local-dir:{options.weights}"
    index = open_data(options.data, seed=123)
    rows = [row for size in options.sizes for row in try_size(index, backbone, size=size)]
    best = max((row for row in rows if row.earlier != "own" and row.form == "part"), key=lambda row: row.mean_iou)
    text = "\n".join(["# DDT on the butterflies", "", *report(index, rows, best, backbone)]) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


def try_size(index: ImageIndex, backbone: str, *, size: int) -> Iterator[Row]:
    """Try every setting at one size; one forward pass over the training photographs."""
    records = index.usable("train")
    cached = read_maps(records, index, backbone, size=size)
    for stages, earlier in ((1, "-"), (2, "follow"), (2, "own"), (3, "follow"), (3, "own")):
        maps = [batch[-stages:] for batch in cached]
        directions = fit(maps, own=earlier == "own")
        for upsample in (1, 4):
            fused = torch.cat([fuse(batch, directions, upsample=upsample) for batch in maps])
            for threshold in THRESHOLDS:
                for form in ("part", "search") if threshold == 0 else ("part",):
                    boxes = find(fused, records, threshold=threshold, form=form, size=size)
                    yield measured(
                        boxes, records, size=size, stages=stages, earlier=earlier, upsample=upsample,
                        threshold=threshold, form=form,
                    )  # fmt: skip


def read_maps(records: Sequence[ImageRecord], index: ImageIndex, backbone: str, *, size: int) -> list[list[Tensor]]:
    """Return the last three stages' maps of every batch, kept in half precision."""
    network = create_backbone(backbone)
    samples = EvalSet(records, root=index.root, size=size, fit="squeeze")
    with torch.no_grad():
        return [
            [each.half() for each in network.forward_stages(batch["image"], 3)]
            for batch in eval_loader(samples, batch_size=BATCH)
        ]


def fit(maps: list[list[Tensor]], *, own: bool) -> list[Direction]:
    """Fit the directions; ``own``: each stage by its own first principal direction, as one would without following."""
    statistics = StageStatistics([each.shape[1] for each in maps[0]])
    for batch in maps:
        statistics.update([each.float() for each in batch])
    if own:
        return [principal_direction(stage, sign_rule="border") for stage in statistics.stages]
    return statistics.directions()


def fuse(batch: list[Tensor], directions: list[Direction], *, upsample: int) -> Tensor:
    scores = [
        indicator_maps(each.float(), mean=direction.mean, vector=direction.vector)
        for each, direction in zip(batch, directions, strict=True)
    ]
    return fuse_indicators(scores, spreads=[direction.spread for direction in directions], upsample=upsample)


def find(fused: Tensor, records: Sequence[ImageRecord], *, threshold: float, form: str, size: int) -> Tensor:
    boxes = []
    for indicator, record in zip(fused.numpy(), records, strict=True):
        part = find_part(indicator, threshold=threshold)
        width, height = record.width_px, record.height_px
        if form == "part":
            boxes.append(part_box(part, width_px=width, height_px=height).box_xyxy)
        else:
            boxes.append(search_box(part, size_px=size, width_px=width, height_px=height).box_xyxy)
    return torch.tensor(boxes)


def measured(
    boxes: Tensor, records: Sequence[ImageRecord], *, size: int, stages: int, earlier: str, upsample: int,
    threshold: float, form: str,
) -> Row:  # fmt: skip
    overlap = box_iou(boxes, torch.tensor([record.true_box_xyxy for record in records]))
    return Row(
        size=size, stages=stages, earlier=earlier, upsample=upsample, threshold=threshold, form=form,
        corloc=float((overlap >= 0.5).double().mean()), mean_iou=float(overlap.mean()),
    )  # fmt: skip


def report(index: ImageIndex, rows: list[Row], best: Row, backbone: str) -> Iterator[str]:
    """Yield the lines of the document; the test photographs are looked at here and nowhere else."""
    settings = {
        "backbone": backbone, "size": best.size, "stages": best.stages, "upsample": best.upsample,
        "threshold": best.threshold, "form": "part", "batch_size": BATCH,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as run:
        config = build_config({"localize": settings, "input": {"workers": 0}, "train": {"device": "cpu"}})
        figures = localize(index=index, run=Path(run), config=config)
    whole, centred = (figures["baselines"][name] for name in ("whole", "centred"))
    train, test = len(index.usable("train")), figures["protocol"]["images"]
    yield from (
        f"Fitted on the {train} training photographs; size, stages, upsampling and threshold chosen by mean IoU",
        f"on their boxes; measured once on the {test} test photographs, the part's rectangle as object box.",
        "",
        f"Chosen: size {best.size}, stages {best.stages}, upsample {best.upsample}, threshold {best.threshold:.2f}. "
        f"Sign margins: {', '.join(f'{rule} {value:+.2f}' for rule, value in figures['fit']['sign_margins'].items())}.",
        "",
        f"| on the {test} test photographs | CorLoc | mean IoU |",
        "|---|---|---|",
        f"| DDT, chosen settings | {figures['corloc']:.3f} | {figures['mean_iou']:.3f} |",
        f"| centred box of the training boxes' mean size | {centred['corloc']:.3f} | {centred['mean_iou']:.3f} |",
        f"| whole photograph | {whole['corloc']:.3f} | {whole['mean_iou']:.3f} |",
        "",
        f"Square crops made from these boxes: mean IoU {figures['crop_mean_iou']:.3f}; "
        f"fallbacks: {figures['fallbacks']} of {figures['images']}.",
        "",
        f"## Everything that was tried, on the {train} training photographs",
        "",
        "Earlier stages follow the last one (`follow`), or, for comparison, go by their own first principal direction",
        "(`own`, with the border rule for the sign). Form `search` is the paper's search over five cut rates.",
        "",
        "| size | stages | earlier | upsample | threshold | form | CorLoc | mean IoU |",
        "|---|---|---|---|---|---|---|---|",
    )
    yield from (row.line() for row in rows)


if __name__ == "__main__":
    main()
