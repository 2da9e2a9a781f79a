"""Prototypes: one unit vector a class in a teacher's space, with the words it was made of.

Several teachers have a space each; one file holds the same words in all of them.

Shape letters: C classes, D embedding.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.errors import TextError
from leadpp.io.artifacts import read_tensors, write_tensors
from leadpp.text.names import check_distinct

_KIND = "prototypes"


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
    """What was done with texts longer than the tower reads: ``split``, ``truncate`` or ``summary``."""
    template: str | None = None
    """The sentences around each name, where the vectors were made of names, alone or beside descriptions."""
    names_share: float = 0.0
    """The share of the names' sentences in each vector that descriptions have the rest of; 0 where nothing is mixed."""
    read_texts: tuple[tuple[str, ...], ...] | None = None
    """What the tower was given in place of ``texts``, where ``summary`` shortened any of them; else None."""
    temperature: float | None = None
    """The teacher's own, one over its logit scale; None where it is unknown."""

    def __post_init__(self) -> None:
        _check_vectors(self.vectors)
        for what, words in (("names", self.names), ("sets of texts", self.texts)):
            if words is not None and len(words) != len(self.vectors):
                raise TextError(
                    f"{len(words)} {what} for {len(self.vectors)} prototypes; give one a prototype, in the same order"
                )
        if self.temperature is not None and not (math.isfinite(self.temperature) and self.temperature > 0):
            raise TextError(f"a teacher's temperature must be a number above 0, got {self.temperature}")
        if self.names is not None:
            check_distinct(self.names, what="names of the prototypes")
        if self.read_texts is not None and len(self.read_texts) != len(self.vectors):
            raise TextError(f"{len(self.read_texts)} sets of shortened texts for {len(self.vectors)} prototypes")
        if self.texts is not None and () in self.texts:
            raise TextError(f"prototype {self.texts.index(()) + 1} has no text; give each at least one, or none to all")

    @property
    def dim(self) -> int:
        """The width D."""
        return self.vectors.shape[1]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names, or ``prototype 1`` and so on where they are unknown."""
        return self.names or tuple(f"prototype {number}" for number in range(1, len(self.vectors) + 1))

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
            read_texts=None if self.read_texts is None else tuple(self.read_texts[position] for position in order),
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


def other_makers(spaces: Iterable[Prototypes], teachers: Iterable[str]) -> Iterator[str]:
    """Yield a note for each space whose prototypes were made by another teacher than the one that is used.

    Two teachers may be equally wide, and then their names alone tell that cosines between them mean nothing.

    Args:
        spaces: Those whose maker is unknown are passed over.
        teachers: Their names, in the same order.

    >>> [note[:55] for note in other_makers([Prototypes(vectors=torch.eye(2), model="a")], ["b"])]
    ['the prototypes were made by a, but the teacher is b: co']
    """
    for space, teacher in zip(spaces, teachers, strict=False):
        if space.model and teacher and space.model != teacher:
            yield (
                f"the prototypes were made by {space.model}, but the teacher is {teacher}: cosines between the two "
                "mean something only if they are one network under two names"
            )


_FACTS = ("model", "made", "long_text", "template", "names_share", "read_texts", "temperature")
"""What each space has of its own; names and texts are those of all."""


def write_prototypes(path: Path, *spaces: Prototypes) -> None:
    """Write prototypes as ``prototypes.safetensors``: the tensor ``prototypes``, then ``prototypes_2`` and so on.

    Args:
        path: The file.
        *spaces: The same classes in the space of each teacher, at least one.

    Raises:
        TextError: No space, or spaces of other classes or texts than the first.
        ArtifactError: The disk refused.
    """
    _check_alike(spaces)
    first, *further = ({name: getattr(space, name) for name in _FACTS} for space in spaces)
    words = {"names": spaces[0].names, "texts": spaces[0].texts}
    tensors = {_tensor_name(place): space.vectors for place, space in enumerate(spaces)}
    write_tensors(path, tensors, kind=_KIND, metadata=words | first | ({"further": further} if further else {}))


def read_prototypes(path: Path) -> Prototypes:
    """Read the first space of what :func:`write_prototypes` wrote; the only one, where there is one teacher.

    Raises:
        ArtifactError: Missing, damaged, or not a file of prototypes.
        TextError: Its content is no set of prototypes.
    """
    return read_spaces(path)[0]


def read_spaces(path: Path) -> tuple[Prototypes, ...]:
    """Read all spaces of what :func:`write_prototypes` wrote, one a teacher and in the teachers' order.

    Raises:
        ArtifactError: Missing, damaged, or not a file of prototypes.
        TextError: Its content is no set of prototypes.
    """
    tensors, metadata = read_tensors(path, kind=_KIND)
    try:
        return _spaces_of(tensors, metadata)
    except TextError as error:
        raise TextError(f"{path}: {error}") from error
    except (TypeError, AttributeError) as error:  # anybody may have written the metadata
        raise TextError(f"{path}: its names or texts are no lists of words ({error}); make the file again") from error


def _spaces_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> tuple[Prototypes, ...]:
    facts = [metadata, *metadata.get("further", ())]
    expected = [_tensor_name(place) for place in range(len(facts))]
    if sorted(tensors) != sorted(expected):
        wanted = "a tensor 'prototypes'" if len(expected) == 1 else f"tensors {expected}"
        raise TextError(f"expected {wanted}, found {sorted(tensors)}; make the file again")
    names, texts = metadata.get("names"), _texts_of_all(metadata.get("texts"))
    spaces = tuple(
        Prototypes(
            vectors=tensors[tensor],
            names=None if names is None else tuple(names),
            texts=texts,
            **_facts_of_today(own),
        )
        for tensor, own in zip(expected, facts, strict=True)
    )
    _check_alike(spaces)
    return spaces


def _tensor_name(place: int) -> str:
    return "prototypes" if place == 0 else f"prototypes_{place + 1}"


def _check_alike(spaces: Sequence[Prototypes]) -> None:
    """Refuse spaces that are not of the same classes in the same order."""
    if not spaces:
        raise TextError("expected the prototypes of at least one teacher, got none")
    first = spaces[0]
    for place, space in enumerate(spaces[1:], start=2):
        if (len(space.vectors), space.names, space.texts) != (len(first.vectors), first.names, first.texts):
            raise TextError(
                f"the prototypes of teacher {place} are of other classes or texts than those of the first; "
                "make them together, of the same words"
            )


def _facts_of_today(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a space has of its own; older files have less of it, and call ``truncate`` ``cut``."""
    facts = {name: stored[name] for name in _FACTS if name in stored}
    if facts.get("long_text") == "cut":
        facts["long_text"] = "truncate"
    return facts | {"read_texts": _texts_of_all(facts.get("read_texts"))}


