"""What a checkpoint costs a step, and how long it takes to go on: ResNet-50 with everything that a training keeps.

    python -m benchmarks.checkpoints [--queue 65536] [--rounds 7] [--out benchmarks/results/checkpoints.md]

Student, key encoder, first backbone, moving average, momentum and two queues are saved as in training, beside a thread
that writes and checks. A step waits for the copy alone; that is compared with one forward and backward of the student
on a batch of 8, which is a small part of a step. Seconds are those of the waiting thread's own processor time, which
tells little of the neighbours; on a GPU and for what the disk does, they are those of the clock.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from leadpp.engine.saving import CheckpointWriter
from leadpp.functional.randomness import generator_for
from leadpp.io.checkpoint import gather_state
from leadpp.io.ledger import Keeping, checkpoint_path, read_newest_whole
from leadpp.io.sizes import size_words
from leadpp.models.backbone import create_backbone
from leadpp.models.learner import Learner
from leadpp.models.outcome import StudentAverage
from leadpp.models.student import Student


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queue", type=int, default=65_536, help="keys in each queue (default: 65536)")
    parser.add_argument("--rounds", type=int, default=7, help="checkpoints (default: 7)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="write the figures here as well")
    asked = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        text = measure(Path(folder), queue=asked.queue, rounds=asked.rounds, device=torch.device(asked.device))
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
        ("1 % of a step of 64, of which two views forward and backward alone count", f"{step_s * 160:.0f} ms"),
        ("written, flushed and checked by the thread", f"{statistics.median(writes):.2f} s"),
        ("checked, read and loaded to go on", f"{resume_s:.2f} s"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"# Checkpoints\n\nResNet-50, two queues of {queue} x 512, {where}, medians of {rounds} checkpoints "
        f"(`python -m benchmarks.checkpoints`).\n\n| what | |\n|---|---|\n{table}\n"
    )


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
