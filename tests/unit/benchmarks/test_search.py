import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import search
from benchmarks.claims.command import add_source_arguments, read_source
from benchmarks.claims.jobs import Outcome
from benchmarks.claims.making import RESULT_KIND
from benchmarks.claims.results import gather
from benchmarks.claims.rows import BY_NAME, Row
from leadpp.errors import ConfigError
from leadpp.io.artifacts import write_json

LIST = """\
- name: default
- name: slow
  settings: {train: {learning_rate: 0.005}}
- name: slow-clip
  over: slow
  settings: {train: {clip_norm: 1.0}}
"""


@pytest.fixture
def variants(tmp_path: Path) -> Path:
    path = tmp_path / "variants.yaml"
    path.write_text(LIST)
    return path


def test_a_variant_goes_over_another(variants: Path) -> None:
    read = search.read_variants(variants)
    assert [(variant.name, dict(variant.settings)) for variant in read] == [
        ("default", {}),
        ("slow", {"train": {"learning_rate": 0.005}}),
        ("slow-clip", {"train": {"learning_rate": 0.005, "clip_norm": 1.0}}),
    ]


def test_the_list_that_is_shipped_can_be_read() -> None:
    assert search.read_variants(search.DEFAULT_VARIANTS)[0].name == "start"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a", "expected a list"),
        ("- settings: {}", "a variant has name"),
        ("- {name: a, setting: {}}", "a variant has name"),
        ("- {name: a}\n- {name: a}", "two variants"),
        ("- {name: a, over: b}", "no earlier variant"),
        ("- {name: a/b}", "unfit"),
        ("- [", "cannot read"),
    ],
)
def test_a_malformed_list_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "variants.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        search.read_variants(path)


def test_the_kinds_of_teachers(variants: Path) -> None:
    slow = search.read_variants(variants)[1]
    good, weak, none = (slow.row(kind) for kind in search.KINDS)
    assert (good.name, good.words, good.noise) == ("slow@good", "descriptions", 0)
    assert (weak.name, weak.words, weak.noise) == ("slow@weak", "descriptions", 3)
    assert (none.name, none.taught) == ("slow@none", False)
    assert good.settings == weak.settings == none.settings == {"train": {"learning_rate": 0.005}}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """One variant with a good teacher on two seeds, better in kNN and worse in mAP than frozen."""
    frozen = [{"knn": 0.50, "map": 0.40}, {"knn": 0.60, "map": 0.50}]
    slow = [{"knn": 0.56, "map": 0.38, "naming": 0.3}, {"knn": 0.64, "map": 0.46, "naming": 0.4}]
    teacher = [{"knn": 0.20, "naming": 0.35}, {"knn": 0.20, "naming": 0.45}]
    for name, by_seed in {"frozen": frozen, "slow@good": slow, "teacher": teacher}.items():
        for seed, figures in enumerate(by_seed):
            whole = {"map": figures["map"] + (0.1 if name == "frozen" else 0.0)} if "map" in figures else {}
            sets: dict[str, Any] = {"crop": figures, "whole": whole}
            result = {"sets": sets, "seconds": {"train": 40.0, "evaluate": 10.0}, "shared": "one"}
            write_json(tmp_path / "out" / str(seed) / name / "result.json", result, kind=RESULT_KIND)
    return tmp_path / "out"


def test_gains_are_over_the_frozen_backbone_of_the_same_seed(out: Path, variants: Path) -> None:
    read = search.read_variants(variants)
    rows = [BY_NAME["frozen"], BY_NAME["teacher"], *(variant.row("good") for variant in read)]
    results = gather(out, rows)
    assert search.mean_gains(results, "slow@good") == pytest.approx([(0.06 - 0.02) / 2, (0.04 - 0.04) / 2])
    worst = search.worst_gain(results, "slow@good")
    assert worst is not None
    assert worst[0] == pytest.approx(-0.13)
    assert worst[1] == "mAP, whole"
    lines = search.summary_table(results, read, search.KINDS).splitlines()
    assert lines[2:] == ["| slow | +0.010 ± 0.014 | -0.130 (mAP, whole) | – | – | – | – | 50 |"]
    table = search.metric_table(results, read, search.KINDS, set_name="crop").splitlines()
    assert (
        table[-1] == "| slow, good | +0.050 ± 0.014 | – | – | -0.030 ± 0.014 | – | – | 0.350 ± 0.071 (0.400 ± 0.071) |"
    )


def test_the_table_alone_runs_nothing(
    out: Path, variants: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "work_through", None)
    assert search.main(["--table", str(out), "--variants", str(variants)]) == 0
    assert (out / "search.md").read_text() in capsys.readouterr().out


def test_only_what_is_asked_for_is_made(out: Path, variants: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def work_through(source: object, rows: Sequence[Row], **told: object) -> list[Outcome]:
        del source, told
        asked.append([row.name for row in rows])
        return []

    monkeypatch.setattr(search, "work_through", work_through)
    common = ["--out", str(out), "--variants", str(variants), "--only", "slow"]
    assert search.main([*common, "--teachers", "none"]) == 0
    assert search.main([*common, "--teachers", "good", "weak"]) == 0
    assert asked == [["frozen", "slow@none"], ["frozen", "teacher", "slow@good", "slow@weak"]]
    assert search.main(["--out", str(out), "--variants", str(variants), "--only", "fast"]) == 2


def test_tuning_kinds_of_produce_are_never_reported(tmp_path: Path) -> None:
    names = [f"kind-{number:02d}" for number in range(50)]
    texts = {name: {"text": f"looks like {name}"} for name in names}
    for split in ("train", "test"):
        for name in names:
            (tmp_path / "produce" / split / name).mkdir(parents=True)
    (tmp_path / "produce" / "descriptions.json").write_text(json.dumps(texts))

    chosen = {}
    for which in ("tuning", "reported"):
        out = tmp_path / which
        arguments = ["--data", str(tmp_path / "produce"), "--produce", which]
        parser = argparse.ArgumentParser()
        parser.add_argument("--out", type=Path, default=out)
        add_source_arguments(parser)
        source = read_source(parser.parse_args(arguments))
        assert source.data == out / "photos"
        assert source.descriptions == out / "descriptions.json"
        chosen[which] = {path.name for path in (source.data / "test").iterdir()}
        assert set(json.loads(source.descriptions.read_text())) == chosen[which]
    assert (len(chosen["tuning"]), len(chosen["reported"])) == (15, 20)
    assert not chosen["tuning"] & chosen["reported"]


def test_produce_without_its_folder_is_one_clear_line(tmp_path: Path) -> None:
    assert search.main(["--out", str(tmp_path), "--produce", "tuning"]) == 2
