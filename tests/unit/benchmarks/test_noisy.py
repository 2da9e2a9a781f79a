import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.teachers import noisy
from leadpp.functional.randomness import generator_for
from leadpp.models.teacher import load_teacher
from leadpp.text.splitting import TokenCounter

DIM = 512


class Fixed:
    """Embeds every picture in the same direction, so that all that differs is noise."""

    embedding_dim = DIM
    name = "fixed"

    def encode_images(self, images: Tensor) -> Tensor:
        return F.one_hot(torch.zeros(len(images), dtype=torch.long), DIM).float()

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        return F.normalize(torch.tensor([[len(text) + 1.0] * DIM for text in texts]), dim=1)

    def to(self, device: torch.device, /) -> object:
        return self


class Counting(Fixed):
    context_tokens = 7

    def count_tokens(self, text: str) -> int:
        return len(text)


def pictures(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 8, 8), generator=generator_for(1, "pictures"), dtype=torch.uint8)


def test_a_picture_has_the_same_noise_in_any_batch_and_in_both_forms() -> None:
    teacher, images = noisy.NoisyTeacher(Fixed(), sigma=2.0), pictures(6)
    together = teacher.encode_images(images)
    apart = torch.cat([teacher.encode_images(images[[place]]) for place in (5, 4, 3, 2, 1, 0)]).flip(0)
    torch.testing.assert_close(together, apart)
    torch.testing.assert_close(together, teacher.encode_images(images.float() / 255))
    strided = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    torch.testing.assert_close(together, teacher.encode_images(strided))


def test_another_picture_has_other_noise_even_where_one_pixel_differs() -> None:
    images = pictures(1).repeat(2, 1, 1, 1)
    images[1, 2, 7, 7] ^= 1
    first, second = noisy.as_bytes(images)
    ones, others = noisy.content_noise(first, dim=4096), noisy.content_noise(second, dim=4096)
    assert abs(torch.corrcoef(torch.stack([ones, others]))[0, 1].item()) < 0.1
    assert ones.var().item() == pytest.approx(1, abs=0.1)
    assert ones.mean().item() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 4.0])
def test_the_noise_is_as_strong_as_it_says(sigma: float) -> None:
    embedded = noisy.NoisyTeacher(Fixed(), sigma=sigma).encode_images(pictures(200))
    torch.testing.assert_close(torch.linalg.vector_norm(embedded, dim=1), torch.ones(200))
    expected = 1 / math.sqrt(1 + sigma**2)  # noise of length sigma stands at right angles to the embedding
    assert embedded[:, 0].mean().item() == pytest.approx(expected, abs=0.02)


def test_texts_stay_as_they_are_and_long_ones_are_counted_only_if_the_base_counts() -> None:
    plain, counting = noisy.NoisyTeacher(Fixed(), sigma=4.0), noisy.NoisyTeacher(Counting(), sigma=4.0)
    torch.testing.assert_close(plain.encode_texts(["a", "bcd"]), Fixed().encode_texts(["a", "bcd"]))
    assert not isinstance(plain, TokenCounter)
    assert isinstance(counting, TokenCounter)
    assert (counting.context_tokens, counting.count_tokens("word")) == (7, 4)


def base() -> Fixed:
    return Fixed()


def test_the_base_can_be_a_factory_and_each_strength_is_stronger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(noisy.BASE_VARIABLE, f"{__name__}:base")
    made = [load_teacher(factory=f"benchmarks.teachers.noisy:strength_{number}") for number in (1, 2, 3, 4)]
    closeness = [teacher.encode_images(pictures(20))[:, 0].mean().item() for teacher in made]
    assert closeness == sorted(closeness, reverse=True)
    assert len({teacher.name for teacher in made}) == 4


def test_without_a_word_the_base_is_the_shipped_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, str]] = []

    def load(**named: str) -> Fixed:
        asked.append(named)
        return Fixed()

    monkeypatch.setattr(noisy, "load_teacher", load)
    monkeypatch.delenv(noisy.BASE_VARIABLE, raising=False)
    noisy.strength_1()
    monkeypatch.setenv(noisy.BASE_VARIABLE, "local-dir:here")
    noisy.strength_1()
    assert asked == [{"model": "builtin:world-clip"}, {"model": "local-dir:here"}]
