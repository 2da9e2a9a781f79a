"""What processes say to each other arrives, and a command that is no work for several says so."""

import pytest

from leadpp.distributed.ranks import ALONE
from tests.distributed.processes import leadpp, started
from tests.distributed.talking import TRIALS, rows_arrive_in_order


@pytest.mark.parametrize("trial", TRIALS)
def test_one_process_says_everything_to_itself(trial: object) -> None:
    if trial is not rows_arrive_in_order:  # which has a row of the second process
        assert callable(trial)
        trial(ALONE)


def test_three_processes() -> None:
    with started(("-m", "tests.distributed.talking"), count=3) as processes:
        for ended in processes.wait(timeout_s=60):
            assert ended.code == 0, ended.err


def test_a_command_for_one_process_says_so_once() -> None:
    ended = leadpp("verify", "nowhere", count=2)
    assert [one.code for one in ended] == [2, 2]
    assert "verify is the work of one process, but 2 were started" in ended[0].err
    assert ended[1].err == ""
