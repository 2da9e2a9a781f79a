import asyncio
import time

from leadpp.text.pace import Pace


def test_complaints_about_requests_sent_before_the_last_one_count_once() -> None:
    async def gap(*, old: bool) -> float:
        pace = Pace(first_gap_s=0.05)
        sent_s = await pace.turn()
        for _ in range(4):
            pace.slow_down(sent_s=sent_s if old else time.monotonic(), wait_s=0.0, draw=0.0)
        before = await pace.turn()
        return await pace.turn() - before

    assert 0.04 < asyncio.run(gap(old=True)) < 0.3
    assert asyncio.run(gap(old=False)) > 0.39


def test_answers_bring_the_first_pace_back() -> None:
    async def gap() -> float:
        pace = Pace(first_gap_s=10.0)
        pace.slow_down(sent_s=time.monotonic(), wait_s=0.0, draw=0.0)
        for _ in range(60):
            pace.quicken()
        before = await pace.turn()
        return await pace.turn() - before

    assert asyncio.run(gap()) < 0.3
