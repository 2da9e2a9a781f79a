"""The evaluate stage on a drawn world: which rows, whose figures, what protocol, and what is refused."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from leadpp.config.tree import Config
from leadpp.data.boxes import read_boxes
from leadpp.data.index import ImageIndex
from leadpp.data.views import EvalSet, ProbeSet
from leadpp.engine.features import FeatureBank, load_features
from leadpp.engine.measures import MeasureSettings, evaluate_features
from leadpp.engine.probe import ProbeSettings
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import ArtifactError, DataError, LeadppError, TextError
from leadpp.io.artifacts import read_json, read_table
from leadpp.models.backbone import create_backbone
from leadpp.stages import evaluate as stage
from leadpp.stages.evaluate import evaluate
from leadpp.stages.report import report
from tests.unit.stages.evaluation_world import (
    COLOURS,
    HERE,
    TEST,
    TRAIN,
    World,
    draw_world,
    hue,
    save_prototypes,
    save_student,
)

ORDER = [
    *(("student", feature, which) for feature in ("gap", "attention") for which in ("whole", "crop")),
    *(("frozen", "gap", which) for which in ("whole", "crop")),
    *(("teacher", "embedding", which) for which in ("whole", "crop")),
]


@pytest.fixture(scope="module")
def whole_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = draw_world(tmp_path_factory.mktemp("world"))
    save_prototypes(world.run)
    return world


@pytest.fixture
def world(whole_world: World, tmp_path: Path) -> World:
    """The same world with a run folder of one's own."""
    shutil.copytree(whole_world.run, tmp_path / "run")
    return dataclasses.replace(whole_world, run=tmp_path / "run")


@pytest.fixture(scope="module")
def finished(whole_world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, list[dict[str, Any]]]:
    run = tmp_path_factory.mktemp("finished") / "run"
    shutil.copytree(whole_world.run, run)
    world = dataclasses.replace(whole_world, run=run)
    return world, evaluate(index=world.index, run=run, config=world.config)


def settings(world: World, **changes: Any) -> Config:  # noqa: ANN401 - fields of any section
    """The world's settings with some fields of evaluate, teacher or text changed."""
    config = world.config
    for name, value in changes.items():
        section, _, key = name.partition("__")
        config = dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **{key: value})})
    return config


def quick(world: World, **changes: Any) -> Config:  # noqa: ANN401 - fields of any section
    return settings(world, evaluate__sets=("whole",), evaluate__probe_epochs=1, **changes)


def run_stage(world: World, config: Config, *, index: ImageIndex | None = None) -> tuple[list[dict[str, Any]], str]:
    progress = SilentProgress()
    rows = evaluate(index=index or world.index, run=world.run, config=config, progress=progress)
    return rows, "\n".join(progress.notes)


def row_of(rows: list[dict[str, Any]], encoder: str, feature: str, which: str) -> dict[str, Any]:
    (row,) = [row for row in rows if (row["encoder"], row["feature"], row["set"]) == (encoder, feature, which)]
    return row


def test_there_is_a_row_for_each_encoder_feature_and_set(finished: tuple[World, list[dict[str, Any]]]) -> None:
    world, rows = finished
    assert [(row["encoder"], row["feature"], row["set"]) for row in rows] == ORDER
    wanted = {"knn", "knn200", "probe_last", "probe_heldout", "probe_best_test", "rank1", "rank5", "map", "map_at_r"}
    wanted |= {"recall1", "recall2", "recall4", "recall8", "purity10", "cluster_accuracy", "nmi", "ari"}
    wanted |= {"cluster_accuracy_spherical", "nmi_spherical", "ari_spherical"}
    assert all(0 <= row[name] <= 1 for row in rows for name in wanted - {"ari", "ari_spherical"})
    assert all(wanted <= set(row) for row in rows)
    stored = read_json(world.run / "evaluation.json", kind="evaluation")
    assert (set(stored), stored["rows"]) == ({"rows", "names"}, rows)


