"""Prototypes: one unit vector a class in the teacher's space, with the words it was made of.

Shape letters: C classes, D embedding.
"""

import pickle
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.errors import TextError
from leadpp.io.artifacts import read_tensors, write_tensors
from leadpp.text.names import check_distinct

_KIND = "prototypes"
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
)
"""What ``torch.load`` raises at files that are none of its own, or damaged."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prototypes:
    """One unit vector a class, and where it comes from."""

    vectors: Tensor
    """Unit rows, float32, shape (C, D)."""
    names: tuple[str, ...] | None = None
    """The C class names, or None where they are unknown (the reference's files hold none)."""
    texts: tuple[tuple[str, ...], ...] | None = None
    """The texts of each of the C classes whose mean its vector is, or None where they are unknown."""
    model: str = ""
    """The text tower; empty where it is unknown."""
    made: str = ""
    """How the vectors came to be, in words."""
    long_text: str | None = None
    """What was done with texts longer than the tower reads: ``split`` or ``cut``."""
    template: str | None = None
    """The sentence around each name, where the texts were made of names alone."""

    def __post_init__(self) -> None:
        _check_vectors(self.vectors)
        for what, words in (("names", self.names), ("sets of texts", self.texts)):
            if words is not None and len(words) != len(self.vectors):
                raise TextError(
                    f"{len(words)} {what} for {len(self.vectors)} prototypes; give one a prototype, in the same order"
                )
        if self.names is not None:
            check_distinct(self.names, what="names of the prototypes")
        if self.texts is not None and () in self.texts:
            raise TextError(f"prototype {self.texts.index(()) + 1} has no text; give each at least one, or none to all")

    @property
    def dim(self) -> int:
        """The width D."""
        return self.vectors.shape[1]

    def named(self, names: Sequence[str]) -> "Prototypes":
        """Return the same prototypes under these names.

        Raises:
            TextError: Their number is not the number of prototypes, or two of them are the same.
        """
        return replace(self, names=tuple(names))

    def ordered(self, order: Sequence[int]) -> "Prototypes":
        """Return the prototypes ``order[0], order[1], ...``, with their names and texts."""
        return replace(
            self,
            vectors=self.vectors[list(order)],
            names=None if self.names is None else tuple(self.names[position] for position in order),
            texts=None if self.texts is None else tuple(self.texts[position] for position in order),
        )

    def check_width(self, dim: int, *, of: str) -> None:
        """Refuse prototypes of another width than the embedding they are to be compared with.

        Args:
            dim: The width that is needed.
            of: What has that width, for the message: "the teacher ViT-B-16".

        Raises:
            TextError: The widths differ.
        """
        if self.dim != dim:
            maker = f" (made by {self.model})" if self.model else ""
            raise TextError(
                f"the prototypes{maker} are {self.dim} wide, but {of} is {dim} wide; "
                "make the prototypes with the teacher that is used"
            )


def write_prototypes(path: Path, prototypes: Prototypes) -> None:
    """Write prototypes as ``prototypes.safetensors``.

    Raises:
        ArtifactError: The disk refused.
    """
    metadata: dict[str, Any] = {
        "names": prototypes.names,
        "texts": prototypes.texts,
        "model": prototypes.model,
        "made": prototypes.made,
        "long_text": prototypes.long_text,
        "template": prototypes.template,
    }
    write_tensors(path, {"prototypes": prototypes.vectors}, kind=_KIND, metadata=metadata)


def read_prototypes(path: Path) -> Prototypes:
    """Read what :func:`write_prototypes` wrote.

    Raises:
        ArtifactError: Missing, damaged, or not a file of prototypes.
        TextError: Its content is no set of prototypes.
    """
    tensors, metadata = read_tensors(path, kind=_KIND)
    if "prototypes" not in tensors:
        raise TextError(f"{path}: expected a tensor 'prototypes', found {sorted(tensors)}; make the file again")
    names, texts = metadata.get("names"), metadata.get("texts")
    try:
        return Prototypes(
            vectors=tensors["prototypes"],
            names=None if names is None else tuple(names),
            texts=None if texts is None else tuple(map(_texts_of_one, texts)),
            model=metadata.get("model", ""),
            made=metadata.get("made", ""),
            long_text=metadata.get("long_text"),
            template=metadata.get("template"),
        )
    except TextError as error:
        raise TextError(f"{path}: {error}") from error
    except TypeError as error:
        raise TextError(f"{path}: its names or texts are no lists of words ({error}); make the file again") from error


def _texts_of_one(stored: str | list[str]) -> tuple[str, ...]:
    """Files from when a prototype was made of one text hold it bare."""
    return (stored,) if isinstance(stored, str) else tuple(stored)


def read_reference_prototypes(path: Path) -> Prototypes:
    """Read the reference's ``.pt`` file: one tensor (C, D), usually float16 and not quite unit, without names.

    The rows are made unit in float32; the reference uses them as they are (norms 0.9995 to 1.0005).

    Raises:
        TextError: Missing, not a file that holds one tensor alone, or with rows that are no direction (NaN, infinite,
            zero).
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _REFUSALS as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "not a tensor saved by torch.save"
        raise TextError(
            f"{path}: cannot be read as prototypes ({reason}); give a .pt file that holds one (classes, width) tensor"
        ) from error
    if not isinstance(content, Tensor):
        raise TextError(
            f"{path}: expected one (classes, width) tensor, found a {type(content).__name__}; save the tensor alone"
        )
    try:
        return Prototypes(vectors=unit_rows(content), made=f"read from the .pt file {path.name}")
    except TextError as error:
        raise TextError(f"{path}: {error}") from error


def unit_rows(vectors: Tensor) -> Tensor:
    """Make each row of a (C, D) tensor unit; computed in float64, returned in float32 on the CPU.

    Raises:
        TextError: Not a matrix of real numbers, or a row is NaN, infinite or zero.
    """
    _check_matrix(vectors)
    rows = vectors.detach().cpu().double()
    norms = torch.linalg.vector_norm(rows, dim=1)
    bad = torch.nonzero(~torch.isfinite(norms) | (norms == 0)).flatten().tolist()
    if bad:
        found = "zero" if norms[bad[0]] == 0 else "NaN or infinite"
        raise TextError(
            f"{len(bad)} of {len(rows)} rows are no direction: row {bad[0]} is {found}; make the prototypes again"
        )
    unit: Tensor = rows / norms[:, None]
    return unit.float()


def _check_matrix(vectors: Tensor) -> None:
    if vectors.ndim != 2 or 0 in vectors.shape or not vectors.is_floating_point():
        raise TextError(
            "expected a (classes, width) tensor of real numbers, "
            f"found shape {tuple(vectors.shape)} of {str(vectors.dtype).removeprefix('torch.')}"
        )


def _check_vectors(vectors: Tensor) -> None:
    _check_matrix(vectors)
    worst = (torch.linalg.vector_norm(vectors.float(), dim=1) - 1).abs()
    odd = torch.nonzero(~(worst < 1e-3)).flatten().tolist()
    if odd:
        raise TextError(
            f"{len(odd)} of {len(vectors)} prototypes are not unit vectors, first row {odd[0]}; make the file again"
        )
