"""``leadpp describe``: class names become descriptions."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from leadpp.cli.commands import COMMANDS
from leadpp.cli.parser import ROOT_GROUP, LineParser, add_plain, add_settings, new_parser, path_argument, settings_of
from leadpp.io.words import plain_lines


def describe_parser() -> LineParser:
    """Parse ``leadpp describe``."""
    usage = "{--names FILE | --data DIR | --descriptions FILE} --out TABLE.csv"
    parser = new_parser("describe", COMMANDS["describe"].text, usage=usage)
    words = parser.add_mutually_exclusive_group(required=True)
    words.add_argument("--names", type=path_argument, metavar="FILE", help="class names, one a line")
    words.add_argument("--data", type=path_argument, metavar="DIR", help="a folder whose class folders give the names")
    words.add_argument(
        "--descriptions", type=path_argument, metavar="FILE", help="one's own CSV or JSON, which is checked and copied"
    )
    parser.add_argument(
        "--out", type=path_argument, required=True, metavar="TABLE.csv", help="the table to write, or to go on with"
    )
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--fresh", action="store_true", help="set aside what is there, and begin anew")
    there.add_argument(
        "--keep", action="store_true", help="keep what another model, prompt or seed wrote, and ask for the rest"
    )
    parser.add_argument(
        "--budget",
        dest="llm.budget",
        metavar="X",
        help="the most it may cost, in the currency of the prices; the same as --llm.budget",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the prompt and what it would take; send nothing")
    parser.add_argument(
        "--print-prompt", action=_PrintPrompt, nargs=0, help="print the prompt that comes along, to edit it"
    )
    add_plain(parser, photographs=False)
    add_settings(parser, only=("llm", "text", ROOT_GROUP))
    return parser


class _PrintPrompt(argparse.Action):
    """Prints the prompt template that comes along and leaves, whatever else is missing, as ``--help`` does."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from leadpp.text.prompts import default_prompt

        sys.stdout.write(default_prompt("describe"))
        parser.exit()


def execute(command: str, words: Sequence[str]) -> int:
    """Parse the words after the command and run it."""
    parsed = describe_parser().parse_strictly(words)

    from leadpp.config import build_config, read_yaml

    config = build_config(read_yaml(parsed.config) if parsed.config else {}, settings_of(parsed))

    from leadpp.cli.results import print_results
    from leadpp.engine.console import console_progress
    from leadpp.stages.describe import Words, describe, preview

    given = Words(names=parsed.names, data=parsed.data, descriptions=parsed.descriptions)
    if parsed.dry_run:
        found = preview(parsed.out, words=given, config=config, fresh=parsed.fresh, keep=parsed.keep)
        print_preview(found, as_json=parsed.json)
        return 0
    result = describe(
        parsed.out, words=given, config=config, fresh=parsed.fresh, keep=parsed.keep, progress=console_progress()
    )
    print_results({command: result}, command=command, as_json=parsed.json)
    return 0


def print_preview(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what would be asked.

    Args:
        found: What :func:`leadpp.stages.describe.preview` returned.
        as_json: All prompts, as one JSON document; otherwise the first is shown.
    """
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        return
    for first in found["prompts"][:1]:
        for message in first["messages"]:
            sys.stdout.write(f"[{message['role']}]\n{plain_lines(message['content'])}\n\n")
    repeated = f"about {found['cost_if_repeated']:.4f} if every reply is long and asked for again to the end"
    cost = (
        f", cost {found['cost']:.4f}, or {repeated} (retries of failed requests not counted)" if found["cost"] else ""
    )
    asked = f"{found['model']} at {found['base_url']}" if found["model"] else "nobody, as llm.model names none"
    sys.stdout.write(
        f"{found['descriptions']} descriptions to ask {asked}: about {found['tokens_in']:,} tokens in and "
        f"{found['tokens_out']:,} out{cost}; prompt {found['prompt']}; the first is shown above (--json shows all). "
        "Nothing was sent.\n"
    )
