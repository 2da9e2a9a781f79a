"""Parsers made of the configuration tree: every setting is a flag, and every mistake is one line."""

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

import yaml

from leadpp.config import OptionField, option_fields
from leadpp.errors import LeadppError

DATA_COMMANDS = {
    "run": "everything: localize, prototypes, train, evaluate, report",
    "localize": "find the object in every photograph",
    "prototypes": "turn names or descriptions into prototypes (`leadpp prototypes build`)",
    "train": "train the student",
    "evaluate": "measure the features: kNN, linear probe, retrieval, clustering, naming",
    "report": "write report.html",
}
"""Commands that take ``--data`` and ``--run``, with what they do."""

COMMANDS = {
    "run": DATA_COMMANDS["run"],
    "demo": "draw a small world of birds and run the whole method in it, beside MoCo, with networks that come along",
    "prepare": "turn a downloaded dataset or any folder into a prepared folder",
    "world": "draw a folder of imaginary birds, with true boxes, masks, attributes and descriptions",
    **{name: text for name, text in DATA_COMMANDS.items() if name != "run"},
}
"""Every command in the order in which help shows them."""

_JSON_HELP = "print the results as one JSON document on standard output"
_TOP_TEXT = """\
usage: leadpp COMMAND [options]

Learn, from unlabelled photographs, an encoder that tells look-alike categories apart.

commands:
{commands}

`leadpp COMMAND --help` lists the options of a command; `leadpp --version` prints the version.
The main one:  leadpp run --data PHOTOS --run RUN --names NAMES.txt
To look on:    leadpp demo
"""


_ROOT = "settings of the run"
"""Heading of the settings that belong to no group."""


class UsageError(LeadppError):
    """A command line that cannot be understood."""


