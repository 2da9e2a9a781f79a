"""Asking the teacher about every photograph before training, and what its answers together say of each."""

import dataclasses
from collections.abc import Iterable

import torch
from torch import Tensor

from leadpp.engine.neighbours import nearest
from leadpp.engine.step import Lessons
from leadpp.errors import LeadppError
from leadpp.functional.consensus import agree_with_neighbours, balance_offsets


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
) -> Lessons:
    """Ask the teacher about one fixed view of each photograph, or about the draws of a view that are replayed.

    Args:
        lessons: Teacher and prototypes.
        batches: ``image``, uint8 (B, 3, S, S), of all photographs in their order; draw after draw.
        device: Where the teacher is.
        consensus: What is made of the answers to fixed views; there is none among several draws, which differ because
            their pictures do.
        temperature: Divides the cosines with the prototypes.
        draws: K, how often each photograph is shown.

    Returns:
        The same lessons with what is to be remembered, on the device; it is compared on the CPU, because MPS has no
        double precision.

    Raises:
        LeadppError: An answer is not finite.
    """
    answers = torch.cat([lessons.teacher.encode_images(batch["image"].to(device)).float().cpu() for batch in batches])
    if not answers.isfinite().all():
        odd = int((~answers.isfinite()).any(dim=1).sum())
        raise LeadppError(
            f"the teacher's answer to {odd} of {len(answers)} photographs is NaN or infinite; its weights or its "
            "normalisation are not what they should be"
        )
    if consensus.neighbours > 0 and len(answers) > 1:
        blocks = [*nearest(answers, k=consensus.neighbours)]
        cosines, places = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        answers = agree_with_neighbours(answers, places, cosines)
    offsets = None
    if consensus.balance > 0:
        prototypes = lessons.prototypes.cpu()
        offsets = (consensus.balance * balance_offsets(answers, prototypes, temperature=temperature)).to(device)
    remembered = answers.view(draws, -1, answers.shape[1]).transpose(0, 1).contiguous()
    return dataclasses.replace(lessons, remembered=remembered.to(device), offsets=offsets)
