from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.claims.command import read_setting
from benchmarks.claims.ground import SHARED, Ground
from benchmarks.claims.making import row_settings
from benchmarks.claims.rows import BY_NAME, QUICK, REFERENCE, ROWS
from leadpp.config import Config, build_config, to_mapping
from leadpp.config.reader import merge_settings
from leadpp.errors import ConfigError
from leadpp.functional.objective import Objective

NO_TEACHER = {"teacher.use": "no"}
DIFFERENCES: Mapping[str, Mapping[str, Any]] = {
    "contrast": NO_TEACHER,
    "distillation": {"loss.alpha": 0.0, "loss.distill_weighting": "one", "loss.structure": 0.0},
    "no-structure": {"loss.structure": 0.0},
    "raw-answers": {"teacher.neighbours": 0, "teacher.balance": 0.0},
    "no-boxes": {},
    "no-entropy": {"loss.contrast_weighting": "half", "loss.distill_weighting": "half"},
    "no-cross": {"loss.global_object": 0.0},
    "no-alignment": {"loss.alignment": 0.0},
    "true-boxes": {},
    "random-words": {},
    "wrong-words": {},
    "names": {},
    "noisy-2": {"teacher.use": "yes", "teacher.factory": "benchmarks.teachers.noisy:strength_2"},
    "supervised": NO_TEACHER,
    "frozen": {**NO_TEACHER, "evaluate.encoders": ["frozen"]},
    "teacher": {"evaluate.encoders": ["teacher"]},
}
"""In which settings each row differs from LEAD++, typed from the issue."""


def config_of(name: str, **settings: Mapping[str, Any]) -> Config:
    ground = Ground(
        folder=Path("seed"),
        seed=3,
        data=Path("data"),
        texts={},
        settings=merge_settings(SHARED, {"networks": "world", "seed": 3}, settings),
        facts={},
    )
    return build_config(row_settings(ground, BY_NAME[name]))


def leaves(content: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def differences(name: str) -> dict[str, Any]:
    usual = dict(leaves(to_mapping(config_of(REFERENCE))))
    return {key: value for key, value in leaves(to_mapping(config_of(name))) if usual[key] != value}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_row_differs_from_lead_in_one_thing(name: str) -> None:
    assert differences(name) == DIFFERENCES[name]


def test_rows_that_differ_in_no_setting_differ_in_boxes_or_words() -> None:
    made = {name: (BY_NAME[name].boxes, BY_NAME[name].words) for name in DIFFERENCES}
    assert (made["no-boxes"], made["true-boxes"]) == (("whole", "descriptions"), ("true", "descriptions"))
    assert [made[name] for name in ("random-words", "wrong-words", "names")] == [
        ("found", "random"),
        ("found", "wrong"),
        ("found", "names"),
    ]


def test_what_the_objective_of_a_row_computes() -> None:
    def objective(name: str) -> Objective:
        loss = config_of(name).loss
        terms = ("alpha", "global_global", "global_object", "object_object", "distillation", "alignment")
        return Objective(**{term: getattr(loss, term) for term in terms}, distill_view=loss.distill_view)

    assert objective("moco").views(taught=False) == ("global_1", "global_2")
    assert objective("distillation").views(taught=True) == ("global_1", "object_1")
    assert objective("lead").views(taught=True) == ("global_1", "global_2")
    assert len(objective(REFERENCE).views(taught=True)) == 4


def test_paper_keeps_the_references_forms_at_the_worlds_size_epochs_and_batch() -> None:
    paper, ours = config_of("paper"), config_of(REFERENCE)
    assert (paper.loss.reduction, paper.loss.log_form, paper.train.key_update) == (
        "reference",
        "softmax-log",
        "forward",
    )
    assert (paper.train.learning_rate, paper.train.key_momentum) == (0.02, 0.999)
    assert paper.train.queue_size % paper.train.batch_size == 0
    for group, name in (("input", "size"), ("train", "epochs"), ("train", "batch_size"), ("evaluate", "probe_views")):
        assert getattr(getattr(paper, group), name) == getattr(getattr(ours, group), name)


@pytest.mark.parametrize("name", ["moco", "lead", "paper"])
def test_other_methods_get_the_worlds_sizes_and_keep_no_neighbourhoods(name: str) -> None:
    other, ours = config_of(name), config_of(REFERENCE)
    assert other.loss.structure == 0
    assert other.student.backbone == ours.student.backbone
    for group, shared in (("input", "size"), ("train", "epochs"), ("train", "batch_size")):
        assert getattr(getattr(other, group), shared) == getattr(getattr(ours, group), shared)


@pytest.mark.parametrize("name", ["moco", "lead"])
def test_other_objectives_are_trained_as_carefully(name: str) -> None:
    other, ours = config_of(name), config_of(REFERENCE)
    assert (other.augment, other.student, other.train) == (ours.augment, ours.student, ours.train)


def test_paper_and_the_row_of_strong_views_have_the_views_of_moco_v2() -> None:
    assert config_of("paper").augment == config_of("strong-views").augment == build_config({"preset": "paper"}).augment
    assert config_of("strong-views").loss == config_of(REFERENCE).loss
    assert config_of("paper").loss == build_config({"preset": "paper"}).loss


def test_every_row_of_the_issue_is_there_once_and_quick_has_eight() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) == 26
    assert len(QUICK) == 8
    assert set(QUICK) <= set(BY_NAME)
    assert {"frozen", REFERENCE} <= set(QUICK)
    assert [row.name for row in ROWS if not row.label_free] == ["true-boxes", "supervised"]


def test_what_all_rows_share_goes_under_what_is_a_rows_own() -> None:
    shared: dict[str, Mapping[str, Any]] = {"loss": {"global_object": 0.3, "alpha": 0.7}, "train": {"epochs": 2}}
    made = config_of("no-cross", **shared)
    assert (made.loss.global_object, made.loss.alpha, made.train.epochs, made.seed) == (0.0, 0.7, 2, 3)


@pytest.mark.parametrize("words", ["train.epochs", "train..epochs=1", "=3", "train.epochs=[1"])
def test_a_malformed_setting_is_one_clear_line(words: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        read_setting(words)
