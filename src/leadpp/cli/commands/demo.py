"""``leadpp demo``: the whole method in a drawn world."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from leadpp.cli.commands import COMMANDS
from leadpp.cli.parser import LineParser, add_plain, add_settings, new_parser, path_argument, settings_of
from leadpp.config import option_fields


def demo_parser() -> LineParser:
    """Parse ``leadpp demo``."""
    parser = new_parser("demo", COMMANDS["demo"].text, usage="[--run DIR]")
    parser.add_argument(
        "--run",
        type=path_argument,
        default=Path("demo"),
        metavar="DIR",
        help="the folder to fill or to go on with (demo)",
    )
    for flag, text in (
        ("species", "species of the world (40)"),
        ("per-species", "pictures of each, half of them to train on (50)"),
        ("size", "side of the pictures in pixels (128)"),
        ("seed", "the one seed of world and trainings (1000)"),
    ):
        parser.add_argument(f"--{flag}", dest=f"world_{flag.replace('-', '_')}", type=int, metavar="N", help=text)
    parser.add_argument("--epochs", dest="train.epochs", metavar="N", help="the same as --train.epochs")
    add_plain(parser)
    parser.epilog = "Settings of both trainings may be given as to `leadpp run`, whose --help lists them."
    groups = tuple(dict.fromkeys(leaf.path[0] for leaf in option_fields() if len(leaf.path) > 1))
    add_settings(parser, only=groups, hidden=True)  # their defaults are those of the demo, not of the tree
    return parser


def world_of(parsed: argparse.Namespace) -> dict[str, int]:
    """Collect what was given of the demo's world: ``species``, ``per_species``, ``size`` and ``seed``."""
    given = {name: getattr(parsed, f"world_{name}") for name in ("species", "per_species", "size", "seed")}
    return {name: value for name, value in given.items() if value is not None}


def execute(command: str, words: Sequence[str]) -> int:
    """Parse the words after the command and run it."""
    del command
    parsed = demo_parser().parse_strictly(words)

    from leadpp.config import build_config, merge_settings, read_yaml

    settings = merge_settings(read_yaml(parsed.config) if parsed.config else {}, settings_of(parsed))
    build_config(settings)  # a mistake shows before the slow imports

    from leadpp import pipeline
    from leadpp.cli.results import print_demo
    from leadpp.engine.console import console_progress

    found = pipeline.demo(parsed.run, world=world_of(parsed), settings=settings, progress=console_progress())
    print_demo(found, as_json=parsed.json)
    return 0
