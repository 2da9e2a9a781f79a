"""A tiny run folder of photographs without labels: two clusters, the larger one of bees by its names."""

from pathlib import Path

import pyarrow as pa

from leadpp.data.index import ImageIndex
from leadpp.engine.features import save_features, save_order
from leadpp.io.artifacts import write_table
from tests.unit.stages.report.world import EVIL, features_of, write_boxes, write_rest

LARGE = 14


def write_unlabelled(run: Path, index: ImageIndex, *, named: bool = True) -> None:
    """Write what the stages leave; cluster 1, the first photographs, has an axis of its own."""
    run.mkdir()
    write_boxes(run, index)
    write_rest(run)
    axes = [0 if place < LARGE else 1 for place in range(len(index.records))]
    features = features_of(axes)
    for split in ("train", "test"):
        places = [place for place, record in enumerate(index.records) if record.split == split]
        paths = [index.records[place].path for place in places]
        save_order(run / "embeddings" / f"{split}.parquet", paths=paths, labels=[None] * len(paths))
        for name in ("student-gap-whole", "teacher-embedding-whole"):
            save_features(run / "embeddings" / f"{name}-{split}.npy", features[places])
    columns: dict[str, list[object]] = {
        "path": [record.path for record in index.records],
        "split": [record.split for record in index.records],
        "cluster": [axis + 1 for axis in axes],
    }
    if named:
        for who in ("student", "teacher"):
            columns[f"name_{who}"] = [EVIL if axis else "bee & wasp" for axis in axes]
            columns[f"score_{who}"] = [0.75 for _ in axes]
        columns["name_student"][0] = "ape"
    write_table(run / "photographs.parquet", pa.table(columns), kind="photographs")
