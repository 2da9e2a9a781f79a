"""Features of photographs: made in one forward a batch, kept with labels and paths, saved in one order."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from leadpp.errors import ArtifactError, DataError
from leadpp.io.artifacts import replacing, write_table
from leadpp.models.student import Student
from leadpp.models.teacher import Teacher

Encode = Callable[[Tensor], Mapping[str, Tensor]]
"""Turns a batch of pictures, uint8 (B, 3, S, S), to named features, each (B, F)."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureBank:
    """Features of N items with what is known about them, in one order.

    Raises:
        DataError: Features, labels and paths are not of one length, or features are no matrix of numbers.
    """

    features: Tensor
    """float32, shape (N, F)."""
    labels: Tensor
    """Class numbers from 0, int64, shape (N,)."""
    paths: tuple[str, ...] = ()
    """Where the items come from; empty where nobody asked."""

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or not self.features.is_floating_point():
            raise DataError(
                f"expected features as a matrix of real numbers (items, width), found shape "
                f"{tuple(self.features.shape)} of {str(self.features.dtype).removeprefix('torch.')}"
            )
        lengths = (len(self.features), len(self.labels), len(self.paths) or len(self.features))
        if self.labels.ndim != 1 or len(set(lengths)) != 1:
            raise DataError(
                f"expected one label and one path a feature, found {lengths[0]} features, {lengths[1]} labels and "
                f"{len(self.paths)} paths"
            )
        if self.labels.is_floating_point() or (self.labels < 0).any():
            raise DataError("expected class numbers from 0 as labels, found others; measure labelled items alone")

    def __len__(self) -> int:
        return len(self.features)

    @property
    def classes(self) -> int:
        """How many different classes its items have."""
        return len(set(self.labels.tolist()))


def embedding_names(spaces: int) -> tuple[str, ...]:
    """Name an encoder's embeddings in so many spaces.

    >>> embedding_names(3)
    ('embedding', 'embedding_2', 'embedding_3')
    """
    return ("embedding", *(f"embedding_{number}" for number in range(2, spaces + 1)))


def student_features(student: Student, *, without: Collection[str] = ()) -> Encode:
    """Make ``gap`` (plain average), ``attention`` (average under the attention, unit) and the embeddings.

    Embeddings are unit rows, one a space, by :func:`embedding_names`.

    Args:
        student: The query encoder.
        without: Features that are left out, because the heads that make them have learnt nothing.
    """
    student.eval()

    def encode(images: Tensor) -> dict[str, Tensor]:
        output = student(images)
        attended = student.attention_feature(output.feature_map)
        embeddings = dict(zip(embedding_names(len(output.embeddings)), output.embeddings, strict=True))
        features = {"gap": output.feature, "attention": attended, **embeddings}
        return {name: values for name, values in features.items() if name not in without}

    return encode


def backbone_features(backbone: nn.Module) -> Encode:
    """Make ``gap``, the average of a backbone's feature map over its positions."""
    backbone.eval()

    def encode(images: Tensor) -> dict[str, Tensor]:
        feature_map: Tensor = backbone(images)
        return {"gap": feature_map.mean(dim=(2, 3))}

    return encode


def teacher_features(teacher: Teacher) -> Encode:
    """Make ``embedding``, the teacher's unit vectors."""
    return lambda images: {"embedding": teacher.encode_images(images)}


@torch.no_grad()
def extract(
    batches: Iterable[Mapping[str, Tensor]],
    encode: Encode,
    *,
    count: int,
    device: torch.device,
    first: int = 0,
    room: int = 0,
) -> dict[str, Tensor]:
    """Run an encoder over photographs.

    Args:
        batches: Each with ``image``, uint8 (B, 3, S, S), and ``index``, the items' places (B,), in any order.
        encode: The encoder, its network on ``device``.
        count: How many items there are.
        device: Where pictures are sent.
        first: Place of the first of them, whose row is row 0.
        room: Rows of the result, if they shall be more; what is in those beyond is left open.

    Returns:
        Features by name, float32 on the CPU, each (count, F), every row in its item's place.

    Raises:
        DataError: The batches do not hold every item.
    """
    features: dict[str, Tensor] = {}
    seen = torch.zeros(count, dtype=torch.bool)
    for batch in batches:
        rows = batch["index"] - first
        seen[rows] = True
        for name, values in encode(batch["image"].to(device)).items():
            if name not in features:
                features[name] = torch.empty(max(room, count), values.shape[1])
            features[name][rows] = values.float().cpu()
    if not features or not seen.all():
        raise DataError(f"expected features of {count} photographs, found {int(seen.sum())}; check the data folder")
    return features


def save_features(path: Path, features: Tensor) -> None:
    """Write features as a ``.npy`` array, float32 (N, F), whole or not at all.

    Raises:
        ArtifactError: The disk refused.
    """
    with replacing(path) as partial, partial.open("wb") as stream:
        np.save(stream, features.cpu().float().numpy(), allow_pickle=False)


def load_features(path: Path) -> Tensor:
    """Read what :func:`save_features` wrote.

    Raises:
        ArtifactError: Missing, damaged, or not a matrix of features.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, RecursionError, MemoryError, TokenError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "damaged or no .npy array"
        raise ArtifactError(f"{path}: cannot be read as features ({reason}); evaluate writes them") from error
    if array.dtype != np.float32 or array.ndim != 2:
        raise ArtifactError(f"{path}: expected a float32 matrix of features; evaluate writes them")
    return torch.from_numpy(array)


def save_order(path: Path, *, paths: Sequence[str], labels: Sequence[str | None]) -> None:
    """Write which photograph each row of the saved features belongs to: Parquet with ``path`` and ``label``.

    Raises:
        ArtifactError: The disk refused.
    """
    table = pa.table({"path": pa.array(paths, pa.string()), "label": pa.array(labels, pa.string())})
    write_table(path, table, kind="embeddings")
