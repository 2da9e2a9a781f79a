"""``leadpp prototypes inspect`` and ``leadpp prototypes export``: looking at prototypes, and handing them on."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from leadpp.cli.commands import COMMANDS
from leadpp.cli.parser import JSON_HELP, LineParser, new_parser, path_argument

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 10
_MOST_ODDS = 1_000_000
_FILE_HELP = "a run folder, prototypes.safetensors, or the reference's .pt"


def inspect_parser() -> LineParser:
    """Parse ``leadpp prototypes inspect``."""
    parser = new_parser("prototypes inspect", COMMANDS["prototypes inspect"].text, usage="FILE")
    parser.add_argument("file", type=path_argument, metavar="FILE", help=_FILE_HELP)
    photographs = parser.add_mutually_exclusive_group()
    photographs.add_argument(
        "--features", type=path_argument, metavar="NPY", help="embeddings of photographs in the same space, float32"
    )
    photographs.add_argument(
        "--run",
        type=path_argument,
        metavar="RUN",
        help="take the teacher's embeddings of this run; a FILE that is a run has its own",
    )
    parser.add_argument("--names", type=path_argument, metavar="FILE", help="names of the rows of a .pt, one a line")
    parser.add_argument(
        "--temperature",
        type=float,
        metavar="X",
        help="the teacher's; default: its own, else loss.distillation_temperature",
    )
    _add_space(parser)
    parser.add_argument("--out", type=path_argument, metavar="HTML", help="write a page with a picture of all cosines")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def export_parser() -> LineParser:
    """Parse ``leadpp prototypes export``."""
    parser = new_parser("prototypes export", COMMANDS["prototypes export"].text, usage="FILE OUT.pt")
    parser.add_argument("file", type=path_argument, metavar="FILE", help=_FILE_HELP)
    parser.add_argument(
        "out", type=path_argument, metavar="OUT.pt", help="the file to write; names go into OUT.names.txt beside it"
    )
    parser.add_argument(
        "--dtype", choices=["float16", "float32"], default="float16", help="of the tensor. Default: float16"
    )
    _add_space(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the files that are there")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def _add_space(parser: LineParser) -> None:
    parser.add_argument(
        "--space",
        type=int,
        default=1,
        metavar="N",
        help="of several teachers, whose prototypes. Default: 1, the first's",
    )


def execute(command: str, words: Sequence[str]) -> int:
    """Parse the words after the command and run it."""
    return _export(words) if command == "prototypes export" else _inspect(words)


def _export(words: Sequence[str]) -> int:
    parsed = export_parser().parse_strictly(words)

    from leadpp.cli.results import print_results
    from leadpp.stages.prototypes import export_prototypes

    result = export_prototypes(
        parsed.file, parsed.out, dtype=parsed.dtype, space=parsed.space, overwrite=parsed.overwrite
    )
    print_results({"export": result}, command="export", as_json=parsed.json)
    return 0


def _inspect(words: Sequence[str]) -> int:
    parsed = inspect_parser().parse_strictly(words)

    from leadpp.engine.console import console_progress
    from leadpp.stages.inspect import inspect_prototypes

    results = inspect_prototypes(
        parsed.file,
        names=parsed.names,
        features=parsed.features,
        run=parsed.run,
        temperature=parsed.temperature,
        space=parsed.space,
        out=parsed.out,
        progress=console_progress(),
    )
    if parsed.json:
        sys.stdout.write(json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        _print(results)
    return 0


def _print(results: Mapping[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    for line in _facts(results):
        console.print(line, markup=False, soft_wrap=True)
    title = f"Nearest pairs; below 2:1 (cosine over {results['resolvable_cosine']:.4f}) they are not told apart"
    console.print(_pairs_table(results["pairs"][:_SHOWN], title=title))
    for line in _conclusions(results):
        console.print(line, markup=False, soft_wrap=True)


def _facts(results: Mapping[str, Any]) -> list[str]:
    model = _line(results["model"]) or "unknown"
    whose = f", of teacher {results['space']} of {results['spaces']}" if results["spaces"] > 1 else ""
    return [
        f"{results['source']}: {results['classes']} prototypes, {results['dim']} wide{whose}",
        f"made of: {_line(results['made']) or 'unknown'}{_mixed(results)}; teacher: {model}",
        f"temperature {results['temperature']:g} ({results['temperature_from']})",
        f"effective rank {results['effective_rank_centred']:.1f} of how they differ from their mean, at most "
        f"{min(results['classes'] - 1, results['dim'])} ({results['effective_rank']:.1f} with it); "
        f"mean cosine {results['mean_cosine']:.3f}",
    ]


def _mixed(results: Mapping[str, Any]) -> str:
    share, template = results["names_share"], _line(results["template"] or "")
    return f", {share:g} of each by names as {template!r}" if share else f", as {template!r}" if template else ""


def _pairs_table(pairs: Sequence[Mapping[str, Any]], *, title: str) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title)
    for word in ("class", "class"):
        table.add_column(word)
    for word in ("cosine", "odds"):
        table.add_column(word, justify="right")
    for pair in pairs:
        names = (Text(_line(pair[which])) for which in ("first", "second"))
        table.add_row(*names, f"{pair['cosine']:.4f}", f"{_odds(pair['odds'])} : 1")
    return table


def _odds(odds: float | None) -> str:
    if odds is None or odds > _MOST_ODDS:
        return f"over {_MOST_ODDS:,}"
    return f"{odds:.3g}" if odds < 100 else f"{odds:,.0f}"


def _conclusions(results: Mapping[str, Any]) -> list[str]:
    lines = [
        f"practically the same (cosine over 0.999): {_listing(list(map(_both, results['same'])))}",
        f"pairs not told apart at this temperature: {len(results['indistinct'])}",
    ]
    if results["photographs"] is None:
        return [*lines, f"photographs: not looked at, {results['photographs_from']}"]
    even = len(results["unseen_balanced"])
    return [
        *lines,
        f"nearest to none of {results['photographs']:,} photographs: {_listing(results['unseen'])}"
        f"; {even} of them still when the teacher's preferences are evened out",
    ]


def _both(pair: Mapping[str, Any]) -> str:
    return f"{pair['first']} and {pair['second']}"


def _listing(names: Sequence[str]) -> str:
    """Write how many there are, and the first of them."""
    if not names:
        return "none"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)}: {', '.join(map(_line, names[:_SHOWN]))}{more}"


def _line(name: str) -> str:
    """Write what a file says without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
