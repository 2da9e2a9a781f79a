"""The embed stage on a drawn world without labels: which files, whose clusters and names, and what is refused."""

import csv
import dataclasses
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from leadpp.engine.features import load_features
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import DataError
from leadpp.io.artifacts import read_table
from leadpp.stages.embed import embed
from leadpp.text.prototypes import read_prototypes
from tests.unit.stages.evaluation_world import (
    COLOURS,
    TEST,
    TRAIN,
    World,
    draw_world,
    save_prototypes,
    save_student,
)

COUNT = len(COLOURS) * (TRAIN + TEST)


@pytest.fixture(scope="module")
def whole_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = draw_world(tmp_path_factory.mktemp("world"))
    records = tuple(dataclasses.replace(record, label=None) for record in world.index.records)
    return dataclasses.replace(world, index=dataclasses.replace(world.index, classes=(), records=records))


@pytest.fixture
def world(whole_world: World, tmp_path: Path) -> World:
    """The same world with a run folder of one's own, without prototypes."""
    shutil.copytree(whole_world.run, tmp_path / "run")
    return dataclasses.replace(whole_world, run=tmp_path / "run")


def run_stage(world: World, *, use: Literal["auto", "no"] = "auto") -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """Return the result, the rows of ``photographs.parquet``, and the notes."""
    progress = SilentProgress()
    config = dataclasses.replace(world.config, teacher=dataclasses.replace(world.config.teacher, use=use))
    result = embed(index=world.index, run=world.run, config=config, progress=progress)
    table, _ = read_table(world.run / "photographs.parquet", kind="photographs")
    return result, table.to_pylist(), "\n".join(progress.notes)


def test_photographs_have_clusters_and_features_in_one_order(world: World) -> None:
    (world.run / "embeddings").mkdir()
    (world.run / "embeddings" / "frozen-gap-whole-test.npy").write_bytes(b"of another day")
    result, rows, _ = run_stage(world)
    assert (result["images"], result["sets"], result["named"]) == (COUNT, ["whole", "crop"], False)
    assert (result["clusters"], result["clusters_by"]) == (4, "the root of half the photographs, from 2 to 20")
    assert [(row["path"], row["split"]) for row in rows] == [(r.path, r.split) for r in world.index.records]
    assert list(rows[0]) == ["path", "split", "cluster"]
    sizes = Counter(row["cluster"] for row in rows)
    assert [sizes[number] for number in (1, 2, 3, 4)] == sorted(sizes.values(), reverse=True)
    assert len(sizes) > 1
    folder = world.run / "embeddings"
    assert {path.name for path in folder.iterdir()} == {"train.parquet", "test.parquet"} | {
        f"student-{feature}-{which}-{split}.npy"
        for feature in ("gap", "attention", "embedding")
        for which in ("whole", "crop")
        for split in ("train", "test")
    }
    for split in ("train", "test"):
        table, _ = read_table(folder / f"{split}.parquet", kind="embeddings")
        assert table["path"].to_pylist() == [row["path"] for row in rows if row["split"] == split]
        assert set(table["label"].to_pylist()) == {None}


def test_the_largest_cluster_is_number_one(world: World) -> None:
    few = tuple(record for record in world.index.records if "blue" not in record.path or record.path.endswith("0.png"))
    _, rows, _ = run_stage(dataclasses.replace(world, index=dataclasses.replace(world.index, records=few)))
    sizes = Counter(row["cluster"] for row in rows)
    in_order = [sizes[number] for number in range(1, len(sizes) + 1)]
    assert in_order == sorted(in_order, reverse=True)
    assert in_order[0] > in_order[-1] > 0


def test_clusters_are_those_of_the_first_set(world: World) -> None:
    _, rows, _ = run_stage(world)
    features = torch.cat(
        [load_features(world.run / "embeddings" / f"student-gap-whole-{s}.npy") for s in ("train", "test")]
    )
    unit = torch.nn.functional.normalize(features, dim=1)
    numbers = torch.tensor([row["cluster"] for row in rows])
    centres = torch.stack([unit[numbers == number].mean(dim=0) for number in sorted(set(numbers.tolist()))])
    nearest = (unit @ torch.nn.functional.normalize(centres, dim=1).T).argmax(dim=1) + 1
    assert (nearest == numbers).all(), "every photograph is nearest to the direction of its own cluster"


