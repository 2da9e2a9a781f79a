import pytest

from benchmarks.describe import Ground, throughput, tokens
from tests.descriptions import description

NAMES = ("Wren", "Robin", "Kea")
GROUND = Ground(texts={name: description(name) for name in NAMES}, tokens=lambda text: len(text.split()))


def test_throughput_has_a_row_a_number_of_requests() -> None:
    lines = throughput(GROUND, latency_s=0.01, rows=3)
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["1", "4", "16"]
    assert all(float(line.split("|")[2]) > 0 for line in lines[2:])


def test_tokens_are_counted_over_all_requests() -> None:
    one, three = (line.split("|")[1:-1] for line in tokens(GROUND, prices=(1e6, 0.0))[2:])
    assert [one[0].strip(), one[1].strip()] == ["3 of 3", "3"]
    assert [three[0].strip(), three[1].strip()] == ["9 of 9", "9"]
    words = len(description("Kea").split())
    assert int(one[3]) == 3 * words
    assert int(three[3]) > 9 * words  # further ones have some words more
    assert int(three[2].replace(",", "")) > 3 * int(one[2]) + 3 * 3 * words  # and the earlier ones in their prompts
    assert float(one[5]) == pytest.approx(int(one[2]))
