"""What a checkpoint costs a step, and how long it takes to go on: ResNet-50 with everything that a training keeps.

    python -m benchmarks.checkpoints [--queue 65536] [--rounds 7] [--out benchmarks/results/checkpoints.md]

Student, key encoder, first backbone, moving average, momentum and two queues are saved as in training, beside a thread
that writes and checks. A step waits for the copy alone; that is compared with one forward and backward of the student
on a batch of 8, which is a small part of a step. Seconds are those of the waiting thread's own processor time, which
tells little of the neighbours; on a GPU and for what the disk does, they are those of the clock.

Then `leadpp train` is started as a program, from the start and with `--resume`, and the clock runs from there to the
first new step: the same network, one queue, pictures of 64 px in batches of 8.
"""

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.soak import last_step
from leadpp.engine.saving import CheckpointWriter
from leadpp.functional.randomness import generator_for
from leadpp.io.checkpoint import gather_state
from leadpp.io.ledger import Keeping, checkpoint_path, newest_checkpoint, read_newest_whole
from leadpp.io.sizes import size_words
from leadpp.models.backbone import create_backbone
from leadpp.models.learner import Learner
from leadpp.models.outcome import StudentAverage
from leadpp.models.student import Student

_SETTINGS = """\
preset: moco
student: {{backbone: "local-dir:{network}"}}
input: {{size: 64, workers: 1}}
train: {{epochs: 1000, batch_size: 8, queue_size: {queue}, monitor_every: 0, average_decay: 0.99, device: {device}}}
checkpoint: {{every: 1000epochs}}
"""
"""Settings of a training that keeps as much as any, and saves when it is told to end."""


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queue", type=int, default=65_536, help="keys in each queue (default: 65536)")
    parser.add_argument("--rounds", type=int, default=7, help="checkpoints (default: 7)")
    parser.add_argument("--starts", type=int, default=3, help="starts of each kind (default: 3)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="write the figures here as well")
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        text = measure(Path(folder), queue=asked.queue, rounds=asked.rounds, device=torch.device(asked.device))
    with tempfile.TemporaryDirectory() as folder:
        text += measure_starts(Path(folder), queue=asked.queue, starts=asked.starts, device=asked.device)
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


def measure(folder: Path, *, queue: int, rounds: int, device: torch.device) -> str:
    """Save and load, and return the figures as a document."""
    learner = build(queue).to(device)
    optimizer = torch.optim.SGD(learner.student.parameters(), lr=1e-3, momentum=0.9, fused=True)
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    step_s = timed(lambda: work(learner.student, optimizer, device), clock=clock, device=device)
    average = StudentAverage(learner.student, decay=0.99)
    modules: dict[str, nn.Module] = {"student": learner.student, "key": learner.key, "queues": learner.queues}
    modules |= {"first": learner.first, "average": average}
    writer = CheckpointWriter(folder, fixed=("first.",))
    started = clock()
    writer.prepare(gather_state(modules, optimizer, {})[0])
    prepare_s = clock() - started
    waits, writes, path = [], [], folder
    for number in range(1, rounds + 1):
        path = checkpoint_path(folder, epoch=number)
        started, began = time.perf_counter(), clock()
        writer.save(path, *gather_state(modules, optimizer, {}), keeping=Keeping(newest=2))
        waits.append(clock() - began)
        writer.settle()
        writes.append(time.perf_counter() - started)
    size = path.stat().st_size
    resume_s = timed(lambda: go_on(folder, modules, optimizer), clock=time.perf_counter, device=device)
    writer.close()
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    rows = [
        ("size of a checkpoint", size_words(size)),
        ("memory for the copy, found once", f"{prepare_s:.2f} s"),
        ("a step waits", f"{statistics.median(waits) * 1e3:.0f} ms (longest {max(waits) * 1e3:.0f} ms)"),
        ("forward and backward of 8 pictures of 224 px", f"{step_s * 1e3:.0f} ms"),
        (
            "the wait as a share of a step of 64, of which two views forward and backward alone count",
            f"{statistics.median(waits) / (16 * step_s):.2%}",
        ),
        ("the wait as a share of the time, with `--checkpoint.every 10min`", f"{statistics.median(waits) / 600:.3%}"),
        ("written, flushed and checked by the thread", f"{statistics.median(writes):.2f} s"),
        ("checked, read and loaded to go on", f"{resume_s:.2f} s"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"# Checkpoints\n\nResNet-50, two queues of {queue} x 512, {where}, medians of {rounds} checkpoints "
        f"(`python -m benchmarks.checkpoints`).\n\n| what | |\n|---|---|\n{table}\n"
    )


def measure_starts(folder: Path, *, queue: int, starts: int, device: str) -> str:
    """Start trainings from the start and from a checkpoint, and return how long they take to their first new step."""
    settings = draw(folder, queue=queue, device=device)
    command = [sys.executable, "-m", "leadpp", "train", "--data", str(folder / "world"), "--config", str(settings)]
    fresh, resumed, run = [], [], folder / "run"
    for number in range(starts + 1):
        for gone in ("checkpoints", "metrics.jsonl"):  # what the run knows of its photographs stays
            path = run / gone
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        fresh.append(seconds_to_step([*command, "--run", str(run)], run))
        resumed.append(seconds_to_step([*command, "--run", str(run), "--resume"], run))
        print(f"start {number}: from the start {fresh[-1]:.1f} s, resumed {resumed[-1]:.1f} s", flush=True)
    scratch_s, resume_s = (
        statistics.median(times[1:]) for times in (fresh, resumed)
    )  # the first reads the photographs
    newest = newest_checkpoint(run / "checkpoints")
    assert newest is not None  # noqa: S101 - it has been gone on from
    rows = [
        ("from the start", f"{scratch_s:.1f} s"),
        (f"with `--resume`, from a checkpoint of {size_words(newest.stat().st_size)}", f"{resume_s:.1f} s"),
        ("going on takes longer by", f"{resume_s - scratch_s:.1f} s"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"\nFrom the start of the program to the first new step that it tells of, medians of {starts}: one queue, "
        f"pictures of 64 px in batches of 8, one reading process.\n\n| `leadpp train` | |\n|---|---|\n{table}\n"
    )


def draw(folder: Path, *, queue: int, device: str) -> Path:
    """Draw a few photographs, write a ResNet-50 of random weights as timm does, and return settings for both."""
    words = [sys.executable, "-m", "leadpp", "world", str(folder / "world"), "--species", "4", "--per-species", "12"]
    subprocess.run([*words, "--size", "64", "--seed", "5"], check=True, capture_output=True)
    network = folder / "network"
    network.mkdir()
    save_file(timm.create_model("resnet50", num_classes=7).state_dict(), network / "model.safetensors")
    pictures = {"mean": [0.5] * 3, "std": [0.25] * 3, "input_size": [3, 224, 224]}
    config = {"architecture": "resnet50", "num_classes": 7, "pretrained_cfg": pictures}
    (network / "config.json").write_text(json.dumps(config), encoding="utf-8")
    settings = folder / "settings.yaml"
    settings.write_text(_SETTINGS.format(network=network, queue=queue, device=device), encoding="utf-8")
    return settings


def seconds_to_step(command: list[str], run: Path) -> float:
    """Start a training, have it end and save after its first new step, and return when it told of that."""
    before, started = last_step(run), time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while last_step(run) <= before and process.poll() is None:
            time.sleep(0.005)
        seconds = time.monotonic() - started
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate()
    if process.returncode != 128 + signal.SIGTERM:
        raise SystemExit(f"{' '.join(command)}: {told}")
    return seconds


def build(queue: int) -> Learner:
    student = Student(
        create_backbone("resnet50", pretrained=False),
        embedding_dim=512,
        attention_channels=32,
        generator=generator_for(1, "student"),
    )
    generator = generator_for(1, "queues")
    return Learner(student, queues=("global", "object"), queue_size=queue, generator=generator, keep_first=True)


def work(student: Student, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    optimizer.zero_grad()
    seen = student(torch.zeros(8, 3, 224, 224, dtype=torch.uint8, device=device))
    loss: Tensor = seen.embedding.square().sum() + student.attention_map(seen.feature_map).sum()
    torch.autograd.backward(loss)
    optimizer.step()


def go_on(folder: Path, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
    checkpoint = read_newest_whole(folder, notify=print)
    assert checkpoint is not None  # noqa: S101 - it has just been written
    for name, module in modules.items():
        checkpoint.load_module(name, module)
    checkpoint.load_optimizer(optimizer)


def timed(work_once: Callable[[], None], *, clock: Callable[[], float], device: torch.device) -> float:
    times = []
    for _ in range(3):
        started = clock()
        work_once()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
