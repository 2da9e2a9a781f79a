"""The training stage by several processes, as a user starts and stops it."""

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from leadpp.functional.randomness import generator_for
from leadpp.io.checkpoint import Checkpoint, read_checkpoint
from leadpp.io.ledger import newest_checkpoint
from tests.distributed.processes import Ended, Processes, leadpp, started
from tests.unit.tiny import save_tiny_network

PHOTOGRAPHS, SIDE, BATCH = 21, 40, 8
TIMES = {"seconds", "images_per_s", "data_wait"}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """The command for a folder of noise in two classes, but for the run folder."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(PHOTOGRAPHS):
        noise = torch.randint(0, 256, (SIDE, SIDE, 3), generator=generator_for(1, "photo", number), dtype=torch.uint8)
        path = folder / "train" / "ab"[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.numpy()).save(path)
    shutil.copytree(folder / "train", folder / "test")
    backbone = save_tiny_network(tmp_path_factory.mktemp("weights") / "resnet")
    settings = {
        "preset": "moco", "student.backbone": backbone, "student.batchnorm": "train", "loss.structure": 0.5,
        "train.batch_size": BATCH, "train.device": "cpu", "input.size": 32, "input.workers": 0,
        "localize.backbone": backbone, "teacher.model": "builtin:world-clip",
    }  # fmt: skip
    return ["train", "--data", folder, *(word for name, value in settings.items() for word in (f"--{name}", value))]


def checkpoint_of(run: Path) -> Checkpoint:
    path = newest_checkpoint(run / "checkpoints")
    assert path is not None
    return read_checkpoint(path)


def assert_alike(run: Path, other: Path, *, tolerance: float) -> None:
    sections, others = (checkpoint_of(one).sections for one in (run, other))
    assert sections.keys() == others.keys()
    for section, tensors in sections.items():
        for name, tensor in tensors.items():
            assert torch.allclose(tensor, others[section][name], rtol=tolerance, atol=tolerance), f"{section}.{name}"


def lines(run: Path) -> list[dict[str, float]]:
    path = run / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


@pytest.fixture(scope="module")
def trained(words: list[object], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Ended]]:
    """A whole run of one process, one of two with reading processes of their own, and how the two ended."""
    folder = tmp_path_factory.mktemp("runs")
    names = folder / "names.txt"
    names.write_text("a\nb\n", encoding="utf-8")
    whole = ["lead++" if word == "moco" else word for word in words[1:]]
    given = ["run", *whole, "--names", names, "--train.epochs", 2, "--train.head_warmup_epochs", 0.5]
    (one,) = leadpp(*given, "--run", folder / "one", count=1)
    assert one.code == 0, one.err
    two = leadpp(*given, "--run", folder / "two", "--input.workers", 1, count=2)
    return folder / "one", folder / "two", two


def test_the_first_process_speaks(trained: tuple[Path, Path, list[Ended]]) -> None:
    first, second = trained[2]
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert "train:" in first.out
    assert (second.out, second.err) == ("", "")


def test_two_processes_train_what_one_trains(trained: tuple[Path, Path, list[Ended]]) -> None:
    one, two, _ = trained
    assert_alike(one, two, tolerance=1e-5)
    told, expected = lines(two), lines(one)
    assert [line["event"] for line in told] == [line["event"] for line in expected]
    for line, other in zip(told, expected, strict=True):
        for name in other.keys() - TIMES - {"event"}:
            assert line[name] == pytest.approx(other[name], rel=1e-4, abs=1e-5), name


def test_a_batch_that_cannot_be_divided_is_one_line(words: list[object], tmp_path: Path) -> None:
    ended = leadpp(*words, "--run", tmp_path / "run", "--train.batch_size", 9, count=2)
    assert [one.code for one in ended] == [2, 2]
    (line,) = [line for one in ended for line in one.err.splitlines() if "error" in line]
    assert "set it to 8 or 10" in line


def wait_for(condition: Callable[[], bool], processes: Processes, *, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, [processes.said(rank) for rank in range(len(processes.children))]
        assert all(child.poll() is None for child in processes.children)
        time.sleep(0.05)


@pytest.fixture
def amid(words: list[object], tmp_path: Path) -> Iterator[tuple[Processes, list[object]]]:
    """Two processes amid a training into ``run``, and their command."""
    command = [
        *words,
        "--run",
        tmp_path / "run",
        "--train.epochs",
        12,
        "--checkpoint.every",
        "3steps",
        "--train.monitor_every",
        0,
    ]
    with started(["-m", "leadpp", *command], count=2) as processes:
        wait_for(lambda: len(lines(tmp_path / "run")) > 6, processes)
        yield processes, command


def test_a_signal_to_any_process_ends_all_at_one_step_and_nothing_is_lost(
    amid: tuple[Processes, list[object]], tmp_path: Path
) -> None:
    (processes, command), run = amid, tmp_path / "run"
    processes.children[1].send_signal(signal.SIGTERM)
    ended = processes.wait(timeout_s=30)
    assert [one.code for one in ended] == [143, 143], ended[0].err + ended[1].err
    assert "SIGTERM: training is saved up to" in ended[0].err
    assert checkpoint_of(run).metadata["step"] == lines(run)[-1]["step"]
    shutil.copytree(run, tmp_path / "alone")
    into = {name: [tmp_path / name if word == run else word for word in command] for name in ("whole", "alone")}
    for words, count in (([*command, "--resume"], 2), (into["whole"], 2), ([*into["alone"], "--resume"], 1)):
        assert [one.code for one in leadpp(*words, count=count)] == [0] * count
    assert_alike(run, tmp_path / "whole", tolerance=0)
    assert_alike(tmp_path / "alone", tmp_path / "whole", tolerance=1e-4)


def test_a_lost_process_ends_the_others_within_a_minute(amid: tuple[Processes, list[object]], tmp_path: Path) -> None:
    processes, _ = amid
    processes.kill(1)
    first, second = processes.wait(timeout_s=60)
    assert (first.code, second.code) == (2, -signal.SIGKILL), first.err
    (line,) = [line for line in first.err.splitlines() if "error" in line]
    assert "gone" in line
    assert checkpoint_of(tmp_path / "run").metadata["step"] % 3 == 0
