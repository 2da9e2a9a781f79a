"""Kill stages with SIGKILL at random moments, go on, and compare with what was never killed.

    python -m benchmarks.soak [--stages describe ...] [--kills 25] [--stage-kills 8] [--out benchmarks/results/soak.md]

A training is killed at moments of three kinds by turns: any time after its process began; some time after its first
new step; and while a checkpoint is being written (a file that is not in its place yet has been seen). Each time it is
resumed, and in the end `leadpp compare` holds it against the training without a break. Then the other stages: each is
killed at random moments, after each kill nothing half-written may be taken for whole (`leadpp verify`), and when it has
run through its files must be those of the run without a break, byte for byte (of evaluation.json all but times).
`describe` asks a server on loopback whose answers are a function of what it is asked: what was finished before a kill
may be neither lost nor asked for again, and the table must be that of the asking without a break, but for the day.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.descriptions import class_of, describer
from tests.llm_server import Asked, LLMServer

MOMENTS = ("any", "working", "writing")
STAGES = ("localize", "prototypes", "train", "evaluate", "describe")
_PER_CLASS, _AT_ONCE = 2, 4
"""Descriptions of a class, the second of which is asked for with the first before the model's eyes; and requests."""
_CLASSES_A_KILL = 10
_WORLD = ("--species", "4", "--per-species", "24", "--size", "64", "--seed", "5")
_SETTINGS = """\
networks: world
input: {size: 64, workers: 1}
localize: {size: 96, fit_images: 20}
train: {epochs: 60, batch_size: 8, precision: fp32, monitor_every: 5, average_decay: 0.9, device: cpu}
checkpoint: {every: 3steps, keep: 3}
evaluate: {probe_views: 1, probe_epochs: 30, encoders: [student, frozen], kmeans_restarts: 2}
"""
_PROTOCOL = (
    "Settings: the drawn world of 4 species (48 training pictures), `--networks world`, float32 on the CPU, one "
    "reading process, batches of 8, 60 epochs of 6 steps, a moving average and a blended result, a checkpoint every "
    "3 steps, the newest 3 kept. Compared are all weights, queues, the optimizer, how far the training was, and every "
    "line of `metrics.jsonl` but times; of the other stages every file, byte for byte (of `evaluation.json` all but "
    "times)."
)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What is trained on, and how."""

    data: Path
    settings: Path
    given: tuple[str, ...] = ()
    """Words for ``prototypes build``."""

    def command(self, stage: str, run: Path) -> list[str]:
        """Return the command that runs a stage, or goes on with a training."""
        verb = {"prototypes": ["prototypes", "build", *self.given], "train": ["train", "--resume"]}.get(stage, [stage])
        where = ["--data", str(self.data), "--run", str(run), "--config", str(self.settings)]
        return [sys.executable, "-m", "leadpp", *verb, *where]


@dataclass(kw_only=True)
class Kill:
    """One SIGKILL."""

    moment: str
    seconds: float
    """Since the process began."""
    left_behind: bool
    """Whether it had begun to write a file that it could not finish."""
    step: int = 0
    """The last step that it told of."""


@dataclass(kw_only=True)
class Outcome:
    """What became of a stage."""

    stage: str
    kills: list[Kill] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    taken_for_whole: int = 0
    """Kills after which a file was not what its stage had noted, or a row was lost."""
    asked_again: int = 0
    """Requests for what was finished before."""
    requests: int = 0
    """All that a server was asked, by the commands that were killed and the last one."""
    lasts_s: float = 0.0
    """Seconds without a break, where nobody else has measured them."""


def run_through(ground: Ground, run: Path, stages: Sequence[str]) -> dict[str, float]:
    """Run stages without a break; return the seconds that each took."""
    took = {}
    for stage in stages:
        started = time.monotonic()
        _finish(ground.command(stage, run))
        took[stage] = time.monotonic() - started
    return took


def soak_training(
    ground: Ground,
    run: Path,
    straight: Path,
    *,
    kills: int,
    chance: random.Random,
    within_s: float = 3.0,
    most: int = 20,
) -> Outcome:
    """Kill a training again and again, each time so soon or after at most so many steps; compare it when it ends."""
    found = Outcome(stage="train")
    for number in range(kills):
        moment = MOMENTS[number % len(MOMENTS)]
        kill = kill_once(ground.command("train", run), run, moment=moment, within_s=within_s, most=most, chance=chance)
        if kill is None:
            raise SystemExit(f"the training ended before kill {number + 1}; give it more epochs")
        found.kills.append(kill)
        print(f"train, kill {number + 1}: {kill}", flush=True)
    _finish(ground.command("train", run))
    words = [sys.executable, "-m", "leadpp", "compare", str(straight), str(run), "--json"]
    parts = json.loads(subprocess.run(words, capture_output=True, check=False).stdout)["parts"]
    found.differences = [f"{name}: {part['first']}" for name, part in parts.items() if not part["identical"]]
    return found


def soak_stage(
    ground: Ground, run: Path, straight: Path, stage: str, *, kills: int, lasts_s: float, chance: random.Random
) -> Outcome:
    """Kill a stage again and again, let it end, and compare its files with those of the run without a break."""
    found = Outcome(stage=stage)
    for number in range(kills):
        kill = kill_once(ground.command(stage, run), run, moment="any", within_s=lasts_s, chance=chance)
        if kill is None:
            forget(run, stage)
            continue
        found.kills.append(kill)
        if (run / "stages.json").exists():
            words = [sys.executable, "-m", "leadpp", "verify", str(run)]
            found.taken_for_whole += subprocess.run(words, capture_output=True, check=False).returncode != 0
        print(f"{stage}, kill {number + 1}: {kill}", flush=True)
    _finish(ground.command(stage, run))
    found.differences = sorted(different_files(run, straight, stage))
    return found


def soak_describing(folder: Path, *, kills: int, chance: random.Random, latency_s: float = 0.2) -> Outcome:
    """Kill the asking of a language model again and again while it writes rows; compare the table when it is whole.

    Args:
        folder: New or empty.
        kills: How many; there are as many classes as that many kills leave some of.
        chance: Decides the moments: any time after the start, or soon after one of the next rows is on disk.
        latency_s: How long the server takes for each answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = folder / "names.txt"
    names.write_text("\n".join(f"Bird {number}" for number in range(_CLASSES_A_KILL * kills)), encoding="utf-8")
    found = Outcome(stage="describe")
    with LLMServer(answer=describer, latency_s=latency_s) as server:
        started = time.monotonic()
        _finish(asking(server, names, folder / "straight" / "table.csv"))
        server.asked.clear()
        found.lasts_s = time.monotonic() - started
        work_s = wanted_rows(kills) * latency_s / _AT_ONCE
        within_s = {"any": (found.lasts_s - work_s + work_s / kills) / 3, "working": 0.3}
        table = folder / "killed" / "table.csv"
        for number in range(kills):
            moment, known, seen = MOMENTS[number % 2], finished(table), len(server.asked)
            command = asking(server, names, table)
            kill = kill_once(command, table, moment=moment, within_s=within_s[moment], chance=chance, most=6, told=rows)
            if kill is None:
                raise SystemExit(f"all was described before kill {number + 1}; give it more classes")
            found.kills.append(kill)
            lost = finished(table)[: len(known)] != known
            found.taken_for_whole += lost or (table.exists() and rows(table) < wanted_rows(kills))
            found.asked_again += asked_for(server.asked[seen:], known)
            print(f"describe, kill {number + 1}: {kill}", flush=True)
        known, seen = finished(table), len(server.asked)
        _finish(asking(server, names, table))
        found.asked_again += asked_for(server.asked[seen:], known)
        found.requests = len(server.asked)
    if undated(table) != undated(folder / "straight" / "table.csv"):
        found.differences = [table.name]
    return found


