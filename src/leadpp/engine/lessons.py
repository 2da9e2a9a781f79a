"""The teachers' part: what each of them is asked, what they answer together, and what is asked before training.

Shape letters: T teachers, N photographs, B batch, C classes, D embedding of a space.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.engine.neighbours import nearest
from leadpp.errors import LeadppError
from leadpp.functional.consensus import agree_with_neighbours, balance_offsets
from leadpp.functional.distillation import Distribution, normalized_entropy, prototype_distribution
from leadpp.functional.mixture import hearing, mix
from leadpp.functional.objective import Objective


class ImageTeacher(Protocol):
    """What a step asks of a teacher."""

    def encode_images(self, images: Tensor) -> Tensor:
        """Return unit rows, (B, D), without gradient."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """One teacher: its frozen tower, and the prototypes it compares pictures with."""

    teacher: ImageTeacher
    prototypes: Tensor
    """Unit rows, shape (C, D)."""
    temperature: float | None = None
    """Divides the cosines with the prototypes, the teacher's and the student's; None takes the objective's."""
    remembered: Tensor | None = None
    """What the teacher made of K views of each training photograph, shape (N, K, D), unit rows; it then is not asked in
    training. Epoch e is taught by view e mod K: one fixed view, or draws that are replayed."""
    offsets: Tensor | None = None
    """What is taken from the teacher's logit of each class, its favourites, shape (C,); not from the student's."""

    def divisor(self, temperature: float) -> float:
        """Return its own temperature, or that of the objective where it has none."""
        return temperature if self.temperature is None else self.temperature

    def distribution(self, embedding: Tensor, objective: Objective, *, offsets: Tensor | None = None) -> Distribution:
        """Hold unit rows against the prototypes; (B, D) -> (B, C)."""
        return prototype_distribution(
            embedding,
            self.prototypes,
            temperature=self.divisor(objective.distillation_temperature),
            form=objective.log_form,
            offsets=offsets,
        )

    def recall(self, samples: Tensor | None, *, epoch: int) -> Tensor | None:
        """Return what is remembered of photographs, (B, D), or None where the teacher must be asked.

        Raises:
            ValueError: Answers are remembered, and there are no samples.
        """
        if self.remembered is None:
            return None
        if samples is None:
            raise ValueError("the teacher's answers are remembered, so samples must say whose are wanted")
        return self.remembered[:, epoch % self.remembered.shape[1]][samples]


@dataclasses.dataclass(frozen=True, slots=True)
class Lessons:
    """All teachers, each in a space of its own, over the same classes in the same order."""

    spaces: tuple[Space, ...]
    """At least one; the student has a projector for each."""

    @property
    def classes(self) -> int:
        """C, the number of prototypes in each space."""
        return len(self.spaces[0].prototypes)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """What the teachers made of a batch."""

    embeddings: tuple[Tensor, ...]
    """One a space, (B, D), unit rows."""
    hearing: Tensor
    """How much each teacher is heard about each sample, (T, B); the columns sum to 1."""
    distribution: Distribution
    """Over the prototypes, (B, C): the mixture of their answers."""
    entropy: Tensor
    """How unsure they are of each sample together, (B,), from 0 to 1."""


@torch.no_grad()
def hear(embeddings: Sequence[Tensor], lessons: Lessons, objective: Objective) -> Lesson:
    """Put together what each teacher made of a batch.

    Args:
        embeddings: One a space, (B, D), unit rows.
        lessons: The spaces.
        objective: Temperature and form of the logarithm.
    """
    rows = tuple(row.to(space.prototypes.dtype) for row, space in zip(embeddings, lessons.spaces, strict=True))
    answers = [
        space.distribution(row, objective, offsets=space.offsets)
        for row, space in zip(rows, lessons.spaces, strict=True)
    ]
    weights = hearing(answers, form=objective.log_form)
    seen = mix(answers, weights)
    entropy = normalized_entropy(seen, form=objective.log_form)
    return Lesson(embeddings=rows, hearing=weights, distribution=seen, entropy=entropy)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Consensus:
    """What is made of the teacher's answers before anyone learns from them."""

    neighbours: int = 0
    """How many nearest photographs each answer is moved towards; 0 leaves the answers as they are."""
    balance: float = 0.0
    """How much of the teacher's preference for some classes is taken out, from 0 to 1."""


@torch.no_grad()
def remember_answers(
    lessons: Lessons,
    batches: Iterable[dict[str, Tensor]],
    *,
    device: torch.device,
    consensus: Consensus,
    temperature: float,
    draws: int = 1,
    ranks: Ranks = ALONE,
) -> Lessons:
    """Ask the teachers about one fixed view of each photograph, or about the draws of a view that are replayed.

    Args:
        lessons: Teachers and prototypes.
        batches: ``image``, uint8 (B, 3, S, S), of all photographs in their order; draw after draw.
        device: Where the teachers are.
        consensus: What is made of the answers to fixed views, of each teacher's among themselves; there is none among
            several draws, which differ because their pictures do.
        temperature: Divides the cosines with the prototypes in spaces that have no temperature of their own.
        draws: K, how often each photograph is shown.
        ranks: The processes that each show a share of ``batches``, in their order; all remember everything.

    Returns:
        The same lessons with what is to be remembered, on the device; it is compared on the CPU, because MPS has no
        double precision.

    Raises:
        LeadppError: An answer is not finite.
    """
    heard: list[list[Tensor]] = [[] for _ in lessons.spaces]
    for batch in batches:
        images = batch["image"].to(device)
        for space, answers in zip(lessons.spaces, heard, strict=True):
            answers.append(space.teacher.encode_images(images).float().cpu())
    whose = ["the teacher"] if len(heard) == 1 else [f"teacher {number}" for number in range(1, len(heard) + 1)]
    own = [
        torch.cat([torch.empty(0, space.prototypes.shape[1]), *parts])
        for space, parts in zip(lessons.spaces, heard, strict=True)
    ]
    answers = [_checked(ranks.gather_uneven(rows), whose=one) for rows, one in zip(own, whose, strict=True)]
    compare = functools.partial(_compared, consensus=consensus, temperature=temperature, draws=draws, device=device)
    return Lessons(tuple(map(compare, lessons.spaces, answers)))


def _compared(
    space: Space, answers: Tensor, *, consensus: Consensus, temperature: float, draws: int, device: torch.device
) -> Space:
    """Compare the answers of one teacher with each other, (K N, D), and keep them by photograph."""
    if consensus.neighbours > 0 and len(answers) > 1:
        blocks = [*nearest(answers, k=consensus.neighbours)]
        cosines, places = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        answers = agree_with_neighbours(answers, places, cosines)
    offsets = None
    if consensus.balance > 0:
        favour = balance_offsets(answers, space.prototypes.cpu(), temperature=space.divisor(temperature))
        offsets = (consensus.balance * favour).to(device)
    remembered = answers.view(draws, -1, answers.shape[1]).transpose(0, 1).contiguous()
    return dataclasses.replace(space, remembered=remembered.to(device), offsets=offsets)


def _checked(answers: Tensor, *, whose: str) -> Tensor:
    if not answers.isfinite().all():
        odd = int((~answers.isfinite()).any(dim=1).sum())
        raise LeadppError(
            f"{whose}'s answer to {odd} of {len(answers)} photographs is NaN or infinite; its weights or its "
            "normalisation are not what they should be"
        )
    return answers
