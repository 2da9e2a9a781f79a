import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bench import __main__ as command
from benchmarks.bench import measure
from benchmarks.bench.case import Case, Work
from benchmarks.bench.page import BEGIN, END, judge, put_table, table

_BALLAST = """
from benchmarks.bench.measure import peak_mb
before = peak_mb()
ballast = b"1" * 300_000_000
print(before, peak_mb())
"""
RESULT: dict[str, Any] = {
    "name": "load",
    "protocol": "Twelve photographs.",
    "items": 12,
    "ratio": 2.0,
    "seconds": 0.25,
    "seconds_obvious": 0.5,
    "cpu_seconds": 0.4,
    "cpu_seconds_obvious": 0.9,
    "memory_ratio": 0.5,
    "peak_mb": 600.0,
    "target": 2.5,
    "memory_target": 0.65,
    "peak_target_mb": 500.0,
    "seconds_target": None,
}


def case(log: list[str]) -> Case:
    def setup(side: str, seconds: float) -> Work:
        log.append(f"make {side}")

        def work() -> None:
            log.append(side)
            time.sleep(seconds)

        return work

    return Case(
        name="nap",
        protocol="Sleeping.",
        items=1,
        obvious=lambda: setup("obvious", 0.04),
        fast=lambda: setup("fast", 0.01),
        target=1.0,
    )


def test_both_sides_work_by_turns_after_one_round_that_does_not_count() -> None:
    log: list[str] = []
    found = measure.measure_in_turn(case(log), rounds=2)
    assert log == ["make obvious", "make fast", *["obvious", "fast"] * 3]
    assert len(found["ratios"]) == 2
    assert found["seconds_obvious"] >= 0.04 > found["seconds"] >= 0.01
    assert found["cpu_seconds"] < found["seconds"]


def test_memory_of_one_side_does_not_make_the_other() -> None:
    log: list[str] = []
    assert measure.measure_memory(case(log), "fast")["peak_mb"] > 10
    assert log == ["make fast", "fast", "fast"]


def test_the_peak_of_memory_is_that_of_this_process() -> None:
    words = [sys.executable, "-c", _BALLAST]
    before, after = map(float, subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())
    assert 290 < after - before < 400


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"ratio": 2.6, "peak_mb": 400.0}, []),
        ({"peak_mb": 400.0}, ["2 times faster where 2.5 was asked"]),
        ({"ratio": 3.0}, ["600 MB where 500 was asked"]),
        ({"ratio": 3.0, "peak_mb": 1.0, "memory_ratio": 0.7}, ["0.7 of the memory where 0.65 was asked"]),
        ({"ratio": 3.0, "peak_mb": 1.0, "seconds_target": 0.2}, ["0.25 s where 0.2 was asked"]),
    ],
)
def test_what_is_missed_is_told(changes: dict[str, Any], missed: list[str]) -> None:
    assert judge(RESULT | changes) == missed


def test_the_table_goes_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_table(page, [RESULT], where="Here")
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\nHere.\n\n| work")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "| `load` | 0.250 | 0.400 | 0.500 | 0.900 | **2.00** | 2.5 | 600 | 0.50 | 0.65 × 500 MB | missed |" in text
    put_table(page, [RESULT], where="Here")
    assert page.read_text() == text
    page.write_text("no marks")
    with pytest.raises(ValueError, match="expected the marks"):
        put_table(page, [RESULT], where="Here")


def test_figures_are_written_after_every_case_and_a_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fresh(name: str, *, side: str | None = None, **_: object) -> dict[str, Any]:
        if name == "probe":
            raise RuntimeError("the network is not to be had")
        if side:
            return {"peak_mb": {"fast": 300.0, "obvious": 600.0}[side]}
        return {key: value for key, value in RESULT.items() if key not in {"name", "peak_mb", "memory_ratio"}}

    monkeypatch.setattr(command, "in_fresh_process", fresh)
    out = tmp_path / "figures.json"
    assert command.main(["--out", str(out), "--only", "load", "probe", "--quick"]) == 1
    (found,) = json.loads(out.read_text())
    assert (found["name"], found["memory_ratio"], found["peak_mb"], found["quick"]) == ("load", 0.5, 300.0, True)
    assert "the network is not to be had" in capsys.readouterr().err
    assert command.main(["--out", str(out), "--only", "step_exact", "--quick"]) == 0
    assert [result["name"] for result in json.loads(out.read_text())] == ["step_exact", "load"]
    assert command.main(["--out", str(out), "--only", "load"]) == 0
    assert [(result["name"], result["quick"]) for result in json.loads(out.read_text())] == [("load", False)]
    assert "| `load` |" in table(json.loads(out.read_text()))


@pytest.mark.parametrize("name", list(measure.CASES))
@pytest.mark.parametrize("quick", [True, False])
def test_every_case_says_what_it_measures(name: str, quick: bool) -> None:
    found = measure.make_case(name, quick=quick)
    assert (found.name, found.target > 1, len(found.protocol) > 40) == (name, True, True)
