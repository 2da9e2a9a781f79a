"""Fuzz some readers for some time, in a process that may not survive it; ``tests.fuzz.__main__`` starts it."""

import argparse
import random
import resource
import sys
import time
from pathlib import Path

from tests.fuzz.mutation import mutate
from tests.fuzz.trying import Bench, Tally

_MEMORY_BYTES = 8 << 30
_OFTEN = 200
"""After so many tries the tally is written down."""


def by_chance(bench: Bench, tally: Tally, *, seconds: float, seed: int, out: Path) -> None:
    """Try what :func:`~tests.fuzz.mutation.mutate` makes of the seeds."""
    rng = random.Random(f"{seed}/{bench.name}")  # noqa: S311 - no secret
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        tally.attempt(bench, mutate(bench.seeds, rng), found=out / "found")
        if tally.tried % _OFTEN == 0:
            tally.write(out / f"{bench.name}.json")
    tally.write(out / f"{bench.name}.json")


def by_coverage(bench: Bench, tally: Tally, *, seconds: float, seed: int, out: Path) -> None:
    """Let atheris choose what to try by the branches of our code that it reaches; does not return."""
    import atheris

    corpus = out / "corpus" / bench.name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(bench.seeds):
        (corpus / f"seed-{number}").write_bytes(content)
    rng = random.Random(f"{seed}/{bench.name}")  # noqa: S311 - no secret

    def change(content: bytes, most: int, number: int) -> bytes:
        if number % 2:
            return mutate([content, *bench.seeds], rng)[:most]
        changed: bytes = atheris.Mutate(content, most)
        return changed

    def attempt(content: bytes) -> None:
        tally.attempt(bench, content, found=out / "found")
        if tally.tried % _OFTEN == 0:
            tally.write(out / f"{bench.name}.json")

    words = [f"-max_total_time={max(1, round(seconds))}", f"-seed={seed % 2**31 or 1}", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *words, "-rss_limit_mb=8192", str(corpus)], attempt, custom_mutator=change)
    atheris.Fuzz()


def main() -> None:
    """Read the words and fuzz."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="+")
    parser.add_argument("--seconds", type=float, required=True, help="for all of them together")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--guided", action="store_true")
    words = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if words.guided:
        import atheris

        atheris.instrument_imports(include=["leadpp"], enable_loader_override=False)
    else:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    for name in words.names:
        bench, tally = Bench(name, words.out / "benches"), Tally(name)
        for content in bench.seeds:
            tally.attempt(bench, content, found=words.out / "found")
        go = by_coverage if words.guided else by_chance
        go(bench, tally, seconds=words.seconds / len(words.names), seed=words.seed, out=words.out)


if __name__ == "__main__":
    main()
