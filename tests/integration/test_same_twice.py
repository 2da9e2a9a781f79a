"""Two whole runs of one seed are the same to the byte, but for times, and figures say of which run they are."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from leadpp.pipeline import Texts
from leadpp.pipeline import run as run_stages
from tests.integration.conftest import Cli

pytestmark = pytest.mark.slow

TELL_OF_TIMES = {".lock", "env.json", "metrics.jsonl", "stages.json"}
SETTINGS = """\
networks: world
input: {size: 32, workers: 0}
localize: {size: 64, fit_images: 8}
train: {epochs: 2, batch_size: 8, precision: fp32, monitor_every: 1, average_decay: 0.9, device: cpu}
evaluate: {probe_views: 1, probe_epochs: 5, kmeans_restarts: 1}
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("settings") / "settings.yaml"
    path.write_text(SETTINGS)
    return path


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Put the number of threads back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def first(tiny_world: Path, settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run: Path = tmp_path_factory.mktemp("first") / "run"
    run_stages(tiny_world, run, config=settings, texts=words_of(tiny_world))
    return run


def words_of(world: Path) -> Texts:
    return Texts(descriptions=world / "descriptions.csv")


def command(world: Path, run: Path, settings: Path) -> list[str]:
    given = ["--config", settings, "--descriptions", world / "descriptions.csv"]
    return [*map(str, ["run", "--data", world, "--run", run, *given])]


def files(run: Path) -> dict[str, bytes]:
    """Return the bytes of everything in a run that does not tell of times."""
    found = {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    return {name: found[name] for name in sorted(found) if name not in TELL_OF_TIMES and "tensorboard" not in name}


def different(one: Path, other: Path) -> list[str]:
    a, b = files(one), files(other)
    return [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]


def test_a_run_made_again_elsewhere_is_the_same_to_the_byte(
    tiny_world: Path, settings: Path, first: Path, tmp_path: Path, cli: Cli
) -> None:
    """In a process of its own, with other hashes of words and another folder of another name."""
    again = tmp_path / "elsewhere" / "another name"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    words = [sys.executable, "-m", "leadpp", *command(tiny_world, again, settings)]
    subprocess.run(words, env=environment, check=True, capture_output=True)
    known = files(first)
    assert {"report.html", "evaluation.json", "boxes.parquet", "naming.json", "config.yaml"} < known.keys()
    assert sum(name.startswith(("embeddings/", "checkpoints/")) for name in known) > 10
    assert different(first, again) == []
    assert cli("compare", first, again)[0] == 0


def test_a_run_that_was_broken_off_has_the_same_report(
    tiny_world: Path, settings: Path, first: Path, tmp_path: Path, cli: Cli
) -> None:
    run = tmp_path / "run"
    words = command(tiny_world, run, settings)
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen([sys.executable, "-m", "leadpp", *words], env=environment, stderr=subprocess.PIPE) as process:
        log = run / "metrics.jsonl"
        while process.poll() is None and not (log.exists() and log.read_bytes()):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert cli(*words, "--resume")[0] == 0
    other = {name for name in different(first, run) if not name.startswith("checkpoints/")}  # they count what was saved
    assert other == set()
    assert cli("compare", first, run)[0] == 0


def test_another_seed_is_another_run(tiny_world: Path, first: Path, tmp_path: Path, cli: Cli) -> None:
    """Else the test above would prove nothing."""
    run = shutil.copytree(first, tmp_path / "run")
    assert cli("run", "--data", tiny_world, "--run", run, "--seed", 9)[0] == 0
    changed = different(first, run)
    assert {"report.html", "evaluation.json", "checkpoints/epoch-0002.safetensors"} <= set(changed)
    assert verified(cli, run) != verified(cli, first)


def test_deterministic_is_the_same_with_any_number_of_threads(
    tiny_world: Path, settings: Path, tmp_path: Path, cli: Cli
) -> None:
    for threads in (1, 2):
        torch.set_num_threads(threads)
        words = command(tiny_world, tmp_path / str(threads), settings)
        assert cli(*words, "--deterministic")[0] == 0
        assert torch.get_num_threads() == threads
        assert not torch.are_deterministic_algorithms_enabled()
    assert different(tmp_path / "1", tmp_path / "2") == []
    assert cli("compare", tmp_path / "1", tmp_path / "2")[0] == 0
    assert "deterministic: true" in (tmp_path / "1" / "config.yaml").read_text()
    assert json.loads((tmp_path / "2" / "env.json").read_text())["threads"] == 1
    err = cli("evaluate", "--data", tiny_world, "--run", tmp_path / "1")[2]
    assert "unchanged, skipped" in err  # the run remembers
    err = cli("prototypes", "build", "--data", tiny_world, "--run", tmp_path / "1", "--deterministic", "no")[2]
    assert "unchanged, skipped" not in err


def verified(cli: Cli, run: Path) -> str:
    """Return the hash that ``verify`` prints of a run that is whole, made again."""
    code, out, _ = cli("verify", run)
    assert code == 0, out
    line = out.splitlines()[-2]
    assert line.endswith(": made again from its files and settings"), out
    return line.removeprefix("run ").partition(":")[0]


def test_figures_carry_the_hash_that_verify_makes_again(tiny_world: Path, first: Path, cli: Cli) -> None:
    run_hash = verified(cli, first)
    assert len(run_hash) == 32
    evaluation = json.loads((first / "evaluation.json").read_text())
    assert {evaluation["run"], *(row["run"] for row in evaluation["rows"])} == {run_hash}
    printed = json.loads(cli("evaluate", "--data", tiny_world, "--run", first, "--json")[1])
    assert {row["run"] for row in printed} == {run_hash}
    assert f"run {run_hash}" in cli("evaluate", "--data", tiny_world, "--run", first)[1]
    page = (first / "report.html").read_text()
    assert f"run <code>{run_hash}</code>" in page
    assert f"seed 123 · run {run_hash}" in page
    assert json.loads(cli("verify", first, "--json")[1])["made_again"] is True


def test_other_settings_give_another_hash_and_other_figures_are_found_out(
    first: Path, tmp_path: Path, cli: Cli
) -> None:
    run = shutil.copytree(first, tmp_path / "run")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("probe_epochs: 5", "probe_epochs: 6"))
    assert "noted; what lies here gives another" in cli("verify", run)[1]
    (run / "config.yaml").write_text("seed: [")
    found = json.loads(cli("verify", run, "--json")[1])
    assert (found["whole"], found["made_again"], len(found["run"])) == (True, False, 32)
    (run / "config.yaml").write_text(config)
    other = json.loads((run / "evaluation.json").read_text()) | {"run": "0" * 32}
    (run / "evaluation.json").write_text(json.dumps(other))
    code, out, _ = cli("verify", run)
    assert code == 1
    assert f"trouble: evaluation.json: its figures are of run {'0' * 32}, evaluate was of " in out
