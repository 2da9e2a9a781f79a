"""Making ``world-clip``: pictures and texts of reserved species, drawn together when they belong together."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.functional.randomness import derive_seed, generator_for
from leadpp.world.attributes import OPTIONS
from tools.world_corpus import Corpus, attribute_codes
from tools.world_schedule import decay_groups, one_cycle
from tools.world_views import MEAN, STD, cut, normalized, random_regions, square_regions, tint
from tools.world_words import Texts

SIZE = 96
CONTEXT = 112
IMAGE_TOWER = "test_byobnet"
FAMILY = 5
_LENGTH_GROUPS = 4
_EASY, _MIXED = (0.9, 0.1, 0.0, 0.0, 0.0), (0.5, 0.05, 0.13, 0.14, 0.18)
"""What is shown of pictures at first and later; see :func:`draw_regions`."""
OPTION_COUNTS = tuple(map(len, OPTIONS.values()))


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipRecipe:
    """How the two towers are made."""

    steps: int = 2300
    species: int = 65
    """Of each batch."""
    pictures: int = 2
    """Of each species in a batch; they share its text, which is the dearer one to encode."""
    rate: float = 3e-3
    decay: float = 0.05
    warmup_frac: float = 0.03
    attributes: tuple[float, float] = (8.0, 1.0)
    """Weight of naming the attributes from picture and text, by a head that is thrown away, at first and at last."""
    easy_frac: float = 0.25
    """Share of the steps whose pictures are mostly cut to the bird and whose species are all strangers. Look-alikes and
    small birds teach nothing to towers that know nothing yet."""
    families: float = 0.6
    """Share of the later batches that hold whole families: look-alikes are what must be told apart in the end."""
    image_tower: str = IMAGE_TOWER


@dataclass(frozen=True, kw_only=True, slots=True)
class TextSize:
    """How large the text tower is."""

    width: int = 128
    heads: int = 4
    layers: int = 2


def clip_config(*, pieces: int, image_tower: str = IMAGE_TOWER, text: TextSize | None = None) -> dict[str, Any]:
    """Return the open_clip configuration of the network."""
    return {
        "model_cfg": {
            "embed_dim": 128,
            "vision_cfg": {"image_size": SIZE, "timm_model_name": image_tower, "timm_pool": "avg", "timm_proj": ""},
            "text_cfg": {
                "context_length": CONTEXT,
                "vocab_size": pieces,
                **asdict(text or TextSize()),
                "tokenizer_kwargs": {"bpe_path": "bpe.txt.gz"},
            },
        },
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "squash"},
    }


class Aided(nn.Module):
    """The model, and one head for both towers that names attributes, which only the training needs.

    A few minutes are too short for the contrast alone to find out what sentences and feathers have in common; that
    both embeddings must name the attributes with the same weights brings them together early.
    """

    def __init__(self, clip: nn.Module, *, dim: int) -> None:
        super().__init__()
        self.clip: Any = clip
        self.head = nn.Linear(dim, sum(OPTION_COUNTS))

    def images(self, pixels: Tensor) -> Tensor:
        """Embed pictures, not normalised."""
        answer: Tensor = self.clip.visual(pixels)
        return answer.float()

    def texts(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Embed rows of tokens, not normalised; short ones apart from long ones, as padding costs what words cost."""
        order = lengths.argsort()
        rows = [self._texts(tokens[part, : int(lengths[part].max())]) for part in order.chunk(_LENGTH_GROUPS)]
        return torch.cat(rows)[order.argsort()]

    def attributes(self, embeddings: Tensor) -> Tensor:
        """Return logits of all attributes' values from embeddings, whose length is taken out; (B, D) -> (B, 57)."""
        answer: Tensor = self.head(F.normalize(embeddings, dim=1) * embeddings.shape[1] ** 0.5)
        return answer

    def _texts(self, tokens: Tensor) -> Tensor:
        clip, length = self.clip, tokens.shape[1]
        hidden = clip.token_embedding(tokens) + clip.positional_embedding[:length]
        hidden = clip.ln_final(clip.transformer(hidden, attn_mask=clip.attn_mask[:length, :length]))
        answer: Tensor = hidden[torch.arange(len(tokens)), tokens.argmax(dim=1)] @ clip.text_projection
        return answer


