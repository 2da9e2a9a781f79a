"""Measure the package against the obvious way of doing the same work; ``python -m benchmarks.bench --help``."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.bench.measure import CASES, in_fresh_process
from benchmarks.bench.page import Result, judge, machine, put_table, read_results, table, write_results

_PAGE = Path(__file__).parents[1] / "RESULTS.md"
_EPILOG = """\
Both ways run by turns in one process (A B A B) after one round that does not count; the ratio is the median over
rounds. The peak of memory is that of a fresh process, its imports included. OUT is written after every case; with
--only, what it holds of other cases of the same size stays. Exit code 1: a case could not be measured. A missed target
is told in the table and does not change the exit code.
"""


def main(words: Sequence[str] | None = None) -> int:
    """Measure the chosen cases and write what was found; return the exit code."""
    asked = _parser().parse_args(words)
    kept = read_results(asked.out) if asked.only and asked.out.exists() else []
    results = {result["name"]: result for result in kept if result["quick"] == asked.quick}
    failed = False
    for name in asked.only or CASES:
        started = time.perf_counter()
        try:
            result = _measure(name, quick=asked.quick, threads=asked.threads, rounds=asked.rounds)
        except RuntimeError as error:
            print(f"{name}: could not be measured\n{error}", file=sys.stderr)
            failed = True
            continue
        results[name] = result
        write_results(asked.out, _in_order(results))
        took = f"measured in {time.perf_counter() - started:.0f} s"
        print(f"{name}: {'; '.join(judge(result)) or 'targets met'}, ratio {result['ratio']:.2f} ({took})", flush=True)
    where = machine(asked.threads)
    print(f"\n{where}\n\n{table(_in_order(results))}")
    if asked.page and results:
        put_table(_PAGE, _in_order(results), where=f"Measured on {where}")
    return int(failed)


def _in_order(results: Mapping[str, Result]) -> list[Result]:
    return [results[name] for name in CASES if name in results]


def _measure(name: str, *, quick: bool, threads: int, rounds: int) -> Result:
    timed = in_fresh_process(name, quick=quick, threads=threads, rounds=rounds)
    ours = in_fresh_process(name, quick=quick, threads=threads, side="fast")["peak_mb"]
    theirs = in_fresh_process(name, quick=quick, threads=threads, side="obvious")["peak_mb"]
    return {
        "name": name,
        **timed,
        "peak_mb": ours,
        "peak_mb_obvious": theirs,
        "memory_ratio": ours / theirs,
        "quick": quick,
        "rounds": rounds,
        "machine": machine(threads),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file of the figures")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, each with a target of its own")
    parser.add_argument("--only", nargs="+", choices=list(CASES), metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is timed (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="of torch, for both sides (default: 2)")
    parser.add_argument("--page", action="store_true", help="also put the table into benchmarks/RESULTS.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