def test_figures_are_those_of_the_saved_embeddings(finished: tuple[World, list[dict[str, Any]]]) -> None:
    world, rows = finished
    folder = world.run / "embeddings"
    labels = {split: read_table(folder / f"{split}.parquet", kind="embeddings")[0] for split in ("train", "test")}
    for encoder, feature, which in ORDER:
        train, test = (load_features(folder / f"{encoder}-{feature}-{which}-{split}.npy") for split in labels)
        neighbours = KNeighborsClassifier(
            10, metric="cosine", algorithm="brute", weights=lambda distances: np.exp((1 - distances) / 0.07)
        ).fit(train.numpy(), labels["train"]["label"].to_pylist())
        expected = neighbours.score(test.numpy(), labels["test"]["label"].to_pylist())
        assert row_of(rows, encoder, feature, which)["knn"] == pytest.approx(expected)
    assert labels["test"]["path"].to_pylist() == [record.path for record in world.index.usable("test")]
    assert (folder / "student-embedding-crop-test.npy").exists()


def test_frozen_is_the_network_that_the_student_began_as(finished: tuple[World, list[dict[str, Any]]]) -> None:
    world, _ = finished
    backbone = create_backbone(world.config.student.backbone).eval()
    samples = EvalSet(world.index.usable("test"), root=world.index.root, size=32, fit="center-crop")
    images = torch.stack([samples[number]["image"] for number in range(len(samples))])
    with torch.no_grad():
        expected = backbone(images).mean(dim=(2, 3))
    folder = world.run / "embeddings"
    torch.testing.assert_close(load_features(folder / "frozen-gap-whole-test.npy"), expected, rtol=1e-4, atol=1e-4)
    student = load_features(folder / "student-gap-whole-test.npy")
    assert not torch.allclose(student, expected, rtol=1e-2)


def test_crops_show_the_object(finished: tuple[World, list[dict[str, Any]]]) -> None:
    _, rows = finished
    whole, crop = (row_of(rows, "teacher", "embedding", which) for which in ("whole", "crop"))
    assert crop["naming_teacher"] == crop["knn"] == crop["rank1"] == crop["cluster_accuracy"] == 1.0
    assert whole["naming_teacher"] < 1.0


def test_naming_goes_by_class_names_whatever_their_order(finished: tuple[World, list[dict[str, Any]]]) -> None:
    world, rows = finished
    prototypes = hue(torch.tensor([COLOURS[name] for name in world.index.classes]).double()[:, :, None, None]).numpy()
    truth = np.repeat(np.arange(4), TEST)
    for which in ("whole", "crop"):
        embeddings = load_features(world.run / "embeddings" / f"student-embedding-{which}-test.npy").numpy()
        expected = float(((embeddings @ prototypes.T).argmax(axis=1) == truth).mean())
        for feature in ("gap", "attention"):
            row = row_of(rows, "student", feature, which)
            assert row["naming_student"] == pytest.approx(expected)
            assert row["naming_teacher"] == row_of(rows, "teacher", "embedding", which)["naming_teacher"]
        assert not {"naming_student", "naming_teacher"} & set(row_of(rows, "frozen", "gap", which))


def test_each_row_says_how_it_was_made(finished: tuple[World, list[dict[str, Any]]]) -> None:
    world, rows = finished
    row = row_of(rows, "student", "attention", "crop")
    protocol = row["protocol"]
    assert protocol["data"] == {"source": "folder", "digest": world.index.digest(), "classes": 4}
    assert protocol["split"] == "given"
    assert "crop boxes" in protocol["set"]
    assert (protocol["view"], protocol["size"], protocol["seed"]) == ("center-crop", 32, 123)
    assert (protocol["checkpoint"], protocol["epoch"]) == ("checkpoints/epoch-0007.safetensors", 7)
    assert protocol["encoder"] == world.config.student.backbone
    assert "attention" in protocol["feature"]
    assert (protocol["probe"]["views"], protocol["probe"]["epochs"]) == (2, 3)
    assert protocol["knn200"] == {"k": 16, "temperature": 0.1}
    assert row["counts"] == {
        "test": 12,
        "classes": 4,
        "queries": 12,
        "queries_left_out": 0,
        "train": 16,
        "test_also_in_train": 0,
    }
    assert row_of(rows, "teacher", "embedding", "whole")["protocol"]["encoder"] == "colour"


