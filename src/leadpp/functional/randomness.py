"""Randomness as a function of (seed, purpose, place): the same on any machine, with any number of workers."""

import hashlib

import torch


def derive_seed(seed: int, purpose: str, *place: int) -> int:
    """Mix a run's seed, a purpose and a place (epoch, sample, ...) to a seed of 63 bits.

    Args:
        seed: The one seed of the run.
        purpose: What is drawn, for instance ``"views"``; two purposes never share draws.
        place: Numbers such as epoch and sample index that make the draw unique.

    Returns:
        An integer in [0, 2**63), the same on every machine and in every version of Python.
    """
    text = f"{seed}/{purpose}/" + "/".join(map(str, place))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator_for(seed: int, purpose: str, *place: int) -> torch.Generator:
    """Return a CPU generator that is seeded with :func:`derive_seed` of the same arguments."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, *place))
