"""``leadpp world`` from the command line, and what follows on the folder that it writes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leadpp.text.descriptions import read_descriptions
from tests.integration.conftest import Cli


def _rows(world: Path) -> int:
    return len((world / "descriptions.csv").read_text(encoding="utf-8").splitlines()) - 1


def test_a_world_from_the_command_line(tmp_path: Path, tiny_world: Path, cli: Cli) -> None:
    words = ("world", tmp_path / "w", "--species", 4, "--per-species", 8, "--size", 48, "--seed", 11)
    code, out, err = cli(*words, "--descriptions", 3, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["species"], told["train"], told["test"], told["correlate"]) == (4, 16, 16, 0)
    assert (told["descriptions"], _rows(tmp_path / "w")) == (3, 4 * 3)
    assert told["digest"] == json.loads((tiny_world / "world.json").read_text())["digest"]
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert "--overwrite" in err
    code, out, err = cli(*words, "--overwrite", "--correlate", "1", "--descriptions", "1")
    assert code == 0, err
    assert _rows(tmp_path / "w") == 4
    assert "train 16, test 16" in " ".join(out.split())
    assert json.loads((tmp_path / "w" / "world.json").read_text())["digest"] != told["digest"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--species", "0"], "--species must be at least 1, got 0"),
        (["--per-species", "-1"], "--per-species must be at least 1, got -1"),
        (["--size", "16"], "--size must be at least 32, got 16"),
        (["--species", "10000000000"], "at most"),
        (["--descriptions", "0"], "--descriptions must be at least 1, got 0"),
        (["--descriptions", "some"], "invalid int value: 'some'"),
        (["--correlate", "2"], "from 0 to 1"),
        (["--species", "few"], "invalid int value: 'few'"),
        (["--specie", "3"], "--species"),
    ],
)
def test_mistakes(words: list[str], said: str, tmp_path: Path, cli: Cli) -> None:
    code, out, err = cli("world", tmp_path / "w", *words)
    assert (code, out) == (2, "")
    assert err.startswith("leadpp: error: ")
    assert len(err.splitlines()) == 1
    assert said in err
    assert not list(tmp_path.iterdir())


def test_words_and_boxes_of_a_world_are_taken(tiny_world: Path, demo: Path, tmp_path: Path, cli: Cli) -> None:
    words = ("--data", tiny_world, "--run", tmp_path / "run", "--config", demo / "settings.yaml")
    code, out, err = cli("localize", *words, "--json")
    assert code == 0, err
    assert 0 <= json.loads(out)["corloc"] <= 1
    assert "left out" not in err
    code, out, err = cli("prototypes", "build", *words, "--descriptions", tiny_world / "descriptions.csv", "--json")
    assert code == 0, err
    built = json.loads(out)
    assert (built["classes"], built["texts"]) == (4, 4)
    asked, drawn = (read_descriptions(folder / "descriptions.csv") for folder in (tmp_path / "run", tiny_world))
    assert asked == drawn


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "number", "code"), [("0", signal.SIGINT, 130), ("2", signal.SIGINT, 130), ("0", signal.SIGTERM, 143)]
)
def test_a_signal_leaves_nothing(workers: str, number: int, code: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "leadpp", "world", str(tmp_path / "w"), "--per-species", "5000"]
    with subprocess.Popen(
        [*command, "--workers", workers], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while process.poll() is None:
            if len(children.read_text().split()) >= 2 if workers != "0" else list(tmp_path.rglob("*.jpg")):
                break
            time.sleep(0.002)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # a terminal sends it to the drawing processes too
        else:
            process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (code, ""), err
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert err.splitlines()[-1].startswith("leadpp: interrupted; nothing was written")
    assert not list(tmp_path.iterdir())
