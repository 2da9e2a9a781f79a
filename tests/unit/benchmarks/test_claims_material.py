from pathlib import Path

import pyarrow as pa
import pytest
import torch

from benchmarks.claims.ground import SHARED
from benchmarks.claims.material import derangement, place_boxes, spoil_prototypes
from benchmarks.claims.networks import public_name, weights_digests
from benchmarks.claims.rows import Words
from benchmarks.claims.supervised import train_supervised
from leadpp.config import build_config
from leadpp.config.reader import merge_settings
from leadpp.data.boxes import PhotographBoxes, read_boxes
from leadpp.data.index import open_data, read_index, write_index
from leadpp.engine.restore import load_student
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import DataError
from leadpp.functional.randomness import generator_for
from leadpp.io.artifacts import write_table
from leadpp.io.ledger import newest_checkpoint
from leadpp.models.backbone import create_backbone
from leadpp.text.prototypes import Prototypes, read_prototypes, unit_rows, write_prototypes
from tests.unit.tiny import save_tiny_network
from tools.draw_demo import draw_photos

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with the index of drawn photographs, true boxes included, and boxes that are all (1, 2, 9, 8)."""
    folder = tmp_path_factory.mktemp("ground")
    draw_photos(folder / "photos", train=8, test=2)
    index = open_data(folder / "photos", seed=0)
    write_index(folder / "index.parquet", index)
    records = index.usable()
    columns: dict[str, pa.Array] = {"path": pa.array([record.path for record in records])}
    for part in ("object", "crop"):
        for side, value in zip(("x0", "y0", "x1", "y1"), (1, 2, 9, 8), strict=True):
            columns[f"{part}_{side}"] = pa.array([value] * len(records), pa.int32())
    columns["fallback"] = pa.array([False] * len(records))
    columns["width_px"] = pa.array([record.width_px for record in records], pa.int32())
    columns["height_px"] = pa.array([record.height_px for record in records], pa.int32())
    write_table(folder / "boxes.parquet", pa.table(columns), kind="boxes", metadata={"policy": "square"})
    return folder


def boxes_of(ground: Path, run: Path) -> PhotographBoxes:
    return read_boxes(run / "boxes.parquet", read_index(ground / "index.parquet").usable())


def test_found_boxes_are_copied_and_put_back_after_others(ground: Path, tmp_path: Path) -> None:
    place_boxes(ground, tmp_path, boxes="whole")
    place_boxes(ground, tmp_path, boxes="found")
    assert (tmp_path / "boxes.parquet").read_bytes() == (ground / "boxes.parquet").read_bytes()


def test_whole_boxes_are_the_photographs(ground: Path, tmp_path: Path) -> None:
    place_boxes(ground, tmp_path, boxes="whole")
    sizes = [(0, 0, record.width_px, record.height_px) for record in read_index(ground / "index.parquet").usable()]
    found = boxes_of(ground, tmp_path)
    assert found.crop_xyxy.tolist() == found.object_xyxy.tolist() == [list(size) for size in sizes]


def test_true_boxes_become_squares_about_the_object(ground: Path, tmp_path: Path) -> None:
    place_boxes(ground, tmp_path, boxes="true")
    records = read_index(ground / "index.parquet").usable()
    found = boxes_of(ground, tmp_path)
    assert found.object_xyxy.tolist() == [list(record.true_box_xyxy or ()) for record in records]
    sides = found.crop_xyxy[:, 2:] - found.crop_xyxy[:, :2]
    drawn = found.object_xyxy[:, 2:] - found.object_xyxy[:, :2]
    assert (sides == drawn.amax(dim=1, keepdim=True)).all()


def test_true_boxes_that_nobody_knows_are_one_clear_line(ground: Path, tmp_path: Path) -> None:
    (tmp_path / "ground").mkdir()
    (tmp_path / "ground" / "boxes.parquet").write_bytes((ground / "boxes.parquet").read_bytes())
    (ground / "photos" / "bboxes.csv").rename(tmp_path / "bboxes.csv")
    write_index(tmp_path / "ground" / "index.parquet", open_data(ground / "photos", seed=0))
    (tmp_path / "bboxes.csv").rename(ground / "photos" / "bboxes.csv")
    with pytest.raises(DataError, match="no true box"):
        place_boxes(tmp_path / "ground", tmp_path, boxes="true")


@pytest.mark.parametrize("count", [2, 3, 7, 40])
def test_a_derangement_is_one_cycle_through_all(count: int) -> None:
    order = derangement(count, generator=generator_for(1, "test"))
    place, seen = 0, []
    for _ in range(count):
        seen.append(place)
        place = order[place]
    assert sorted(seen) == list(range(count))
    assert place == 0


def prototypes(folder: Path) -> tuple[Path, Prototypes]:
    vectors = unit_rows(torch.randn(len(NAMES), 64, generator=generator_for(2, "prototypes")))
    right = Prototypes(vectors=vectors, names=NAMES, texts=tuple((name, f"a {name}") for name in NAMES), model="clip")
    write_prototypes(folder / "prototypes.safetensors", right)
    return folder / "prototypes.safetensors", right


def test_wrong_words_give_every_class_the_vector_of_another(tmp_path: Path) -> None:
    path, right = prototypes(tmp_path)
    spoil_prototypes(path, words="wrong", seed=1)
    wrong = read_prototypes(path)
    assert wrong.names == NAMES
    matches = (wrong.vectors[:, None] == right.vectors[None]).all(dim=2)
    assert matches.sum(dim=0).tolist() == matches.sum(dim=1).tolist() == [1] * len(NAMES)
    assert not matches.diagonal().any()
    others = [NAMES[place] for place in matches.int().argmax(dim=1).tolist()]
    assert wrong.texts == tuple((name, f"a {name}") for name in others)


def test_random_words_know_nothing_and_depend_on_the_seed(tmp_path: Path) -> None:
    path, right = prototypes(tmp_path)
    spoil_prototypes(path, words="random", seed=1)
    first = read_prototypes(path)
    assert first.names == NAMES
    assert (first.vectors * right.vectors).sum(dim=1).abs().max() < 0.6
    spoil_prototypes(path, words="random", seed=2)
    assert not torch.equal(first.vectors, read_prototypes(path).vectors)


def test_other_words_change_nothing(tmp_path: Path) -> None:
    path, _ = prototypes(tmp_path)
    before = path.read_bytes()
    unspoilt: tuple[Words, ...] = ("descriptions", "names", "none")
    for words in unspoilt:
        spoil_prototypes(path, words=words, seed=1)
    assert path.read_bytes() == before


def test_the_upper_bound_learns_the_labels_and_can_be_evaluated(ground: Path, tmp_path: Path) -> None:
    backbone = save_tiny_network(tmp_path / "network")
    own = {
        "student": {"backbone": backbone},
        "localize": {"backbone": backbone},
        "input": {"size": 32},
        "train": {"epochs": 6, "batch_size": 8, "device": "cpu"},
    }
    config = build_config(merge_settings(SHARED, own))
    run = tmp_path / "run"
    run.mkdir()
    (run / "index.parquet").write_bytes((ground / "index.parquet").read_bytes())
    place_boxes(ground, run, boxes="whole")
    told = train_supervised(run=run, config=config, progress=SilentProgress())
    assert told["accuracy"] > 2 / 6  # of six classes; chance is a sixth
    path = newest_checkpoint(run / "checkpoints")
    assert path is not None
    student, metadata = load_student(path)
    assert metadata["class_count"] == 0
    first = create_backbone(backbone).state_dict()
    moved = [name for name, weight in student.backbone.state_dict().items() if not torch.equal(weight, first[name])]
    assert any(name.endswith("weight") for name in moved)


def test_networks_are_named_without_folders_and_known_by_their_weights(tmp_path: Path) -> None:
    backbone = save_tiny_network(tmp_path / "network")
    own = {"student": {"backbone": backbone}, "localize": {"backbone": backbone}, "teacher": {"use": "no"}}
    digests = weights_digests(build_config(own))
    assert list(digests) == ["local-dir:network"]
    assert len(digests["local-dir:network"]) == 64
    assert public_name("builtin:world-clip") == "builtin:world-clip"
    assert public_name("ViT-B-16") == "ViT-B-16"
