import math
from collections.abc import Iterable, Sequence

import pytest
import torch
from torch import Tensor

from leadpp.errors import TextError
from leadpp.text.encoding import BATCH, average_texts, encode_texts, fill_template, mix_vectors
from tests.unit.text.letter_tower import LetterTower


class PlainTower:
    """Reads texts of any length, and does not count."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return LetterTower(10**6).encode_texts(texts)


def _unit(letters: str) -> list[float]:
    counts = [0.0] * 26
    for letter in letters:
        counts[ord(letter) % 26] += 1
    length = math.sqrt(sum(count * count for count in counts))
    return [count / length for count in counts]


def test_a_short_text_is_its_own_vector() -> None:
    found = encode_texts(["aab", "c"], encoder=LetterTower(10))
    assert found.vectors.dtype == torch.float32
    assert found.vectors[0].tolist() == pytest.approx(_unit("aab"))
    assert found.vectors[1].tolist() == pytest.approx(_unit("c"))
    assert (found.pieces, found.long_texts, found.longest_tokens) == (2, 0, 5)


def test_pieces_weigh_by_their_words_not_by_their_marks() -> None:
    tower = LetterTower(5)
    found = encode_texts(["z", "aab. c", "y"], encoder=tower)
    assert tower.read == ["z", "aab.", "c", "y"]
    mixed = [3 * first + 1 * second for first, second in zip(_unit("aab"), _unit("c"), strict=True)]
    length = math.sqrt(sum(value * value for value in mixed))
    assert found.vectors[1].tolist() == pytest.approx([value / length for value in mixed])
    assert found.vectors[2].tolist() == pytest.approx(_unit("y"))
    assert (found.pieces, found.long_texts, found.longest_tokens) == (4, 1, 6)


def test_truncate_gives_the_tower_the_whole_text_and_still_counts() -> None:
    tower = LetterTower(5)
    found = encode_texts(["aab. c"], encoder=tower, long_text="truncate")
    assert tower.read == ["aab. c"]
    assert found.vectors[0].tolist() == pytest.approx(_unit("aab"))
    assert (found.pieces, found.long_texts) == (1, 1)


def test_a_tower_that_does_not_count_is_given_whole_texts() -> None:
    found = encode_texts(["ab " * 500], encoder=PlainTower())
    assert found.vectors[0].tolist() == pytest.approx(_unit("ab"))
    assert (found.pieces, found.longest_tokens) == (1, None)


def test_batches_do_not_change_the_result_and_are_told() -> None:
    texts = [chr(97 + number % 26) * (1 + number % 7) + "b" for number in range(2 * BATCH + 3)]
    seen: list[Sequence[int]] = []

    def track(starts: Sequence[int]) -> Iterable[int]:
        seen.append(starts)
        return starts

    together = encode_texts(texts, encoder=LetterTower(100), track=track).vectors
    alone = torch.cat([encode_texts([text], encoder=LetterTower(100)).vectors for text in texts])
    assert torch.allclose(together, alone)
    assert [list(starts) for starts in seen] == [[0, BATCH, 2 * BATCH]]


def _random_rows(count: int, dim: int, seed: int = 4) -> Tensor:
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def test_the_texts_of_a_class_are_averaged_each_with_the_same_weight() -> None:
    found = encode_texts(["aab", "c", "z", "ab " * 40, "y"], encoder=LetterTower(10))
    made = average_texts(found.vectors, [2, 1, 2])
    assert (made.shape, made.dtype) == ((3, 26), torch.float32)
    for row, pair in ((0, ("aab", "c")), (2, ("ab", "y"))):
        mean = [(first + second) / 2 for first, second in zip(*map(_unit, pair), strict=True)]
        length = math.sqrt(math.fsum(value * value for value in mean))
        assert made[row].tolist() == pytest.approx([value / length for value in mean], abs=1e-6)
    assert torch.equal(made[1], found.vectors[2])


@pytest.mark.parametrize("counts", [[1] * 9, [1, 3, 1, 1, 2, 1]])
def test_one_text_keeps_its_vector_to_the_last_bit(counts: list[int]) -> None:
    vectors = _random_rows(9, 512)
    made = average_texts(vectors, counts)
    starts = [sum(counts[:place]) for place in range(len(counts))]
    for row, (start, count) in enumerate(zip(starts, counts, strict=True)):
        assert torch.equal(made[row], vectors[start]) == (count == 1)
    assert torch.allclose(made.norm(dim=1), torch.ones(len(counts)), atol=1e-6)


def test_the_order_of_the_texts_of_a_class_does_not_matter() -> None:
    vectors = _random_rows(7, 64)
    made = average_texts(vectors, [4, 3])
    turned = average_texts(vectors[[2, 0, 3, 1, 6, 5, 4]], [4, 3])
    assert torch.allclose(made, turned, rtol=0, atol=1e-7)
    assert torch.allclose(made, average_texts(vectors[[4, 5, 6, 0, 1, 2, 3]], [3, 4]).flip(0), rtol=0, atol=1e-7)


def test_texts_that_say_the_opposite_have_no_mean() -> None:
    row = _random_rows(1, 8)
    with pytest.raises(TextError, match="1 of 2 rows are no direction: row 1 is zero"):
        average_texts(torch.cat([row, row, -row]), [1, 2])


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_mixing_is_the_unit_mean_by_shares(share: float) -> None:
    first, second = _random_rows(4, 6), _random_rows(4, 6, seed=8)
    mixed = mix_vectors(first, second, share=share)
    for row, one, other in zip(mixed.tolist(), first.tolist(), second.tolist(), strict=True):
        sums = [(1 - share) * a + share * b for a, b in zip(one, other, strict=True)]
        length = math.sqrt(math.fsum(value * value for value in sums))
        assert row == pytest.approx([value / length for value in sums], abs=1e-6)


def test_mixing_nothing_or_all_changes_no_bit_and_opposites_have_no_mean() -> None:
    first, second = _random_rows(4, 6), _random_rows(4, 6, seed=8)
    assert torch.equal(mix_vectors(first, second, share=0), first)
    assert torch.equal(mix_vectors(first, second, share=1), second)
    with pytest.raises(TextError, match="4 of 4 rows are no direction"):
        mix_vectors(first, -first, share=0.5)


class BrokenTower:
    """Returns whatever it is told to."""

    def __init__(self, answer: Tensor) -> None:
        self.answer = answer

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        del texts
        return self.answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.ones(1, 4), r"one vector a text, \(2, D\), but returned \(1, 4\)"),
        (torch.ones(4), r"but returned \(4,\)"),
        (torch.tensor([[1.0, 0.0], [math.nan, 0.0]]), "row 1 is NaN or infinite"),
        (torch.tensor([[0.0, 0.0], [1.0, 0.0]]), "row 0 is zero"),
    ],
)
def test_a_tower_that_answers_nonsense_is_refused(answer: Tensor, message: str) -> None:
    with pytest.raises(TextError, match=message):
        encode_texts(["a", "b"], encoder=BrokenTower(answer))


def test_names_become_readable_in_the_template() -> None:
    assert fill_template("a photo of a {}.", "n02085620-Japanese_spaniel") == "a photo of a Japanese spaniel."
    assert fill_template("{} ({})", "F-16A/B") == "F-16A/B (F-16A/B)"
