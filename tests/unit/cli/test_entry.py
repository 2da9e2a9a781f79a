import json

import pytest

from leadpp import __version__
from leadpp.cli import main
from leadpp.cli.parser import DATA_COMMANDS, data_parser, prepare_parser, settings_of
from leadpp.cli.results import print_results
from leadpp.config import build_config, option_fields


@pytest.mark.parametrize(
    ("words", "code", "out"),
    [
        (["--help"], 0, "prototypes"),
        (["--version"], 0, __version__),
        (["run", "-h"], 0, "--names"),
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
        (["xyz"], "the commands are run, prepare"),
        (["train", "--data", "d"], "required: --run"),
        (["train", "--data", "d", "--run", "r", "--names", "n"], "unknown argument '--names'"),
        (["train", "--data", "d", "--run", "r", "extra"], "unknown argument 'extra'"),
        (["run", "--data", "d", "--run", "r", "--train.epoch=3"], "--train.epochs"),
        (["prepare", "cubs", "a", "b"], "invalid choice: 'cubs'"),
        (["prototypes"], "prototypes build"),
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
