"""``leadpp world``: draw imaginary birds."""

from collections.abc import Sequence

from leadpp.cli.commands import COMMANDS
from leadpp.cli.parser import JSON_HELP, LineParser, new_parser, path_argument


def world_parser() -> LineParser:
    """Parse ``leadpp world``."""
    parser = new_parser("world", COMMANDS["world"].text, usage="OUT")
    parser.add_argument("out", type=path_argument, metavar="OUT", help="the folder to write, new or empty")
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
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def execute(command: str, words: Sequence[str]) -> int:
    """Parse the words after the command and run it."""
    del command
    parsed = world_parser().parse_strictly(words)

    from leadpp.cli.results import print_results
    from leadpp.engine.console import console_progress
    from leadpp.engine.runtime import worker_count
    from leadpp.stages.world import make_world

    result = make_world(
        parsed.out,
        species=parsed.species,
        per_species=parsed.per_species,
        size=parsed.size,
        seed=parsed.seed,
        descriptions=parsed.descriptions,
        correlate=parsed.correlate,
        overwrite=parsed.overwrite,
        workers=worker_count(parsed.workers),
        progress=console_progress(),
    )
    print_results({"world": result}, command="world", as_json=parsed.json)
    return 0
