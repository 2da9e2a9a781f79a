"""The stages with two teachers: one training in two spaces, and what student and teachers name together."""

import dataclasses
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from leadpp.config.tree import CheckpointConfig, Config, LossConfig, TeacherConfig
from leadpp.data.index import write_index
from leadpp.engine.features import load_features
from leadpp.engine.restore import load_student
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import CheckpointError, ConfigError, TextError
from leadpp.io.artifacts import read_json, read_table
from leadpp.models.teacher import load_teachers
from leadpp.stages.embed import embed
from leadpp.stages.evaluate import evaluate
from leadpp.stages.names import name as name_photographs
from leadpp.stages.report import names as names_section
from leadpp.stages.report import teacher as sections
from leadpp.stages.report.material import Material
from leadpp.stages.train import train
from leadpp.text.encoding import encode_texts
from leadpp.text.prototypes import Prototypes, read_spaces, write_prototypes
from tests.unit.models.tiny_clip import DIM, SIGLIP, write_custom_clip, write_tiny_clip
from tests.unit.stages.evaluation_world import COLOURS, World, draw_world

WIDER = 64
TEMPERATURE = 0.05


@pytest.fixture(scope="module")
def whole_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A run with boxes and the prototypes of two teachers, a CLIP and a SigLIP of another width, yet untrained."""
    root = tmp_path_factory.mktemp("two")
    world = draw_world(root / "world")
    shutil.rmtree(world.run / "checkpoints")
    write_tiny_clip(root / "clip")
    write_custom_clip(root / "siglip", SIGLIP)
    models = (f"local-dir:{root / 'clip'}", f"local-dir:{root / 'siglip'}")
    write_prototypes(world.run / "prototypes.safetensors", *spaces_of(models))
    config = dataclasses.replace(
        world.config,
        teacher=TeacherConfig(models=models),
        loss=LossConfig(distillation_temperature=TEMPERATURE),
        train=dataclasses.replace(world.config.train, epochs=2, batch_size=4, learning_rate=0.01),
        evaluate=dataclasses.replace(world.config.evaluate, probe_epochs=1),
    )
    return dataclasses.replace(world, config=config)


def spaces_of(models: tuple[str, ...], *, temperature: float | None = None) -> list[Prototypes]:
    return [
        Prototypes(
            vectors=encode_texts([f"a {name} bird" for name in COLOURS], encoder=teacher).vectors,
            names=tuple(COLOURS),
            model=teacher.name,
            temperature=temperature or getattr(teacher, "temperature", None),
        )
        for teacher in load_teachers(models=models)
    ]


@pytest.fixture
def world(whole_world: World, tmp_path: Path) -> World:
    """The same world with a run folder of one's own."""
    shutil.copytree(whole_world.run, tmp_path / "run")
    return dataclasses.replace(whole_world, run=tmp_path / "run")


