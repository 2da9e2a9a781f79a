"""Fuzz some readers for some time, in a process that may not survive it; ``tests.fuzz.__main__`` starts it."""

import argparse
import resource
import time
from pathlib import Path

_MEMORY_BYTES = 8 << 30


def main() -> None:
    """Read the words and fuzz."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="+")
    parser.add_argument(
        "--ends", type=float, required=True, help="when to be done with all of them, in seconds since 1970"
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--guided", action="store_true")
    words = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if words.guided:
        import atheris

        with atheris.instrument_imports(include=["leadpp"]):  # which sees modules that are imported here first
            from tests.fuzz.fuzzing import fuzz
    else:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        from tests.fuzz.fuzzing import fuzz
    for place, name in enumerate(words.names):
        seconds = (words.ends - time.time()) / (len(words.names) - place)
        fuzz(name, seconds=seconds, seed=words.seed, out=words.out, guided=words.guided)


if __name__ == "__main__":
    main()
