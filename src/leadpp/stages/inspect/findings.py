"""What is found in prototypes, in numbers."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.config import Config, build_config, read_yaml
from leadpp.engine.encoders import EMBEDDING, teacher_names
from leadpp.engine.features import load_features
from leadpp.engine.neighbours import nearest, unit_rows
from leadpp.engine.runtime import Progress, SilentProgress
from leadpp.errors import TextError
from leadpp.functional.likeness import Coverage, coverage, odds_between, resolvable_cosine
from leadpp.functional.spectrum import effective_rank
from leadpp.stages.inspect.page import write_page
from leadpp.text.confusable import Pair, indistinct_pairs, nearest_pairs, same_pairs, tell_of_pairs
from leadpp.text.exchange import open_spaces, pick_space
from leadpp.text.prototypes import Prototypes

_SHOWN = 20


def inspect_prototypes(
    source: Path,
    *,
    names: Path | None = None,
    features: Path | None = None,
    run: Path | None = None,
    temperature: float | None = None,
    space: int = 1,
    out: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Look at prototypes: nearest pairs, those practically the same, effective rank, and classes without photographs.

    Two prototypes are practically the same from a cosine of 0.999 on. A teacher cannot tell two classes apart if even a
    picture that lies right at the prototype of the one has odds below 2:1 for it against the other, at the teacher's
    temperature. No photograph is near a class that is the nearest of none; it is said whether that holds still once
    the teacher's preference for some classes over all photographs is evened out.

    Args:
        source: A run folder, or a file of prototypes: ``.safetensors``, or the reference's ``.pt``.
        names: A list that names the rows of a file without names.
        features: Embeddings of photographs in the same space, ``.npy``, float32, shape (N, D).
        run: A run folder whose teacher's embeddings are taken as features; a ``source`` that is one does as well.
        temperature: Of the teacher; None takes its own if the file has it, else the run's
            ``loss.distillation_temperature``, else the default of that.
        space: Which teacher's prototypes, counted from 1.
        out: An HTML page to write, with a picture of all cosines.
        progress: Told what the teacher cannot tell apart.

    Returns:
        Ready for JSON. What the file says: ``source``, ``made``, ``model``, ``classes``, ``dim``, ``names_known``,
        ``long_text``, ``template``, ``names_share``, ``space`` and ``spaces`` (their number). ``temperature`` and
        ``temperature_from``. ``effective_rank`` of the prototypes, ``effective_rank_centred`` of how they differ from
        their mean, and ``mean_cosine`` of all pairs. ``pairs`` (the 20 nearest), ``same`` and ``indistinct``, each a
        list of ``first``, ``second``, ``cosine`` and ``odds`` (None beyond what a number holds), and
        ``resolvable_cosine``, from which on pairs are indistinct. ``photographs`` (their number, or None),
        ``photographs_from``, ``unseen`` (names of classes that no photograph is near) and ``unseen_balanced``.
        ``each``, a row a class. ``page``, the file that was written, or None.

    Raises:
        TextError: No prototypes, one alone, or features that do not go with them.
        ArtifactError: A file cannot be read or written.
    """
    progress = progress or SilentProgress()
    run = run or (source if source.is_dir() else None)
    spaces = open_spaces(source, names=names)
    found = pick_space(spaces, space, source=source)
    if len(found.vectors) < 2:
        raise TextError(f"{source}: found one prototype, and with one there is nothing to compare")
    tau, tau_from = _temperature(found, given=temperature, run=run)
    teacher = teacher_names(len(spaces))[space - 1]
    photographs, where = _photographs(found, features=features, run=run, teacher=teacher)
    seen = None if photographs is None else coverage(photographs, found.vectors, temperature=tau)
    indistinct = indistinct_pairs(found, temperature=tau)
    if indistinct:
        progress.note(tell_of_pairs(indistinct, model=found.model, temperature=tau))
    results = {
        "source": str(source),
        **_origin(found),
        "space": space,
        "spaces": len(spaces),
        "temperature": tau,
        "temperature_from": tau_from,
        **_spread(found),
        "resolvable_cosine": resolvable_cosine(tau),
        "pairs": list(map(_plain, nearest_pairs(found, _SHOWN, temperature=tau))),
        "same": list(map(_plain, same_pairs(found, temperature=tau))),
        "indistinct": list(map(_plain, indistinct)),
        "photographs": None if photographs is None else len(photographs),
        "photographs_from": where,
        **_unseen(found, seen),
        "each": _each(found, seen, temperature=tau),
    }
    if out is not None:
        write_page(out, results, vectors=found.vectors)
    return results | {"page": None if out is None else str(out)}


