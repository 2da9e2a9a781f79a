"""Make a world: an ordinary folder of photographs of imaginary birds, with boxes, masks, attributes and descriptions.

The folder holds ``train/`` and ``test/`` with a folder a species, ``bboxes.csv``, ``masks/`` with the same paths as
one-bit PNG, ``attributes.csv``, ``descriptions.csv``, ``names.txt``, ``contact-sheet.jpg``, ``README.md`` and
``world.json``.
"""

import contextlib
import csv
import hashlib
import io
import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, get_args

from leadpp import __version__
from leadpp.data.truth import BOXES_NAME, write_boxes
from leadpp.engine.runtime import Progress, SilentProgress
from leadpp.errors import WorldError
from leadpp.io.artifacts import make_folder, replacing_folder, write_json, write_text
from leadpp.text.descriptions import write_descriptions
from leadpp.world.attributes import OPTIONS, Species
from leadpp.world.chance import Chance
from leadpp.world.describing import CAREFUL, describe
from leadpp.world.families import check_species, draw_species, species_names
from leadpp.world.individual import Backdrop
from leadpp.world.photographs import Order, contact_sheet, take_all

WORLD_NAME: Final = "world.json"
SMALLEST_PX: Final = 32
LARGEST_PX: Final = 2048
_SHEET_SPECIES, _SHEET_PICTURES, _SHEET_PX = 10, 10, 112
_PARTS: Final = frozenset(
    {"train", "test", "masks", BOXES_NAME, "attributes.csv", "descriptions.csv", "names.txt", "contact-sheet.jpg"}
    | {"README.md", WORLD_NAME}
)
"""What a world's folder holds; nothing else in it is ever removed."""
_README: Final = (
    "Imaginary birds, drawn by `leadpp world` (version {version}): {species} species, {per_species} pictures of each, "
    "seed {seed}.\nBoxes and masks are true. Descriptions of each species: {descriptions}, as by so many describers; "
    "each leaves out\n{omission:.0%} of the attributes and is wrong in {error:.0%} of the rest.\n"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Member:
    """A species of this world, and its photographs."""

    name: str
    species: Species
    orders: tuple[Order, ...]
    paths: tuple[str, ...]
    """Path of each photograph below the world's folder."""


def make_world(
    out: Path,
    *,
    species: int,
    per_species: int,
    size: int,
    seed: int,
    descriptions: int = 1,
    correlate: float = 0.0,
    overwrite: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make a world.

    Args:
        out: The folder to write, whole or not at all.
        species: How many; they come in families of five look-alikes.
        per_species: Photographs of each; the first half of them, rounded up, is the training part.
        size: Width and height of a photograph in pixels, at least 32.
        seed: Decides species, names, descriptions and photographs.
        descriptions: How many of each species, at least 1, as by so many attentive describers; the first of them are
            the same however many there are.
        correlate: Share of the photographs whose backdrop is their species' own, 0 to 1; the others' backdrops are
            independent of the species.
        overwrite: Whether a world that lies in ``out`` is replaced. Nothing else is.
        workers: Processes that draw beside this one; 0 draws in this one.
        progress: Shows how far it is.

    Returns:
        JSON-ready settings and counts; ``digest`` is one for all photographs, ``images_per_s`` is the rate.

    Raises:
        WorldError: A setting out of range, or ``out`` is not empty.
        ArtifactError: The disk refused.
    """
    began = time.monotonic()
    check_world(
        species=species, per_species=per_species, size=size, seed=seed, descriptions=descriptions, correlate=correlate
    )
    out = out.resolve()
    _check_out(out, overwrite=overwrite)
    members = _members(species, per_species=per_species, size=size, seed=seed, correlate=correlate)
    with replacing_folder(out) as partial:
        digest = _write_photographs(partial, members, workers=workers, progress=progress or SilentProgress())
        facts: dict[str, Any] = {
            **{"species": species, "per_species": per_species, "size": size, "seed": seed, "correlate": correlate},
            **{"descriptions": descriptions, "describer": asdict(CAREFUL), "version": __version__, "digest": digest},
        }
        _write_words(partial, members, seed=seed, descriptions=descriptions)
        write_text(partial / "README.md", _README.format(**facts, **asdict(CAREFUL)))
        write_json(partial / WORLD_NAME, facts, kind="world")
    count, train = species * per_species, species * -(-per_species // 2)
    rate = count / (time.monotonic() - began)
    return {"out": str(out), **facts, "train": train, "test": count - train, "images_per_s": round(rate, 1)}


def check_world(
    *, species: int, per_species: int, size: int, seed: int, descriptions: int = 1, correlate: float = 0.0
) -> None:
    """Check the settings of :func:`make_world`, before anything is told or written.

    Raises:
        WorldError: One is out of range.
    """
    for what, value, least in (
        ("species", species, 1),
        ("per-species", per_species, 1),
        ("size", size, SMALLEST_PX),
        ("descriptions", descriptions, 1),
    ):
        if value < least:
            raise WorldError(f"--{what} must be at least {least}, got {value}")
    if size > LARGEST_PX:
        raise WorldError(f"--size must be at most {LARGEST_PX} pixels, got {size}")
    if seed < 0:
        raise WorldError(f"--seed must be 0 or more, got {seed}")
    if not 0 <= correlate <= 1:
        raise WorldError(f"--correlate must be from 0 to 1, got {correlate}")
    check_species(species)


def _check_out(out: Path, *, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise WorldError(f"{out}: expected a folder to write to, found a file; choose another OUT")
    if not any(out.iterdir()):
        return
    if not (out / WORLD_NAME).is_file():
        raise WorldError(f"{out}: not empty, and not a world that could be overwritten; choose another OUT")
    if not overwrite:
        raise WorldError(f"{out}: holds a world already; replace it with --overwrite, or choose another OUT")
    foreign = sorted(path.name for path in out.iterdir() if path.name not in _PARTS)
    if foreign:
        raise WorldError(
            f"{out}: holds {foreign[0]!r} beside the world, which --overwrite would remove; move it away, or choose "
            "another OUT"
        )


def _members(count: int, *, per_species: int, size: int, seed: int, correlate: float) -> list[_Member]:
    species = draw_species(count, seed=seed)
    names = species_names(species, seed=seed)
    train = -(-per_species // 2)
    parts = ["train"] * train + ["test"] * (per_species - train)
    backdrops: tuple[Backdrop, ...] = get_args(Backdrop)
    members = []
    for number, (one, name) in enumerate(zip(species, names, strict=True)):
        own = [Chance(seed, "backdrop", number, index).happens(correlate) for index in range(per_species)]
        orders = tuple(
            Order(
                species=one,
                seed=seed,
                index=index,
                size=size,
                backdrop=backdrops[number % len(backdrops)] if own[index] else None,
            )
            for index in range(per_species)
        )
        paths = tuple(f"{part}/{name}/{index:04d}.jpg" for index, part in enumerate(parts))
        members.append(_Member(name=name, species=one, orders=orders, paths=paths))
    return members


def _write_photographs(folder: Path, members: Sequence[_Member], *, workers: int, progress: Progress) -> str:
    """Write photographs, masks, boxes and contact sheet; return a digest of the photographs in their order."""
    orders = [order for member in members for order in member.orders]
    paths = [path for member in members for path in member.paths]
    for path in dict.fromkeys(path.rpartition("/")[0] for path in paths):
        make_folder(folder / path)
        make_folder(folder / "masks" / path)
    digest = hashlib.blake2b(digest_size=16)
    boxes: dict[str, tuple[float, float, float, float]] = {}
    shown = {path for member in members[:_SHEET_SPECIES] for path in member.paths[:_SHEET_PICTURES]}
    tiles: list[bytes] = []
    with contextlib.closing(take_all(orders, workers=workers)) as photographs:
        taken = zip(paths, photographs, strict=True)
        for path, photograph in progress.track(taken, total=len(paths), what="draw"):
            (folder / path).write_bytes(photograph.jpeg)
            (folder / "masks" / path).with_suffix(".png").write_bytes(photograph.mask_png)
            boxes[path] = photograph.box_xyxy
            digest.update(photograph.jpeg)
            if path in shown:
                tiles.append(photograph.jpeg)
    write_boxes(folder / BOXES_NAME, boxes)
    across = min(_SHEET_PICTURES, len(members[0].paths))
    rows = [tiles[start : start + across] for start in range(0, len(tiles), across)]
    (folder / "contact-sheet.jpg").write_bytes(contact_sheet(rows, side_px=min(_SHEET_PX, orders[0].size)))
    return digest.hexdigest()


def _write_words(folder: Path, members: Sequence[_Member], *, seed: int, descriptions: int) -> None:
    names = [member.name for member in members]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["name", *OPTIONS])
    for member in members:
        values = member.species.values()
        if member.species.crown == "plain":
            values["crown_colour"] = ""  # there is nothing that could have it
        writer.writerow([member.name, *values.values()])
    write_text(folder / "attributes.csv", table.getvalue())
    write_text(folder / "names.txt", "\n".join(names) + "\n")
    texts = {member.name: _texts(member, seed=seed, count=descriptions) for member in members}
    write_descriptions(folder / "descriptions.csv", texts)


def _texts(member: _Member, *, seed: int, count: int) -> tuple[str, ...]:
    """Describe a species so many times; should two variants say the same, further ones follow."""
    texts: dict[str, None] = {}
    variants = itertools.count()
    while len(texts) < count:
        texts[describe(member.species, name=member.name, seed=seed, variant=next(variants))] = None
    return tuple(texts)
