import pytest

from leadpp.distributed.pulse import Pulse


class Words:
    """A store in memory."""

    def __init__(self) -> None:
        self.words: dict[str, bytes] = {}

    def set(self, key: str, value: str, /) -> None:
        self.words[key] = value.encode()

    def get(self, key: str, /) -> bytes:
        return self.words[key]

    def check(self, keys: list[str], /) -> bool:
        return all(key in self.words for key in keys)

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        if self.words.get(key, b"") == expected.encode():
            self.words[key] = desired.encode()
        return self.words[key]


@pytest.fixture
def store() -> Words:
    return Words()


def pulse_of(rank: int, store: Words) -> Pulse:
    return Pulse(store, rank=rank, count=3, silence_s=40, grace_s=8)


def test_a_silent_process_is_lost_after_a_while(store: Words) -> None:
    mine, others = pulse_of(0, store), [pulse_of(rank, store) for rank in (1, 2)]
    for now in range(0, 100, 2):
        for other in others[: 1 if now > 10 else 2]:
            other.beat()
        lost = mine.loss(float(now))
        assert bool(lost) == (now > 10 + 40), now
    assert "process 2 of 3 has been silent for 40 s" in lost


def test_one_that_never_spoke_is_lost_too(store: Words) -> None:
    mine = pulse_of(0, store)
    assert mine.loss(mine.born + 39) == ""
    assert "process 1 of 3" in mine.loss(mine.born + 41)


def test_one_that_failed_gives_the_others_time_to_notice(store: Words) -> None:
    mine, other, third = (pulse_of(rank, store) for rank in range(3))
    third.beat()
    other.finish("failed")
    assert mine.any_failed()
    assert mine.loss(100.0) == ""
    third.beat()
    assert mine.loss(107.0) == ""
    third.beat()
    assert "process 1 of 3 ended with an error" in mine.loss(109.0)


def test_one_that_is_done_is_not_missed(store: Words) -> None:
    mine = pulse_of(0, store)
    for rank in (1, 2):
        assert not mine.all_done()
        pulse_of(rank, store).finish("done")
    assert mine.all_done()
    assert not mine.any_failed()
    assert mine.loss(1.0) == mine.loss(1000.0) == ""


def test_a_word_that_nobody_of_us_said_is_no_news(store: Words) -> None:
    mine = pulse_of(0, store)
    for rank in (1, 2):
        store.set(f"pulse/{rank}", "no JSON")
    assert mine.loss(10.0) == ""
    assert not mine.all_done()
    assert "process 1 of 3 has been silent" in mine.loss(51.0)


def test_a_message_is_said_once(store: Words) -> None:
    first, second = pulse_of(1, store), pulse_of(2, store)
    assert first.says_first("no such file: é")
    assert not second.says_first("no such file: é")
    assert first.says_first("no such file: é")
    assert second.says_first("another one")