def asking(server: LLMServer, names: Path, table: Path) -> list[str]:
    """Return the command that has a table of descriptions written."""
    where = ["--names", str(names), "--out", str(table), "--llm.base-url", server.url, "--llm.model", "small"]
    how = ["--llm.domain", "birds", "--llm.concurrency", str(_AT_ONCE), "--llm.per-class", str(_PER_CLASS)]
    return [sys.executable, "-m", "leadpp", "describe", *where, *how]


def finished(table: Path) -> list[tuple[str, int]]:
    """Return class and number of each description that is on disk, in the order in which they came there."""
    journal = table.with_name(f"{table.name}.journal.jsonl")
    found = []
    for line in journal.read_bytes().splitlines(keepends=True) if journal.is_file() else []:
        record = json.loads(line) if line.endswith(b"\n") else {}  # the last one may be torn
        if "name" in record:
            found.append((str(record["name"]), int(record["number"])))
    return found


def wanted_rows(kills: int) -> int:
    """Return how many descriptions there are in the end."""
    return _CLASSES_A_KILL * kills * _PER_CLASS


def rows(table: Path) -> int:
    """Return how many descriptions are on disk."""
    return len(finished(table))


def asked_for(asked: Sequence[Asked], known: Sequence[tuple[str, int]]) -> int:
    """Count the requests for descriptions that were there."""
    return sum((class_of(one), one.words.count("slim body")) in known for one in asked)


