"""``leadpp name`` and ``leadpp discover`` from the command line: settings, results, and mistakes in one line."""

import json
import shutil
from pathlib import Path

import pytest

from leadpp.cli import main
from leadpp.config import write_yaml
from leadpp.data.index import write_index
from tests.unit.stages.evaluation_world import World, draw_world, save_prototypes


@pytest.fixture(scope="module")
def whole_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = draw_world(tmp_path_factory.mktemp("world"))
    save_prototypes(world.run)
    write_index(world.run / "index.parquet", world.index)
    (world.run / "config.yaml").write_text(write_yaml(world.config))
    return world


@pytest.fixture
def run(whole_world: World, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_world.run, tmp_path / "run"))


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_photographs_are_named(whole_world: World, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = whole_world.index.root / "test" / "red" / "0.png"
    out = run.parent / "out"
    code, text, err = call(capsys, "name", "--run", run, photo, "--out", out, "--top", 2, "--unsure", 0.99, "--json")
    assert code == 0, err
    found = json.loads(text)
    (row,) = found["photographs"]
    assert (row["path"], len(row["student"]["names"]), row["student"]["unsure"]) == (str(photo), 2, True)
    assert found["promise"]
    assert (out / "names.html").is_file()
    code, text, _ = call(capsys, "name", "--run", run, photo.parent, "--name.by", "teacher")
    assert code == 0
    assert f"{photo}: teacher: " in text
    assert "unsure of" in text
    assert f"names.csv, names.json, names.parquet, names.html are in {run / 'names'}" in text


def test_strangers_are_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("discover", "--run", run, "--discover.clusters", 4, "--discover.below", 1)
    code, text, err = call(capsys, *words, "--json")
    assert code == 0, err
    found = json.loads(text)
    code, text, _ = call(capsys, *words)
    assert code == 0
    assert f"{found['unnamed']} of 4 clusters have no name" in text
    assert text.count("nearest name") == found["unnamed"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["name", "--run", "{run}"], "the following arguments are required: IMAGES"),
        (["name", "x.jpg"], "the following arguments are required: --run"),
        (["name", "--run", "nowhere", "x.jpg"], "nowhere: no such run folder"),
        (["name", "--run", "{run}", "gone.jpg"], "gone.jpg: no such file or directory"),
        (["name", "--run", "{run}", "x.jpg", "--top", "0"], "name.top must be at least 1, got 0"),
        (["name", "--run", "{run}", "x.jpg", "--unsure", "2"], "name.unsure must be from 0 to 1, got 2"),
        (["name", "--run", "{run}", "x.jpg", "--name.tpo", "2"], "closest: --name.top"),
        (["name", "--run", "{run}", "--out", "{run}/config.yaml", "."], "a file stands where the folder is meant"),
        (["discover", "--run", "{run}", "--ask"], "needs a language model that accepts pictures"),
        (["discover", "--run", "{run}", "--discover.below", "-1"], "discover.below must be 0 or more"),
    ],
)
def test_mistakes_are_one_line(
    run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    code, out, err = call(capsys, *(word.replace("{run}", str(run)) for word in words))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert not (run / "names").exists()
