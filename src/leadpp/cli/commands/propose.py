"""``leadpp propose``: a language model lists the classes."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leadpp.cli.commands import COMMANDS
from leadpp.cli.parser import ROOT_GROUP, LineParser, add_plain, add_settings, new_parser, path_argument, settings_of
from leadpp.io.words import plain_lines


def propose_parser() -> LineParser:
    """Parse ``leadpp propose``."""
    parser = new_parser("propose", COMMANDS["propose"].text, usage="--domain WORDS --count N")
    parser.add_argument(
        "--domain", dest="llm.domain", metavar="TEXT", help="of what, such as 'birds of North America'; --llm.domain"
    )
    parser.add_argument("--count", type=int, default=200, metavar="N", help="how many different names. Default: 200")
    parser.add_argument(
        "--out", type=path_argument, default=Path("names.txt"), metavar="FILE", help="the file to write (names.txt)"
    )
    parser.add_argument(
        "--same-above",
        type=float,
        default=None,
        metavar="X",
        help="cosine of the teacher's text embeddings from which on two names are one; above 1 compares letters alone, "
        "without a teacher. Default: 0.985",
    )
    parser.add_argument("--budget", dest="llm.budget", metavar="X", help="the same as --llm.budget")
    parser.add_argument("--dry-run", action="store_true", help="show the question and an estimate, and ask nobody")
    parser.add_argument("--print-prompt", action="store_true", help="print the prompt that comes along, to edit it")
    add_plain(parser, photographs=False)
    add_settings(parser, only=("llm", "text", "teacher", ROOT_GROUP))
    return parser


def execute(command: str, words: Sequence[str]) -> int:
    """Parse the words after the command and run it."""
    del command
    parsed = propose_parser().parse_strictly(words)
    settings = settings_of(parsed)

    from leadpp.config import build_config, read_yaml

    config = build_config(read_yaml(parsed.config) if parsed.config else {}, settings)

    if parsed.print_prompt:
        from leadpp.text.prompts import default_prompt

        sys.stdout.write(default_prompt("propose"))
        return 0

    from leadpp.cli.results import print_results
    from leadpp.engine.console import console_progress
    from leadpp.stages.propose import LEAST_COSINE, estimate, propose

    if parsed.dry_run:
        found = estimate(out=parsed.out, count=parsed.count, config=config)
        if not parsed.json:
            _print_messages(found["messages"])
        print_results({"propose": found}, command="propose", as_json=parsed.json)
        return 0
    result = propose(
        out=parsed.out,
        count=parsed.count,
        config=config,
        least_cosine=LEAST_COSINE if parsed.same_above is None else parsed.same_above,
        progress=console_progress(),
    )
    print_results({"propose": result}, command="propose", as_json=parsed.json)
    return 0


def _print_messages(messages: Sequence[Mapping[str, Any]]) -> None:
    for message in messages:
        sys.stdout.write(f"[{message['role']}]\n{plain_lines(message['content'])}\n\n")
