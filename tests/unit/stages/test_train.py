import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from leadpp.config import build_config
from leadpp.data.index import ImageIndex, ImageRecord
from leadpp.data.transforms import TRAIN_RECIPE, Recipe, training_recipe
from leadpp.data.views import EvalSet, ViewSet
from leadpp.engine.lessons import Lessons
from leadpp.engine.monitor import NeighbourMonitor
from leadpp.engine.restore import load_student
from leadpp.engine.runtime import SilentProgress
from leadpp.engine.step import Scores, StepPlan, score_step
from leadpp.errors import ArtifactError, CheckpointError, ConfigError, DataError, LeadppError, TextError
from leadpp.functional.randomness import generator_for
from leadpp.io.artifacts import write_table
from leadpp.models.learner import Learner
from leadpp.stages.train import automatic_queue_size, train
from leadpp.text.prototypes import Prototypes, write_prototypes
from tests.unit.tiny import WIDTH, TinyTeacher, save_tiny_network, tiny_prototypes

PHOTOGRAPHS = 11
SIDE = 40


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_network(tmp_path_factory.mktemp("weights") / "resnet")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ImageIndex:
    """Noise in two classes; the last photograph is for testing."""
    root = tmp_path_factory.mktemp("photographs")
    records = []
    for number in range(PHOTOGRAPHS):
        noise = torch.randint(0, 256, (SIDE, SIDE, 3), generator=generator_for(1, "photo", number), dtype=torch.uint8)
        name = f"{number:02d}.png"
        Image.fromarray(noise.numpy()).save(root / name)
        records.append(
            ImageRecord(
                path=name,
                label="ab"[number % 2],
                split="test" if number == PHOTOGRAPHS - 1 else "train",
                width_px=SIDE,
                height_px=SIDE,
                true_box_xyxy=None,
                checksum=name,
            )
        )
    return ImageIndex(root=root, source="folder", classes=("a", "b"), records=tuple(records), split_origin="given")


def write_boxes(run: Path, index: ImageIndex, *, right: int = 0) -> None:
    rows = {"path": [record.path for record in index.usable()]}
    count = len(rows["path"])
    columns: dict[str, Any] = {"fallback": [False] * count, "width_px": [SIDE] * count, "height_px": [SIDE] * count}
    for part in ("object", "crop"):
        for side, value in (("x0", 4), ("y0", 8), ("x1", 36 + right), ("y1", 30)):
            columns[f"{part}_{side}"] = [value] * count
    write_table(run / "boxes.parquet", pa.table(rows | columns), kind="boxes")


@pytest.fixture
def run(tmp_path: Path, index: ImageIndex) -> Path:
    """A run folder with boxes and prototypes."""
    write_boxes(tmp_path, index)
    write_prototypes(tmp_path / "prototypes.safetensors", Prototypes(vectors=tiny_prototypes()))
    return tmp_path


def make_teacher() -> TinyTeacher:
    return TinyTeacher()


def settings(backbone: str, **groups: Mapping[str, object]) -> Mapping[str, Any]:
    base: dict[str, dict[str, object]] = {
        "input": {"size": 32, "workers": 0},
        "student": {"backbone": backbone},
        "teacher": {"factory": f"{__name__}:make_teacher"},
        "train": {"epochs": 2, "batch_size": 4, "device": "cpu", "learning_rate": 0.01},
    }
    return {name: base.get(name, {}) | dict(groups.get(name, {})) for name in base.keys() | groups.keys()}


def events(run: Path, kind: str) -> list[dict[str, float]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["event"] == kind]


def test_the_whole_method(run: Path, index: ImageIndex, backbone: str) -> None:
    results = train(index=index, run=run, config=build_config(settings(backbone)))
    assert (results["epochs"], results["steps"], results["images"]) == (2, 4, 16)
    assert results["checkpoint"] == "checkpoints/epoch-0002.safetensors"
    assert results["precision"] == "fp32"
    assert set(results["terms"]) == {
        "loss", "global_global", "global_object", "object_object", "distillation", "alignment", "structure"
    }  # fmt: skip
    assert set(results["monitor"]) >= {"knn"}
    json.dumps(results, allow_nan=False)
    student, metadata = load_student(run / results["checkpoint"])
    assert student.embedding_dim == WIDTH
    expected = {"class_count": 3, "epoch": 2, "step": 4, "seed": 123, "batch_size": 4, "input_size": 32}
    assert {name: metadata[name] for name in expected} == expected
    assert 0 < events(run, "step")[0]["teacher_entropy"] < 1
    assert events(run, "epoch")[0]["queue_fill_object"] == 1  # 8 of the 10 photographs, in two batches