def contrast(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Mean loss of finding the text of each picture and the pictures of each text; (B * K, D), (B, D) -> scalar.

    Picture ``i`` belongs to text ``i // K``; of several right answers each is asked for alike.
    """
    each = len(images) // len(texts)
    logits = scale * F.normalize(images, dim=1) @ F.normalize(texts, dim=1).T  # (B * K, B)
    target = torch.arange(len(texts)).repeat_interleave(each)
    right = logits.T.log_softmax(dim=1)[target, torch.arange(len(images))]
    return (F.cross_entropy(logits, target) - right.mean()) / 2


def name_attributes(logits: Tensor, codes: Tensor) -> Tensor:
    """Mean cross-entropy over the attributes; (B, sum of options), (B, A) with -100 where none is to be named."""
    parts = torch.split(logits, list(OPTION_COUNTS), dim=1)
    terms = [F.cross_entropy(part, codes[:, place]) for place, part in enumerate(parts)]
    return torch.stack(terms).mean()


def draw_regions(boxes_xyxy: Tensor, *, side: int, shares: Sequence[float], generator: torch.Generator) -> Tensor:
    """Draw what of each picture is shown, (B, 4) pixels.

    Args:
        boxes_xyxy: Of the birds, (B, 4).
        side: Of the pictures in pixels.
        shares: Of the square about the bird, its box, parts of the square, parts of the picture, and the whole picture.
        generator: Source of the draws.
    """
    count = len(boxes_xyxy)
    margin = 0.35 * torch.rand(count, generator=generator) - 0.05
    squares = square_regions(boxes_xyxy, side=side, margin=margin)
    frames = torch.tensor([0.0, 0.0, side, side]).expand(count, 4)
    choices = (
        squares,
        boxes_xyxy,
        random_regions(squares, area_frac=(0.4, 1.0), aspect=1.25, generator=generator),
        random_regions(frames, area_frac=(0.6, 1.0), aspect=1.2, generator=generator),
        frames,
    )
    kind = torch.multinomial(torch.tensor(shares), count, replacement=True, generator=generator)
    return torch.stack(choices)[kind, torch.arange(count)]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batches:
    """Draws batches of families, each with its texts and pictures."""

    corpus: Corpus
    texts: Texts
    recipe: ClipRecipe
    seed: int

    def draw(self, step: int, rows: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return pixels (B * K, 3, S, S), tokens (B, L), their lengths (B,) and species (B,) of one step."""
        generator = generator_for(self.seed, "clip/batch", step)
        easy = step < self.recipe.easy_frac * self.recipe.steps
        kin = not easy and float(torch.rand((), generator=generator)) < self.recipe.families
        species = draw_kin(len(rows), self.recipe.species, kin=kin, generator=generator)
        variant = torch.randint(self.texts.tokens.shape[1], (len(species),), generator=generator)
        tokens, lengths = self.texts.tokens[species, variant].long(), self.texts.lengths[species, variant]
        chosen = torch.cat(
            [rows[one][torch.randperm(len(rows[one]), generator=generator)[: self.recipe.pictures]] for one in species]
        )
        pictures = self.corpus.pictures(chosen)
        regions = draw_regions(
            self.corpus.boxes_xyxy[chosen],
            side=pictures.shape[-1],
            shares=_EASY if easy else _MIXED,
            generator=generator,
        )
        mirrored = torch.rand(len(chosen), generator=generator) < 0.5
        pixels = cut(pictures, regions, size=SIZE, mirrored=mirrored)
        return normalized(tint(pixels, strength=0.12, generator=generator)), tokens, lengths, species


def draw_kin(count: int, wanted: int, *, kin: bool, generator: torch.Generator) -> Tensor:
    """Draw different species out of ``count``: whole families, or as many strangers as there are families."""
    if kin:
        families = torch.randperm(count // FAMILY, generator=generator)[: wanted // FAMILY]
        return (families[:, None] * FAMILY + torch.arange(FAMILY)).flatten()
    families = torch.randperm(count // FAMILY, generator=generator)[:wanted]
    return families * FAMILY + torch.randint(FAMILY, (len(families),), generator=generator)


def make_clip(
    corpus: Corpus,
    texts: Texts,
    *,
    pieces: int,
    recipe: ClipRecipe,
    seed: int,
    watch: Callable[[int, nn.Module, dict[str, float]], None],
) -> nn.Module:
    """Train both towers.

    Args:
        corpus: Pictures, the species in families of :data:`FAMILY`.
        texts: Of the same species.
        pieces: Size of the vocabulary.
        recipe: The settings.
        seed: Decides weights, batches and crops.
        watch: Called after each step with its number, the model and the step's losses.
    """
    settings = clip_config(pieces=pieces, image_tower=recipe.image_tower)["model_cfg"]
    codes = attribute_codes(corpus.species)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "clip/weights"))
        clip = open_clip.CLIP(**settings).to(memory_format=torch.channels_last)
        model = Aided(clip, dim=settings["embed_dim"]).train()
    optimizer = torch.optim.AdamW(decay_groups(model, recipe.decay), lr=recipe.rate, betas=(0.9, 0.98))
    schedule = one_cycle(optimizer, steps=recipe.steps, warmup_frac=recipe.warmup_frac)
    batches, rows = Batches(corpus=corpus, texts=texts, recipe=recipe, seed=seed), corpus.rows_of()
    for step in range(recipe.steps):
        pixels, tokens, lengths, species = batches.draw(step, rows)
        seen, read = model.images(pixels), model.texts(tokens, lengths)
        pull = contrast(seen, read, clip.logit_scale.exp())
        right = codes[species]
        by_eye = name_attributes(model.attributes(seen), right.repeat_interleave(recipe.pictures, dim=0))
        by_word = name_attributes(model.attributes(read), right)
        first, last = recipe.attributes
        weight = first + (last - first) * step / recipe.steps
        optimizer.zero_grad(set_to_none=True)
        (pull + weight * (by_eye + by_word)).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            clip.logit_scale.clamp_(0, math.log(100))
        losses = {"contrast": pull, "eye": by_eye, "word": by_word, "scale": clip.logit_scale.exp()}
        watch(step + 1, clip, {name: float(value.detach()) for name, value in losses.items()})
    model.eval()
    trained: nn.Module = clip
    return trained


def save_clip(clip: nn.Module, folder: Path, *, pieces: int, image_tower: str, text: TextSize | None = None) -> None:
    """Write weights in half precision, and the configuration, as open_clip reads them."""
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in clip.state_dict().items()
    }
    save_file(tensors, folder / "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").chmod(0o644)  # safetensors lets nobody else read it
    config = clip_config(pieces=pieces, image_tower=image_tower, text=text)
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
