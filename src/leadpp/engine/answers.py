"""What an encoder answers about photographs: its embedding in each space, held against the prototypes of that space."""

from collections.abc import Sequence

from torch import Tensor

from leadpp.functional.distillation import Distribution, prototype_distribution
from leadpp.functional.mixture import mix_answers


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
