"""Finishing ``world-clip``: a larger text tower learns to put each text where its guide puts what the text tells.

Texts need no pictures, so that each batch is written anew. It begins with short texts, of few attributes: there a word
is soon found to go with a feather, and whole descriptions then need only be longer.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.functional.randomness import derive_seed, generator_for
from leadpp.world.describing import Describer, describe, noted
from leadpp.world.families import draw_species, species_names
from tools.world_clip import CONTEXT, OPTION_COUNTS, TextSize, clip_config, draw_kin
from tools.world_corpus import Corpus, attribute_codes
from tools.world_guide import Guide, GuideRecipe, embed_views, note_codes
from tools.world_schedule import decay_groups, one_cycle
from tools.world_words import TEMPLATES

_LENGTH_GROUPS = 4
_SHORTER = (0.4, 0.6, 0.75, 0.85, 0.93)
"""Shares of the attributes that parts of descriptions leave out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishRecipe:
    """How the text tower is finished."""

    guide: GuideRecipe = field(default_factory=GuideRecipe)
    """How it is known where texts belong."""
    text: TextSize = field(default_factory=lambda: TextSize(width=160, heads=5, layers=3))
    """Of the tower that takes the place of the one that brought up the image tower."""
    easy_steps: int = 400
    """Steps with short texts only."""
    easy_species: int = 125
    """Of each of these batches, in families."""
    steps: int = 1000
    """Further steps."""
    species: int = 65
    """Of each of these batches."""
    rate: float = 2e-3
    decay: float = 0.02
    warmup_frac: float = 0.04
    named: float = 0.55
    """Share of whole descriptions with a name in the further steps."""
    nameless: float = 0.15
    """Share of whole descriptions without one."""
    parts: float = 0.2
    """Share of parts; the rest are names alone."""
    near: float = 10.0
    """Weight of the squared distance to where the text belongs."""
    own: float = 1.0
    """Weight of finding its own place among those of the batch."""
    sharpness: float = 30.0
    """Inverse temperature of that."""
    attributes: float = 0.5
    """Weight of naming what the text tells and what it does not, by a head that is thrown away."""
    scale_species: int = 200
    """Species that nothing has met, on whose pictures the temperature is fitted."""
    scale_pictures: int = 6
    """Of each of them."""
    scale_choices: int = 40
    """Species among which the right text is to be found there."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lines:
    """One batch of texts with what they tell."""

    tokens: Tensor
    """(B, context)."""
    lengths: Tensor
    """Tokens up to the end mark, (B,)."""
    codes: Tensor
    """Told attributes, (B, 16); -100 where nothing is told. Of names alone, all of the species."""
    telling: Tensor
    """Whether the text tells more than a name, bool (B,)."""


def write_lines(tokenizer: SimpleTokenizer, *, recipe: FinishRecipe, easy: bool, seed: int, step: int) -> Lines:
    """Write one text about each of some new reserved species, for one step.

    Args:
        tokenizer: Of the network.
        recipe: The settings.
        easy: Whether short texts only.
        seed: Of the run.
        step: With the seed decides all.
    """
    drawn, generator = derive_seed(seed, "finish/species", step), generator_for(seed, "finish/texts", step)
    species = draw_species(recipe.easy_species if easy else recipe.species, seed=drawn, share="reserved")
    names = species_names(species, seed=drawn)
    texts, notes = [], []
    for one, name in zip(species, names, strict=True):
        kind, called, omit = torch.rand(3, generator=generator).tolist()
        told = name if kind < recipe.named or called < 0.5 else ""
        if easy or recipe.named + recipe.nameless <= kind < recipe.named + recipe.nameless + recipe.parts:
            describer = Describer(omission=_SHORTER[int(omit * len(_SHORTER))])
            text = without_remarks(describe(one, name=told, seed=drawn, describer=describer))
            notes.append(noted(one, seed=drawn, describer=describer))
        elif kind < recipe.named + recipe.nameless:
            text = describe(one, name=name if kind < recipe.named else "", seed=drawn)
            notes.append(noted(one, seed=drawn))
        else:
            text = TEMPLATES[int(omit * len(TEMPLATES))].format(name)
            notes.append({})
        texts.append(text)
    telling, tokens = torch.tensor([bool(note) for note in notes]), tokenizer(texts)
    codes = torch.where(telling[:, None], note_codes(notes), attribute_codes(species))
    return Lines(tokens=tokens, lengths=tokens.argmax(dim=1) + 1, codes=codes, telling=telling)


def without_remarks(text: str) -> str:
    """Take out the sentences that tell nothing of the looks."""
    kept = [sentence for sentence in text.rstrip(".").split(". ") if sentence not in _remarks()]
    return ". ".join(kept) + "."


@cache
def _remarks() -> frozenset[str]:
    """What is written about a species of which nothing is noted, but for the opening."""
    silent, (one,) = Describer(omission=1.0), draw_species(1, seed=0, share="reserved")
    texts = [describe(one, name="", seed=0, variant=variant, describer=silent) for variant in range(30)]
    return frozenset(sentence for text in texts for sentence in text.rstrip(".").split(". ")[1:])


def read_ends(clip: nn.Module, tokens: Tensor, lengths: Tensor, *, shifts: Tensor | None = None) -> Tensor:
    """Return what the tower has read at the end marks, before the projection; (B, L), (B,) -> (B, W).

    Short texts are read apart from long ones, as padding costs what words cost, and the last layer reads the end
    marks only. The answer is that of open_clip.

    Args:
        clip: Has the tower.
        tokens: Rows of tokens.
        lengths: Of them, with the end mark.
        shifts: By how many places each text is moved away from the beginning, (B,).
    """
    order = lengths.argsort()
    ends = [
        _read_ends(
            clip, tokens[rows, : int(lengths[rows].max())], lengths[rows] - 1, None if shifts is None else shifts[rows]
        )
        for rows in order.chunk(_LENGTH_GROUPS)
    ]
    return torch.cat(ends)[order.argsort()]


def _read_ends(clip: Any, tokens: Tensor, ends: Tensor, shifts: Tensor | None) -> Tensor:  # noqa: ANN401 - open_clip
    length, each = tokens.shape[1], torch.arange(len(tokens))
    places = torch.arange(length) if shifts is None else torch.arange(length) + shifts[:, None]
    places = places.clamp(max=len(clip.positional_embedding) - 1)  # only padding gets that far
    hidden = clip.token_embedding(tokens) + clip.positional_embedding[places]
    *earlier, last = clip.transformer.resblocks
    for block in earlier:
        hidden = block(hidden, attn_mask=clip.attn_mask[:length, :length])
    seen, beyond = last.ln_1(hidden), torch.arange(length) > ends[:, None]
    asked = seen[each, ends][:, None]
    heard, _ = last.attn(asked, seen, seen, need_weights=False, key_padding_mask=beyond)
    at_end = hidden[each, ends] + heard[:, 0]
    answer: Tensor = clip.ln_final(at_end + last.mlp(last.ln_2(at_end)))
    return answer


class Naming(nn.Module):
    """A head that says of each attribute which value a text tells, or that it tells none; only training needs it."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.counts = [count + 1 for count in OPTION_COUNTS]
        self.head = nn.Linear(width, sum(self.counts))

    def forward(self, ends: Tensor, codes: Tensor) -> Tensor:
        """Return the mean cross-entropy; (B, W), (B, 16) -> scalar."""
        parts = zip(self.head(ends).split(self.counts, dim=1), codes.unbind(1), OPTION_COUNTS, strict=True)
        return torch.stack([F.cross_entropy(part, code.where(code >= 0, none)) for part, code, none in parts]).mean()


