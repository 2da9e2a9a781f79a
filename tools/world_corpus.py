"""Pictures of reserved species from which the shipped networks are made, drawn once and kept on disk."""

import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from leadpp.world.attributes import OPTIONS, Species
from leadpp.world.picture import draw_picture

_CHUNK = 10  # species a task: large enough to be cheap to send, small enough to keep both processes busy to the end


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Corpus:
    """Pictures, where the bird is in each, and which species it is."""

    species: tuple[Species, ...]
    images: np.ndarray
    """``uint8`` (N, S, S, 3)."""
    boxes_xyxy: Tensor
    """Half-open boxes of the birds in pixels, float (N, 4)."""
    labels: Tensor
    """Index into ``species``, (N,)."""

    def pictures(self, rows: Tensor) -> Tensor:
        """Return pictures as ``uint8`` (B, 3, S, S), channels last in memory."""
        return torch.from_numpy(self.images[rows.numpy()]).permute(0, 3, 1, 2)

    def rows_of(self) -> list[Tensor]:
        """Return the rows of each species."""
        return [torch.nonzero(self.labels == number)[:, 0] for number in range(len(self.species))]

    def first(self, count: int) -> "Corpus":
        """Return the pictures of the first ``count`` species."""
        keep = int((self.labels < count).sum())
        return Corpus(
            species=self.species[:count],
            images=self.images[:keep],
            boxes_xyxy=self.boxes_xyxy[:keep],
            labels=self.labels[:keep],
        )


def attribute_codes(species: Sequence[Species]) -> Tensor:
    """Return the place of each attribute's value among its options, (N, 16); -100 for a crown colour that is unseen."""
    codes = [[OPTIONS[name].index(value) for name, value in one.values().items()] for one in species]
    answer = torch.tensor(codes)
    plain = torch.tensor([one.crown == "plain" for one in species])
    answer[plain, list(OPTIONS).index("crown_colour")] = -100
    return answer


def draw_corpus(
    path: Path, species: Sequence[Species], *, counts: Sequence[int], seed: int, size: int, processes: int
) -> Corpus:
    """Draw ``counts[i]`` pictures of each species into the array file ``path``.

    Args:
        path: The ``.npy`` file; written anew.
        species: Which.
        counts: Pictures of each.
        seed: Of the world in which they live.
        size: Side of the pictures in pixels.
        processes: How many draw at a time; without effect on the result.

    Returns:
        The pictures; those of an earlier call with the same arguments, if the file still holds them.
    """
    drawn = path.with_suffix(".json")
    wanted = {"species": [one.key() for one in species], "counts": list(counts), "seed": seed, "size": size}
    if drawn.is_file() and (found := json.loads(drawn.read_text(encoding="utf-8")))["wanted"] == wanted:
        return open_corpus(path, species, counts=counts, boxes_xyxy=torch.tensor(found["boxes"]).float())
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(sum(counts), size, size, 3)).flush()
    starts = np.concatenate([[0], np.cumsum(counts)])
    tasks = [
        (species[at : at + _CHUNK], list(counts[at : at + _CHUNK]), int(starts[at]), path, seed, size)
        for at in range(0, len(species), _CHUNK)
    ]
    if processes == 1:
        boxes = [_draw(task) for task in tasks]
    else:
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            boxes = list(pool.map(_draw, tasks))
    every = [box for some in boxes for box in some]
    drawn.write_text(json.dumps({"wanted": wanted, "boxes": every}), encoding="utf-8")
    return open_corpus(path, species, counts=counts, boxes_xyxy=torch.tensor(every).float())


def open_corpus(path: Path, species: Sequence[Species], *, counts: Sequence[int], boxes_xyxy: Tensor) -> Corpus:
    """Open pictures that :func:`draw_corpus` drew, for instance in another process."""
    return Corpus(
        species=tuple(species),
        images=np.load(path, mmap_mode="r", allow_pickle=False),
        boxes_xyxy=boxes_xyxy,
        labels=torch.arange(len(species)).repeat_interleave(torch.tensor(counts)),
    )


_Task = tuple[Sequence[Species], list[int], int, Path, int, int]


def _draw(task: _Task) -> list[tuple[int, int, int, int]]:
    species, counts, row, path, seed, size = task
    images = np.load(path, mmap_mode="r+", allow_pickle=False)
    boxes = []
    for one, count in zip(species, counts, strict=True):
        for index in range(count):
            picture = draw_picture(one, seed=seed, index=index, size=size)
            images[row] = picture.image
            boxes.append(picture.box_xyxy)
            row += 1
    images.flush()
    return boxes
