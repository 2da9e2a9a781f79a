"""What all rows of a seed share: the photographs, the boxes of DDT, and the settings."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadpp import pipeline
from leadpp.config.reader import merge_settings
from leadpp.engine.runtime import Progress
from leadpp.io.artifacts import file_digest, read_json, write_json

_KIND = "claims-ground"
_WORLD_FILES = {"descriptions": "descriptions.csv", "names": "names.txt"}

SHARED: Mapping[str, Any] = {
    "preset": "lead++",
    "input": {"workers": 0},
    "train": {"monitor_every": 0},
    "checkpoint": {"every": 100_000, "keep": 1},
    "evaluate": {"probe_views": 4},
}
"""Settings of every row, under all others; each row is one process of one thread, so nobody reads ahead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where photographs come from, and the settings that all rows share."""

    data: Path | None = None
    """A folder with labels, ``train/`` and ``test/``; None makes a world of imaginary birds for every seed."""
    descriptions: Path | None = None
    """Descriptions of the classes of ``data``; a world brings its own."""
    species: int = 40
    """Species of a world."""
    per_species: int = 50
    """Pictures of each."""
    size: int = 128
    """Their side in pixels."""
    descriptions_each: int = 1
    """Descriptions of each species of a world."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of all rows, for instance ``{"networks": "world"}``."""

    def facts(self) -> dict[str, Any]:
        """Return what it is made of, ready for JSON, without the folders of this machine."""
        if self.data is not None:
            return {"folder": self.data.name, "descriptions": self.descriptions.name if self.descriptions else None}
        return {"world": self.world()}

    def world(self) -> dict[str, int]:
        """Return what the worlds of all seeds are made by, as ``make_world`` takes it."""
        return {
            "species": self.species,
            "per_species": self.per_species,
            "size": self.size,
            "descriptions": self.descriptions_each,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """What the rows of one seed stand on."""

    folder: Path
    """Folder of the seed; each row has one of its own in it."""
    seed: int
    """The seed of the world and of every draw."""
    data: Path
    """The photographs."""
    texts: Mapping[str, Path]
    """Files of words by their role, ``descriptions`` and ``names``."""
    settings: Mapping[str, Any]
    """What all rows share."""
    facts: Mapping[str, Any]
    """What is known of photographs and boxes; also tells whether a result was made of them."""

    @property
    def run(self) -> Path:
        """The run folder that holds index and boxes."""
        return self.folder / "ground"


def lay_ground(source: Source, *, out: Path, seed: int, progress: Progress) -> Ground:
    """Make the world of a seed and find its objects, as far as that is not done.

    Raises:
        LeadppError: Anything the user can mend.
    """
    folder = out / str(seed)
    data = source.data if source.data is not None else _world(source, folder, seed=seed, progress=progress)
    ground = Ground(
        folder=folder,
        seed=seed,
        data=data,
        texts=_texts(source, data),
        settings=merge_settings(SHARED, source.settings, {"seed": seed}),
        facts={},
    )
    started = time.perf_counter()
    results = pipeline.run(data, ground.run, stages=("localize",), settings=ground.settings, progress=progress)
    index, found = results["index"], results["localize"]
    facts = {
        **source.facts(),
        "digest": index["digest"],
        "classes": index["classes"],
        "train": index["train"],
        "test": index["test"],
        "split": index["split"],
        "boxes": file_digest(ground.run / "boxes.parquet"),
        "localize": {key: found[key] for key in ("policy", "corloc", "mean_iou", "fallbacks") if key in found},
    }
    write_json(folder / "ground.json", {"facts": facts, "seconds": time.perf_counter() - started}, kind=_KIND)
    return open_ground(source, out=out, seed=seed)


def open_ground(source: Source, *, out: Path, seed: int) -> Ground:
    """Open what :func:`lay_ground` made.

    Raises:
        ArtifactError: It has not been made.
    """
    folder = out / str(seed)
    data = source.data if source.data is not None else folder / "world"
    return Ground(
        folder=folder,
        seed=seed,
        data=data,
        texts=_texts(source, data),
        settings=merge_settings(SHARED, source.settings, {"seed": seed}),
        facts=read_json(folder / "ground.json", kind=_KIND)["facts"],
    )


def _world(source: Source, folder: Path, *, seed: int, progress: Progress) -> Path:
    """Make the world of a seed, unless a whole one of the same make is there."""
    from leadpp.stages.world import make_world

    world, card = folder / "world", folder / "world.json"
    wanted = {**source.world(), "seed": seed}
    if card.is_file() and read_json(card, kind=_KIND)["world"] == wanted:
        return world
    make_world(world, **wanted, overwrite=True, workers=0, progress=progress)
    write_json(card, {"world": wanted}, kind=_KIND)
    return world


def _texts(source: Source, data: Path) -> dict[str, Path]:
    if source.data is None:
        return {role: data / name for role, name in _WORLD_FILES.items()}
    return {} if source.descriptions is None else {"descriptions": source.descriptions}