def test_same_seed_same_training_whatever_the_workers(run: Path, index: ImageIndex, backbone: str) -> None:
    losses = []
    for seed, workers in ((1, 0), (1, 1), (2, 0)):
        chosen = settings(backbone, input={"workers": workers}, train={"epochs": 1, "monitor_every": 0})
        train(index=index, run=run, config=build_config(chosen, {"seed": seed}))
        losses.append([line["loss"] for line in events(run, "step")])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_cache_changes_nothing_and_says_its_size(run: Path, index: ImageIndex, backbone: str, kind: str) -> None:
    losses, progress = [], SilentProgress()
    for reading in ({}, {"cache": kind, "workers": 1}):
        chosen = settings(backbone, input=reading, train={"monitor_every": 0})
        train(index=index, run=run, config=build_config(chosen), progress=progress)
        losses.append([line["loss"] for line in events(run, "step")])
    assert losses[0] == losses[1]
    where = "in memory" if kind == "ram" else "on disk"
    (note,) = [note for note in progress.notes if note.startswith("cache")]
    assert note.startswith(f"cache: {len(index.usable('train'))} photographs, ")
    assert note.endswith(where)
    assert {path.name for path in run.iterdir()} <= {"boxes.parquet", "prototypes.safetensors", "metrics.jsonl"} | {
        "checkpoints",
        "tensorboard",
    }


def test_views_finished_on_the_device_train_alike(run: Path, index: ImageIndex, backbone: str) -> None:
    losses = []
    for where in ("cpu", "device"):
        chosen = settings(backbone, input={"augment": where}, train={"epochs": 1, "monitor_every": 0})
        train(index=index, run=run, config=build_config(chosen))
        losses.append([line["loss"] for line in events(run, "step")])
    assert losses[0] == pytest.approx(losses[1], rel=0.01)


def test_resuming_is_training_on(run: Path, index: ImageIndex, backbone: str) -> None:
    straight = build_config(settings(backbone, train={"epochs": 2, "schedule": "cosine-epoch"}))
    expected = train(index=index, run=run, config=straight)
    # The reference's cosine depends on the number of epochs, so the first part is cut short by hand.
    progress = StopAfter(epochs=1)
    with pytest.raises(KeyboardInterrupt):
        train(index=index, run=run, config=build_config(settings(
            backbone, train={"epochs": 2, "schedule": "cosine-epoch"}, checkpoint={"every": 1}
        )), progress=progress)  # fmt: skip
    progress = StopAfter(epochs=9)
    found = train(index=index, run=run, config=straight, resume=True, progress=progress)
    assert "going on after epoch 1" in progress.notes
    assert found["terms"] == expected["terms"]
    assert (found["steps"], found["images"]) == (4, 8)


