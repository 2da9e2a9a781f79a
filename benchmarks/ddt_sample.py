"""How far the direction of a sample is from that of all training photographs, and what half precision does to boxes.

    python -m benchmarks.ddt_sample WEIGHTS DATA [DATA ...] [--samples 50 100 200 500 1000] [--seeds 10] [--out PAGE.md]

WEIGHTS is a timm folder (``config.json`` and ``model.safetensors``), DATA an image folder; where it has true boxes,
CorLoc and mean IoU of the localizer's search are shown too, over all photographs. One forward pass for each photograph.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from leadpp.data.index import ImageIndex, ImageRecord, open_data
from leadpp.data.views import EvalSet, eval_loader
from leadpp.functional.boxes import box_iou
from leadpp.functional.ddt import DescriptorStatistics, Direction, indicator_maps, principal_direction
from leadpp.functional.part import find_part, search_box
from leadpp.functional.randomness import generator_for
from leadpp.models.backbone import create_backbone

SIZE, BATCH = 448, 4
HEAD = """\
| fit on | angle, median | angle, worst | CorLoc (least to most) | mean IoU (least to most) | other boxes |
|---|---|---|---|---|---|"""


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--samples", type=int, nargs="+", default=[50, 100, 200, 500, 1000])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, help="write the page here as well")
    asked = parser.parse_args(words)
    lines = [
        "# The direction of a sample",
        "",
        f"{asked.weights.name}, last stage, {SIZE} px, threshold 0, search over five cut rates, sign by the border.",
        f"Each sample size: {asked.seeds} samples; angles to the direction of all training photographs. Other boxes:",
        "share of boxes, of all photographs and samples, that differ from those of that direction.",
    ]
    for data in asked.data:
        lines += ["", *compare(open_data(data, seed=123), asked)]
        print("\n".join(lines), flush=True)
    if asked.out:
        asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def compare(index: ImageIndex, asked: argparse.Namespace) -> Iterator[str]:
    """Yield the lines about one set."""
    records = index.usable()
    maps = read_maps(index, records, f"local-dir:{asked.weights}")
    train = torch.tensor([place for place, record in enumerate(records) if record.split == "train"])
    whole = fit(maps[train])
    exact = find(maps, records, whole)
    yield f"## {index.root.name}: {len(train)} photographs for training, {len(records)} in all"
    yield ""
    yield HEAD
    yield row(f"all {len(train)}", [whole], [exact], records)
    for count in (each for each in asked.samples if each < len(train)):
        draws = [
            torch.randperm(len(train), generator=generator_for(seed, "sample"))[:count] for seed in range(asked.seeds)
        ]
        directions = [fit(maps[train[draw]]) for draw in draws]
        boxes = [find(maps, records, direction) for direction in directions]
        yield row(str(count), [whole, *directions], [exact, *boxes], records)
    halved = find(maps.half().float(), records, whole)
    others = (halved != exact).any(dim=1)
    least = float(box_iou(halved, exact).min())
    yield ""
    yield (
        f"Maps kept in half precision: {int(others.sum())} of {len(records)} boxes differ; "
        f"least IoU with the box of the float32 map: {least:.3f}; {quality(halved, records)}."
    )


def read_maps(index: ImageIndex, records: Sequence[ImageRecord], backbone: str) -> Tensor:
    """Return the last stage's maps, (N, F, h, w)."""
    network = create_backbone(backbone)
    samples = EvalSet(records, root=index.root, size=SIZE, fit="squeeze")
    with torch.no_grad():
        return torch.cat(
            [network.forward_stages(each["image"], 1)[0] for each in eval_loader(samples, batch_size=BATCH)]
        )


def fit(maps: Tensor) -> Direction:
    statistics = DescriptorStatistics(maps.shape[1])
    for batch in torch.split(maps, 16):
        statistics.update_maps(batch)
    return principal_direction(statistics, sign_rule="border")


def find(maps: Tensor, records: Sequence[ImageRecord], direction: Direction) -> Tensor:
    boxes = []
    for batch, some in zip(
        torch.split(maps, 16), (records[first : first + 16] for first in range(0, len(records), 16)), strict=True
    ):
        scores = indicator_maps(batch, mean=direction.mean, vector=direction.vector).numpy()
        for indicator, record in zip(scores, some, strict=True):
            part = find_part(indicator, threshold=0.0)
            found = search_box(part, size_px=SIZE, width_px=record.width_px, height_px=record.height_px)
            boxes.append(found.box_xyxy)
    return torch.tensor(boxes)


def row(name: str, directions: Sequence[Direction], boxes: Sequence[Tensor], records: Sequence[ImageRecord]) -> str:
    """Return the line of one sample size; the first direction and boxes are those of all training photographs."""
    whole, exact = directions[0], boxes[0]
    drawn = slice(1, None) if len(directions) > 1 else slice(None)
    cosines = torch.stack([(each.vector @ whole.vector).clamp(-1, 1) for each in directions[drawn]])
    angles = cosines.acos() * (180 / math.pi)
    others = torch.stack([(each != exact).any(dim=1).double().mean() for each in boxes[drawn]]).mean()
    shown = ["–", "–"]
    if measured(exact, records):
        figures = zip(*(measured(each, records) for each in boxes[drawn]), strict=True)
        shown = [f"{sum(each) / len(each):.3f} ({min(each):.3f} to {max(each):.3f})" for each in figures]
    return f"| {name} | {angles.median():.2f}° | {angles.max():.2f}° | {shown[0]} | {shown[1]} | {100 * others:.1f} % |"


def measured(boxes: Tensor, records: Sequence[ImageRecord]) -> tuple[float, ...]:
    """Return CorLoc and mean IoU over the photographs whose true box is known; nothing where none is."""
    known = [place for place, record in enumerate(records) if record.true_box_xyxy is not None]
    if not known:
        return ()
    overlap = box_iou(boxes[known], torch.tensor([records[place].true_box_xyxy for place in known]))
    return float((overlap >= 0.5).double().mean()), float(overlap.mean())


def quality(boxes: Tensor, records: Sequence[ImageRecord]) -> str:
    figures = measured(boxes, records)
    return f"CorLoc {figures[0]:.3f}, mean IoU {figures[1]:.3f}" if figures else "no true boxes"


if __name__ == "__main__":
    main()
