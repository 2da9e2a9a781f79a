"""Make both networks that are shipped in the package, ``world-backbone`` and ``world-clip``, from a seed.

Run it as ``python -m tools.train_world_models OUT --seed 0``; it takes under an hour on two cores. Only species of the
reserved share take part, which no world of a user and no benchmark ever draws.
"""

import argparse
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from leadpp.functional.randomness import derive_seed
from leadpp.world.attributes import Species
from leadpp.world.families import draw_species
from tools.world_backbone import BackboneRecipe, make_backbone, save_backbone
from tools.world_cards import write_cards
from tools.world_clip import CONTEXT, ClipRecipe, make_clip, save_clip
from tools.world_corpus import Corpus, draw_corpus, open_corpus
from tools.world_finish import FinishRecipe, finish_texts, set_scale
from tools.world_guide import embed_views, learn_guide
from tools.world_words import encode, write_merges, write_texts

_log = logging.getLogger("world")


class _Times(Protocol):
    """The end of a queue into which a process puts its seconds."""

    def put(self, seconds: float, /) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How much is drawn and learnt."""

    known: int = 500
    """Reserved species that the backbone learns to tell apart."""
    known_pictures: int = 36
    """Of each of them."""
    further: int = 2000
    """Reserved species that only the two towers meet besides."""
    further_pictures: int = 9
    """Of each of them."""
    size: int = 128
    """Side of the drawn pictures in pixels."""
    variants: int = 16
    """Texts of each species."""
    backbone: BackboneRecipe = field(default_factory=BackboneRecipe)
    """How the backbone learns."""
    clip: ClipRecipe = field(default_factory=ClipRecipe)
    """How the two towers learn."""
    finish: FinishRecipe = field(default_factory=FinishRecipe)
    """How the text tower is finished."""

    def counts(self) -> list[int]:
        """Return the pictures of each species."""
        return [self.known_pictures] * self.known + [self.further_pictures] * self.further


def make_networks(out: Path, *, seed: int, plan: Plan, processes: int = 2) -> dict[str, float]:
    """Draw the pictures, train both networks side by side, one core each, and write their folders with cards.

    Args:
        out: Folder; gets ``world-backbone``, ``world-clip`` and the pictures.
        seed: Decides species, pictures, texts and weights.
        plan: How much of each.
        processes: How many cores are used at a time.

    Returns:
        Seconds that drawing, the backbone, the two towers and the finish of the text tower took.
    """
    for name in ("world-backbone", "world-clip"):
        (out / name).mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    species = draw_species(plan.known + plan.further, seed=derive_seed(seed, "reserved"), share="reserved")
    corpus = draw_corpus(
        out / "pictures.npy", species, counts=plan.counts(), seed=seed, size=plan.size, processes=processes
    )
    drawn = time.perf_counter()
    _log.info("%d pictures of %d species in %.0f s", len(corpus.labels), len(species), drawn - began)
    # A process of its own, not a thread: each then has a core, and PyTorch's threads do not wait for each other.
    context = multiprocessing.get_context("spawn")
    times = context.Queue()
    work = {"species": species, "boxes": corpus.boxes_xyxy, "seed": seed, "plan": plan, "times": times}
    child = context.Process(target=_backbone, args=(out,), kwargs=work)
    child.start()
    towers = _towers(out, corpus, seed=seed, plan=plan, alone=lambda: not child.is_alive(), cores=processes)
    child.join()
    if child.exitcode:
        raise RuntimeError(f"the backbone's process ended with exit code {child.exitcode}")
    seconds = {"pictures": drawn - began, "world-backbone": times.get(), **towers}
    write_cards(out, seed=seed, plan=plan, seconds=seconds)
    return seconds


def _backbone(
    out: Path, *, species: Sequence[Species], boxes: torch.Tensor, seed: int, plan: Plan, times: _Times
) -> None:
    _start_logging()
    torch.set_num_threads(1)
    began = time.perf_counter()
    corpus = open_corpus(out / "pictures.npy", species, counts=plan.counts(), boxes_xyxy=boxes).first(plan.known)

    def watch(epoch: int, network: nn.Module, loss: float) -> None:
        del network
        _log.info("world-backbone epoch %d: loss %.3f, %.0f s", epoch, loss, time.perf_counter() - began)

    save_backbone(make_backbone(corpus, recipe=plan.backbone, seed=seed, watch=watch), out / "world-backbone")
    times.put(time.perf_counter() - began)


def _towers(
    out: Path, corpus: Corpus, *, seed: int, plan: Plan, alone: Callable[[], bool], cores: int
) -> dict[str, float]:
    folder, began = out / "world-clip", time.perf_counter()
    texts = write_texts(corpus.species, variants=plan.variants, seed=seed)
    pieces = write_merges(folder / "bpe.txt.gz", [text for some in texts for text in some])
    tokens = encode(texts, merges=folder / "bpe.txt.gz", context=CONTEXT)
    _log.info("%d texts, %d word pieces, %.0f s", tokens.lengths.numel(), pieces, time.perf_counter() - began)
    torch.set_num_threads(1)

    def watch(step: int, clip: nn.Module, losses: dict[str, float]) -> None:
        del clip
        if step % 50 == 0:
            told = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
            _log.info("world-clip step %d: %s, %.0f s", step, told, time.perf_counter() - began)
            torch.set_num_threads(cores if alone() else 1)

    clip = make_clip(corpus, tokens, pieces=pieces, recipe=plan.clip, seed=seed, watch=watch)
    made = time.perf_counter()
    finish(clip, out, corpus, seed=seed, plan=plan, watch=lambda step, losses: watch(step, clip, losses))
    return {"world-clip": made - began, "finish": time.perf_counter() - made}


def finish(
    clip: nn.Module,
    out: Path,
    corpus: Corpus,
    *,
    seed: int,
    plan: Plan,
    watch: Callable[[int, dict[str, float]], None],
) -> None:
    """Give ``clip`` its last text tower and its temperature, and write its folder.

    Args:
        clip: Of :func:`tools.world_clip.make_clip`; its image tower is taken over.
        out: Folder of the networks, with the merges of ``world-clip``.
        corpus: The pictures that it learnt from.
        seed: Decides what is drawn.
        plan: How much of each.
        watch: Called after each step with its number and losses.
    """
    folder, recipe = out / "world-clip", plan.finish
    views = embed_views(clip, corpus, recipe=recipe.guide, seed=seed)
    guide = learn_guide(views, corpus, recipe=recipe.guide, seed=seed)
    done = finish_texts(clip, guide, merges=folder / "bpe.txt.gz", recipe=recipe, seed=seed, watch=watch)
    strangers = draw_species(recipe.scale_species, seed=derive_seed(seed, "finish/strangers"), share="reserved")
    counts = [recipe.scale_pictures] * len(strangers)
    unmet = draw_corpus(out / "unmet.npy", strangers, counts=counts, seed=seed, size=plan.size, processes=1)
    scale = set_scale(done, unmet, merges=folder / "bpe.txt.gz", recipe=recipe, seed=seed)
    _log.info("world-clip finished with a scale of %.2f", scale)
    pieces: Any = done.vocab_size
    save_clip(done, folder, pieces=pieces, image_tower=plan.clip.image_tower, text=recipe.text)


def _start_logging() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Make the networks that are shipped in the package.")
    parser.add_argument("out", type=Path, help="folder for both networks and the pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="cores to use (default: 2)")
    arguments = parser.parse_args()
    _start_logging()
    seconds = make_networks(arguments.out, seed=arguments.seed, plan=Plan(), processes=arguments.processes)
    _log.info("done: %s", ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()))


if __name__ == "__main__":
    main()
