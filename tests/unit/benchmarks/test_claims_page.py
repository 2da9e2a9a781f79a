import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.claims.making import RESULT_KIND
from benchmarks.claims.page import (
    best_rows,
    claim_line,
    difference_table,
    judge_all,
    metric_table,
    seed_table,
    write_page,
)
from benchmarks.claims.results import gather
from benchmarks.claims.rows import BY_NAME, ROWS
from benchmarks.claims.verdicts import METRICS
from leadpp.errors import DataError
from leadpp.io.artifacts import write_json

KNN: Mapping[str, Mapping[int, float]] = {
    "frozen": {5: 0.50, 6: 0.60},
    "lead++": {5: 0.60, 6: 0.71},
    "no-boxes": {5: 0.55, 6: 0.66},
    "supervised": {5: 0.99},
}
PROTOCOL: Mapping[str, Any] = {
    "view": "squeeze",
    "size": 96,
    "knn": {"k": 10, "temperature": 0.07},
    "probe": {"epochs": 100, "learning_rate": 30.0, "views": 2, "heldout": 0.2},
    "clusters": {"k": 4, "restarts": 5},
}
GROUND: Mapping[str, Any] = {
    "world": {"species": 4, "per_species": 8, "size": 64, "descriptions": 2},
    "digest": "abc",
    "split": "given",
    "train": 16,
    "test": 16,
    "classes": 4,
    "localize": {"policy": "square", "corloc": 0.5, "mean_iou": 0.25},
}
SETTINGS: Mapping[str, Any] = {
    "train": {
        "epochs": 8,
        "batch_size": 32,
        "learning_rate": 0.02,
        "schedule": "cosine-step",
        "warmup_epochs": 1.0,
        "queue_size": 0,
        "key_momentum": 0.997,
    },
    "loss": {"contrastive_temperature": 0.27, "distillation_temperature": 0.02},
}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Four rows on two seeds, one of them on one, with kNN alone."""
    for name, by_seed in KNN.items():
        for seed, value in by_seed.items():
            result = {
                "row": name,
                "seed": seed,
                "identity": f"{name} {seed}",
                "shared": "one",
                "sets": {"crop": {"knn": value}},
                "seconds": {"train": 3.0, "evaluate": 1.0},
                "protocol": PROTOCOL,
                "settings": SETTINGS,
                "weights": {"builtin:world-backbone": "f00d"},
                "ground": GROUND,
            }
            write_json(tmp_path / str(seed) / name / "result.json", result, kind=RESULT_KIND)
    return tmp_path


def cells(table: str, title: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_means_and_spreads_are_those_of_the_seeds(out: Path) -> None:
    figures = gather(out, ROWS).figures("crop")
    table = metric_table(figures, ROWS)
    assert cells(table, "frozen backbone") == ["0.550 ± 0.071", *["–"] * (len(METRICS) - 1)]
    assert cells(table, "**LEAD++**")[0] == "0.655 ± 0.078"
    assert cells(table, "supervised upper bound")[0] == "0.990"
    assert "MoCo" not in table


def test_differences_are_paired_by_seed(out: Path) -> None:
    table = difference_table(gather(out, ROWS).figures("crop"), ROWS)
    assert cells(table, "frozen backbone")[0] == "-0.105 ± 0.007"
    assert cells(table, "supervised upper bound")[0] == "+0.390"
    assert "**LEAD++**" not in table


def test_every_seed_is_printed(out: Path) -> None:
    table = seed_table(gather(out, ROWS).figures("crop"), [BY_NAME["frozen"], BY_NAME["supervised"]])
    lines = [line.replace(" –", "").replace("|", " ").split() for line in table.splitlines()[2:]]
    assert [(words[0], words[-1]) for words in lines] == [("5,", "0.500"), ("5,", "0.990"), ("6,", "0.600")]


def test_the_best_row_is_one_that_needs_no_labels(out: Path) -> None:
    assert best_rows(gather(out, ROWS).figures("crop"), ROWS) == "Best label-free row: kNN LEAD++ (0.655)."


def test_a_claim_is_told_with_its_figures(out: Path) -> None:
    judged = {item.claim.sentence: item for item in judge_all(gather(out, ROWS).figures("crop"))}
    assert set(judged) == {
        "Boxes help",
        "LEAD++ beats the frozen backbone",
        "LEAD++ is not below the frozen backbone on any metric, by more than 0.01",
    }
    assert claim_line(judged["LEAD++ beats the frozen backbone"]) == (
        "- LEAD++ beats the frozen backbone: **holds** (`lead++` - `frozen`: kNN +0.105 ± 0.007, "
        "interval +0.041 to +0.169, 2 seeds)."  # 0.105 ± 12.706 x 0.00707 / sqrt(2)
    )


def test_the_page_begins_with_the_protocol_and_names_no_folder(out: Path, tmp_path: Path) -> None:
    text = write_page(gather(out, ROWS), ROWS, tmp_path / "page")
    assert text == (tmp_path / "page" / "claims.md").read_text()
    assert text.index("## Protocol") < text.index("## On object crops") < text.index("## The claims")
    for word in (
        "k = 10, temperature 0.07",
        "f00d",
        "5, 6",
        "4 species",
        "each: 2;",
        "squeeze, 96 px",
        "torch",
        "0.500 / 0.250",
    ):
        assert word in text
    content = json.loads((tmp_path / "page" / "claims.json").read_text())
    assert content["rows"]["lead++"]["sets"]["crop"] == {"5": {"knn": 0.6}, "6": {"knn": 0.71}}
    assert [claim["verdict"] for claim in content["claims"]["crop"]] == ["holds", "holds", "holds"]
    for written in (text, json.dumps(content)):
        assert str(tmp_path) not in written
        assert str(Path.home()) not in written


def test_rows_of_other_settings_are_told(out: Path) -> None:
    assert not gather(out, ROWS).mixed()
    odd = json.loads((out / "5" / "frozen" / "result.json").read_text()) | {"shared": "another"}
    (out / "5" / "frozen" / "result.json").write_text(json.dumps(odd))
    results = gather(out, ROWS)
    assert results.mixed()
    assert "Careful" in write_page(results, ROWS, out)


def test_nothing_finished_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no finished row"):
        gather(tmp_path, [BY_NAME["frozen"]])