def undated(table: Path) -> list[dict[str, str]]:
    """Return the rows of a table without the days on which they were written."""
    with table.open(encoding="utf-8", newline="") as stream:
        return [{name: cell for name, cell in row.items() if name != "date"} for row in csv.DictReader(stream)]


def _finish(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")


def forget(run: Path, stage: str) -> None:
    """Have a stage do its work again, though it is done."""
    path = run / "stages.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["stages"][stage]
    path.write_text(json.dumps(content), encoding="utf-8")


def last_step(run: Path) -> int:
    """Return the last step that a training told of."""
    path = run / "metrics.jsonl"
    lines = path.read_bytes().splitlines() if path.is_file() else []
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            return int(json.loads(line)["step"])
    return 0


def kill_once(
    command: list[str],
    run: Path,
    *,
    moment: str,
    within_s: float,
    chance: random.Random,
    most: int = 1,
    told: Callable[[Path], int] = last_step,
) -> Kill | None:
    """Start a command and kill it with all that it has started; None where it ended first.

    Args:
        command: The command.
        run: Where it writes.
        moment: One of :data:`MOMENTS`.
        within_s: How soon after the moment it is killed at most; three times as late where any moment will do.
        chance: Decides how soon.
        most: The most new steps that it may have told of at the moment, where it is to be at work.
        told: Returns how many steps it has told of.
    """
    steps = told(run) + chance.randint(1, most)
    started = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        reached: Callable[[], bool] = {
            "any": lambda: True,
            "working": lambda: told(run) >= steps,
            "writing": lambda: told(run) >= steps and bool(unfinished(run / "checkpoints", process.pid)),
        }[moment]
        while not reached() and process.poll() is None:
            time.sleep(0.002)
        wait_s = chance.uniform(0, {"any": 3 * within_s, "working": within_s, "writing": 0.02}[moment])
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
        if process.poll() is not None:
            assert process.stderr is not None  # noqa: S101 - it is a pipe
            if process.returncode:
                raise SystemExit(process.stderr.read().decode())
            return None
        os.killpg(process.pid, signal.SIGKILL)
    seconds = time.monotonic() - started
    torn = bool(unfinished(run, process.pid))
    return Kill(moment=moment, seconds=round(seconds, 2), left_behind=torn, step=told(run))


def unfinished(folder: Path, process: int) -> list[Path]:
    """Return files that a process is writing, or was when it died."""
    return list(folder.rglob(f".*.{process}.partial"))


def different_files(run: Path, straight: Path, stage: str) -> Iterator[str]:
    """Yield the files of a stage that are not those of the other run."""
    known = json.loads((straight / "stages.json").read_text(encoding="utf-8"))["stages"][stage]["files"]
    for name in known:
        one, other = (content(folder / name) for folder in (straight, run))
        if one != other:
            yield name


def content(path: Path) -> object:
    """Return what a file says, without times."""
    if not path.is_file():
        return None
    return without_times(json.loads(path.read_text())) if path.suffix == ".json" else path.read_bytes()


def without_times(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if "seconds" not in key and key != "created"}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def draw(folder: Path) -> Ground:
    """Draw a world and write the settings."""
    words = [sys.executable, "-m", "leadpp", "world", str(folder / "world"), *_WORLD]
    _finish(words)
    (folder / "settings.yaml").write_text(_SETTINGS, encoding="utf-8")
    given = ("--descriptions", str(folder / "world" / "descriptions.csv"))
    return Ground(data=folder / "world", settings=folder / "settings.yaml", given=given)


def soak(
    folder: Path, wanted: Sequence[str], *, kills: int, stage_kills: int, seed: int
) -> tuple[list[Outcome], dict[str, float]]:
    """Kill the wanted stages; return what became of each, and what the stages of a run take without a break."""
    chance = random.Random(seed)  # noqa: S311 - no secrets here
    outcomes: list[Outcome] = []
    took: dict[str, float] = {}
    if of_run := [stage for stage in STAGES[:-1] if stage in wanted]:
        outcomes, took = soak_run(folder, of_run, kills=kills, stage_kills=stage_kills, chance=chance)
    if "describe" in wanted:
        outcomes.append(soak_describing(folder / "describe", kills=stage_kills, chance=chance))
    return outcomes, took


def soak_run(
    folder: Path, wanted: Sequence[str], *, kills: int, stage_kills: int, chance: random.Random
) -> tuple[list[Outcome], dict[str, float]]:
    """Kill the wanted stages of a run; those before them run through."""
    ground, straight, run = draw(folder), folder / "straight", folder / "killed"
    stages = STAGES[: STAGES.index(wanted[-1]) + 1]
    took = run_through(ground, straight, stages)
    print(f"without a break: {took}", flush=True)
    outcomes = []
    for stage in stages:
        if stage not in wanted:
            run_through(ground, run, (stage,))
        elif stage == "train":
            outcomes.append(soak_training(ground, run, straight, kills=kills, chance=chance))
        else:
            lasts_s = took[stage] / 3
            outcomes.append(soak_stage(ground, run, straight, stage, kills=stage_kills, lasts_s=lasts_s, chance=chance))
    return outcomes, took


def page(outcomes: Sequence[Outcome], took: dict[str, float], *, seed: int) -> str:
    """Return the figures as a document."""
    stages = [one.stage for one in outcomes]
    some = "" if len(stages) == len(STAGES) else f" --stages {' '.join(stages)}"
    lines = [
        "# Killed and resumed",
        "",
        f"`python -m benchmarks.soak --seed {seed}{some}`: SIGKILL to the process and to all "
        "that it had started, at random moments; then the same command again.",
        "",
        "| stage | seconds without a break | kills | while a file was being written | taken for whole, though it was "
        "not | differences in the end |",
        "|---|---|---|---|---|---|",
        *(_line(one, took.get(one.stage, one.lasts_s)) for one in outcomes),
    ]
    words = {"train": _words_on_training, "describe": _words_on_describing}
    for one in outcomes:
        if one.stage in words:
            lines += ["", words[one.stage](one)]
    return "\n".join([*lines, *(["", _PROTOCOL] if took else [])]) + "\n"


def _line(one: Outcome, took_s: float) -> str:
    torn = sum(kill.left_behind for kill in one.kills)
    differences = ", ".join(one.differences) or "none"
    cells = (one.stage, f"{took_s:.1f}", len(one.kills), torn, one.taken_for_whole, differences)
    return f"| {' | '.join(map(str, cells))} |"


def _words_on_training(trained: Outcome) -> str:
    moments = {name: sum(kill.moment == name for kill in trained.kills) for name in MOMENTS}
    steps = ", ".join(str(kill.step) for kill in trained.kills)
    return (
        f"Of the kills of the training, {moments['any']} came at any time after the start of its process, "
        f"{moments['working']} up to 3 seconds after the 1st to 20th new step, {moments['writing']} after that too, "
        f"when a checkpoint was seen being written. Steps told when they came: {steps}."
    )


def _words_on_describing(described: Outcome) -> str:
    count = wanted_rows(len(described.kills))
    there = ", ".join(str(kill.step) for kill in described.kills)
    return (
        f"`describe` was to write {count} descriptions, {_PER_CLASS} a class, by a server on loopback whose answers "
        f"are a function of what it is asked, {_AT_ONCE} requests at once. Kills came by turns at any time after the "
        "start of its process, and up to 0.3 seconds after one of the next six descriptions was on disk. So many were "
        f"there each time: {there}; of these {described.asked_again} were asked for again. It made "
        f"{described.requests} requests in all: {described.requests - count} were under way when a kill came. Compared "
        "are all columns of the table but the day."
    )


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="which to kill (default: all)")
    parser.add_argument("--kills", type=int, default=25, help="kills of the training (default: 25)")
    parser.add_argument("--stage-kills", type=int, default=8, help="kills of each other stage (default: 8)")
    parser.add_argument("--seed", type=int, default=1, help="decides the moments (default: 1)")
    parser.add_argument("--folder", type=Path, help="where to work, new or empty; a temporary one when left out")
    parser.add_argument("--out", type=Path, help="write the figures here as well")
    asked = parser.parse_args(words)
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    outcomes, took = soak(folder, asked.stages, kills=asked.kills, stage_kills=asked.stage_kills, seed=asked.seed)
    text = page(outcomes, took, seed=asked.seed)
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    if not asked.folder:
        shutil.rmtree(folder)
    return int(any(one.differences or one.taken_for_whole or one.asked_again for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
