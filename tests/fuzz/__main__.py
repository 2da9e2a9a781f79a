"""Fuzz the readers: ``python -m tests.fuzz [--minutes M | --seconds S] [NAME ...]``.

With minutes each reader that is named has so many for itself, by coverage if atheris is there; with seconds all share
them. What breaks the rule is kept in ``found/`` of the output folder; move it to ``tests/fuzz/corpus/`` with the mend.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.readers import GUIDED, READERS_OF
from tests.fuzz.trying import Tally, keep


def main() -> int:
    """Fuzz, print a line for each reader, and return 1 if the rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(READERS_OF))
    parser.add_argument("--minutes", type=float, help="for each reader (default: 60)")
    parser.add_argument("--seconds", type=float, help="for all readers together, the start included")
    parser.add_argument("--seed", type=int, help="default: another one each time")
    parser.add_argument("--by-chance", action="store_true", help="do not use atheris")
    parser.add_argument("--out", type=Path, help="folder for what is found (default: a new one)")
    words = parser.parse_args()
    out = words.out or Path(tempfile.mkdtemp(prefix="fuzz-"))
    seed = int(time.time()) if words.seed is None else words.seed
    if words.seconds is not None:
        names = words.names or list(READERS_OF)
        groups = [(names, words.seconds)]
    else:
        groups = [([name], 60 * (words.minutes or 60)) for name in words.names or GUIDED]
    guided = words.seconds is None and not words.by_chance and importlib.util.find_spec("atheris") is not None
    print(f"seed {seed}, {'by coverage (atheris)' if guided else 'by chance'}, findings in {out}", flush=True)
    return max(_fuzz(names, seconds, seed=seed, guided=guided, out=out) for names, seconds in groups)


def _fuzz(names: list[str], seconds: float, *, seed: int, guided: bool, out: Path) -> int:
    """Fuzz some readers in a process of their own, and tell what came of it."""
    out.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.child",
        *names,
        "--ends",
        str(time.time() + seconds),
        "--seed",
        str(seed),
    ]
    log = out / f"{names[0]}.log"
    with log.open("w") as stream:
        ended = subprocess.run(
            [*command, "--out", str(out), *(["--guided"] if guided else [])], stdout=stream, stderr=stream, check=False
        ).returncode
    tallies = [_tally(name, out) for name in names]
    broken = sum(bool(tally.faults) for tally in tallies)
    for tally in tallies:
        print(f"{tally.name:<32}{tally.tried:>9,} tried {tally.taken:>9,} taken {len(tally.faults):>3} faults")
        for fault, count in tally.faults.items():
            print(f"    {count:,} x {fault}")
    if ended:
        print(f"    ended by {ended}; see {log}")
        last = next((name for name in names if not (out / f"{name}.json").exists()), names[-1])
        for path in (path for path in (out / "benches" / last / "tried").rglob("*") if path.is_file()):
            print(f"    what was read then is {keep(out / 'found' / last, path.read_bytes())}")
    sys.stdout.flush()
    return int(bool(broken or ended))


def _tally(name: str, out: Path) -> Tally:
    path = out / f"{name}.json"
    return Tally(**json.loads(path.read_text())) if path.exists() else Tally(name)


if __name__ == "__main__":
    sys.exit(main())