@pytest.fixture(scope="module")
def trained(whole_world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    run = tmp_path_factory.mktemp("trained") / "run"
    shutil.copytree(whole_world.run, run)
    world = dataclasses.replace(whole_world, run=run)
    train(index=world.index, run=run, config=world.config)
    return world


def changed(config: Config, **groups: Mapping[str, Any]) -> Config:
    parts = {name: dataclasses.replace(getattr(config, name), **values) for name, values in groups.items()}
    return dataclasses.replace(config, **parts)


def test_the_student_has_a_projector_for_each_teacher(trained: World) -> None:
    student, metadata = load_student(trained.run / "checkpoints" / "epoch-0002.safetensors")
    assert (student.embedding_dim, student.further_dims) == (DIM, (WIDER,))
    assert (metadata["class_count"], metadata["teacher"]) == (4, ", ".join(trained.config.teacher.models))


class StopAfterOne(SilentProgress):
    """Ctrl-C when the first epoch is told of."""

    def note(self, message: str) -> None:
        super().note(message)
        if message.startswith("  epoch 1/"):
            raise KeyboardInterrupt


def test_a_training_that_was_killed_goes_on_to_the_same_weights(world: World, trained: World) -> None:
    often = dataclasses.replace(world.config, checkpoint=CheckpointConfig(every="1epochs"))
    with pytest.raises(KeyboardInterrupt):
        train(index=world.index, run=world.run, config=often, progress=StopAfterOne())
    assert not (world.run / "checkpoints" / "epoch-0002.safetensors").exists()
    train(index=world.index, run=world.run, config=often, resume=True)
    straight, resumed = (load_file(one.run / "checkpoints" / "epoch-0002.safetensors") for one in (trained, world))
    assert straight.keys() == resumed.keys()
    assert {name for name in straight if "further.0" in name}
    for name, tensor in straight.items():
        assert torch.equal(resumed[name], tensor), name


def test_a_training_does_not_go_on_with_other_teachers(world: World, trained: World) -> None:
    shutil.copytree(trained.run / "checkpoints", world.run / "checkpoints")
    first = world.config.teacher.models[0]
    write_prototypes(world.run / "prototypes.safetensors", *spaces_of((first,)))
    alone = changed(world.config, teacher={"models": (first,)})
    with pytest.raises(CheckpointError, match=rf"trained with further_dims \[{WIDER}\], this training has \[\]"):
        train(index=world.index, run=world.run, config=alone, resume=True)


def test_each_teacher_needs_its_prototypes(world: World) -> None:
    first = world.config.teacher.models[0]
    with pytest.raises(TextError, match="in the spaces of 2 teachers, but there are 1 to learn from"):
        train(index=world.index, run=world.run, config=changed(world.config, teacher={"models": (first,)}))
    turned = changed(world.config, teacher={"models": world.config.teacher.models[::-1]})
    with pytest.raises(TextError, match=rf"are {DIM} wide, but the teacher .*siglip is {WIDER} wide"):
        train(index=world.index, run=world.run, config=turned)


def test_each_teacher_answers_at_its_own_temperature_where_it_is_known(world: World) -> None:
    own = changed(world.config, loss={"distillation_temperature": 0}, train={"epochs": 1})
    losses = []
    for spaces in (spaces_of(own.teacher.models), spaces_of(own.teacher.models, temperature=TEMPERATURE)):
        write_prototypes(world.run / "prototypes.safetensors", *spaces)
        losses.append(train(index=world.index, run=world.run, config=own)["terms"]["distillation"])
    losses.append(
        train(index=world.index, run=world.run, config=changed(world.config, train={"epochs": 1}))["terms"][
            "distillation"
        ]
    )
    assert losses[1] == losses[2]  # both have the temperature that is set for all
    assert losses[0] != losses[1]
    unknown = [
        dataclasses.replace(space, temperature=None) for space in read_spaces(world.run / "prototypes.safetensors")
    ]
    write_prototypes(world.run / "prototypes.safetensors", *unknown)
    with pytest.raises(ConfigError, match="distillation_temperature is 0, each teacher's own, but nothing tells"):
        train(index=world.index, run=world.run, config=own)


def mixture_by_hand(run: Path, names: list[str]) -> Tensor:
    """Mix the answers of saved embeddings, (N, C)."""
    embeddings = [load_features(run / "embeddings" / f"{name}.npy") for name in names]
    vectors = [space.vectors for space in read_spaces(run / "prototypes.safetensors")]
    each = [(rows @ own.T / TEMPERATURE).softmax(dim=1).double() for rows, own in zip(embeddings, vectors, strict=True)]
    told = torch.stack([1 + (one * one.log()).sum(dim=1) / math.log(4) for one in each])
    return ((told / told.sum(dim=0))[:, :, None] * torch.stack(each)).sum(dim=0)


@pytest.fixture(scope="module")
def evaluated(trained: World) -> tuple[World, list[dict[str, Any]]]:
    return trained, evaluate(index=trained.index, run=trained.run, config=trained.config)


def test_there_are_rows_of_each_teacher_and_of_what_they_name_together(
    evaluated: tuple[World, list[dict[str, Any]]],
) -> None:
    world, rows = evaluated
    assert [(row["encoder"], row["feature"]) for row in rows if row["set"] == "whole"] == [
        ("student", "gap"),
        ("student", "attention"),
        ("frozen", "gap"),
        ("teacher_1", "embedding"),
        ("teacher_2", "embedding"),
        ("teacher", "answer"),
    ]
    (together,) = [row for row in rows if (row["encoder"], row["set"]) == ("teacher", "crop")]
    assert together["protocol"]["encoder"] == ", ".join(world.config.teacher.models)
    assert together["counts"] == {"test": 12}


def test_student_and_teachers_name_by_the_mixture_of_their_answers(
    evaluated: tuple[World, list[dict[str, Any]]],
) -> None:
    world, rows = evaluated
    labels = torch.arange(4).repeat_interleave(3)  # three test photographs of each class, in the classes' order
    for which in ("whole", "crop"):
        expected = {
            "naming_student": [f"student-embedding-{which}-test", f"student-embedding_2-{which}-test"],
            "naming_teacher": [f"teacher_{number}-embedding-{which}-test" for number in (1, 2)],
        }
        (row,) = [row for row in rows if (row["encoder"], row["feature"], row["set"]) == ("student", "gap", which)]
        for key, names in expected.items():
            right = mixture_by_hand(world.run, names).argmax(dim=1) == labels
            assert row[key] == pytest.approx(right.double().mean().item())
        for number, space in enumerate(read_spaces(world.run / "prototypes.safetensors"), start=1):
            seen = load_features(world.run / "embeddings" / f"teacher_{number}-embedding-{which}-test.npy")
            (row,) = [row for row in rows if (row["encoder"], row["set"]) == (f"teacher_{number}", which)]
            right = (seen @ space.vectors.T).argmax(dim=1) == labels
            assert row[f"naming_teacher_{number}"] == pytest.approx(right.double().mean().item())


def test_the_report_shows_how_unsure_the_teachers_are_together(evaluated: tuple[World, list[dict[str, Any]]]) -> None:
    world, _ = evaluated
    shown = sections.entropy(Material(index=world.index, run=world.run, config=world.config))
    mixture = mixture_by_hand(world.run, [f"teacher_{number}-embedding-whole-test" for number in (1, 2)])
    entropy = -(mixture * mixture.log()).sum(dim=1) / math.log(4)
    assert (shown["of"], shown["count"]) == ("2 teachers together, whole", 12)
    assert shown["median"] == f"{entropy.median().item():.2f}"


def test_photographs_without_labels_are_named_by_the_mixture(trained: World, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.run, run)
    records = tuple(dataclasses.replace(record, label=None) for record in trained.index.records)
    index = dataclasses.replace(trained.index, classes=(), records=records)
    embed(index=index, run=run, config=trained.config)
    rows = read_table(run / "photographs.parquet", kind="photographs")[0].to_pylist()
    named = {"student": ["student-embedding", "student-embedding_2"]}
    named["teacher"] = ["teacher_1-embedding", "teacher_2-embedding"]
    for who, names in named.items():
        probs = torch.cat(
            [mixture_by_hand(run, [f"{name}-whole-{split}" for name in names]) for split in ("train", "test")]
        )
        assert [row[f"score_{who}"] for row in rows] == pytest.approx(probs.amax(dim=1).tolist(), abs=1e-5)
        assert [row[f"name_{who}"] for row in rows] == [list(COLOURS)[place] for place in probs.argmax(dim=1).tolist()]
    entropy = -(probs * probs.log()).sum(dim=1) / math.log(4)
    assert [row["entropy_teacher"] for row in rows] == pytest.approx(entropy.tolist(), abs=1e-5)


def test_a_student_of_one_teacher_does_not_name_in_two_spaces(world: World) -> None:
    first = world.config.teacher.models[0]
    both = read_spaces(world.run / "prototypes.safetensors")
    write_prototypes(world.run / "prototypes.safetensors", both[0])
    train(index=world.index, run=world.run, config=changed(world.config, teacher={"models": (first,)}))
    write_prototypes(world.run / "prototypes.safetensors", *both)
    progress = SilentProgress()
    quick = changed(world.config, evaluate={"sets": ("whole",), "encoders": ("student",)})
    rows = evaluate(index=world.index, run=world.run, config=quick, progress=progress)
    assert not [row for row in rows if "naming_student" in row]
    said = (
        f"the student's embedding is {DIM} wide and the prototypes are {DIM} and {WIDER}, so its naming is not measured"
    )
    assert said in progress.notes


def test_photographs_are_named_by_both_together_at_a_temperature_in_each_space(trained: World, world: World) -> None:
    shutil.copytree(trained.run / "checkpoints", world.run / "checkpoints")
    write_index(world.run / "index.parquet", world.index)
    both = changed(world.config, name={"by": "both", "top": 4})
    found = name_photographs([world.index.root / "test"], run=world.run, config=both)
    spaces = read_spaces(world.run / "prototypes.safetensors")
    assert found["by"]["teacher"]["temperatures"] == tuple(space.temperature for space in spaces)
    student = found["by"]["student"]
    assert (student["fitted"], len(student["temperatures"]), len(student["teachers"])) == (True, 2, 2)
    assert (len(student["targets"]), student["reached"][2]) == (3, pytest.approx(student["targets"][2]))
    evaluate(index=world.index, run=world.run, config=world.config)
    stored = read_json(world.run / "evaluation.json", kind="evaluation")
    told = {row["encoder"]: row for row in stored["names"]["rows"] if row["set"] == "whole"}
    assert told["student"]["calibration"]["temperatures"] == pytest.approx(student["temperatures"], rel=1e-3)
    right = [row["teacher"]["names"][0]["name"] in row["path"] for row in found["photographs"]]
    assert told["teacher"]["figures"]["naming_accuracy"] == pytest.approx(sum(right) / len(right))
    answers = [row for row in stored["rows"] if row["feature"] == "answer"]
    assert all("naming_ece" in row for row in answers)
    shown = names_section.names(Material(index=world.index, run=world.run, config=world.config))
    assert shown["temperatures"]["student \N{MIDDLE DOT} whole photographs"].count(",") >= 1
