"""Prototypes from elsewhere and for elsewhere: run folders, files of ours, and the reference's ``.pt``.

The reference's file is one bare tensor (C, D), usually float16 and not quite unit, without names.

Shape letters: C classes, D embedding.
"""

import io
import pickle
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from leadpp.errors import TextError
from leadpp.io.artifacts import replacing, write_text
from leadpp.text.names import read_names
from leadpp.text.prototypes import Prototypes, check_matrix, read_spaces, unit_rows

REFERENCE_SUFFIXES = (".pt", ".pth")
RUN_FILE = "prototypes.safetensors"
_REFUSALS = (
    OSError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    ImportError,
    struct.error,
    ArithmeticError,
    MemoryError,
)
"""What ``torch.load`` raises at files that are none of its own, or damaged."""


def open_spaces(path: Path, *, names: Path | None = None) -> tuple[Prototypes, ...]:
    """Read ready prototypes, in all their spaces: of a run folder, a ``.safetensors``, or the reference's ``.pt``.

    Args:
        path: The file or the folder.
        names: A list that names the rows of a file that holds no names.

    Raises:
        TextError: Another kind of file, malformed content, or names that do not go with it.
        ArtifactError: Missing or damaged.
    """
    if path.is_dir():
        path = path / RUN_FILE
    if path.suffix.lower() in REFERENCE_SUFFIXES:
        spaces: tuple[Prototypes, ...] = (read_reference_prototypes(path),)
    elif path.suffix.lower() == ".safetensors":
        spaces = read_spaces(path)
    else:
        raise TextError(f"{path}: expected prototypes as .safetensors or as the reference's .pt, found {path.suffix!r}")
    if names is None:
        return spaces
    if spaces[0].names is not None:
        raise TextError(f"{path} holds its own names; leave {names} out")
    try:
        known = read_names(names)
        return tuple(space.named(known) for space in spaces)
    except TextError as error:
        raise TextError(f"{names} for {path}: {error}") from error


def pick_space(spaces: Sequence[Prototypes], number: int, *, source: Path) -> Prototypes:
    """Return one space of several, counted from 1.

    Raises:
        TextError: There is none of that number.
    """
    if not 1 <= number <= len(spaces):
        known = "; ".join(f"{place} ({space.model or 'unknown'})" for place, space in enumerate(spaces, start=1))
        raise TextError(f"{source}: has no space {number}; choose from {known}")
    return spaces[number - 1]


def read_reference_prototypes(path: Path) -> Prototypes:
    """Read the reference's ``.pt`` file, and say in ``made`` what is known about it.

    The rows are made unit in float32; the reference uses them as they are (norms 0.9995 to 1.0005). Nothing in the
    file is run: whatever is no plain tensor is refused.

    Raises:
        TextError: Missing, not a file that holds one tensor alone, or with rows that are no direction (NaN, infinite,
            zero).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged file has torch wonder aloud; what it is, is said below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _REFUSALS as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "not a tensor saved by torch.save"
        raise TextError(
            f"{path}: cannot be read as prototypes ({reason}); give a .pt file that holds one (classes, width) tensor"
        ) from error
    if not isinstance(content, Tensor) or content.is_meta or content.layout != torch.strided:
        raise TextError(
            f"{path}: expected one (classes, width) tensor, found {_kind_of(content)}; save the tensor alone"
        )
    try:
        return Prototypes(vectors=unit_rows(content), made=f"the .pt file {path.name}: {_describe(content)}")
    except TextError as error:
        raise TextError(f"{path}: {error}") from error


def write_reference_prototypes(
    path: Path, prototypes: Prototypes, *, dtype: Literal["float16", "float32"] = "float16"
) -> Path | None:
    """Write prototypes as the reference's ``.pt``, and their names beside it, one a line, as the ``.pt`` holds none.

    Args:
        path: The ``.pt`` file; the names of ``FILE.pt`` go into ``FILE.names.txt``.
        prototypes: What is written.
        dtype: Of the tensor; the reference's files are float16, which leaves rows unit to 5e-4.

    Returns:
        The file of names, or None where names are unknown.

    Raises:
        TextError: The path does not end in ``.pt``, or a name cannot stand on a line of its own.
        ArtifactError: The disk refused.
    """
    if path.suffix.lower() not in REFERENCE_SUFFIXES:
        raise TextError(f"{path}: expected the name of a .pt file to write, found {path.suffix!r}")
    names = prototypes.names
    odd = next((name for name in names or () if name != name.strip() or "\n" in name or "\r" in name), None)
    if odd is not None:
        raise TextError(f"the name {odd!r} does not fit on a line of a list of names; rename the class")
    content = io.BytesIO()  # into a file, torch.save would write the passing name of that file as well
    torch.save(prototypes.vectors.to(getattr(torch, dtype)).contiguous().clone(), content)
    with replacing(path) as partial:
        partial.write_bytes(content.getvalue())
    if names is None:
        return None
    lines = path.with_suffix(".names.txt")
    write_text(lines, "".join(f"{name}\n" for name in names))
    return lines


def _kind_of(content: object) -> str:
    if not isinstance(content, Tensor):
        return f"a {type(content).__name__}"
    return "a tensor without values" if content.is_meta else f"a tensor of layout {content.layout}"


def _describe(content: Tensor) -> str:
    """Say what is known about a bare tensor: its shape, type and lengths, and that it names nobody."""
    check_matrix(content)
    lengths = torch.linalg.vector_norm(content.detach().double(), dim=1)
    kind = str(content.dtype).removeprefix("torch.")
    return (
        f"{content.shape[0]} x {content.shape[1]} {kind}, rows {lengths.min():.4f} to {lengths.max():.4f} long, "
        "no names inside"
    )
