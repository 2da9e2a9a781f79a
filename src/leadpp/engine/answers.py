"""What an encoder answers about photographs: its embedding in each space, held against the prototypes of that space."""

from collections.abc import Mapping, Sequence
from itertools import takewhile

from torch import Tensor

from leadpp.engine.features import embedding_names
from leadpp.errors import ConfigError
from leadpp.functional.distillation import Distribution, prototype_distribution
from leadpp.functional.mixture import mix_answers
from leadpp.text.prototypes import Prototypes


def answer(embeddings: Sequence[Tensor], spaces: Sequence[Tensor], *, temperatures: Sequence[float]) -> Distribution:
    """Say of N photographs which of C classes they show; with several spaces, the mixture of the answers in each.

    It serves a student, which has an embedding in every space, and several teachers, which have one each, alike.

    Args:
        embeddings: One a space, unit rows, each (N, D) with the D of its space.
        spaces: Prototypes of the same C classes in the same order, unit rows, each (C, D).
        temperatures: One a space; divides its cosines.

    Returns:
        Over the classes, (N, C); see :func:`~leadpp.functional.mixture.mix_answers`.

    Raises:
        ValueError: There are not as many of one as of the other.
    """
    return mix_answers(
        [
            prototype_distribution(embedding, prototypes, temperature=temperature)
            for embedding, prototypes, temperature in zip(embeddings, spaces, temperatures, strict=True)
        ]
    )


def embeddings_of(features: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Pick the embeddings out of the features of an encoder, in the order of their spaces."""
    names = takewhile(features.__contains__, embedding_names(len(features)))
    return tuple(features[name] for name in names)


def misfit(embeddings: Sequence[Tensor], spaces: Sequence[Prototypes]) -> str | None:
    """Say how the widths of embeddings and prototypes differ, for a message; None where they do not."""
    found, wanted = [embedding.shape[1] for embedding in embeddings], [space.dim for space in spaces]
    if found == wanted:
        return None
    words = [" and ".join(map(str, widths)) for widths in (found, wanted)]
    return f"embedding is {words[0]} wide and the prototypes are {words[1]}"


def choose_temperatures(spaces: Sequence[Prototypes], *, chosen: float) -> tuple[float, ...]:
    """Return what divides the cosines in each space: one temperature for all, or, where that is 0, each teacher's own.

    Args:
        spaces: Prototypes as the run's file has them.
        chosen: ``loss.distillation_temperature``.

    Raises:
        ConfigError: Each teacher's own is wanted, and the file of one does not tell it.
    """
    if chosen > 0:
        return (chosen,) * len(spaces)
    own = [space.temperature for space in spaces]
    if None in own:
        place = own.index(None)
        raise ConfigError(
            "loss.distillation_temperature is 0, each teacher's own, but nothing tells that of "
            f"{spaces[place].model or f'teacher {place + 1}'}; set it to a number above 0 (CLIP was trained at 0.01)"
        )
    return tuple(temperature for temperature in own if temperature is not None)
