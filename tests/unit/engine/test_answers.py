import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from leadpp.engine.answers import answer, choose_temperatures, embeddings_of, misfit
from leadpp.errors import ConfigError
from leadpp.functional.distillation import prototype_distribution
from leadpp.functional.randomness import generator_for
from leadpp.text.prototypes import Prototypes


def unit(rows: int, width: int, *, place: int) -> Tensor:
    return F.normalize(torch.randn(rows, width, generator=generator_for(59, "test", place)), dim=1)


def test_one_space_is_answered_in_as_ever() -> None:
    embedding, prototypes = unit(6, 4, place=0), unit(3, 4, place=1)
    found = answer([embedding], [prototypes], temperatures=[0.05])
    assert torch.equal(found.log_probs, prototype_distribution(embedding, prototypes, temperature=0.05).log_probs)


def test_spaces_of_other_widths_and_temperatures_are_mixed_by_how_sure_each_answer_is() -> None:
    embeddings, spaces = [unit(6, 4, place=2), unit(6, 9, place=3)], [unit(3, 4, place=4), unit(3, 9, place=5)]
    found = answer(embeddings, spaces, temperatures=[0.5, 0.1])
    parts = [
        (embedding @ space.T / temperature).softmax(dim=1)
        for embedding, space, temperature in zip(embeddings, spaces, [0.5, 0.1], strict=True)
    ]
    told = [1 - torch.special.entr(part).sum(dim=1) / torch.log(torch.tensor(3.0)) for part in parts]
    expected = sum(
        ((share / sum(told))[:, None] * part for share, part in zip(told, parts, strict=True)), torch.zeros(())
    )
    torch.testing.assert_close(found.probs, expected)


def test_every_space_needs_its_embedding() -> None:
    with pytest.raises(ValueError, match="zip"):
        answer([unit(2, 4, place=0)], [unit(3, 4, place=1), unit(3, 4, place=2)], temperatures=[1.0, 1.0])


def test_embeddings_are_picked_in_the_order_of_their_spaces() -> None:
    features = {
        name: torch.full((1, 1), float(place)) for place, name in enumerate(("gap", "embedding_2", "embedding"))
    }
    assert [rows.item() for rows in embeddings_of(features)] == [2, 1]
    assert embeddings_of({"gap": torch.ones(1, 1), "embedding_2": torch.ones(1, 1)}) == ()


def spaces(*temperatures: float | None) -> tuple[Prototypes, ...]:
    return tuple(
        Prototypes(
            vectors=unit(3, 4 + place, place=place), model=f"model {place}" if place < 2 else "", temperature=one
        )
        for place, one in enumerate(temperatures)
    )


def test_what_does_not_fit_is_said_in_widths() -> None:
    assert misfit([unit(2, 4, place=0), unit(2, 5, place=1)], spaces(None, None)) is None
    assert misfit([unit(2, 4, place=0)], spaces(None, None)) == "embedding is 4 wide and the prototypes are 4 and 5"


def test_one_temperature_for_all_or_each_its_own() -> None:
    assert choose_temperatures(spaces(0.01, None), chosen=0.05) == (0.05, 0.05)
    assert choose_temperatures(spaces(0.01, 0.3), chosen=0) == (0.01, 0.3)
    with pytest.raises(ConfigError, match="nothing tells that of model 1; set it to a number above 0"):
        choose_temperatures(spaces(0.01, None), chosen=0)
    with pytest.raises(ConfigError, match="nothing tells that of teacher 3"):
        choose_temperatures(spaces(0.01, 0.2, None), chosen=0)
