"""What once broke the rule never does again, and a few hundred files that are nearly right do not either."""

import random
from pathlib import Path

import pytest

from tests.fuzz.mutation import mutate
from tests.fuzz.readers import READERS_OF
from tests.fuzz.trying import CORPUS, Bench

KEPT = sorted(path.relative_to(CORPUS).as_posix() for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", KEPT)
def test_kept_findings(path: str, tmp_path: Path) -> None:
    Bench(path.split("/", maxsplit=1)[0], tmp_path).taken((CORPUS / path).read_bytes())


def test_kept_findings_are_small_and_belong_to_a_reader() -> None:
    assert {path.split("/")[0] for path in KEPT} <= READERS_OF.keys()
    assert sum((CORPUS / path).stat().st_size for path in KEPT) < 1_000_000


@pytest.mark.parametrize("name", READERS_OF)
def test_files_that_are_nearly_right(name: str, tmp_path: Path) -> None:
    bench = Bench(name, tmp_path)
    assert True in {bench.taken(seed) for seed in bench.seeds}
    rng = random.Random(name)  # noqa: S311 - no secret
    for _ in range(25):
        bench.taken(mutate(bench.seeds, rng))
