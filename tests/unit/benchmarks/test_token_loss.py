import pytest
import torch

from benchmarks.token_loss import Loss, NarrowTower, frequent_words, loss_of
from leadpp.models.teacher import OpenClipTeacher
from tests.unit.text.letter_tower import LetterTower


@pytest.mark.parametrize(
    ("limit", "unread", "lost", "tail"),
    [
        (100, 0, 0, ""),
        (11, 0, 0, ""),
        (10, 1, 0, ""),
        (8, 3, 1, "ccc."),
        (7, 4, 1, "ccc."),
        (5, 6, 2, "bbb. ccc."),
    ],
)
def test_what_lies_behind_the_window_is_counted(limit: int, unread: int, lost: int, tail: str) -> None:
    found = loss_of("aaa. bbb. ccc.", LetterTower(limit))
    assert found == Loss(tokens=9, unread=unread, sentences=3, lost=lost, tail=tail)


def test_words_count_once_a_text_and_little_ones_do_not() -> None:
    tails = ("with Wings and wings, wings", "a wings; tail tail!", "", "tail")
    losses = [Loss(tokens=1, unread=1, sentences=1, lost=0, tail=tail) for tail in tails]
    assert frequent_words(losses) == [("tail", 2), ("wings", 2)]


def test_a_narrow_window_reads_as_if_the_text_ended_there() -> None:
    teacher = OpenClipTeacher.load("builtin:world-clip", pretrained="")
    text = "The plump species shows a long bill. The back is grey and streaked. The legs are yellow."
    start = "The plump species shows a long bill. The back is grey"
    assert teacher.count_tokens(start) < teacher.count_tokens(text) < teacher.context_tokens
    narrow = NarrowTower(teacher, teacher.count_tokens(start))
    cut, whole, short = narrow.encode_texts([text, start, "The plump species"])
    expected = teacher.encode_texts([start, start, "The plump species"])
    assert torch.allclose(torch.stack([cut, whole, short]), expected, atol=1e-6)
    assert not torch.allclose(cut, teacher.encode_texts([text])[0], atol=1e-3)