class LineParser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the closest known option."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        raise UsageError(f"{self.prog}: {message}; see `{self.prog} --help`")

    def parse_strictly(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse all arguments.

        Raises:
            UsageError: Something is unknown, missing or malformed.
        """
        parsed, rest = self.parse_known_args(arguments)
        if rest:
            known = [flag for action in self._actions for flag in action.option_strings]
            close = difflib.get_close_matches(rest[0].split("=")[0], known, n=3, cutoff=0.6)
            hint = f"; closest: {', '.join(close)}" if close else ""
            if not rest[0].startswith("-"):
                hint += "; several values of one setting are separated by commas, without spaces"
            raise UsageError(f"{self.prog}: unknown argument {rest[0]!r}{hint}; see `{self.prog} --help`")
        return parsed


def _path(text: str) -> Path:
    """Read a path; an empty word is most often an unset variable of the shell, not this folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    return Path(text)


def top_help() -> str:
    """Return what ``leadpp --help`` prints."""
    lines = [f"  {name:<12}{text}" for name, text in COMMANDS.items()]
    return _TOP_TEXT.format(commands="\n".join(lines))


def unknown_command(word: str) -> UsageError:
    """Say that a command is unknown, with the closest."""
    close = difflib.get_close_matches(word, COMMANDS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"the commands are {', '.join(COMMANDS)}"
    return UsageError(f"leadpp: unknown command {word!r}; {hint}")


def prepare_parser() -> LineParser:
    """Parse ``leadpp prepare``."""
    parser = _new_parser("prepare", COMMANDS["prepare"], usage="{cub,cars,aircraft,dogs,folder} SOURCE OUT")
    parser.add_argument("kind", choices=["cub", "cars", "aircraft", "dogs", "folder"], help="the native layout")
    parser.add_argument("source", type=_path, metavar="SOURCE", help="the folder as downloaded")
    parser.add_argument("out", type=_path, metavar="OUT", help="the prepared folder to write")
    parser.add_argument("--boxes", type=_path, metavar="CSV", help="true boxes: path,x0,y0,x1,y1, half-open pixels")
    parser.add_argument(
        "--materialize",
        choices=["none", "copy", "hard", "soft"],
        default="none",
        help="write an ImageFolder of copies, hard links or symbolic links; none (default) writes only the index",
    )
    _add_plain(parser)
    _add_settings(parser, only=("input", _ROOT))
    return parser


def world_parser() -> LineParser:
    """Parse ``leadpp world``."""
    parser = _new_parser("world", COMMANDS["world"], usage="OUT")
    parser.add_argument("out", type=_path, metavar="OUT", help="the folder to write, new or empty")
    for flag, default, text in (
        ("--species", 40, "how many species; they come in families of five look-alikes"),
        ("--per-species", 50, "photographs of each, half for training and half for testing"),
        ("--size", 128, "width and height of a photograph in pixels, at least 32"),
        ("--seed", 0, "decides species, names, descriptions and photographs"),
        ("--descriptions", 1, "descriptions of each species, at least 1"),
        ("--workers", -1, "drawing processes; 0 draws in this one, -1 takes one less than the cores"),
    ):
        parser.add_argument(flag, type=int, default=default, metavar="N", help=f"{text}. Default: {default}")
    correlate = "share of the photographs whose backdrop tells the species, 0 to 1; the others' does not. Default: 0"
    parser.add_argument("--correlate", type=float, default=0.0, metavar="X", help=correlate)
    parser.add_argument("--overwrite", action="store_true", help="replace the world that lies in OUT")
    parser.add_argument("--json", action="store_true", help=_JSON_HELP)
    return parser


def data_parser(command: str) -> LineParser:
    """Parse one of :data:`DATA_COMMANDS`."""
    prog = "prototypes build" if command == "prototypes" else command
    parser = _new_parser(prog, DATA_COMMANDS[command], usage="--data DIR --run RUN")
    parser.add_argument("--data", type=_path, required=True, metavar="DIR", help="photographs, or a prepared folder")
    parser.add_argument("--run", type=_path, required=True, metavar="RUN", help="the run folder, new or to go on with")
    parser.add_argument("--boxes", type=_path, metavar="CSV", help="true boxes, if not in DIR/bboxes.csv")
    if command in ("run", "prototypes"):
        texts = parser.add_argument_group("words (at most one, but --names may go with .pt prototypes)")
        texts.add_argument("--names", type=_path, metavar="FILE", help="class names, one a line")
        texts.add_argument(
            "--descriptions", type=_path, metavar="FILE", help="CSV or JSON of descriptions, one or more a class"
        )
        texts.add_argument("--prototypes", type=_path, metavar="FILE", help="ready prototypes, .pt or .safetensors")
    if command in ("run", "localize"):
        parser.add_argument("--write-crops", action="store_true", help="write the object crops into RUN/crops")
    if command in ("run", "train"):
        parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint")
    _add_plain(parser)
    _add_settings(parser, only=None)
    return parser


def demo_parser() -> LineParser:
    """Parse ``leadpp demo``."""
    parser = _new_parser("demo", COMMANDS["demo"], usage="[--run DIR]")
    parser.add_argument(
        "--run", type=_path, default=Path("demo"), metavar="DIR", help="the folder to fill or to go on with (demo)"
    )
    for flag, text in (
        ("species", "species of the world (40)"),
        ("per-species", "pictures of each, half of them to train on (50)"),
        ("size", "side of the pictures in pixels (128)"),
        ("seed", "the one seed of world and trainings (1000)"),
    ):
        parser.add_argument(f"--{flag}", dest=f"world_{flag.replace('-', '_')}", type=int, metavar="N", help=text)
    parser.add_argument("--epochs", dest="train.epochs", metavar="N", help="the same as --train.epochs")
    _add_plain(parser)
    parser.epilog = "Settings of both trainings may be given as to `leadpp run`, whose --help lists them."
    groups = tuple(dict.fromkeys(leaf.path[0] for leaf in option_fields() if len(leaf.path) > 1))
    _add_settings(parser, only=groups, hidden=True)  # their defaults are those of the demo, not of the tree
    return parser


def world_of(parsed: argparse.Namespace) -> dict[str, int]:
    """Collect what was given of the demo's world: ``species``, ``per_species``, ``size`` and ``seed``."""
    given = {name: getattr(parsed, f"world_{name}") for name in ("species", "per_species", "size", "seed")}
    return {name: value for name, value in given.items() if value is not None}


def settings_of(parsed: argparse.Namespace) -> dict[str, Any]:
    """Collect the settings that were given as flags into a nested mapping."""
    settings: dict[str, Any] = {}
    for leaf in option_fields():
        text = getattr(parsed, ".".join(leaf.path), None)
        if text is None:
            continue
        node = settings
        for name in leaf.path[:-1]:
            node = node.setdefault(name, {})
        node[leaf.path[-1]] = _read_value(text, leaf)
    return settings


def _new_parser(command: str, text: str, *, usage: str) -> LineParser:
    return LineParser(
        prog=f"leadpp {command}",
        usage=f"leadpp {command} {usage} [options]",
        description=text[0].upper() + text[1:] + ".",
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=34, width=110),
    )


def _add_plain(parser: LineParser) -> None:
    parser.add_argument("--config", type=_path, metavar="FILE", help="YAML file of settings; flags go over it")
    parser.add_argument("--json", action="store_true", help=_JSON_HELP)
    parser.add_argument(
        "--bad-images",
        dest="input.bad_images",
        metavar="{skip,error}",
        help="leave unreadable files out and count them (default), or stop; the same as --input.bad-images",
    )


def _add_settings(parser: LineParser, *, only: tuple[str, ...] | None, hidden: bool = False) -> None:
    groups: dict[str, argparse._ArgumentGroup] = {}
    for leaf in option_fields():
        name = leaf.path[0] if len(leaf.path) > 1 else _ROOT
        if only is not None and name not in only:
            continue
        if name not in groups:
            groups[name] = parser.add_argument_group(name)
        flag = "--" + ".".join(leaf.path).replace("_", "-")
        flags = [flag] if "-" not in flag[2:] else [flag, "--" + ".".join(leaf.path)]
        text = f"{leaf.text} Default: {_default(leaf)}".removesuffix(".").replace("%", "%%")
        switch: dict[str, Any] = {"nargs": "?", "const": "true"} if leaf.kind is bool else {}
        groups[name].add_argument(
            *flags,
            dest=".".join(leaf.path),
            metavar=_metavar(leaf),
            help=argparse.SUPPRESS if hidden else text,
            **switch,
        )


def _metavar(leaf: OptionField) -> str:
    if get_origin(leaf.kind) is Literal:
        return "{" + ",".join(word for word in map(str, get_args(leaf.kind)) if word) + "}"
    if get_origin(leaf.kind) is tuple:
        return "A,B"
    return {int: "N", float: "X", str: "TEXT", bool: "BOOL"}[leaf.kind]


def _default(leaf: OptionField) -> str:
    if isinstance(leaf.default, tuple):
        return ",".join(f"{item:g}" if isinstance(item, float) else item for item in leaf.default)
    return str(leaf.default).lower() if isinstance(leaf.default, bool) else str(leaf.default) or "none"


def _read_value(text: str, leaf: OptionField) -> object:
    if leaf.kind not in (int, float, bool):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
