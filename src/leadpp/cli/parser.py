"""Parsers made of the configuration tree: every setting is a flag, and every mistake is one line."""

import argparse
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

import yaml

from leadpp.config import OptionField, option_fields
from leadpp.errors import LeadppError

JSON_HELP = "print the results as one JSON document on standard output"
ROOT_GROUP = "settings of the run"
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
            if rest[0].endswith(".tar"):
                hint = (
                    "; several archives are one word, in quotes so that the shell leaves it whole: 'x/{000..099}.tar'"
                )
            elif not rest[0].startswith("-"):
                hint += "; several values of one setting are separated by commas, without spaces"
            raise UsageError(f"{self.prog}: unknown argument {rest[0]!r}{hint}; see `{self.prog} --help`")
        return parsed


def path_argument(text: str) -> Path:
    """Read a path; an empty word is most often an unset variable of the shell, not this folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    return Path(text)


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


def new_parser(command: str, text: str, *, usage: str) -> LineParser:
    """Make the parser of a command.

    Args:
        command: Its name, of one word or two.
        text: What it does, as the list of commands has it.
        usage: What it takes, before ``[options]``.
    """
    return LineParser(
        prog=f"leadpp {command}",
        usage=f"leadpp {command} {usage} [options]",
        description=text[0].upper() + text[1:] + ".",
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=34, width=110),
    )


def add_plain(parser: LineParser, *, photographs: bool = True) -> None:
    """Add what nearly all commands take: ``--config``, ``--json`` and, of those that read photographs, --bad-images."""
    parser.add_argument("--config", type=path_argument, metavar="FILE", help="YAML file of settings; flags go over it")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    if photographs:
        parser.add_argument(
            "--bad-images",
            dest="input.bad_images",
            metavar="{skip,error}",
            help="leave unreadable files out and count them (default), or stop; the same as --input.bad-images",
        )


def other_groups(*shown: str) -> tuple[str, ...]:
    """Return the groups of settings besides some, with :data:`ROOT_GROUP`."""
    groups = dict.fromkeys(leaf.path[0] if len(leaf.path) > 1 else ROOT_GROUP for leaf in option_fields())
    return tuple(group for group in groups if group not in shown)


def add_settings(parser: LineParser, *, only: tuple[str, ...] | None, hidden: bool = False) -> None:
    """Add the settings of the tree as flags.

    Args:
        parser: The parser of a command.
        only: Groups to add, :data:`ROOT_GROUP` for those that belong to none; None adds all.
        hidden: Whether help is silent about them.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    for leaf in option_fields():
        name = leaf.path[0] if len(leaf.path) > 1 else ROOT_GROUP
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
