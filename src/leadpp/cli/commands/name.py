"""``leadpp name``: what is in these photographs."""

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

_SHOWN = 20


def name_parser() -> LineParser:
    """Parse ``leadpp name``."""
    parser = new_parser("name", COMMANDS["name"].text, usage="--run RUN IMAGES...")
    parser.add_argument("images", type=path_argument, nargs="+", metavar="IMAGES", help="photographs and folders")
    parser.add_argument(
        "--run", type=path_argument, required=True, metavar="RUN", help="a finished run with prototypes"
    )
    parser.add_argument(
        "--out",
        type=path_argument,
        metavar="DIR",
        help="where names.csv, names.json, names.parquet and names.html go (RUN/names)",
    )
    parser.add_argument("--top", dest="name.top", metavar="N", help="the same as --name.top")
    parser.add_argument("--unsure", dest="name.unsure", metavar="X", help="the same as --name.unsure")
    add_plain(parser)
    add_settings(parser, only=("name", "input"))
    add_settings(parser, only=other_groups("name", "input"), hidden=True)
    parser.epilog = (
        "Probabilities are at a temperature fitted without labels: over the run's training photographs the student is "
        "on average as sure as its teacher, or its teachers together. If the teacher is too sure, so is the student; "
        "nothing is promised of a single photograph, nor of photographs of kinds that have no name in the list. The "
        "other settings of the run may be given as to `leadpp run`, whose --help lists them."
    )
    return parser


def execute(command: str, words: Sequence[str]) -> int:
    """Parse the words after the command and run it."""
    del command
    parsed = name_parser().parse_strictly(words)
    settings = settings_of(parsed)

    from leadpp.config import build_config, read_yaml

    build_config(read_yaml(parsed.config) if parsed.config else {}, settings)  # a mistake shows before the slow imports

    from leadpp.cli.results import print_results
    from leadpp.engine.console import console_progress
    from leadpp.pipeline import open_finished
    from leadpp.stages.names import name

    config = open_finished(parsed.run, settings=settings, config=parsed.config)
    document = name(parsed.images, run=parsed.run, out=parsed.out, config=config, progress=console_progress())
    if parsed.json:
        print_results({"name": document}, command="name", as_json=True)
    else:
        _print(document)
    return 0


def _print(document: Mapping[str, Any]) -> None:
    """Print the first photographs with their names, and what to know of all of them."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True)
    for row in document["photographs"][:_SHOWN]:
        said = [_words(who, row[who]) for who in document["by"]]
        console.print(escape(plain_line(f"{row['path']}: {'; '.join(said)}")))
    if len(document["photographs"]) > _SHOWN:
        console.print(f"and {len(document['photographs']) - _SHOWN:,} more")
    for who, known in document["by"].items():
        console.print(
            escape(
                f"{who}: unsure of {known['unsure']:,} of {document['images']:,}; temperature "
                f"{', '.join(format(each, '.4g') for each in known['temperatures'])}, {known['how']}"
            )
        )
    console.print(escape(f"looked at: {document['looked_at']}"))
    if document["bad"]:
        first = document["bad"][0]
        console.print(
            escape(
                plain_line(
                    f"{len(document['bad']):,} files could not be read (first: {first['path']}: {first['reason']})"
                )
            )
        )
    console.print(escape(plain_line(f"{', '.join(document['files'])} are in {document['out']}")))


def _words(who: str, said: Mapping[str, Any]) -> str:
    best = said["names"][0]
    doubt = "unsure, perhaps " if said["unsure"] else ""
    return f"{who}: {doubt}{best['name']} ({best['probability']:.2f})"
