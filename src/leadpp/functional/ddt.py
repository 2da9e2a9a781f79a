"""Deep descriptor transforming (Wei et al. 2019): what the photographs of a set have in common.

Each position of a feature map is one descriptor in R^F. The first principal direction of all M descriptors tells the
object, which the photographs share, from the backgrounds, which they do not. All that is needed of the descriptors are
running sums, so that memory does not grow with M.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

import torch
from scipy.sparse.linalg import ArpackError, eigsh
from torch import Tensor

from leadpp.functional.randomness import generator_for

SignRule = Literal["loading", "border", "norm"]
SIGN_RULES: tuple[SignRule, ...] = ("loading", "border", "norm")
_IMAGES_PER_FLUSH = 64
_PANEL = 1024
"""Channels of one matrix product in the sum of outer products; of those below the diagonal nothing is computed."""
_LEAST_ITERATED = 256
"""Channels from which on the direction is found by iteration; for fewer the whole spectrum costs nothing."""
_MOST_RESTARTS = 50
"""Of the iteration: a thousand products with the covariance, which take about as long as its whole spectrum."""


class DescriptorStatistics:
    """Running sums over descriptors, in float64, from which mean, covariance and the sign rules follow.

    Attributes:
        count: Descriptors seen, M.
        total: Their sum, shape (F,).
        second: Sum of their outer products, shape (F, F); what is below the diagonal does not count.
        border_count: Descriptors on the border of their map.
        border_total: Their sum, shape (F,).
        norm_total: Sum of all descriptors' lengths.
        norm_square: Sum of the squared lengths.
        norm_weighted: Sum of descriptor times length, shape (F,).
    """

    def __init__(self, feature_dim: int, *, device: torch.device | str = "cpu") -> None:
        """Start with no descriptors of ``feature_dim`` channels, on the device that will update them."""
        sums = torch.zeros(feature_dim, dtype=torch.float64, device=device)
        self.count = 0
        self.total = sums.clone()
        self.second = torch.zeros(feature_dim, feature_dim, dtype=torch.float64, device=device)
        self.border_count = 0
        self.border_total = sums.clone()
        self.norm_total = 0.0
        self.norm_square = 0.0
        self.norm_weighted = sums.clone()

    def update(self, descriptors: Tensor, *, border: Tensor | None = None) -> Self:
        """Add descriptors.

        Args:
            descriptors: Shape (M, F).
            border: Which of them lie on the border of their map, shape (M,), bool; none if left out.
        """
        rows = descriptors.to(self.total.device).double()
        lengths = rows.norm(dim=1)
        self.count += rows.shape[0]
        self.total += rows.sum(dim=0)
        for low in range(0, rows.shape[1], _PANEL):
            self.second[low : low + _PANEL, low:].addmm_(rows[:, low : low + _PANEL].T, rows[:, low:])
        self.norm_total += float(lengths.sum())
        self.norm_square += float(lengths.square().sum())
        self.norm_weighted += lengths @ rows
        if border is not None:
            self.border_count += int(border.sum())
            self.border_total += rows[border].sum(dim=0)
        return self

    def update_maps(self, maps: Tensor) -> Self:
        """Add every position of feature maps; (B, F, h, w)."""
        batch, channels, rows, columns = maps.shape
        border = border_cells(rows, columns).to(self.total.device).flatten().repeat(batch)
        return self.update(maps.permute(0, 2, 3, 1).reshape(-1, channels), border=border)

    def add_zero_rows(self, count: int) -> Self:
        """Count descriptors that are all zero, as the reference leaves one in its buffer per 64 photographs."""
        self.count += count
        return self

    def pool(self, add_up: Callable[[Tensor], Tensor]) -> Self:
        """Make these the sums of several processes, each of which has seen other descriptors.

        Args:
            add_up: Adds up a tensor over the processes; the shape stays.
        """
        self.total, self.second = add_up(self.total), add_up(self.second)
        self.border_total, self.norm_weighted = add_up(self.border_total), add_up(self.norm_weighted)
        numbers = [self.count, self.border_count, self.norm_total, self.norm_square]  # whole up to 2^53 in float64
        count, border_count, self.norm_total, self.norm_square = add_up(self.total.new_tensor(numbers)).tolist()
        self.count, self.border_count = int(count), int(border_count)
        return self

    @property
    def mean(self) -> Tensor:
        """Mean descriptor, shape (F,), float64."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """Covariance of the descriptors (divided by M), shape (F, F), float64."""
        covariance = (self.second / self.count).addr_(self.mean, self.mean, alpha=-1)
        for low in range(0, len(covariance), _PANEL):  # mirrored in place: the matrix is the largest thing in memory
            high = low + _PANEL
            block = covariance[low:high, low:high]
            block.copy_(block.triu() + block.triu(1).T)
            covariance[high:, low:high] = covariance[low:high, high:].T
        return covariance


@dataclass(frozen=True, kw_only=True, slots=True)
class Direction:
    """The line through a set of descriptors that tells object from background."""

    mean: Tensor
    """Mean descriptor, shape (F,), float64."""
    vector: Tensor
    """Unit vector, shape (F,), float64; its sign is that of the chosen rule."""
    spread: float
    """Standard deviation of the descriptors along it; above 0."""
    explained_frac: float
    """Share of the total variance that lies along it."""
    margins: dict[SignRule, float]
    """What each rule says of this sign, from -1 (the other side is the object) to 1 (this side is)."""

    @property
    def disagreeing(self) -> tuple[SignRule, ...]:
        """Rules that would have chosen the other side."""
        return tuple(rule for rule, margin in self.margins.items() if margin < 0)


def count_zero_rows(images: int, *, batch_size: int = 1) -> int:
    """Return how many all-zero descriptors the reference's buffer leaves among those of so many photographs.

    It leaves one whenever it is emptied: after each batch at which a multiple of 64 photographs has passed, and at the
    end if something is left.

    Args:
        images: Photographs of the fit.
        batch_size: Photographs in each of the reference's batches; every size that divides 64 gives the same.

    >>> count_zero_rows(66), count_zero_rows(66, batch_size=2), count_zero_rows(66, batch_size=3)
    (2, 2, 1)
    """
    batches = math.ceil(images / batch_size)
    return math.ceil(batches / (_IMAGES_PER_FLUSH // math.gcd(_IMAGES_PER_FLUSH, batch_size)))


def border_cells(rows: int, columns: int) -> Tensor:
    """Mark the outermost ring of a grid; shape (rows, columns), bool."""
    inner = torch.zeros(rows, columns, dtype=torch.bool)
    inner[1:-1, 1:-1] = True
    return ~inner


def principal_direction(statistics: DescriptorStatistics, *, sign_rule: SignRule = "loading") -> Direction:
    """Find the direction of the largest variance, and which side of it is the object.

    An eigenvector has no sign of its own. Three rules give it one, each with a margin in [-1, 1]:

    * ``loading``: the entry of largest magnitude is positive (scikit-learn from 1.5 on, and so the reference). Margin:
      how much it exceeds the largest entry of the other sign, as a share of it.
    * ``border``: the border of the maps scores lower than their inside. Margin: the difference in standard deviations,
      through tanh.
    * ``norm``: the score grows with the length of the descriptor. Margin: their correlation.

    Args:
        statistics: Sums over at least two different descriptors.
        sign_rule: The rule to follow; a margin of exactly 0 keeps the sign of ``loading``.

    Raises:
        ValueError: The descriptors are all alike, or not finite.
    """
    vector = leading_vector(statistics.covariance)
    if _loading_margin(vector) < 0:
        vector = -vector
    direction = direction_along(statistics, vector)
    return direction_along(statistics, -vector) if direction.margins[sign_rule] < 0 else direction


def leading_vector(matrix: Tensor) -> Tensor:
    """Find the eigenvector of the largest eigenvalue; its sign is arbitrary, but the same every time.

    One vector of a large matrix is found by the implicitly restarted Lanczos method (ARPACK), to the precision of
    float64, from a fixed start; where eigenvalues lie too close together for it, the whole spectrum is computed.

    Args:
        matrix: Symmetric, shape (F, F), float64.

    Returns:
        Unit vector, shape (F,), on the matrix's device.

    Raises:
        ValueError: The matrix, and so the descriptors that it is made of, are not finite.
    """
    if not bool(matrix.isfinite().all()):
        raise ValueError("the descriptors are not finite")
    if len(matrix) >= _LEAST_ITERATED:
        start = torch.randn(len(matrix), generator=generator_for(0, "lanczos"), dtype=torch.float64)
        try:
            _, vectors = eigsh(matrix.cpu().numpy(), k=1, which="LA", v0=start.numpy(), tol=0, maxiter=_MOST_RESTARTS)
        except ArpackError:  # did not converge, or the matrix is zero
            pass
        else:
            return torch.from_numpy(vectors[:, 0]).to(matrix.device)
    spectrum: Tensor = torch.linalg.eigh(matrix)[1]
    return spectrum[:, -1]


def direction_along(statistics: DescriptorStatistics, vector: Tensor) -> Direction:
    """Describe the descriptors along a given vector, whose sign is kept.

    Args:
        statistics: Sums over at least two different descriptors.
        vector: Shape (F,), float64, not zero; it is scaled to unit length.

    Raises:
        ValueError: The descriptors do not vary along the vector.
    """
    unit = vector / vector.norm()
    covariance = statistics.covariance
    variance = float(unit @ covariance @ unit)
    if not variance > 0:
        raise ValueError("the descriptors do not vary along the vector, or are not finite")
    spread = variance**0.5
    return Direction(
        mean=statistics.mean,
        vector=unit,
        spread=spread,
        explained_frac=variance / float(covariance.diagonal().sum()),
        margins={
            "loading": _loading_margin(unit),
            "border": _border_margin(statistics, unit, spread),
            "norm": _norm_margin(statistics, unit, spread),
        },
    )


def indicator_maps(maps: Tensor, *, mean: Tensor, vector: Tensor) -> Tensor:
    """Project each position on the principal direction; (B, F, h, w), (F,), (F,) -> (B, h, w).

    Returns:
        Positive where a position resembles what the photographs have in common.
    """
    direction = vector.to(maps)
    scores = torch.einsum("bfhw,f->bhw", maps, direction)
    return scores - mean.to(maps) @ direction


def _loading_margin(vector: Tensor) -> float:
    high, low = max(float(vector.max()), 0.0), max(float(-vector.min()), 0.0)
    return (high - low) / max(high, low)


def _border_margin(statistics: DescriptorStatistics, vector: Tensor, spread: float) -> float:
    inside = statistics.count - statistics.border_count
    if statistics.border_count == 0 or inside == 0:
        return 0.0
    border_mean = statistics.border_total / statistics.border_count
    inside_mean = (statistics.total - statistics.border_total) / inside
    return float(torch.tanh((inside_mean - border_mean) @ vector / spread))


def _norm_margin(statistics: DescriptorStatistics, vector: Tensor, spread: float) -> float:
    mean_norm = statistics.norm_total / statistics.count
    variance = statistics.norm_square / statistics.count - mean_norm**2
    if variance <= torch.finfo(torch.float64).eps * mean_norm**2:
        return 0.0
    shared = (statistics.norm_weighted / statistics.count - mean_norm * statistics.mean) @ vector
    return float(shared / (variance**0.5 * spread))
