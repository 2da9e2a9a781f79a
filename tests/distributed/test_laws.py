"""Encoding, fitting and collecting, with fewer photographs than processes and with more."""

import pytest

from tests.distributed.processes import started


@pytest.mark.slow
def test_laws_hold_in_every_process() -> None:
    with started(["-m", "tests.distributed.laws"], count=3) as processes:
        ended = processes.wait()
    assert [each.code for each in ended] == [0, 0, 0], ended
