"""What the commands of this benchmark and of the search have in common: photographs, networks, settings, endings."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.claims.ground import Source
from benchmarks.claims.jobs import Outcome
from benchmarks.produce import link_kinds, spread_kinds, tuning_kinds
from leadpp.config.reader import merge_settings, read_yaml
from leadpp.engine.console import PlainProgress
from leadpp.engine.runtime import Progress
from leadpp.errors import ConfigError, DataError, LeadppError


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that :func:`read_source` reads, and ``--jobs``."""
    parser.add_argument("--jobs", type=int, default=1, help="rows at once, each in a process of one thread (default 1)")
    world = parser.add_argument_group("the world of each seed")
    world.add_argument("--species", type=int, default=40)
    world.add_argument("--per-species", type=int, default=50)
    world.add_argument("--size", type=int, default=128, help="side of its pictures in pixels")
    world.add_argument("--descriptions-each", type=int, default=1, metavar="N", help="descriptions of each species")
    other = parser.add_argument_group("another folder, other networks and settings")
    other.add_argument("--data", type=Path, help="a folder with train/CLASS and test/CLASS in place of worlds")
    other.add_argument(
        "--produce", choices=["tuning", "reported"], help="--data is the folder of produce: take these of its kinds"
    )
    other.add_argument("--descriptions", type=Path, help="descriptions of its classes")
    other.add_argument("--backbone", help="in place of the world's: localizes, and is what the student begins as")
    other.add_argument("--teacher-model", help="in place of the world's teacher")
    other.add_argument("--teacher-factory", help="package.module:function, in place of a model")
    other.add_argument("--settings", type=Path, metavar="FILE", help="YAML of settings that all rows share")
    other.add_argument("--set", nargs="+", default=[], metavar="GROUP.KEY=VALUE", help="the same, one at a time")


def read_source(arguments: argparse.Namespace) -> Source:
    """Turn the arguments into a source.

    Of produce, the chosen kinds are linked into ``out/photos`` first.

    Raises:
        ConfigError: A setting is malformed.
        DataError: ``--produce`` without ``--data``, or with another folder.
    """
    data, descriptions = _folders(arguments)
    layers: list[dict[str, Any]] = []
    if arguments.backbone is None or (arguments.teacher_model is None and arguments.teacher_factory is None):
        layers.append({"networks": "world"})
    if arguments.backbone is not None:
        layers.append({"localize": {"backbone": arguments.backbone}, "student": {"backbone": arguments.backbone}})
    if arguments.teacher_model is not None:
        layers.append({"teacher": {"model": arguments.teacher_model}})
    if arguments.teacher_factory is not None:
        layers.append({"teacher": {"factory": arguments.teacher_factory}})
    if arguments.settings is not None:
        layers.append(read_yaml(arguments.settings))
    layers += [read_setting(words) for words in arguments.set]
    return Source(
        data=None if data is None else data.absolute(),
        descriptions=None if descriptions is None else descriptions.absolute(),
        species=arguments.species,
        per_species=arguments.per_species,
        size=arguments.size,
        descriptions_each=arguments.descriptions_each,
        settings=merge_settings(*layers),
    )


def run_command(work: Callable[[Progress], Sequence[Outcome]]) -> int:
    """Do the work of a command and tell what could not be done.

    Args:
        work: Told whom to tell; returns what failed.

    Returns:
        The exit code: 0 if all is done, 2 for a mistake or something that failed, 130 for Ctrl-C.
    """
    progress = PlainProgress()
    try:
        failed = work(progress)
    except LeadppError as error:
        progress.note(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        progress.note("stopped; the same command goes on with what is not finished")
        return 130
    for outcome in failed:
        progress.note(f"not done: {outcome.what}: {outcome.mistake}")
    return 2 if failed else 0


def _folders(arguments: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """Return the folder of photographs and the file of descriptions."""
    if arguments.produce is None:
        return arguments.data, arguments.descriptions
    if arguments.data is None or not (arguments.data / "descriptions.json").is_file():
        raise DataError("--produce needs --data with the folder of produce, which holds train, test, descriptions.json")
    data = arguments.data
    chosen = tuning_kinds(data) if arguments.produce == "tuning" else spread_kinds(data, kinds=20)
    return link_kinds(data, arguments.out, chosen), arguments.descriptions or arguments.out / "descriptions.json"


def read_setting(words: str) -> dict[str, Any]:
    """Turn ``train.epochs=5`` into nested settings; the value is read as YAML.

    >>> read_setting("evaluate.sets=[crop]")
    {'evaluate': {'sets': ['crop']}}

    Raises:
        ConfigError: It is no such text.
    """
    path, equals, value = words.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"--set takes GROUP.KEY=VALUE, got {words!r}")
    try:
        nested: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {words!r}: the value is not YAML: {' '.join(str(error).split())}") from error
    for name in reversed(names):
        nested = {name: nested}
    result: dict[str, Any] = nested
    return result
