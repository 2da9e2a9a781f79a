"""Try a reader for some time: by chance, or by the branches that it reaches."""

import random
import sys
import time
from pathlib import Path

from tests.fuzz.mutation import mutate
from tests.fuzz.trying import Bench, Tally

_OFTEN = 200
"""After so many tries the tally is written down."""


def fuzz(name: str, *, seconds: float, seed: int, out: Path, guided: bool) -> None:
    """Try the seeds of a reader, then files made of them; by coverage it does not return."""
    bench, tally = Bench(name, out / "benches"), Tally(name)
    for content in bench.seeds:
        tally.attempt(bench, content, found=out / "found")
    (by_coverage if guided else by_chance)(bench, tally, seconds=seconds, seed=seed, out=out)


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
