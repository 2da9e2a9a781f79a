"""What the commands of this benchmark and of the search have in common: photographs, networks and settings."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from benchmarks.claims.ground import Source
from leadpp.config.reader import merge_settings, read_yaml
from leadpp.errors import ConfigError


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that :func:`read_source` reads, and ``--jobs``."""
    parser.add_argument("--jobs", type=int, default=1, help="rows at once, each in a process of one thread (default 1)")
    world = parser.add_argument_group("the world of each seed")
    world.add_argument("--species", type=int, default=40)
    world.add_argument("--per-species", type=int, default=50)
    world.add_argument("--size", type=int, default=128, help="side of its pictures in pixels")
    other = parser.add_argument_group("another folder, other networks and settings")
    other.add_argument("--data", type=Path, help="a folder with train/CLASS and test/CLASS in place of worlds")
    other.add_argument("--descriptions", type=Path, help="descriptions of its classes")
    other.add_argument("--backbone", help="in place of the world's: localizes, and is what the student begins as")
    other.add_argument("--teacher-model", help="in place of the world's teacher")
    other.add_argument("--teacher-factory", help="package.module:function, in place of a model")
    other.add_argument("--settings", type=Path, metavar="FILE", help="YAML of settings that all rows share")
    other.add_argument("--set", nargs="+", default=[], metavar="GROUP.KEY=VALUE", help="the same, one at a time")


def read_source(arguments: argparse.Namespace) -> Source:
    """Turn the arguments into a source.

    Raises:
        ConfigError: A setting is malformed.
    """
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
        data=None if arguments.data is None else arguments.data.resolve(),
        descriptions=None if arguments.descriptions is None else arguments.descriptions.resolve(),
        species=arguments.species,
        per_species=arguments.per_species,
        size=arguments.size,
        settings=merge_settings(*layers),
    )


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
