import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from leadpp.text.encoding import encode_texts
from leadpp.text.summary import choose_sentences
from tests.unit.text.letter_tower import LetterTower


def _slow_choice(vectors: list[list[float]], tokens: Sequence[int], whole: list[float], room: int) -> list[int]:
    """Follow the rule with plain numbers: add the sentence that brings the mean nearest, as long as one fits."""
    chosen: list[int] = []

    def cosine(places: Sequence[int]) -> float:
        mean = [sum(tokens[place] * vectors[place][column] for place in places) for column in range(len(whole))]
        length = math.sqrt(sum(value * value for value in mean))
        return sum(value * other for value, other in zip(mean, whole, strict=True)) / length

    while True:
        able = [
            place
            for place in range(len(tokens))
            if place not in chosen and sum(tokens[other] for other in [*chosen, place]) <= room
        ]
        if not able:
            return sorted(chosen)
        chosen.append(max(able, key=lambda place: cosine([*chosen, place])))


@pytest.mark.parametrize("seed", range(12))
def test_the_choice_follows_its_rule(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.nn.functional.normalize(torch.randn(6, 5, generator=generator, dtype=torch.float64), dim=1)
    tokens: list[int] = torch.randint(2, 12, (6,), generator=generator).tolist()
    whole = torch.nn.functional.normalize(vectors.mean(dim=0), dim=0)
    for room in (12, 20, 30):

        def fitting(places: Sequence[int], room: int = room) -> bool:
            return sum(tokens[place] for place in places) <= room

        found = choose_sentences(vectors, tokens, whole=whole, fitting=fitting)
        assert found == _slow_choice(vectors.tolist(), tokens, whole.tolist(), room)


def test_of_equals_the_first_is_kept_and_at_least_one() -> None:
    vectors = torch.eye(3)[[0, 0, 0]]
    assert choose_sentences(vectors, [1, 1, 1], whole=vectors[0], fitting=lambda places: len(places) < 3) == [0, 1]
    assert choose_sentences(vectors, [1, 1, 1], whole=vectors[0], fitting=lambda places: False) == [0]


def test_what_says_little_of_the_whole_is_left_out_and_the_rest_keeps_its_order() -> None:
    tower = LetterTower(10)
    text = "xyz. aabb. abab. qrs. bbaa. "
    found = encode_texts(["ab", text], encoder=tower, long_text="summary")
    assert found.shortened == ("ab", "aabb. abab.")
    assert (found.pieces, found.long_texts, found.longest_tokens) == (2, 1, 20)
    assert torch.allclose(found.vectors[1], _alone("aabb. abab."))
    assert torch.allclose(found.vectors[0], _alone("ab"))


def _alone(text: str) -> Tensor:
    return encode_texts([text], encoder=LetterTower(10**6)).vectors[0]


@pytest.mark.parametrize("limit", [4, 7, 11, 30])
def test_a_summary_is_read_whole_and_says_nothing_new(limit: int) -> None:
    text = "The wren, small and brown; tail up. Sings loudly!\n\nIncomprehensibilities abound: eats (mostly) spiders. "
    tower = LetterTower(limit)
    found = encode_texts([text], encoder=tower, long_text="summary")
    (short,) = found.shortened or ()
    assert 0 < tower.count_tokens(short) <= limit
    letters = iter(text)
    assert all(letter in letters for letter in short if not letter.isspace())
    assert tower.read[-1] == short


def test_texts_that_fit_are_left_alone() -> None:
    found = encode_texts(["ab", "cd"], encoder=LetterTower(10), long_text="summary")
    assert found.shortened is None
    assert torch.equal(found.vectors, encode_texts(["ab", "cd"], encoder=LetterTower(10)).vectors)


def test_the_same_words_give_the_same_summary_beside_any_others() -> None:
    texts = [" ".join(f"{first}{second}{first}." for second in "abcde") for first in "fghij"]
    together = encode_texts(texts, encoder=LetterTower(9), long_text="summary").shortened
    alone = [encode_texts([text], encoder=LetterTower(9), long_text="summary").shortened for text in texts]
    assert together == tuple(itertools.chain.from_iterable(one or () for one in alone))