def finish_texts(
    clip: nn.Module,
    guide: Guide,
    *,
    merges: Path,
    recipe: FinishRecipe,
    seed: int,
    watch: Callable[[int, dict[str, float]], None],
) -> nn.Module:
    """Make a network with the image tower of ``clip`` and a text tower that learns to follow the guide.

    Args:
        clip: Its image tower is taken over as it is.
        guide: Says where texts belong.
        merges: Of the tokenizer.
        recipe: The settings.
        seed: Decides weights and texts.
        watch: Called after each step with its number and losses.
    """
    towers: Any = clip
    config = clip_config(pieces=towers.vocab_size, text=recipe.text)["model_cfg"]
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "finish/weights"))
        answer: Any = open_clip.CLIP(**config)
        naming = Naming(width=recipe.text.width)
    answer.visual = towers.visual.requires_grad_(requires_grad=False)
    loose = nn.ParameterList([answer.positional_embedding, answer.text_projection])
    learnt = nn.ModuleList([answer.transformer, answer.token_embedding, answer.ln_final, naming, loose])
    optimizer = torch.optim.AdamW(decay_groups(learnt, recipe.decay), lr=recipe.rate, betas=(0.9, 0.98))
    steps = recipe.easy_steps + recipe.steps
    schedule = one_cycle(optimizer, steps=steps, warmup_frac=recipe.warmup_frac)
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(merges), context_length=CONTEXT)
    for step in range(steps):
        easy = step < recipe.easy_steps
        lines = write_lines(tokenizer, recipe=recipe, easy=easy, seed=seed, step=step)
        ends = read_ends(answer, lines.tokens, lines.lengths, shifts=_shifts(lines, seed, step) if easy else None)
        texts, places = F.normalize(ends @ answer.text_projection, dim=1), guide(lines.codes)
        near = (texts - places).square().sum(dim=1).mean()
        own = F.cross_entropy(recipe.sharpness * texts @ places.T, torch.arange(len(texts)))
        named = naming(ends[lines.telling], lines.codes[lines.telling])
        optimizer.zero_grad(set_to_none=True)
        (recipe.near * near + recipe.own * own + recipe.attributes * named).backward()
        nn.utils.clip_grad_norm_(learnt.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        watch(step + 1, {name: float(loss.detach()) for name, loss in (("near", near), ("own", own), ("named", named))})
    answer.requires_grad_(requires_grad=True).eval()
    return answer  # type: ignore[no-any-return]  # open_clip leaves it untyped


def _shifts(lines: Lines, seed: int, step: int) -> Tensor:
    """Draw places for short texts, so that what they teach holds anywhere in a long one."""
    room = CONTEXT - lines.lengths + 1
    return (torch.rand(len(room), generator=generator_for(seed, "finish/shifts", step)) * room).long()


@torch.no_grad()
def fit_scale(cosines: Tensor, labels: Tensor, *, choices: int, seed: int, rounds: int = 60) -> float:
    """Return the scale of the cosines under which the right texts are likeliest among whole families.

    Args:
        cosines: Of pictures and texts, (N, C); the texts of a family stand side by side.
        labels: The right text of each picture, (N,).
        choices: Texts among which each is to be found.
        seed: Decides which stand together.
        rounds: Draws of such groups.
    """
    scales, losses = torch.logspace(0, 2, 201), torch.zeros(201)
    for number in range(rounds):
        generator = generator_for(seed, "finish/scale", number)
        group = draw_kin(cosines.shape[1], choices, kin=True, generator=generator)
        place = torch.full((cosines.shape[1],), -1)
        place[group] = torch.arange(len(group))
        inside = place[labels] >= 0
        some, right = cosines[inside][:, group], place[labels[inside]]
        losses += torch.stack([F.cross_entropy(scale * some, right) for scale in scales])
    return float(scales[losses.argmin()])


def set_scale(clip: nn.Module, corpus: Corpus, *, merges: Path, recipe: FinishRecipe, seed: int) -> float:
    """Give the network the scale that suits it on pictures and descriptions that it has not met, and return it.

    Args:
        clip: The network; changed.
        corpus: Pictures of species, in families, that took no part in its training.
        merges: Of the tokenizer.
        recipe: The settings.
        seed: Of the run.
    """
    names = species_names(corpus.species, seed=seed)
    texts = [describe(one, name=name, seed=seed) for one, name in zip(corpus.species, names, strict=True)]
    tokens = open_clip.SimpleTokenizer(bpe_path=str(merges), context_length=CONTEXT)(texts)
    views = embed_views(clip, corpus, recipe=recipe.guide, seed=derive_seed(seed, "finish/scale-views"))
    network: Any = clip
    with torch.no_grad():
        cosines = views.flatten(0, 1) @ network.encode_text(tokens, normalize=True).T
        labels = corpus.labels.repeat_interleave(views.shape[1])
        scale = fit_scale(cosines, labels, choices=recipe.scale_choices, seed=seed)
        network.logit_scale.fill_(math.log(scale))
    return scale
