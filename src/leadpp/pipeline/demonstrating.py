"""The demo: a drawn world, LEAD++ in it with the shipped networks, MoCo on the same boxes, and one table of both."""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leadpp import __version__
from leadpp.config import Config, build_config, merge_settings, to_mapping
from leadpp.engine.runtime import Progress, SilentProgress, worker_count
from leadpp.errors import ArtifactError, ConfigError
from leadpp.io.artifacts import read_json, write_json
from leadpp.io.lock import exclusive
from leadpp.pipeline.comparing import Row, lend_boxes, pick_row, read_evaluation, write_comparison
from leadpp.pipeline.fingerprints import network_digests
from leadpp.pipeline.job import Job, Texts
from leadpp.pipeline.memory import Memory
from leadpp.pipeline.running import run_job

OURS, MOCO = "lead++", "moco"
SET = "crop"
ROWS = (
    ("backbone", OURS, "frozen", "gap"),
    ("teacher", OURS, "teacher", "embedding"),
    (MOCO, MOCO, "student", "gap"),
    (OURS, OURS, "student", "gap"),
)
"""Rows of the closing table: name, whose run, encoder and feature; all on object crops."""

NOTE = "A drawn world, and networks made in it: these figures say nothing about photographs."
"""What stands under every table of the demo."""

