"""Compare two trainings: whether they are the same bit for bit, and if not, where they part and by how much."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.engine.record import TIMES
from leadpp.errors import CheckpointError
from leadpp.io.checkpoint import Checkpoint
from leadpp.io.ledger import read_ledger, read_sound

_PARTS = {
    "weights": ("student", "key", "first", "average", "result"),
    "queues": ("queues",),
    "optimizer": ("optimizer",),
}
"""Sections of a checkpoint by what they are of."""


def compare(run_a: Path, run_b: Path) -> dict[str, Any]:
    """Compare the newest checkpoints of two runs, and what their trainings told.

    Args:
        run_a: A run folder with a checkpoint.
        run_b: Another one.

    Returns:
        Ready for JSON: ``identical``, and by part (weights, queues, optimizer, progress, metrics) ``identical``, how
        many things were ``compared``, and of the ``first`` difference the ``name``, in words ``what``, and, where it is
        one of numbers, the ``largest`` absolute difference. Times are not compared.

    Raises:
        CheckpointError: A run has no checkpoint, or a damaged one.
    """
    a, b = _newest(run_a), _newest(run_b)
    parts = {
        part: _compare(_tensors(a, sections), _tensors(b, sections), _tensor_difference)
        for part, sections in _PARTS.items()
    }
    parts["progress"] = _compare(_progress(a), _progress(b), _difference)
    parts["metrics"] = _compare(_metrics(run_a), _metrics(run_b), _difference)
    return {
        "identical": all(part["identical"] for part in parts.values()),
        "checkpoints": [str(a.path), str(b.path)],
        "parts": parts,
    }


def _newest(run: Path) -> Checkpoint:
    ledger = read_ledger(run / "checkpoints")
    if ledger is None:
        raise CheckpointError(f"{run}: no checkpoint to compare; give a run folder whose training has saved one")
    return read_sound(run / "checkpoints" / ledger.newest, ledger)


def _tensors(checkpoint: Checkpoint, sections: tuple[str, ...]) -> dict[str, Tensor]:
    return {
        f"{section}.{name}": tensor
        for section in sections
        for name, tensor in checkpoint.sections.get(section, {}).items()
    }


def _progress(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return how far a training was, and the scaler of its gradients."""
    state = {f"state.{name}": value for name, value in checkpoint.metadata.get("state", {}).items()}
    return {"scaler": checkpoint.metadata.get("scaler"), **state}


def _metrics(run: Path) -> dict[str, Any]:
    """Return what a training told, but times, by line and name."""
    path = run / "metrics.jsonl"
    told: dict[str, Any] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for number, text in enumerate(lines, start=1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # torn by a crash
            line = {"line": text}
        told |= {f"line {number}, {name}": value for name, value in line.items() if name not in TIMES}
    return told


def _compare(a: Mapping[str, Any], b: Mapping[str, Any], difference: Any) -> dict[str, Any]:  # noqa: ANN401 - see callers
    names = list(dict.fromkeys([*a, *b]))
    first = None
    for name in names:
        if name not in a or name not in b:
            first = {"name": name, "what": f"only the {'first' if name in a else 'second'} run has it"}
        else:
            found = difference(a[name], b[name])
            first = None if found is None else {"name": name, **found}
        if first is not None:
            break
    return {"identical": first is None, "compared": len(names), "first": first}


def _tensor_difference(a: Tensor, b: Tensor) -> dict[str, Any] | None:
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return {"what": f"{list(a.shape)} of {a.dtype} and {list(b.shape)} of {b.dtype}"}
    if torch.equal(_bits(a), _bits(b)):
        return None
    one, other = a.double(), b.double()
    apart = (one - other).abs()
    largest = apart[apart.isfinite()].max().item() if apart.isfinite().any() else math.nan
    return {
        "what": f"{int((a != b).sum())} of {a.numel()} values, by at most {largest:.3g}",
        "largest": largest if math.isfinite(largest) else None,
    }


def _difference(a: object, b: object) -> dict[str, Any] | None:
    if a == b:
        return None
    if isinstance(a, int | float) and isinstance(b, int | float):
        return {"what": f"{a!r} and {b!r}", "largest": abs(a - b)}
    return {"what": f"{a!r} and {b!r}"}


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)
