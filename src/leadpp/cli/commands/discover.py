"""``leadpp discover``: what is in a run's photographs that no name fits."""

from collections.abc import Mapping, Sequence
from typing import Any

from leadpp.cli.commands import COMMANDS
from leadpp.cli.parser import (
    LineParser,
    add_plain,
    add_settings,
    new_parser,
    other_groups,
    path_argument,
    settings_of,
)
from leadpp.io.words import plain_line

_GROUPS = ("discover", "name", "llm", "input")


def discover_parser() -> LineParser:
    """Parse ``leadpp discover``."""
    parser = new_parser("discover", COMMANDS["discover"].text, usage="--run RUN")
    parser.add_argument(
        "--run", type=path_argument, required=True, metavar="RUN", help="a finished run with prototypes"
    )
    parser.add_argument(
        "--out",
        type=path_argument,
        metavar="DIR",
        help="where discovered.csv, discovered.json and discovered.html go (RUN/discovered)",
    )
    parser.add_argument(
        "--ask",
        action="store_true",
        help="show typical photographs of each cluster to the language model of --llm.model, which must accept "
        "pictures, and have it propose a name; what is proposed is shown and used for nothing",
    )
    add_plain(parser, photographs=False)
    add_settings(parser, only=_GROUPS)
    add_settings(parser, only=other_groups(*_GROUPS), hidden=True)
    parser.epilog = (
        "A cluster has no name where its best name has much less of its answers than the best names of other clusters "
        "have of theirs. Look-alikes that are hard to tell apart may be among them, and a kind without a name that "
        "looks like one with a name may not."
    )
    return parser


def execute(command: str, words: Sequence[str]) -> int:
    """Parse the words after the command and run it."""
    parsed = discover_parser().parse_strictly(words)
    settings = settings_of(parsed)

    from leadpp.config import build_config, read_yaml

    build_config(read_yaml(parsed.config) if parsed.config else {}, settings)  # a mistake shows before the slow imports

    from leadpp.cli.results import print_results
    from leadpp.engine.console import console_progress
    from leadpp.pipeline import open_finished
    from leadpp.stages.names import discover

    config = open_finished(parsed.run, settings=settings, config=parsed.config)
    document = discover(run=parsed.run, out=parsed.out, ask=parsed.ask, config=config, progress=console_progress())
    if parsed.json:
        print_results({command: document}, command=command, as_json=True)
    else:
        _print(document)
    return 0


def _print(document: Mapping[str, Any]) -> None:
    """Print each cluster without a name in a line, and what decided."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    for group in document["groups"]:
        near = group["nearest"][0]
        proposed = f"; proposed: {group['proposed'] or group['reason']}" if "proposed" in group else ""
        console.print(
            escape(
                plain_line(
                    f"cluster {group['cluster']}: {group['size']:,} photographs, nearest name {near['name']} "
                    f"({near['probability']:.2f}){proposed}; most typical {group['photographs'][0]}"
                )
            )
        )
    console.print(escape(document["rule"]))
    console.print(
        escape(
            f"{document['unnamed']:,} of {document['clusters']:,} clusters have no name; "
            f"{', '.join(document['files'])} are in {document['out']}"
        )
    )