def _temperature(found: Prototypes, *, given: float | None, run: Path | None) -> tuple[float, str]:
    if given is not None:
        if not (math.isfinite(given) and given > 0):
            raise TextError(f"expected a temperature above 0, got {given:g}; a teacher's own is often 0.01")
        return given, "given"
    if found.temperature is not None:
        return found.temperature, "the teacher's own"
    settings = None if run is None else run / "config.yaml"
    if settings is not None and settings.is_file():
        chosen = build_config(read_yaml(settings)).loss.distillation_temperature
        if chosen > 0:
            return chosen, "loss.distillation_temperature of the run"
    return Config().loss.distillation_temperature, "the default of loss.distillation_temperature"


def _photographs(
    found: Prototypes, *, features: Path | None, run: Path | None, teacher: str
) -> tuple[Tensor | None, str]:
    """Return unit rows of photographs in the space of the prototypes, and where they are from or why there are none."""
    files = [features] if features is not None else []
    if features is None and run is not None:
        files = _embeddings_of(run, teacher)
        if not files:
            return None, f"{run / 'embeddings'} has no embeddings of {teacher}; `leadpp evaluate` writes them"
    if not files:
        return None, "no --features and no --run were given"
    loaded = [load_features(path) for path in files]
    odd = next((path for path, rows in zip(files, loaded, strict=True) if rows.shape[1] != found.dim), None)
    if odd is not None:
        raise TextError(
            f"{odd}: expected features in the space of the prototypes, {found.dim} wide, found "
            f"{loaded[files.index(odd)].shape[1]}; give embeddings of {found.model or 'the same teacher'}"
        )
    rows = torch.cat(loaded)
    if len(rows) == 0:
        raise TextError(f"{files[0]}: holds no photograph")
    return unit_rows(rows), ", ".join(path.name for path in files)


def _embeddings_of(run: Path, teacher: str) -> list[Path]:
    """Return the files of all splits, of object crops if there are any, else of whole photographs."""
    for pictures in ("crop", "whole"):
        files = sorted((run / "embeddings").glob(f"{teacher}-{EMBEDDING}-{pictures}-*.npy"))
        if files:
            return files
    return []


def _origin(found: Prototypes) -> dict[str, Any]:
    return {
        "made": found.made,
        "model": found.model,
        "classes": len(found.vectors),
        "dim": found.dim,
        "names_known": found.names is not None,
        "long_text": found.long_text,
        "template": found.template,
        "names_share": found.names_share,
    }


def _spread(found: Prototypes) -> dict[str, float]:
    rows, count = found.vectors.double(), len(found.vectors)
    total = rows.sum(dim=0)
    return {
        "effective_rank": effective_rank(rows),
        "effective_rank_centred": effective_rank(rows - total / count),
        "mean_cosine": float((total @ total - rows.square().sum()) / (count * (count - 1))),
    }


def _plain(pair: Pair) -> dict[str, Any]:
    return asdict(pair) | {"odds": _finite(pair.odds)}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no infinity


def _unseen(found: Prototypes, seen: Coverage | None) -> dict[str, list[str] | None]:
    if seen is None:
        return {"unseen": None, "unseen_balanced": None}
    labels = found.labels
    unseen = torch.nonzero(seen.nearest == 0).flatten().tolist()
    return {
        "unseen": [labels[place] for place in unseen],
        "unseen_balanced": [labels[place] for place in unseen if seen.nearest_balanced[place] == 0],
    }


def _each(found: Prototypes, seen: Coverage | None, *, temperature: float) -> list[dict[str, Any]]:
    """Say of each class which is nearest to it and, where there are photographs, how many are near it."""
    labels = found.labels
    cosines, places = (torch.cat(each).flatten().tolist() for each in zip(*nearest(found.vectors, k=1), strict=True))
    rows: list[dict[str, Any]] = [
        {
            "name": label,
            "nearest": labels[place],
            "cosine": cosine,
            "odds": _finite(odds_between(cosine, temperature=temperature)),
        }
        for label, cosine, place in zip(labels, cosines, places, strict=True)
    ]
    if seen is not None:
        for place, row in enumerate(rows):
            row["photographs"] = int(seen.nearest[place])
            row["photographs_balanced"] = int(seen.nearest_balanced[place])
            row["share"] = float(seen.share[place])
            row["closest_photograph"] = float(seen.closest[place])
    return rows
