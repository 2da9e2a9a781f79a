"""The words of the world's texts: what is written about a species, and the word pieces that it needs."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from leadpp.functional.randomness import derive_seed, generator_for
from leadpp.world.attributes import Species
from leadpp.world.describing import describe
from leadpp.world.families import species_names

TEMPLATES = ("{}", "{}.", "a photo of a {}.", "a photo of a {}, a type of bird.", "a photo of the {}.", "a {}")
"""Into which names alone are put."""
_NAMED, _NAMELESS, _SHORT = 0.5, 0.15, 0.22
"""Shares of whole descriptions with a name, whole descriptions without one, and some sentences of one; the rest are
names. People give whole texts, parts of one, or names alone, and a teacher must have heard them all."""
_NAMED_TOGETHER = 200  # species that are named in one go, so that the words of names do not run out


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Texts:
    """Several texts of each species as tokens."""

    tokens: Tensor
    """(species, variants, context), ``int16``."""
    lengths: Tensor
    """Tokens up to the end mark, (species, variants)."""


def write_texts(species: Sequence[Species], *, variants: int, seed: int) -> list[list[str]]:
    """Write texts about each species: descriptions, parts of them, and names.

    The invented part of a name says nothing about a species in one world and something else in another, so that it is
    drawn anew for each variant; otherwise it would be learnt by heart.
    """
    texts: list[list[str]] = [[] for _ in species]
    for variant in range(variants):
        for start in range(0, len(species), _NAMED_TOGETHER):
            some = species[start : start + _NAMED_TOGETHER]
            names = species_names(some, seed=derive_seed(seed, "names", variant, start))
            for number, (one, name) in enumerate(zip(some, names, strict=True), start):
                texts[number].append(_one_text(one, name, seed=seed, variant=variant))
    return texts


def _one_text(species: Species, name: str, *, seed: int, variant: int) -> str:
    generator = generator_for(seed, "text", species.key(), variant)
    kind = float(torch.rand((), generator=generator))
    if kind < _NAMED:
        return describe(species, name=name, seed=seed, variant=variant)
    text = describe(species, name="", seed=seed, variant=variant)
    if kind < _NAMED + _NAMELESS:
        return text
    if kind < _NAMED + _NAMELESS + _SHORT:
        sentences = text.split(". ")
        keep = torch.randperm(len(sentences), generator=generator)[: 1 + int(3 * torch.rand((), generator=generator))]
        return ". ".join(sentences[place].rstrip(".") for place in keep.sort().values) + "."
    return TEMPLATES[int(torch.randint(len(TEMPLATES), (), generator=generator))].format(name)


def write_merges(path: Path, texts: Sequence[str]) -> int:
    """Write those of open_clip's merges that the words of some texts need, in their order; return how many pieces.

    On these words the small tokenizer cuts as the full one does; it spells other words in smaller pieces.
    """
    full = SimpleTokenizer()
    words = {word for text in texts for word in full.pat.findall(full.clean_fn(text))}
    needed = {merge for word in words for merge in _merges_of(full, word)}
    ordered = sorted(needed, key=lambda merge: full.bpe_ranks[merge])
    lines = ["#version: 0.2", *(" ".join(merge) for merge in ordered)]
    # No name and no time in the header, so that the same merges give the same file.
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    return 2 * 256 + len(ordered) + 2


def _merges_of(full: SimpleTokenizer, word: str) -> Iterator[tuple[str, str]]:
    """Yield the merges that make the pieces of a word, by undoing what the full tokenizer does one merge at a time."""
    letters = "".join(full.byte_encoder[byte] for byte in word.encode())
    pieces = [*letters[:-1], letters[-1] + "</w>"]
    while len(pieces) > 1:
        pairs = list(pairwise(pieces))
        best = min(pairs, key=lambda pair: full.bpe_ranks.get(pair, len(full.bpe_ranks)))
        if best not in full.bpe_ranks:
            return
        yield best
        joined: list[str] = []
        while pieces:
            step = 2 if tuple(pieces[:2]) == best else 1
            joined.append("".join(pieces[:step]))
            pieces = pieces[step:]
        pieces = joined


def encode(texts: Sequence[Sequence[str]], *, merges: Path, context: int) -> Texts:
    """Turn the texts of each species into tokens."""
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(merges), context_length=context)
    tokens = torch.stack([tokenizer(list(some)) for some in texts])
    return Texts(tokens=tokens.to(torch.int16), lengths=tokens.argmax(dim=2) + 1)
