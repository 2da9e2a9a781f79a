"""A tiny run folder as the stages would leave it: three classes, one of them with a hostile name."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from leadpp.config.tree import Config, InputConfig, ReportConfig
from leadpp.data.index import ImageIndex, ImageRecord
from leadpp.engine.features import save_features, save_order
from leadpp.io.artifacts import write_json, write_table, write_tensors
from leadpp.text.prototypes import Prototypes, write_prototypes

EVIL = '</title><script>alert("x")</script><img src=x onerror=alert(1)>'
CLASSES = ("ape", "bee & wasp", EVIL)
EACH = 4
WIDTH, HEIGHT = 40, 30
RUN_HASH = "0123456789abcdef" * 2

CONFIG = Config(
    input=InputConfig(size=16), report=ReportConfig(samples=4, queries=3, worst_classes=2, projection="pca")
)


def make_index(root: Path, *, labelled: bool = True) -> ImageIndex:
    """Draw the photographs, and return their index."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(2 * EACH * len(CLASSES)):
        path = f"{number:02}.png"
        noise = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
        noise.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(root / path)
        record = ImageRecord(
            path=path,
            label=CLASSES[number % len(CLASSES)] if labelled else None,
            split="train" if number < EACH * len(CLASSES) else "test",
            width_px=WIDTH,
            height_px=HEIGHT,
            true_box_xyxy=(10.0, 5.0, 30.0, 25.0) if labelled else None,
            checksum=path,
        )
        records.append(record)
    classes = CLASSES if labelled else ()
    return ImageIndex(root=root, source="folder", classes=classes, records=tuple(records), split_origin="given")


def write_boxes(run: Path, index: ImageIndex) -> None:
    """Boxes that are true, but for the first photograph's, and maps of all photographs."""
    count = len(index.records)
    box = {"x0": 10, "y0": 5, "x1": 30, "y1": 25}
    columns: dict[str, list[object]] = {"path": [record.path for record in index.records]}
    for side, value in box.items():
        columns[f"object_{side}"] = [{"x0": 0, "y0": 0, "x1": 10, "y1": 5}[side], *[value] * (count - 1)]
        columns[f"crop_{side}"] = [value for _ in range(count)]
    columns["fallback"] = [place == 0 for place in range(count)]
    columns["width_px"], columns["height_px"] = [WIDTH for _ in range(count)], [HEIGHT for _ in range(count)]
    write_table(run / "boxes.parquet", pa.table(columns), kind="boxes")
    maps = torch.linspace(-1, 1, 12).reshape(1, 3, 4).repeat(count, 1, 1)
    metadata = {"paths": columns["path"]}
    write_tensors(run / "indicators.safetensors", {"indicators": maps}, kind="indicators", metadata=metadata)


def features_of(classes: list[int], *, width: int = 6) -> Tensor:
    """Unit vectors near the axis of their class; within a class no two are alike."""
    rows = torch.nn.functional.one_hot(torch.tensor(classes), width).float()
    drift = torch.arange(len(classes)).float()[:, None] * torch.tensor([0.0, 0.0, 0.0, 0.01, 0.0, 0.0])[:width]
    return torch.nn.functional.normalize(rows + drift, dim=1)


def write_embeddings(run: Path, index: ImageIndex) -> None:
    """Embeddings of student, frozen network and teacher; the student takes the first test photograph for a bee."""
    for split in ("train", "test"):
        records = [record for record in index.records if record.split == split]
        labels = [record.label for record in records]
        true = [index.class_index(str(label)) for label in labels]
        save_order(run / "embeddings" / f"{split}.parquet", paths=[record.path for record in records], labels=labels)
        seen = [1, *true[1:]] if split == "test" else true
        for set_ in ("whole", "crop"):
            save_features(run / "embeddings" / f"student-gap-{set_}-{split}.npy", features_of(seen))
            save_features(run / "embeddings" / f"frozen-gap-{set_}-{split}.npy", features_of(true))
            save_features(run / "embeddings" / f"teacher-embedding-{set_}-{split}.npy", features_of(true))