def spy(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Note what evaluate_features is called with."""
    calls: list[dict[str, Any]] = []

    def record(train: FeatureBank, test: FeatureBank, **others: Any) -> dict[str, Any]:  # noqa: ANN401 - as it is
        calls.append({"train": train, "test": test, **others})
        return evaluate_features(train, test, **others)

    monkeypatch.setattr(stage, "evaluate_features", record)
    return calls


def test_the_probe_learns_from_the_numbered_views_of_the_set(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spy(monkeypatch)
    config = settings(world, evaluate__encoders=("teacher",))
    run_stage(world, dataclasses.replace(config, seed=9))
    records = world.index.usable("train")
    crops = read_boxes(world.run / "boxes.parquet", records).crop_xyxy
    for call, boxes in zip(calls, (None, crops), strict=True):
        for number, features in enumerate(call["train_views"]):
            samples = ProbeSet(records, root=world.index.root, size=32, seed=9, view=number, crop_boxes_xyxy=boxes)
            torch.testing.assert_close(
                features, hue(torch.stack([samples[place]["image"] for place in range(len(samples))]))
            )
        assert len(call["train_views"]) == 2
        assert call["train"].labels.tolist() == [place for place in range(4) for _ in range(TRAIN)]


def test_every_setting_arrives(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spy(monkeypatch)
    changes = {
        "probe_rates": (7.0, 2.0),
        "probe_decays": (0.5,),
        "probe_batch_size": 5,
        "heldout": 0.4,
        "chunk": 3,
        "kmeans_restarts": 1,
    }
    config = quick(world, evaluate__encoders=("teacher",), **{f"evaluate__{key}": changes[key] for key in changes})
    run_stage(world, dataclasses.replace(config, seed=4))
    assert calls[0]["settings"] == MeasureSettings(
        seed=4,
        probe=ProbeSettings(epochs=1, rates=(7.0, 2.0), decays=(0.5,), batch_size=5, heldout=0.4),
        chunk=3,
        kmeans_restarts=1,
        device=None,
    )


def test_evaluation_is_repeatable(world: World) -> None:
    config = quick(world, evaluate__encoders=("student",))
    assert run_stage(world, config)[0] == run_stage(world, config)[0]


def test_no_more_views_are_made_than_the_probe_has_epochs(world: World) -> None:
    rows, _ = run_stage(world, quick(world, evaluate__encoders=("frozen",), evaluate__probe_views=50))
    assert rows[0]["protocol"]["probe"]["views"] == 1


def test_the_view_is_the_one_asked_for(world: World) -> None:
    features = []
    for view in ("center-crop", "squeeze"):
        run_stage(world, quick(world, evaluate__encoders=("frozen",), evaluate__view=view))
        features.append(load_features(world.run / "embeddings" / "frozen-gap-whole-test.npy"))
    assert not torch.allclose(features[0], features[1])


def test_features_of_an_earlier_evaluation_are_removed(world: World) -> None:
    run_stage(world, quick(world, evaluate__encoders=("frozen", "teacher")))
    run_stage(world, quick(world, evaluate__encoders=("frozen",)))
    assert sorted(path.name for path in (world.run / "embeddings").iterdir()) == [
        "frozen-gap-whole-test.npy",
        "frozen-gap-whole-train.npy",
        "test.parquet",
        "train.parquet",
    ]


def test_old_features_that_stay_are_an_error(world: World) -> None:
    (world.run / "embeddings" / "old.npy").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="cannot remove old features"):
        run_stage(world, quick(world))


def test_a_run_without_training_has_rows_of_the_others(world: World) -> None:
    shutil.rmtree(world.run / "checkpoints")
    rows, notes = run_stage(world, quick(world))
    assert [row["encoder"] for row in rows] == ["frozen", "teacher"]
    assert "no checkpoint in the run" in notes


def test_a_run_without_boxes_is_evaluated_on_whole_photographs(world: World) -> None:
    (world.run / "boxes.parquet").unlink()
    rows, notes = run_stage(world, settings(world, evaluate__encoders=("teacher",), evaluate__probe_epochs=1))
    assert [row["set"] for row in rows] == ["whole"]
    assert "no boxes.parquet" in notes


@pytest.mark.parametrize("use", ["no", "auto"])
def test_a_run_without_teaching_has_neither_teacher_nor_naming(world: World, use: str) -> None:
    if use == "auto":
        (world.run / "prototypes.safetensors").unlink()
    rows, _ = run_stage(world, quick(world, teacher__use=use))
    assert [row["encoder"] for row in rows] == ["student", "student", "frozen"]
    assert not any(name.startswith("naming") for row in rows for name in row)


def test_a_teacher_that_must_be_used_is_measured_without_prototypes(world: World) -> None:
    (world.run / "prototypes.safetensors").unlink()
    rows, _ = run_stage(world, quick(world, teacher__use="yes", evaluate__encoders=("teacher",)))
    assert rows[0]["knn"] > 0
    assert "naming_teacher" not in rows[0]


def nameless(world: World) -> Config:
    save_prototypes(world.run, names=None)
    return quick(world)


def free(world: World) -> Config:
    return quick(world, text__match="free")


@pytest.mark.parametrize("change", [nameless, free])
def test_naming_is_absent_where_names_are_unknown(world: World, change: Callable[[World], Config]) -> None:
    rows, notes = run_stage(world, change(world))
    assert [row["encoder"] for row in rows] == ["student", "student", "frozen", "teacher"]
    assert not {"naming_student", "naming_teacher", "naming_top5", "naming_ece"} & {
        name for row in rows for name in row
    }
    assert ("hold no class names" in notes) == (change is nameless)
    names = read_json(world.run / "evaluation.json", kind="evaluation")["names"]
    assert (names["rows"] == []) == (names["knowledge"]["names"] == "none") == (change is nameless)
    assert names["knowledge"]["texts"] == "unknown"


def test_without_prototypes_clusters_alone_are_told_something(world: World) -> None:
    (world.run / "prototypes.safetensors").unlink()
    run_stage(world, quick(world))
    names = read_json(world.run / "evaluation.json", kind="evaluation")["names"]
    assert (names["rows"], names["promise"]) == ([], "")
    assert (names["knowledge"]["names"], names["knowledge"]["texts"]) == ("none", "none")
    assert names["knowledge"]["clusters"].startswith("the true count of classes")
    page = report(index=world.index, run=world.run, config=world.config)["report"]
    words = Path(page).read_text(encoding="utf-8")
    assert "No names were measured" in words
    assert "the true count of classes" in words


def test_names_of_a_vocabulary_of_its_own_are_measured_by_clusters_and_by_meaning(world: World) -> None:
    rows, _ = run_stage(world, quick(world, text__match="free"))
    teacher = row_of(rows, "teacher", "embedding", "whole")
    assert {"naming_cluster_accuracy", "semantic_accuracy", "semantic_chance"} <= set(teacher)
    names = read_json(world.run / "evaluation.json", kind="evaluation")["names"]
    assert names["knowledge"]["names"].startswith("a list of its own: 4 names")
    assert all("reliability" not in row for row in names["rows"])


def test_names_come_with_what_went_into_them(finished: tuple[World, list[dict[str, Any]]]) -> None:
    world, rows = finished
    names = read_json(world.run / "evaluation.json", kind="evaluation")["names"]
    assert names["knowledge"]["names"] == "true names: one for each of the 4 classes of the data, and no other"
    assert names["knowledge"]["clusters"].startswith("the true count")
    assert [(row["encoder"], row["set"]) for row in names["rows"]] == [
        (who, which) for which in ("whole", "crop") for who in ("student", "teacher")
    ]
    crop = names["rows"][3]
    assert crop["calibration"]["temperatures"] == [world.config.loss.distillation_temperature]
    assert (crop["confusions"], sum(crop["reliability"]["counts"])) == ([], TEST * len(COLOURS))
    assert crop["figures"]["semantic_accuracy"] == pytest.approx(1)
    assert row_of(rows, "teacher", "embedding", "crop")["naming_at_50"] == crop["coverage"]["accuracy"][49] == 1.0
    kept = read_json(world.run / "naming.json", kind="naming")["sets"]
    assert kept["crop"] == names["rows"][2]["calibration"]
    assert kept["crop"]["fitted"]
    assert kept["crop"]["reached"] == pytest.approx(kept["crop"]["targets"])
    assert kept["crop"]["images"] == TRAIN * len(COLOURS)


def test_an_untaught_student_does_not_name(world: World) -> None:
    save_student(world.run, world.config.student.backbone, class_count=0)
    rows, _ = run_stage(world, quick(world))
    assert "naming_student" not in rows[0]
    assert "naming_teacher" in rows[0]


def test_prototypes_of_another_width_leave_naming_out(world: World) -> None:
    save_student(world.run, world.config.student.backbone, embedding_dim=6)
    rows, notes = run_stage(world, quick(world, evaluate__encoders=("student",)))
    assert "naming_student" not in rows[0]
    assert "embedding is 6 wide and the prototypes are 3" in notes


def test_names_that_do_not_match_are_an_error(world: World) -> None:
    save_prototypes(world.run, names=("yelow", "red", "green", "blue"))
    with pytest.raises(TextError, match="'yelow'"):
        run_stage(world, quick(world))


def test_photographs_without_a_label_are_left_out_and_counted(world: World) -> None:
    extra = dataclasses.replace(world.index.usable("test")[0], label=None)
    index = dataclasses.replace(world.index, records=(*world.index.records, extra))
    rows, notes = run_stage(world, quick(world, evaluate__encoders=("frozen",)), index=index)
    assert rows[0]["counts"]["test"] == 12
    assert "1 test photographs without a label" in notes


def unlabelled(index: ImageIndex) -> ImageIndex:
    records = tuple(dataclasses.replace(record, label=None) for record in index.records)
    return dataclasses.replace(index, classes=(), records=records)


def without(split: str) -> Callable[[ImageIndex], ImageIndex]:
    def cut(index: ImageIndex) -> ImageIndex:
        return dataclasses.replace(index, records=tuple(r for r in index.records if r.split != split))

    return cut


def one_class(index: ImageIndex) -> ImageIndex:
    return dataclasses.replace(index, records=tuple(r for r in index.records if r.label == "red"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (unlabelled, "needs labels, found none.*leadpp run writes features"),
        (without("test"), "needs labelled test photographs, found none"),
        (without("train"), "needs labelled train photographs, found none"),
        (one_class, "found one class, 'red'"),
    ],
)
def test_data_that_cannot_be_evaluated_are_refused_before_anything_is_computed(
    world: World, spoil: Callable[[ImageIndex], ImageIndex], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        run_stage(world, world.config, index=spoil(world.index))
    assert "\n" not in str(caught.value)
    assert not (world.run / "embeddings").exists()


def test_crops_alone_need_boxes(world: World) -> None:
    (world.run / "boxes.parquet").unlink()
    with pytest.raises(DataError, match="run localize first"):
        run_stage(world, settings(world, evaluate__sets=("crop",)))


def test_nothing_to_evaluate_is_an_error(world: World) -> None:
    shutil.rmtree(world.run / "checkpoints")
    with pytest.raises(DataError, match=r"nothing to evaluate: evaluate\.encoders names student"):
        run_stage(world, quick(world, evaluate__encoders=("student",)))
    assert not (world.run / "evaluation.json").exists()


def test_too_little_memory_says_what_to_lower(world: World) -> None:
    config = quick(world, teacher__factory=f"{HERE}:forgetful_teacher", evaluate__encoders=("teacher",))
    with pytest.raises(LeadppError, match=r"5 photographs at a time; lower evaluate\.batch_size"):
        run_stage(world, config)


def test_test_photographs_that_also_train_are_counted(
    finished: tuple[World, list[dict[str, Any]]], world: World
) -> None:
    assert {row["counts"]["test_also_in_train"] for row in finished[1]} == {0}
    twins = {"test/red/0.png": "train/red/0.png", "test/blue/1.png": "train/red/1.png"}
    records = [dataclasses.replace(r, checksum=twins.get(r.path, r.checksum)) for r in world.index.records]
    rows, _ = run_stage(
        world,
        quick(world, evaluate__encoders=("frozen",)),
        index=dataclasses.replace(world.index, records=tuple(records)),
    )
    assert rows[0]["counts"]["test_also_in_train"] == 2
