"""Measure the claims of the method; ``python -m benchmarks.claims --help``."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.claims.command import add_source_arguments, read_source, run_command
from benchmarks.claims.jobs import Outcome, work_through
from benchmarks.claims.page import write_page
from benchmarks.claims.results import gather
from benchmarks.claims.rows import BY_NAME, QUICK, ROWS
from leadpp.engine.runtime import Progress

REPORTED_SEEDS = (1000, 1001, 1002)
HERE = Path(__file__).parents[1]
_EPILOG = """\
Every finished row is kept in OUT/SEED/ROW/result.json, so an interrupted benchmark goes on where it was; a row is made
anew when its settings, photographs, boxes, networks or the sources of leadpp have changed. OUT/claims.md and
OUT/claims.json are written at the end of every call. --table OUT writes them beside this benchmark and runs nothing.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Read the command line, measure what is missing, and write the page; return the exit code."""
    return run_command(partial(_measure, _parser().parse_args(words)))


def _measure(arguments: argparse.Namespace, progress: Progress) -> list[Outcome]:
    if arguments.table is not None:
        print(write_page(gather(arguments.table, ROWS), ROWS, arguments.to))
        return []
    names = arguments.rows or (QUICK if arguments.quick else tuple(BY_NAME))
    seeds = arguments.seeds or (REPORTED_SEEDS[:1] if arguments.quick else REPORTED_SEEDS)
    chosen = [BY_NAME[name] for name in names]
    failed = work_through(
        read_source(arguments), chosen, seeds=seeds, out=arguments.out, jobs=arguments.jobs, progress=progress
    )
    print(write_page(gather(arguments.out, ROWS), ROWS, arguments.out))
    return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.claims",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--out", type=Path, help="folder of worlds, runs and results")
    place.add_argument("--table", type=Path, metavar="OUT", help="write the page of this folder and run nothing")
    parser.add_argument("--to", type=Path, default=HERE, help="where --table writes (default: beside this benchmark)")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds (default: 1000 1001 1002; the first with --quick)")
    parser.add_argument("--rows", nargs="+", choices=list(BY_NAME), metavar="ROW", help=f"of {', '.join(BY_NAME)}")
    parser.add_argument("--quick", action="store_true", help=f"one seed of {', '.join(QUICK)}")
    add_source_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