def write_evaluation(run: Path) -> None:
    """Rows of which the student's are better at kNN and worse at mAP than the frozen network's."""
    rows = []
    for encoder, feature, knn, mean_precision in (
        ("student", "gap", 0.875, 0.5),
        ("frozen", "gap", 0.75, 0.625),
        ("teacher", "embedding", 0.25, 0.125),
    ):
        for set_ in ("whole", "crop"):
            protocol = {"view": "center-crop", "pictures": set_, "knn": {"k": 10}}
            row = {"encoder": encoder, "feature": feature, "set": set_, "knn": knn, "map": mean_precision}
            extra = {"naming_teacher": 0.333} if encoder != "frozen" else {}
            extra |= {"naming_student": 0.444} if encoder == "student" else {}
            rest = {"run": RUN_HASH, "knn200": 0.1, "counts": {"queries": 12}, "protocol": protocol}
            rows.append({**row, **extra, **rest})
    write_json(run / "evaluation.json", {"run": RUN_HASH, "rows": rows, "names": names_told()}, kind="evaluation")


def names_told() -> dict[str, object]:
    """Say of names what an evaluation says: the student's on crops, half of them right; with hostile words."""
    calibration = {"temperatures": [0.04], "how": f"fitted to {EVIL}", "fitted": True}
    bins = {"bins": 2, "counts": [4, 8], "confidence": [0.25, 0.75], "accuracy": [0.5, 0.5]}
    figures = {"naming_accuracy": 0.5, "naming_ece": 0.25, "semantic_accuracy": 0.75, "semantic_chance": 0.5}
    one = {"encoder": "student", "set": "crop", "calibration": calibration, "figures": figures, "confidence": 0.6}
    coverage = {"share": [0.5, 1.0], "accuracy": [1.0, 0.5]}
    confusions = [{"true": EVIL, "given": "ape", "count": 3, "of": 4}]
    row = one | {"reliability": bins, "coverage": coverage, "confusions": confusions}
    return {"knowledge": {"names": f"true names {EVIL}"}, "promise": "It says little.", "rows": [row]}


def write_rest(run: Path) -> None:
    """Prototypes, log, stages and environment."""
    vectors = torch.eye(6)[: len(CLASSES)]
    made = Prototypes(
        vectors=vectors, names=CLASSES, texts=(("big",), (EVIL, "small"), ("odd",)), model="tiny", made="by hand"
    )
    write_prototypes(run / "prototypes.safetensors", made)
    lines = [
        {"event": "step", "epoch": 1, "step": 1, "loss": 5.0, "distillation": 1.5, "learning_rate": 0.1},
        {"event": "step", "epoch": 1, "step": 2, "loss": 4.0, "distillation": None, "learning_rate": 0.1},
        {"event": "epoch", "epoch": 1, "step": 2, "loss": 4.5, "images_per_s": 9.0, "seconds": 3.0},
        {"event": "monitor", "epoch": 1, "step": 2, "knn": 0.5},
    ]
    torn = '{"event": "step", "epo'
    (run / "metrics.jsonl").write_text("\n".join([*map(json.dumps, lines), torn]), encoding="utf-8")
    localized = {
        "corloc": 0.9,
        "mean_iou": 0.7,
        "crop_mean_iou": 0.6,
        "baselines": {"whole": {"corloc": 0.25, "mean_iou": 0.333}},
    }
    stages = {
        "localize": {"seconds": 30.0, "finished": "2026-01-02T03:04:05+00:00", "summary": localized},
        "train": {
            "seconds": 3690.0,
            "finished": "2026-01-02T04:05:35+00:00",
            "summary": {"epochs": 1, "images": 12, "seconds": 3600.5, "images_per_s": 7.5, "device": EVIL},
        },
        "evaluate": {"seconds": 9.0, "finished": "2026-01-02T04:05:50+00:00", "fingerprint": RUN_HASH, "summary": []},
        "report": {"seconds": 9.0, "finished": "2026-01-02T04:06:00+00:00", "summary": {}},
    }
    write_json(run / "stages.json", {"data": {}, "stages": stages}, kind="stages")
    environment = {"leadpp": "0", "packages": {"torch": "2"}, "cuda": [], "command": ["leadpp", EVIL]}
    write_json(run / "env.json", environment, kind="environment")


def write_run(run: Path, index: ImageIndex) -> None:
    """Write everything."""
    run.mkdir()
    write_boxes(run, index)
    write_embeddings(run, index)
    write_evaluation(run)
    write_rest(run)
