from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.claims import jobs, making
from benchmarks.claims.ground import SHARED, Ground, Source
from benchmarks.claims.rows import BY_NAME, Row
from leadpp.config.reader import merge_settings
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import ConfigError, LeadppError

Make = Callable[[Ground, Row], dict[str, Any]]


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    settings = merge_settings(SHARED, {"networks": "world", "seed": 7})
    facts = {"digest": "pictures", "boxes": "boxes"}
    return Ground(folder=tmp_path / "7", seed=7, data=tmp_path, texts={}, settings=settings, facts=facts)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the rows that the stub in place of the real making was asked for."""
    asked: list[str] = []

    def make(ground: Ground, row: Row, config: object, *, progress: object) -> dict[str, Any]:
        del config, progress
        asked.append(row.name)
        run = ground.folder / row.name / "run"
        for part in ("checkpoints", "embeddings", "log"):
            (run / part).mkdir(parents=True, exist_ok=True)
        return {"sets": {"crop": {"knn": len(asked) / 10}}, "seconds": {"train": 1.0}}

    monkeypatch.setattr(making, "_make", make)
    return asked


def make(ground: Ground, name: str) -> dict[str, Any]:
    return making.make_row(ground, BY_NAME[name], progress=SilentProgress())


def test_a_finished_row_is_not_made_again(ground: Ground, made: list[str]) -> None:
    first = make(ground, "lead")
    assert make(ground, "lead") == first
    make(ground, "moco")
    assert made == ["lead", "moco"]
    kept = {path.name for path in (ground.folder / "lead" / "run").iterdir()}
    assert kept == {"log"}


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"train": {"epochs": 3}}},
        {"facts": {"digest": "other pictures", "boxes": "boxes"}},
        {"facts": {"digest": "pictures", "boxes": "other boxes"}},
    ],
)
def test_a_row_is_made_again_when_what_it_is_made_of_has_changed(
    ground: Ground, made: list[str], change: dict[str, Any]
) -> None:
    before = make(ground, "lead")
    if "settings" in change:
        change = {"settings": merge_settings(ground.settings, change["settings"])}
    after = make(replace(ground, **change), "lead")
    assert made == ["lead", "lead"]
    assert (before["shared"] != after["shared"]) == ("settings" in change)
    assert before["identity"] != after["identity"]


def test_rows_and_seeds_of_one_benchmark_share_all_but_what_is_their_own(ground: Ground, made: list[str]) -> None:
    other = replace(ground, seed=8, settings=merge_settings(ground.settings, {"seed": 8}))
    results = [make(ground, "lead"), make(ground, "moco"), make(other, "paper")]
    assert len({result["shared"] for result in results}) == 1
    assert len({result["identity"] for result in results}) == 3
    assert len(made) == 3


def test_an_interrupted_row_leaves_no_result(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(making, "_make", stop)
    with pytest.raises(KeyboardInterrupt):
        make(ground, "lead")
    assert making.finished(ground.folder / "lead") is None


def test_a_torn_result_is_no_result(ground: Ground, made: list[str]) -> None:
    make(ground, "lead")
    path = ground.folder / "lead" / making.RESULT
    path.write_text(path.read_text()[:-20])
    make(ground, "lead")
    assert made == ["lead", "lead"]


def test_a_row_that_cannot_be_made_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[int, str]] = []

    def work(source: Source, out: Path, seed: int, row: Row) -> None:
        del source, out
        if (seed, row.name) == (1, "lead"):
            raise LeadppError("no luck")
        done.append((seed, row.name))

    def lay(source: Source, out: Path, seed: int) -> None:
        del source, out
        if seed == 2:
            raise ConfigError("no world")

    monkeypatch.setattr(jobs, "_make", work)
    monkeypatch.setattr(jobs, "_lay", lay)
    progress = SilentProgress()
    rows = [BY_NAME[name] for name in ("frozen", "lead", "moco")]
    failed = jobs.work_through(Source(), rows, seeds=(1, 2, 3), out=tmp_path, jobs=1, progress=progress)
    assert done == [(1, "frozen"), (1, "moco"), (3, "frozen"), (3, "lead"), (3, "moco")]
    assert [(outcome.what, outcome.mistake) for outcome in failed] == [("2 ground", "no world"), ("1 lead", "no luck")]
    assert any("1 lead: failed: no luck" in note for note in progress.notes)


@pytest.mark.slow
def test_processes_go_on_after_a_bug() -> None:
    outcomes = list(jobs.run_all([("good", _fine), ("bad", _buggy), ("known", _mistaken)], jobs=2))
    assert {outcome.what: outcome.mistake for outcome in outcomes} == {
        "good": "",
        "bad": "a bug: ZeroDivisionError('division by zero')",
        "known": "mend it",
    }


def _fine() -> None:
    return


def _buggy() -> None:
    _ = 1 / 0


def _mistaken() -> None:
    raise LeadppError("mend it")


def measured(*rows: tuple[str, str, str, float]) -> Sequence[dict[str, Any]]:
    return [
        {
            "encoder": encoder,
            "feature": feature,
            "set": name,
            "knn": value,
            f"naming_{encoder}": value / 2,
            "counts": {},
        }
        for encoder, feature, name, value in rows
    ]


def test_the_plain_feature_of_each_set_is_taken() -> None:
    rows = measured(
        ("student", "gap", "crop", 0.4), ("student", "attention", "crop", 0.9), ("student", "gap", "whole", 0.2)
    )
    assert making.figures_by_set(list(rows), kind="trained") == {
        "crop": {"knn": 0.4, "naming": 0.2},
        "whole": {"knn": 0.2, "naming": 0.1},
    }
    of_teacher = measured(("teacher", "embedding", "crop", 0.6))
    assert making.figures_by_set(list(of_teacher), kind="teacher") == {"crop": {"knn": 0.6, "naming": 0.3}}
