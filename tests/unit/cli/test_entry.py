import json
from pathlib import Path
from typing import Any

import pytest
import torch

from leadpp import __version__
from leadpp.cli import main
from leadpp.cli.commands.demo import demo_parser, world_of
from leadpp.cli.commands.prepare import prepare_parser
from leadpp.cli.commands.stages import DATA_COMMANDS, data_parser
from leadpp.cli.parser import settings_of
from leadpp.cli.results import print_demo, print_results
from leadpp.config import build_config, option_fields
from leadpp.world.photographs import Photograph


@pytest.mark.parametrize(
    ("words", "code", "out"),
    [
        (["--help"], 0, "prototypes"),
        (["--version"], 0, __version__),
        (["run", "-h"], 0, "--names"),
        (["demo", "-h"], 0, "--per-species"),
    ],
)
def test_help_and_version(words: list[str], code: int, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    captured = capsys.readouterr()
    assert out in captured.out
    assert captured.err == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rum"], "did you mean 'run'?"),
        (["xyz"], "the commands are run, demo, prepare"),
        (["train", "--data", "d"], "required: --run"),
        (["train", "--data", "d", "--run", "r", "--names", "n"], "unknown argument '--names'"),
        (["train", "--data", "d", "--run", "r", "extra"], "unknown argument 'extra'"),
        (["run", "--data", "d", "--run", "r", "--train.epoch=3"], "--train.epochs"),
        (["prepare", "cubs", "a", "b"], "invalid choice: 'cubs'"),
        (["prototypes"], "prototypes build"),
        (["prototypes", "inspect"], "required: FILE"),
        (["prototypes", "inspect", "f", "--features", "a", "--run", "b"], "not allowed with argument"),
        (["prototypes", "inspect", "f", "--temperature", "warm"], "invalid float value: 'warm'"),
        (["prototypes", "inspect", "absent.pt"], "no such file"),
        (["prototypes", "export", "absent.safetensors", "o.pt"], "no such file"),
        (["prototypes", "export", "f", "o.pt", "--dtype", "int8"], "invalid choice: 'int8'"),
        (["demo", "--runs", "d"], "closest: --run"),
        (["demo", "--networks", "world"], "unknown argument '--networks'"),
        (["run", "--data", "d", "--run", "r", "--networks", "moon"], "networks must be world"),
        (["train", "--data", "d", "--run", "r", "--train.epochs", "["], "whole number"),
    ],
)
def test_mistakes_are_one_line_and_2(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert expected in captured.err


def test_no_command_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "commands:" in captured.err


@pytest.mark.parametrize("command", sorted(DATA_COMMANDS))
def test_every_setting_is_a_flag_of_every_command(command: str) -> None:
    words = ["--data", "d", "--run", "r"]
    plain = {flag for action in data_parser(command)._actions for flag in action.option_strings}
    for leaf in option_fields():
        assert "--" + ".".join(leaf.path).replace("_", "-") in plain
    groups = {leaf.path[0] for leaf in option_fields() if len(leaf.path) > 1}
    assert not groups & {flag.lstrip("-") for flag in plain}
    parsed = data_parser(command).parse_strictly([*words, "--train.epochs", "5", "--teacher.use", "no"])
    config = build_config(settings_of(parsed))
    assert (config.train.epochs, config.teacher.use) == (5, "no")


def test_switches_and_short_spellings() -> None:
    parsed = prepare_parser().parse_strictly(["folder", "a", "b", "--bad-images", "error", "--seed", "3"])
    assert settings_of(parsed) == {"seed": 3, "input": {"bad_images": "error"}}
    words = ["--data", "d", "--run", "r", "--localize.zero-rows", "--localize.fit_images", "7"]
    assert settings_of(data_parser("run").parse_strictly(words)) == {"localize": {"zero_rows": True, "fit_images": 7}}


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    results = {"index": {"bad": 2}, "evaluate": [{"encoder": "student", "feature": "gap", "set": "whole", "knn": 0.5}]}
    print_results(results, command="evaluate", as_json=True)
    assert json.loads(capsys.readouterr().out) == results["evaluate"]
    print_results(results, command="run", as_json=True)
    assert json.loads(capsys.readouterr().out) == results
    print_results({**results, "localize": {"corloc": 0.91234, "notes": []}}, command="run", as_json=False)
    out = capsys.readouterr().out
    assert "0.500" in out
    assert "corloc 0.9123" in out
    assert out.splitlines()[-1].startswith("2 files could not be read")


def demo_results() -> dict[str, Any]:
    figures = {"backbone": (0.5, 0.25), "teacher": (0.4, 0.3), "moco": (0.55, 0.3), "lead++": (0.6, 0.2)}
    encoders = {"backbone": "frozen", "teacher": "teacher", "moco": "student", "lead++": "student"}
    rows = [
        {"row": name, "encoder": encoders[name], "feature": "gap", "set": "crop", "knn": knn, "map": precision}
        for name, (knn, precision) in figures.items()
    ]
    rows[1]["naming_teacher"] = 0.5
    rows[3] |= {"naming_student": 0.625, "naming_teacher": 0.5}
    return {
        "rows": rows,
        "report": "d/report.html",
        "seconds": {"world": 70.4, "train": 50.0},
        "note": "A drawn world.",
    }


def test_the_demo_prints_a_table_or_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = demo_results()
    print_demo(found, as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == found["rows"]
    assert captured.err == "report: d/report.html\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_demo(found, as_json=False)
    out = capsys.readouterr().out
    bold = [word.split("\x1b[0m")[0].strip() for word in out.split("\x1b[1m")]
    assert [word for word in bold if word[:1].isdigit()] == [
        "30.0",
        "30.0",
        "60.0",
        "62.5",
    ]  # the best of a column, both where two are equal
    lines = out.splitlines()
    assert [cell.strip() for cell in next(line for line in lines if "backbone" in line).split("│")[1:-1]] == [
        "backbone", "50.0", "25.0", "–",
    ]  # fmt: skip
    assert any(line.endswith("took: world 70 s · train 50 s; together 2 min 00 s") for line in lines)
    assert any("A drawn world." in line for line in lines)
    assert lines[-1] == "report: d/report.html"


def test_the_demo_reads_its_world_and_settings() -> None:
    parsed = demo_parser().parse_strictly(
        ["--species", "3", "--seed", "7", "--epochs", "2", "--evaluate.probe-views", "1"]
    )
    assert world_of(parsed) == {"species": 3, "seed": 7}
    assert settings_of(parsed) == {"train": {"epochs": 2}, "evaluate": {"probe_views": 1}}
    assert str(parsed.run) == "demo"


def test_ctrl_c_in_the_demo_promises_no_resume(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("leadpp.pipeline.demo", stop)
    assert main(["demo"]) == 130
    said = capsys.readouterr().err
    assert "run the same command to go on" in said
    assert "--resume" not in said


def test_an_interrupted_world_leaves_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: object) -> Photograph:
        raise KeyboardInterrupt

    monkeypatch.setattr("leadpp.world.photographs.take", stop)
    assert main(["world", str(tmp_path / "w"), "--species", "1", "--per-species", "1", "--workers", "0"]) == 130
    said = capsys.readouterr().err
    assert said.startswith("leadpp: interrupted; nothing was written")
    assert "stages" not in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("raised", "code", "said"), [(KeyboardInterrupt(), 130, "leadpp: interrupted"), (BrokenPipeError(), 0, "")]
)
def test_ctrl_c_and_closed_pipes(
    raised: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: list[str]) -> int:
        raise raised

    monkeypatch.setattr("leadpp.cli.entry._dispatch", stop)
    monkeypatch.setattr("sys.stderr.close", lambda: None)
    assert main(["run"]) == code
    assert capsys.readouterr().err.startswith(said)


def test_values_that_spaces_separate_are_told_of_commas(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--data", "d", "--run", "r", "--evaluate.probe-rates", "10", "30"]) == 2
    assert "several values of one setting are separated by commas" in capsys.readouterr().err
    assert main(["run", "--data", "d", "--run", "r", "--evaluate.probe-rates", "10;30"]) == 2
    assert "must be a number, got '10;30'; several are separated by commas" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA is full\nand more"), RuntimeError("DefaultCPUAllocator: no room")],
)
def test_memory_that_ran_out_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def exhaust(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("leadpp.pipeline.demo", exhaust)
    assert main(["demo"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("leadpp: error: memory ran out (")
    assert "lower input.size" in line


def test_other_errors_are_bugs_and_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr("leadpp.pipeline.demo", fail)
    with pytest.raises(RuntimeError, match="something else"):
        main(["demo"])


def test_archives_that_the_shell_has_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["localize", "--data", "x/0.tar", "x/1.tar", "--run", "r"]) == 2
    assert "in quotes so that the shell leaves it whole" in capsys.readouterr().err
