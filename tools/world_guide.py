"""Where a text belongs among the pictures, by what it tells: the guide by which the text tower of ``world-clip`` ends.

With the image tower fixed, each picture is embedded once, and what a text should say of the pictures depends only on
the attributes that it tells. A linear map from these to the embedding is learnt in seconds from all pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.functional.randomness import derive_seed, generator_for
from leadpp.world.attributes import OPTIONS
from leadpp.world.describing import CAREFUL
from tools.world_clip import OPTION_COUNTS, SIZE, contrast, draw_kin, draw_regions
from tools.world_corpus import Corpus, attribute_codes
from tools.world_schedule import one_cycle
from tools.world_views import cut, normalized, tint

_CROP, _WHOLE = (0.7, 0.1, 0.2, 0.0, 0.0), (0.0, 0.0, 0.0, 0.4, 0.6)
"""What the views show; see :func:`tools.world_clip.draw_regions`."""
_BATCH = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class GuideRecipe:
    """How the guide is made."""

    steps: int = 1500
    species: int = 200
    """Of each batch, in whole families."""
    pictures: int = 4
    """Of each species in a batch, each in one of its views."""
    crops: int = 2
    """Views of each picture that show the bird."""
    wholes: int = 1
    """Views of each picture that show all or most of it."""
    rate: float = 3e-3


class Guide(nn.Module):
    """A linear map from told attributes to the embedding of the pictures that they fit."""

    usual: Tensor

    def __init__(self, *, dim: int, usual: Tensor) -> None:
        """Take the size of the embedding and how often each value occurs, which stands in for what is not told."""
        super().__init__()
        self.register_buffer("usual", usual)
        self.map = nn.Linear(len(usual), dim)
        self.log_scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, codes: Tensor) -> Tensor:
        """Return unit vectors; codes (B, 16) with -100 for what is not told -> (B, D)."""
        return F.normalize(self.map(one_hot(codes, usual=self.usual)), dim=1)


def one_hot(codes: Tensor, *, usual: Tensor) -> Tensor:
    """Return 1 at told values and 0 at others of the attribute, or the usual shares; (B, 16), (57,) -> (B, 57)."""
    parts = [
        torch.where(code[:, None] < 0, share, F.one_hot(code.clamp(min=0), count).float())
        for code, count, share in zip(
            codes.unbind(1), OPTION_COUNTS, torch.split(usual, list(OPTION_COUNTS)), strict=True
        )
    ]
    return torch.cat(parts, dim=1)


def usual_shares(codes: Tensor) -> Tensor:
    """Return how often each value occurs among the species in which the attribute shows; (N, 16) -> (57,)."""
    columns = zip(codes.unbind(1), OPTION_COUNTS, strict=True)
    return torch.cat([F.one_hot(code[code >= 0], count).float().mean(dim=0) for code, count in columns])


def note_codes(notes: Sequence[Mapping[str, str]]) -> Tensor:
    """Return the place of each noted value among its options, (N, 16); -100 where nothing is noted."""
    return torch.tensor(
        [[values.index(note[name]) if name in note else -100 for name, values in OPTIONS.items()] for note in notes]
    )


def note_down(codes: Tensor, *, generator: torch.Generator) -> Tensor:
    """Leave out and mistake attributes as a describer does; (N, 16) -> (N, 16)."""
    counts = torch.tensor(OPTION_COUNTS)
    draws = torch.rand(3, *codes.shape, generator=generator)
    other = (codes + 1 + (draws[0] * (counts - 1)).long()) % counts
    noted = torch.where((draws[1] < CAREFUL.error) & (codes >= 0), other, codes)
    return noted.masked_fill(draws[2] < CAREFUL.omission, -100)


@torch.no_grad()
def embed_views(clip: nn.Module, corpus: Corpus, *, recipe: GuideRecipe, seed: int) -> Tensor:
    """Embed each picture in several views; unit vectors (N, views, D)."""
    tower: Any = clip
    tower.eval()
    parts = []
    for start in range(0, len(corpus.labels), _BATCH):
        rows = torch.arange(start, min(start + _BATCH, len(corpus.labels)))
        pictures, generator = corpus.pictures(rows), generator_for(seed, "finish/views", start)
        seen = []
        for shares in [_CROP] * recipe.crops + [_WHOLE] * recipe.wholes:
            regions = draw_regions(corpus.boxes_xyxy[rows], side=pictures.shape[-1], shares=shares, generator=generator)
            mirrored = torch.rand(len(rows), generator=generator) < 0.5
            pixels = tint(cut(pictures, regions, size=SIZE, mirrored=mirrored), strength=0.12, generator=generator)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                seen.append(F.normalize(tower.visual(normalized(pixels)).float(), dim=1))
        parts.append(torch.stack(seen, dim=1))
    return torch.cat(parts)


def learn_guide(views: Tensor, corpus: Corpus, *, recipe: GuideRecipe, seed: int) -> Guide:
    """Learn to find the pictures of a species, among look-alikes, from what a describer would note of it.

    Args:
        views: Of :func:`embed_views`, (N, views, D).
        corpus: Of the same pictures, the species in families.
        recipe: The settings.
        seed: Decides weights and batches.
    """
    codes, rows = attribute_codes(corpus.species), corpus.rows_of()
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "finish/guide"))
        guide = Guide(dim=views.shape[2], usual=usual_shares(codes))
    optimizer = torch.optim.Adam(guide.parameters(), lr=recipe.rate)
    schedule = one_cycle(optimizer, steps=recipe.steps, warmup_frac=0.03)
    for step in range(recipe.steps):
        generator = generator_for(seed, "finish/guide-batch", step)
        species = draw_kin(len(rows), recipe.species, kin=True, generator=generator)
        chosen = torch.cat(
            [rows[one][torch.randperm(len(rows[one]), generator=generator)[: recipe.pictures]] for one in species]
        )
        view = torch.randint(views.shape[1], (len(chosen),), generator=generator)
        places = guide(note_down(codes[species], generator=generator))
        loss = contrast(views[chosen, view], places, guide.log_scale.exp())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        schedule.step()
    return guide.eval().requires_grad_(requires_grad=False)