def test_prototypes_give_names_scores_and_entropy(world: World) -> None:
    save_prototypes(world.run, names=("yellow", "red", "green", "blue"))
    crops = dataclasses.replace(
        world,
        config=dataclasses.replace(world.config, evaluate=dataclasses.replace(world.config.evaluate, sets=("crop",))),
    )
    result, rows, _ = run_stage(crops)
    assert (result["clusters"], result["clusters_by"], result["named"]) == (4, "one a prototype", True)
    assert [row["name_teacher"] for row in rows] == [row["path"].split("/")[1] for row in rows]
    vectors = read_prototypes(world.run / "prototypes.safetensors").vectors
    for encoder in ("student", "teacher"):
        seen = torch.cat(
            [load_features(world.run / "embeddings" / f"{encoder}-embedding-crop-{s}.npy") for s in ("train", "test")]
        )
        probs = (seen @ vectors.T / world.config.loss.distillation_temperature).softmax(dim=1)
        assert [row[f"score_{encoder}"] for row in rows] == pytest.approx(probs.amax(dim=1).tolist(), abs=1e-5)
    entropy = -(probs * probs.clamp(min=1e-30).log()).sum(dim=1) / torch.tensor(4.0).log()
    assert [row["entropy_teacher"] for row in rows] == pytest.approx(entropy.tolist(), abs=1e-5)
    with (world.run / "photographs.csv").open(newline="", encoding="utf-8") as stream:
        written = list(csv.DictReader(stream))
    assert [(row["path"], row["name_student"], int(row["cluster"])) for row in written] == [
        (row["path"], row["name_student"], row["cluster"]) for row in rows
    ]
    assert float(written[0]["score_teacher"]) == pytest.approx(rows[0]["score_teacher"], abs=1e-4)


def test_a_name_that_a_spreadsheet_would_run_is_guarded_in_the_csv_alone(world: World) -> None:
    save_prototypes(world.run, names=("=yellow", "=red", "=green", "=blue"))
    _, rows, _ = run_stage(world)
    assert {row["name_student"][0] for row in rows} == {"="}
    with (world.run / "photographs.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["name_student"] for row in csv.DictReader(stream)] == [f"'{row['name_student']}" for row in rows]


def test_prototypes_without_names_give_entropy_alone(world: World) -> None:
    save_prototypes(world.run, names=None)
    result, rows, notes = run_stage(world)
    assert "hold no class names" in notes
    assert list(rows[0]) == ["path", "split", "cluster", "entropy_teacher"]
    assert not result["named"]


def test_a_student_that_learnt_without_prototypes_or_of_another_width_names_nothing(world: World) -> None:
    save_prototypes(world.run)
    save_student(world.run, world.config.student.backbone, class_count=0)
    _, rows, _ = run_stage(world)
    assert [name for name in rows[0] if name.startswith("name_")] == ["name_teacher"]
    save_student(world.run, world.config.student.backbone, embedding_dim=5)
    _, rows, notes = run_stage(world)
    assert [name for name in rows[0] if name.startswith("name_")] == ["name_teacher"]
    assert "student's embedding is 5 wide and the prototypes are 3" in notes


def test_without_a_teacher_prototypes_are_not_looked_at(world: World) -> None:
    save_prototypes(world.run)
    result, rows, _ = run_stage(world, use="no")
    assert (list(rows[0]), result["named"]) == (["path", "split", "cluster"], False)
    assert "prototype" not in result["clusters_by"]


def test_few_photographs_are_a_cluster_each_and_a_split_without_any_has_no_files(world: World) -> None:
    one = dataclasses.replace(world, index=dataclasses.replace(world.index, records=world.index.records[:1]))
    result, rows, _ = run_stage(one)
    assert (result["clusters"], result["clusters_by"], rows[0]["cluster"]) == (1, "one a photograph", 1)
    assert not list((world.run / "embeddings").glob("*test*"))


def test_without_boxes_whole_photographs_are_embedded(world: World) -> None:
    (world.run / "boxes.parquet").unlink()
    result, _, notes = run_stage(world)
    assert result["sets"] == ["whole"]
    assert "no boxes.parquet" in notes


def test_no_student_or_no_photograph_is_refused(world: World) -> None:
    shutil.rmtree(world.run / "checkpoints")
    with pytest.raises(DataError, match=r"no checkpoint.*run train first"):
        embed(index=world.index, run=world.run, config=world.config)
    empty = dataclasses.replace(world.index, records=())
    with pytest.raises(DataError, match="no photograph can be read"):
        embed(index=empty, run=world.run, config=world.config)
