"""How the commands of the benchmarks end."""

from collections.abc import Callable

import pytest

from benchmarks.claims.command import run_command
from benchmarks.claims.jobs import Outcome
from leadpp.engine.runtime import Progress
from leadpp.errors import DataError


def finds_nothing(progress: Progress) -> list[Outcome]:
    del progress
    return []


def fails_one_row(progress: Progress) -> list[Outcome]:
    del progress
    return [Outcome(what="3 moco", seconds=1.0, mistake="no room")]


def makes_a_mistake(progress: Progress) -> list[Outcome]:
    raise DataError("no such folder")


def is_stopped(progress: Progress) -> list[Outcome]:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        (finds_nothing, 0, ""),
        (fails_one_row, 2, "not done: 3 moco: no room\n"),
        (makes_a_mistake, 2, "error: no such folder\n"),
        (is_stopped, 130, "stopped; the same command goes on with what is not finished\n"),
    ],
)
def test_the_end_is_told_by_code_and_words(
    work: Callable[[Progress], list[Outcome]], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(work) == code
    assert capsys.readouterr() == ("", said)