def _texts_of_all(stored: Sequence[str | list[str]] | None) -> tuple[tuple[str, ...], ...] | None:
    return None if stored is None else tuple(map(_texts_of_one, stored))


def _texts_of_one(stored: str | list[str]) -> tuple[str, ...]:
    """Files from when a prototype was made of one text hold it bare."""
    return (stored,) if isinstance(stored, str) else tuple(stored)


def unit_rows(vectors: Tensor) -> Tensor:
    """Make each row of a (C, D) tensor unit; computed in float64, returned in float32 on the CPU.

    Raises:
        TextError: Not a matrix of real numbers, or a row is NaN, infinite or zero.
    """
    check_matrix(vectors)
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


def check_matrix(vectors: Tensor) -> None:
    """Refuse what is no matrix of real numbers.

    Raises:
        TextError: It is none.
    """
    if vectors.ndim != 2 or 0 in vectors.shape or not vectors.is_floating_point():
        raise TextError(
            "expected a (classes, width) tensor of real numbers, "
            f"found shape {tuple(vectors.shape)} of {str(vectors.dtype).removeprefix('torch.')}"
        )


def _check_vectors(vectors: Tensor) -> None:
    check_matrix(vectors)
    worst = (torch.linalg.vector_norm(vectors.float(), dim=1) - 1).abs()
    odd = torch.nonzero(~(worst < 1e-3)).flatten().tolist()
    if odd:
        raise TextError(
            f"{len(odd)} of {len(vectors)} prototypes are not unit vectors, first row {odd[0]}; make the file again"
        )