class StopAfter(SilentProgress):
    """Ctrl-C when so many epochs have been told of."""

    def __init__(self, *, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs

    def note(self, message: str) -> None:
        super().note(message)
        if message.startswith(f"  epoch {self._epochs}/"):
            raise KeyboardInterrupt


def test_other_data_is_not_resumed(run: Path, index: ImageIndex, backbone: str) -> None:
    config = build_config(settings(backbone, train={"epochs": 1}))
    train(index=index, run=run, config=config)
    fewer = ImageIndex(
        root=index.root, source="folder", classes=index.classes, records=index.records[1:], split_origin="given"
    )
    with pytest.raises(CheckpointError, match="trained with fingerprint"):
        train(index=fewer, run=run, config=config, resume=True)


def test_other_boxes_are_not_resumed(run: Path, index: ImageIndex, backbone: str) -> None:
    config = build_config(settings(backbone, train={"epochs": 1}))
    train(index=index, run=run, config=config)
    write_boxes(run, index, right=-1)
    with pytest.raises(CheckpointError, match="trained with crop boxes of digest"):
        train(index=index, run=run, config=config, resume=True)


@pytest.mark.parametrize("change", [{"key_timing": "reference"}, {"forwards": "reference"}, {"key_update": "forward"}])
def test_another_order_of_events_is_not_resumed(
    run: Path, index: ImageIndex, backbone: str, change: dict[str, str]
) -> None:
    train(index=index, run=run, config=build_config(settings(backbone, train={"epochs": 1})))
    (name,) = change
    with pytest.raises(CheckpointError, match=rf"trained with train\.{name}"):
        train(index=index, run=run, config=build_config(settings(backbone, train=change)), resume=True)


def test_what_training_does_not_see_may_change(run: Path, index: ImageIndex, backbone: str) -> None:
    config = build_config(settings(backbone, train={"epochs": 1}))
    train(index=index, run=run, config=config)
    records = tuple(dataclasses.replace(record, true_box_xyxy=(0.0, 0.0, 2.0, 2.0)) for record in index.records)
    test = dataclasses.replace(records[0], path="more.png", split="test", checksum="another")
    boxed = dataclasses.replace(index, records=(*records, test))
    assert train(index=boxed, run=run, config=config, resume=True)["images"] == 0


def test_the_papers_views_are_those_of_moco_v2_and_settings_change_them() -> None:
    assert training_recipe(**dataclasses.asdict(build_config({"preset": "paper"}).augment)) == TRAIN_RECIPE
    changed = {"crop_least": 0.5, "jitter": 0.25, "hue": 0.05, "jitter_prob": 0.75} | {
        "grey_prob": 0.125, "blur": 1.5, "blur_prob": 0.375
    }  # fmt: skip
    assert training_recipe(**dataclasses.asdict(build_config({"augment": changed}).augment)) == Recipe(
        scale=(0.5, 1.0), jitter_prob=0.75, jitter=(0.25, 0.25, 0.25, 0.05), grey_prob=0.125, blur_prob=0.375,
        blur_sigma_px=(0.1, 1.5),
    )  # fmt: skip


def test_the_student_sees_views_of_that_recipe(run: Path, index: ImageIndex, backbone: str) -> None:
    quiet = {"crop_least": 1.0, "jitter_prob": 0.0, "grey_prob": 0.0, "blur_prob": 0.0}
    losses = []
    for augment in ({}, quiet):
        chosen = settings(backbone, augment=augment, train={"epochs": 1, "monitor_every": 0})
        train(index=index, run=run, config=build_config(chosen))
        losses.append([line["loss"] for line in events(run, "step")])
    assert losses[0] != losses[1]


def test_other_augmentation_is_not_resumed(run: Path, index: ImageIndex, backbone: str) -> None:
    train(index=index, run=run, config=build_config(settings(backbone, train={"epochs": 1})))
    other = build_config(settings(backbone, augment={"hue": 0.25}, train={"epochs": 2}))
    with pytest.raises(CheckpointError, match=r"trained with augment .*'hue': 0\.0.*this training has .*'hue': 0\.25"):
        train(index=index, run=run, config=other, resume=True)


ASKED: list[Tensor] = []


class AskedTeacher(TinyTeacher):
    """Keeps what it is asked about."""

    def encode_images(self, images: Tensor) -> Tensor:
        ASKED.append(images)
        return super().encode_images(images)


def make_asked_teacher() -> AskedTeacher:
    return AskedTeacher()


def test_a_clean_teacher_is_asked_once_about_each_object_as_it_is(run: Path, index: ImageIndex, backbone: str) -> None:
    ASKED.clear()
    clean = {"factory": f"{__name__}:make_asked_teacher", "view": "clean"}
    config = build_config(settings(backbone, teacher=clean, train={"epochs": 2, "monitor_every": 0}))
    train(index=index, run=run, config=config)
    asked = torch.cat(ASKED)
    records = index.usable("train")
    boxes = torch.tensor([[4, 8, 36, 30]] * len(records))
    objects = EvalSet(records, root=index.root, size=32, fit="center-crop", crop_boxes_xyxy=boxes)
    assert torch.equal(asked, torch.stack([objects[place]["image"] for place in range(len(records))]))
    augmented = build_config(settings(backbone, train={"epochs": 3}))
    with pytest.raises(CheckpointError, match="trained with teacher"):
        train(index=index, run=run, config=augmented, resume=True)


def test_a_clean_teacher_of_whole_views_is_asked_about_whole_photographs(
    run: Path, index: ImageIndex, backbone: str
) -> None:
    ASKED.clear()
    clean = {"factory": f"{__name__}:make_asked_teacher", "view": "clean"}
    chosen = settings(backbone, teacher=clean, train={"epochs": 1, "monitor_every": 0})
    train(index=index, run=run, config=build_config({"preset": "lead"}, chosen))
    whole = EvalSet(index.usable("train"), root=index.root, size=32, fit="center-crop")
    assert torch.equal(torch.cat(ASKED), torch.stack([whole[place]["image"] for place in range(len(whole))]))


def test_other_prototypes_are_not_resumed(run: Path, index: ImageIndex, backbone: str) -> None:
    config = build_config(settings(backbone, train={"epochs": 1}))
    train(index=index, run=run, config=config)
    write_prototypes(run / "prototypes.safetensors", Prototypes(vectors=tiny_prototypes().flip(0)))
    with pytest.raises(CheckpointError, match="trained with prototypes"):
        train(index=index, run=run, config=config, resume=True)


def test_moco_needs_no_boxes_and_no_teacher(tmp_path: Path, index: ImageIndex, backbone: str) -> None:
    config = build_config(settings(backbone, train={"epochs": 1}), {"preset": "moco"})
    progress = SilentProgress()
    results = train(index=index, run=tmp_path, config=config, progress=progress)
    assert set(results["terms"]) == {"loss", "global_global"}
    assert load_student(tmp_path / results["checkpoint"])[0].embedding_dim == 512
    assert "teacher_entropy" not in events(tmp_path, "step")[0]
    assert not any("teacher" in note for note in progress.notes)


def test_without_prototypes_it_says_so_and_contrasts(tmp_path: Path, index: ImageIndex, backbone: str) -> None:
    write_boxes(tmp_path, index)
    progress = SilentProgress()
    results = train(
        index=index, run=tmp_path, config=build_config(settings(backbone, train={"epochs": 1})), progress=progress
    )
    assert "learns without a teacher" in progress.notes[0]
    assert "distillation" not in results["terms"]


def test_the_papers_way(run: Path, index: ImageIndex, backbone: str) -> None:
    chosen = settings(backbone, train={"epochs": 1, "queue_size": 12})
    results = train(index=index, run=run, config=build_config(chosen, {"preset": "paper"}))
    assert events(run, "step")[0]["learning_rate"] == pytest.approx(0, abs=1e-12)
    assert results["terms"]["distillation"] > 0
    assert events(run, "epoch")[0]["queue_fill_object"] == pytest.approx(8 / 12)


class Built(Exception):  # noqa: N818 - a way out, not an error
    """Carries what the stage has put together, before anything is trained."""

    def __init__(self, learner: Learner, **parts: Any) -> None:  # noqa: ANN401 - whatever the stage passes
        super().__init__()
        self.learner, self.parts = learner, parts


def built(
    run: Path, index: ImageIndex, *layers: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> tuple[Built, list[torch.Tensor | None]]:
    """Put a training together from settings and return what the trainer would get, and the boxes views are cut from."""
    boxes: list[torch.Tensor | None] = []

    class SeenViews(ViewSet):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:  # noqa: ANN401 - hands everything on
            boxes.append(keywords["crop_boxes_xyxy"])
            super().__init__(*arguments, **keywords)

    def stop(learner: Learner, **parts: Any) -> None:  # noqa: ANN401 - see above
        raise Built(learner, **parts)

    monkeypatch.setattr("leadpp.stages.train.ViewSet", SeenViews)
    monkeypatch.setattr("leadpp.stages.train.Trainer", stop)
    with pytest.raises(Built) as caught:
        train(index=index, run=run, config=build_config(*layers))
    return caught.value, boxes


def test_settings_of_the_paper_arrive(
    run: Path, index: ImageIndex, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    what, boxes = built(
        run,
        index,
        settings(backbone, student={"batchnorm": "eval"}, train={"precision": "bf16", "queue_size": 8}),
        {"preset": "paper"},
        monkeypatch=monkeypatch,
    )
    assert what.parts["order"] == StepPlan(
        forwards="reference",
        key_update="forward",
        key_momentum=0.999,
        key_timing="reference",
        shuffle_seed=123,
        autocast_dtype=torch.bfloat16,
    )
    objective = what.parts["objective"]
    assert (objective.reduction, objective.log_form) == ("reference", "softmax-log")
    student = what.learner.student
    assert (student.attention_scaling, student.batchnorm) == ("batch", "eval")
    assert len(what.learner.queue("object").snapshot()) == 8
    assert boxes[0] is not None
    assert boxes[0].tolist() == [[4, 8, 36, 30]] * 10


def test_settings_of_the_loop_arrive(
    run: Path, index: ImageIndex, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: dict[str, object] = {
        "epochs": 7,
        "batch_size": 5,
        "learning_rate": 0.3,
        "momentum": 0.5,
        "weight_decay": 0.25,
        "schedule": "step",
        "warmup_epochs": 2.0,
        "clip_norm": 4.0,
        "backbone_rate": 0.5,
        "layer_decay": 0.75,
        "head_warmup_epochs": 1.5,
        "anchor": 0.125,
        "average_decay": 0.25,
        "blend": 0.75,
        "precision": "fp16",
        "monitor_every": 0,
    }
    layers = settings(backbone, train=chosen, checkpoint={"every": "3steps", "keep": 9, "keep_every": 4})
    what, boxes = built(run, index, layers, {"preset": "lead"}, monkeypatch=monkeypatch)
    assert dataclasses.asdict(what.parts["loop"]) == chosen | {
        "checkpoint_every": 3,
        "checkpoint_unit": "steps",
        "checkpoint_keep": 9,
        "checkpoint_keep_every": 4,
        "checkpoint_best": "",
    }
    assert what.parts["order"] == StepPlan(shuffle_seed=123, autocast_dtype=torch.float16)
    assert what.parts["monitor"] is None
    assert boxes == [None]


def test_the_first_backbone_is_kept_where_it_is_needed(
    run: Path, index: ImageIndex, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases: list[tuple[dict[str, dict[str, object]], bool]] = [
        ({}, False),
        ({"train": {"anchor": 0.1}}, True),
        ({"loss": {"structure": 0.1}}, True),
        ({"train": {"blend": 0.5}}, True),
    ]
    plain = {"loss": {"structure": 0.0}, "train": {"blend": 1.0}}
    for groups, kept in cases:
        what, _ = built(run, index, plain, settings(backbone, **groups), monkeypatch=monkeypatch)
        assert (what.learner.kept_first is not None) == kept


def test_missing_boxes_name_their_file(run: Path, index: ImageIndex, backbone: str) -> None:
    (run / "boxes.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"boxes\.parquet: no such file"):
        train(index=index, run=run, config=build_config(settings(backbone)))


def unlabelled(index: ImageIndex) -> ImageIndex:
    records = tuple(
        ImageRecord(
            path=record.path,
            label=None,
            split="train",
            width_px=SIDE,
            height_px=SIDE,
            true_box_xyxy=None,
            checksum=record.checksum,
        )
        for record in index.records
    )
    return ImageIndex(root=index.root, source="folder", classes=(), records=records, split_origin="none")


def test_without_labels_there_is_no_monitor(run: Path, index: ImageIndex, backbone: str) -> None:
    results = train(index=unlabelled(index), run=run, config=build_config(settings(backbone, train={"epochs": 1})))
    assert results["monitor"] == {}
    assert not events(run, "monitor")


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"train": {"batch_size": 11}}, (DataError, "at least one batch of 11 photographs, found 10")),
        ({"student": {"embedding_dim": 7}}, (ConfigError, "embedding_dim is 7, but the prototypes are 5 wide")),
        ({"loss": {"alpha": 0.0, "distillation": 0.0}}, (ConfigError, "no term of the loss has weight")),
        ({"loss": {"alpha": 0.0}, "teacher": {"use": "no"}}, (ConfigError, "without a teacher nothing is distilled")),
        ({"train": {"learning_rate": 1e30}}, (LeadppError, r"epoch 1, step 2: .*lower train\.learning_rate")),
    ],
)
def test_settings_that_cannot_be(
    run: Path,
    index: ImageIndex,
    backbone: str,
    groups: dict[str, dict[str, object]],
    expected: tuple[type[LeadppError], str],
) -> None:
    error, message = expected
    with pytest.raises(error, match=message):
        train(index=index, run=run, config=build_config(settings(backbone, **groups)))
    assert not (run / "checkpoints").exists()


def test_prototypes_that_cannot_be(run: Path, index: ImageIndex, backbone: str) -> None:
    path = run / "prototypes.safetensors"
    config = build_config(settings(backbone, teacher={"use": "yes"}))
    write_prototypes(path, Prototypes(vectors=F.normalize(torch.ones(3, 4), dim=1), model="another tower"))
    with pytest.raises(TextError, match=r"made by another tower.* are 4 wide, but the teacher tiny is 5 wide"):
        train(index=index, run=run, config=config)
    write_prototypes(path, Prototypes(vectors=tiny_prototypes()[:1]))
    with pytest.raises(TextError, match="one class only"):
        train(index=index, run=run, config=config)
    path.unlink()
    with pytest.raises(TextError, match=r"prototypes\.safetensors: no such file, but teacher\.use is yes"):
        train(index=index, run=run, config=config)


@pytest.mark.parametrize(("maker", "told"), [("another tower", 1), ("tiny", 0), ("", 0)])
def test_a_note_says_that_another_teacher_made_the_prototypes(
    maker: str, told: int, run: Path, index: ImageIndex, backbone: str
) -> None:
    progress = SilentProgress()
    write_prototypes(run / "prototypes.safetensors", Prototypes(vectors=tiny_prototypes(), model=maker))
    train(index=index, run=run, config=build_config(settings(backbone, train={"epochs": 1})), progress=progress)
    note = "the prototypes were made by another tower, but the teacher is tiny"
    assert len([said for said in progress.notes if said.startswith(note)]) == told
    assert "\n".join(progress.notes).count("were made by") == told


def test_smaller_parts_are_told_of_once_and_change_nothing(
    tmp_path: Path, index: ImageIndex, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, notes = [tmp_path / "usual", tmp_path / "small"], []
    for run in runs:
        run.mkdir()
        write_boxes(run, index)
        progress = SilentProgress()
        train(index=index, run=run, config=build_config(settings(backbone, teacher={"use": "no"})), progress=progress)
        notes.append([note for note in progress.notes if "memory ran out" in note])

        def refuse(learner: Learner, *args: Any, **settings: Any) -> Scores:  # noqa: ANN401 - handed on
            if learner.student.parts == 0:
                raise torch.OutOfMemoryError("tried to allocate")
            return score_step(learner, *args, **settings)

        monkeypatch.setattr("leadpp.engine.iteration.score_step", refuse)
    assert [len(some) for some in notes] == [0, 1]
    assert "memory ran out at step 1: from here on the encoders take a batch of 4 in 2 parts" in notes[1][0]
    usual, small = (load_student(run / "checkpoints" / "epoch-0002.safetensors")[0] for run in runs)
    for name, weight in usual.state_dict().items():
        torch.testing.assert_close(small.state_dict()[name], weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("score_step", "4, although it is taken in the smallest parts (tried to allocate); lower"),
        ("finish_views", "4; lower"),
    ],
)
def test_too_little_memory_is_told(
    run: Path, index: ImageIndex, backbone: str, monkeypatch: pytest.MonkeyPatch, *, where: str, words: str
) -> None:
    def exhaust(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate")

    monkeypatch.setattr(f"leadpp.engine.iteration.{where}", exhaust)
    with pytest.raises(
        LeadppError, match=re.escape(f"cpu has too little memory for a batch of {words} train.batch_size")
    ):
        train(index=index, run=run, config=build_config(settings(backbone)))


@pytest.mark.parametrize(
    ("photographs", "batch_size", "size"), [(5994, 64, 5952), (200_000, 64, 65_536), (10, 4, 8), (100_000, 60, 65_520)]
)
def test_automatic_queue_size(photographs: int, batch_size: int, size: int) -> None:
    assert automatic_queue_size(photographs, batch_size=batch_size) == size


def test_the_monitor_looks_at_some_photographs_with_labels(
    run: Path, index: ImageIndex, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[EvalSet] = []
    asked: list[dict[str, Tensor]] = []

    def watch_views(*args: Any, **settings: Any) -> EvalSet:  # noqa: ANN401 - handed on
        shown.append(EvalSet(*args, **settings))
        return shown[-1]

    def watch_monitor(views: Iterable[Mapping[str, Tensor]], **settings: Any) -> NeighbourMonitor:  # noqa: ANN401
        asked.append(settings)
        return NeighbourMonitor(views, **settings)

    monkeypatch.setattr("leadpp.stages.train.EvalSet", watch_views)
    monkeypatch.setattr("leadpp.stages.train.NeighbourMonitor", watch_monitor)
    monkeypatch.setattr("leadpp.stages.train._MONITOR_PHOTOGRAPHS", 6)
    unlabelled = dataclasses.replace(index.records[0], label=None)
    partly = dataclasses.replace(index, records=(unlabelled, *index.records[1:]))
    drawn = []
    for seed in (1, 1, 2):
        config = build_config(settings(backbone, train={"epochs": 1}), {"seed": seed})
        train(index=partly, run=run, config=config)
        records = shown[-1].records
        assert len(records) == 6
        assert set(records) <= set(index.usable("train")[1:])
        assert [index.classes[label] for label in asked[-1]["labels"]] == [record.label for record in records]
        assert asked[-1]["heldout"].sum() == 1
        drawn.append(records)
    assert drawn[0] == drawn[1] != drawn[2]


def train_with_view(view: str, *, run: Path, index: ImageIndex, backbone: str, epochs: int = 3) -> list[float]:
    ASKED.clear()
    teacher = {"factory": f"{__name__}:make_asked_teacher", "view": view}
    chosen = settings(backbone, teacher=teacher, train={"epochs": epochs, "monitor_every": 0, "warmup_epochs": 0})
    train(index=index, run=run, config=build_config(chosen))
    return [line["loss"] for line in events(run, "step")]


def test_replayed_draws_of_every_epoch_are_the_augmented_teacher(run: Path, index: ImageIndex, backbone: str) -> None:
    expected = train_with_view("augmented", run=run, index=index, backbone=backbone)
    assert [len(images) for images in ASKED] == [4] * 6
    for draws in (3, 4):
        found = train_with_view(f"cached:{draws}", run=run, index=index, backbone=backbone)
        assert found == pytest.approx(expected, rel=1e-4)
        assert sum(map(len, ASKED)) == draws * 10
    fewer = train_with_view("cached:2", run=run, index=index, backbone=backbone)
    assert fewer[:4] == pytest.approx(expected[:4], rel=1e-4)
    assert fewer[4:] != pytest.approx(expected[4:], rel=1e-4)


def test_other_replays_are_not_resumed(run: Path, index: ImageIndex, backbone: str) -> None:
    train_with_view("cached:1", run=run, index=index, backbone=backbone, epochs=1)
    teacher = {"factory": f"{__name__}:make_asked_teacher", "view": "cached:2"}
    other = build_config(settings(backbone, teacher=teacher, train={"epochs": 2}))
    with pytest.raises(CheckpointError, match=r"trained with teacher\.view 'cached:1', this training has 'cached:2'"):
        train(index=index, run=run, config=other, resume=True)


def test_what_advice_on_waiting_goes_by(
    run: Path, index: ImageIndex, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(backbone, input={"workers": 1, "cache": "ram", "augment": "device"})
    what, _ = built(run, index, chosen, monkeypatch=monkeypatch)
    reading = what.parts["reading"]
    assert (reading.workers, reading.cached, reading.on_device, reading.accelerated) == (1, True, True, False)
    what, _ = built(run, index, settings(backbone), monkeypatch=monkeypatch)
    assert (what.parts["reading"].workers, what.parts["reading"].cached) == (0, False)


def test_compiling_is_told_and_changes_no_checkpoint(
    run: Path, index: ImageIndex, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = build_config(settings(backbone, train={"epochs": 1, "compile": True}))
    asked: list[tuple[Learner, Lessons | None, Tensor]] = []

    def note(learner: Learner, lessons: Lessons | None, *, batch: Tensor, autocast_dtype: torch.dtype | None) -> str:
        assert autocast_dtype is None
        assert learner.training
        asked.append((learner, lessons, batch))
        return "compiled: all of it"

    monkeypatch.setattr("leadpp.stages.train.compile_networks", note)
    progress = SilentProgress()
    assert set(train(index=index, run=run, config=config, progress=progress)["monitor"]) >= {"knn"}
    assert "compiled: all of it" in progress.notes
    ((_, lessons, batch),) = asked
    assert (batch.shape, batch.dtype) == ((4, 3, 32, 32), torch.uint8)
    assert lessons is not None
    # known by then, so that a teacher that is never asked is not compiled
    assert lessons.spaces[0].remembered is not None
    plain = build_config(settings(backbone, train={"epochs": 2}))
    assert train(index=index, run=run, config=plain, resume=True)["epochs"] == 2