_STATE = "demo.json"
_STEPS = 7
_USUAL = {"species": 40, "per_species": 50, "size": 128, "seed": 1000}
_LEAST = {"species": 2, "per_species": 2, "size": 32, "seed": 0}
_SHARED: dict[str, Any] = {
    "networks": "world",
    "train": {"monitor_every": 2},
    "evaluate": {"probe_views": 1, "kmeans_restarts": 3},
    "report": {"title": "A world in a box"},
}
_ARMS: dict[str, dict[str, Any]] = {
    OURS: {
        "preset": "lead++",
        "teacher": {"use": "yes"},
        "evaluate": {"encoders": ["student", "frozen", "teacher"], "sets": ["crop", "whole"]},
    },
    MOCO: {
        "preset": "moco",
        "teacher": {"use": "no"},
        "evaluate": {"encoders": ["student"], "sets": ["crop", "whole"]},
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Plan:
    """What a demo folder is to hold."""

    folder: Path
    world: dict[str, int]
    """``species``, ``per_species``, ``size`` and ``seed`` of the world."""
    settings: dict[str, Any]
    """Settings that go over those of the demo, for both trainings."""
    configs: dict[str, Config]
    progress: Progress

    @property
    def photographs(self) -> Path:
        return self.folder / "world"

    @property
    def report(self) -> Path:
        return self.folder / OURS / "report.html"


def demo(
    folder: Path | str,
    *,
    world: Mapping[str, int] | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Draw a world, run LEAD++ and MoCo in it with the networks that come with the package, and compare them.

    The folder comes to hold ``world/``, the run folders ``lead++/`` and ``moco/``, and ``demo.json``. What is done
    already is skipped; a finished demo of the same settings returns at once.

    Args:
        folder: New or empty, or an earlier demo to go on with, whose own values stand in for those that are not given.
        world: Some of ``species`` (40), ``per_species`` (50), ``size`` in pixels (128) and ``seed`` (1000), which is
            that of the trainings too.
        settings: Nested settings over those of the demo, for both trainings.
        progress: Who is told what is being done.

    Returns:
        ``rows``, the four rows :data:`ROWS` with the figures of ``evaluate``; ``report``, the path of the page;
        ``seconds`` by step; ``note``, what the figures do not say; ready for JSON.

    Raises:
        ConfigError: The folder holds something else, or a demo of another world.
        LeadppError: Anything else that the user can mend; finished steps stay finished.
    """
    path = Path(folder)
    state = _read_state(path)
    plan = _plan(path, state, world=world or {}, settings=settings or {}, progress=progress or SilentProgress())
    identity = _identity(plan)
    if state.get("identity") == identity and plan.report.is_file():
        return _result(plan, state["rows"])
    _check_world(plan.world)
    with exclusive(path):
        drawn = _draw(plan, known=state.get("drawn"))
        rows = _compare(plan)
        _write_state(plan, drawn=drawn, rows=rows, identity=identity)
    return _result(plan, rows)


def _read_state(folder: Path) -> dict[str, Any]:
    if (folder / _STATE).is_file():
        return read_json(folder / _STATE, kind="demo")
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder}: a file stands where the folder of the demo is meant; choose another --run")
    if folder.is_dir() and {entry.name for entry in folder.iterdir()} - {".lock"}:
        raise ConfigError(f"{folder}: is not empty and holds no demo; give --run a folder that is new or empty")
    return {}


def _write_state(plan: _Plan, *, drawn: object, rows: list[Row] | None = None, identity: object = None) -> None:
    """Note how far a demo is; what it was asked for binds later commands from when its world is drawn."""
    asked = {"world": plan.world, "settings": plan.settings} if drawn else {}
    write_json(plan.folder / _STATE, {**asked, "drawn": drawn, "rows": rows, "identity": identity}, kind="demo")


def _plan(
    folder: Path, state: Mapping[str, Any], *, world: Mapping[str, int], settings: Mapping[str, Any], progress: Progress
) -> _Plan:
    if "seed" in settings:
        world = {"seed": settings["seed"], **world}
    known = state.get("world", {})
    for key, value in world.items():
        if known.get(key, value) != value:
            raise ConfigError(
                f"{folder}: holds a demo whose world has {key.replace('_', ' ')} {known[key]}, not {value}; "
                "give --run another folder, or leave that out"
            )
    full = {**_USUAL, **known, **world}
    for key, least in _LEAST.items():
        if full[key] < least:
            raise ConfigError(f"the demo needs --{key.replace('_', '-')} of at least {least}, got {full[key]}")
    own = merge_settings(state.get("settings", {}), {key: value for key, value in settings.items() if key != "seed"})
    _check_free(own)
    photographs = full["species"] * -(-full["per_species"] // 2)  # to train on
    batch = {"train": {"batch_size": min(photographs, build_config(_SHARED).train.batch_size)}}
    configs = {name: build_config(_SHARED, batch, own, {"seed": full["seed"]}, arm) for name, arm in _ARMS.items()}
    return _Plan(folder=folder, world=full, settings=own, configs=configs, progress=progress)


def _check_free(settings: Mapping[str, Any]) -> None:
    """Refuse settings that make the rows of the demo what they are."""
    for key, value in _ARMS[OURS].items():
        inner = settings.get(key, {})
        taken = [key] if key in settings and not isinstance(value, dict) else []
        if isinstance(value, dict) and isinstance(inner, Mapping):
            taken = [f"{key}.{name}" for name in value if name in inner]
        if taken:
            raise ConfigError(f"{taken[0]} is what the rows of the demo differ in; set it with leadpp run")


def _identity(plan: _Plan) -> dict[str, Any]:
    """Return everything that decides the figures of a demo; also the moment to find that a network is missing."""
    return {
        "code": __version__,
        "world": plan.world,
        "settings": {name: to_mapping(config) for name, config in plan.configs.items()},
        "networks": {name: network_digests(config) for name, config in plan.configs.items()},
    }


def _check_world(world: Mapping[str, int]) -> None:
    from leadpp.stages.world import check_world

    check_world(**world)


def _draw(plan: _Plan, *, known: dict[str, Any] | None) -> dict[str, Any]:
    """Draw the world unless it is there; return how long it took and what was drawn."""
    from leadpp.stages.world import WORLD_NAME, make_world

    heading = f"[1/{_STEPS}] world"
    if known is not None and (plan.photographs / WORLD_NAME).is_file():
        plan.progress.note(f"{heading}: unchanged, skipped")
        _write_state(plan, drawn=known)
        return known
    _write_state(plan, drawn=None)
    plan.progress.note(heading)
    started = time.monotonic()
    made = make_world(
        plan.photographs,
        **plan.world,
        overwrite=True,
        workers=_drawers(plan.configs[OURS].input.workers),
        progress=plan.progress,
    )
    seconds = time.monotonic() - started
    plan.progress.note(f"{heading}: done in {seconds:.1f} s")
    drawn = {"seconds": round(seconds, 3), "made": made}
    _write_state(plan, drawn=drawn)
    return drawn


def _drawers(workers: int) -> int:
    """Return how many processes draw: as many as read, and one more in place of this one, which only waits."""
    return worker_count(workers) + 1 if workers < 0 and worker_count(workers) else worker_count(workers)


def _compare(plan: _Plan) -> list[Row]:
    ours, moco = _job(plan, OURS), _job(plan, MOCO)
    stages = ("localize", "prototypes", "train", "evaluate")
    run_job(ours, stages, headings=[f"[{place}/{_STEPS}] {name}" for place, name in enumerate(stages, start=2)])
    lend_boxes(ours.run, moco.run)
    run_job(moco, ("train", "evaluate"), headings=[f"[6/{_STEPS}] moco, {name}" for name in ("train", "evaluate")])
    write_comparison(ours.run, {MOCO: moco.run}, note=NOTE)
    run_job(ours, ("report",), headings=[f"[7/{_STEPS}] report"])
    return closing_rows({OURS: read_evaluation(ours.run), MOCO: read_evaluation(moco.run)})


def closing_rows(evaluations: Mapping[str, list[Row]]) -> list[Row]:
    """Return the closing table: the rows of :data:`ROWS`, each with its name as ``row``.

    Args:
        evaluations: The rows of ``evaluate`` of both runs, by ``lead++`` and ``moco``.

    Raises:
        ArtifactError: A row is missing.
    """
    return [
        pick_row(evaluations[whose], name=name, encoder=encoder, feature=feature, set_name=SET)
        for name, whose, encoder, feature in ROWS
    ]


def _job(plan: _Plan, name: str) -> Job:
    texts = Texts(descriptions=plan.photographs / "descriptions.csv") if name == OURS else Texts()
    return Job(
        data=plan.photographs,
        run=plan.folder / name,
        config=plan.configs[name],
        texts=texts,
        progress=plan.progress,
    )


def _result(plan: _Plan, rows: list[Row]) -> dict[str, Any]:
    drawn = _read_state(plan.folder).get("drawn") or {"seconds": 0.0}
    took = {name: {stage: known["seconds"] for stage, known in _stages(plan, name).items()} for name in (OURS, MOCO)}
    report = took[OURS].pop("report", 0.0)
    beside = sum(seconds for stage, seconds in took[MOCO].items() if stage != "localize")  # its boxes are lent
    seconds = {"world": drawn["seconds"], **took[OURS], MOCO: round(beside, 3), "report": report}
    return {"rows": rows, "report": str(plan.report), "seconds": seconds, "note": NOTE}


def _stages(plan: _Plan, name: str) -> dict[str, dict[str, Any]]:
    return Memory(plan.folder / name).stages
