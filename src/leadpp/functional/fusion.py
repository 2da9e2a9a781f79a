"""Several stages of a network as one indicator map: the finer stages follow the last one.

The last stage knows best what the object is, the ones before see finer. The first principal direction of an earlier
stage is often a texture and not the object, and its sign is anybody's guess. So an earlier stage is projected on the
direction along which it varies together with the last stage's indicator: their covariance, which is a running sum too.
"""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from leadpp.functional.ddt import DescriptorStatistics, Direction, SignRule, direction_along, principal_direction


class StageStatistics:
    """Running sums over the feature maps of one or more stages.

    Attributes:
        stages: Sums of each stage by itself, from the earliest to the last.
        images: Photographs seen.
    """

    def __init__(self, feature_dims: Sequence[int], *, device: torch.device | str = "cpu") -> None:
        """Start with no photographs; ``feature_dims`` are the channels of each stage, the last stage's last."""
        self.stages = [DescriptorStatistics(channels, device=device) for channels in feature_dims]
        self.images = 0
        last = feature_dims[-1]
        self._cells = 0
        self._last_total = torch.zeros(last, dtype=torch.float64, device=device)
        self._totals = [torch.zeros(channels, dtype=torch.float64, device=device) for channels in feature_dims[:-1]]
        self._crosses = [
            torch.zeros(channels, last, dtype=torch.float64, device=device) for channels in feature_dims[:-1]
        ]

    def update(self, maps: Sequence[Tensor]) -> Self:
        """Add a batch of photographs; one (B, F_i, h_i, w_i) per stage, from the earliest to the last."""
        for statistics, each in zip(self.stages, maps, strict=True):
            statistics.update_maps(each)
        last = self._rows(maps[-1])
        self.images += maps[-1].shape[0]
        self._cells += last.shape[0]
        self._last_total += last.sum(dim=0)
        rows, columns = maps[-1].shape[2:]
        for stage, each in enumerate(maps[:-1]):
            pooled = self._rows(adaptive_avg_pool2d(each, (rows, columns)))
            self._totals[stage] += pooled.sum(dim=0)
            self._crosses[stage] += pooled.T @ last
        return self

    def pool(self, add_up: Callable[[Tensor], Tensor]) -> Self:
        """Make these the sums of several processes, each of which has seen other photographs.

        Args:
            add_up: Adds up a tensor over the processes; the shape stays.
        """
        for statistics in self.stages:
            statistics.pool(add_up)
        self._last_total = add_up(self._last_total)
        self._totals = [add_up(total) for total in self._totals]
        self._crosses = [add_up(cross) for cross in self._crosses]
        images, cells = add_up(self._last_total.new_tensor([self.images, self._cells])).tolist()
        self.images, self._cells = int(images), int(cells)
        return self

    def directions(self, *, sign_rule: SignRule = "loading") -> list[Direction]:
        """Return the direction of each stage, from the earliest to the last; the rule decides for all of them.

        Raises:
            ValueError: The descriptors of a stage are all alike, or not finite.
        """
        last = principal_direction(self.stages[-1], sign_rule=sign_rule)
        last_mean = self._last_total / self._cells
        earlier = [
            direction_along(
                statistics, (cross / self._cells - torch.outer(total / self._cells, last_mean)) @ last.vector
            )
            for statistics, total, cross in zip(self.stages, self._totals, self._crosses, strict=False)
        ]
        return [*earlier, last]

    def _rows(self, maps: Tensor) -> Tensor:
        """Return the positions of a batch as float64 rows where the sums are; moved first, as MPS has no float64."""
        return maps.permute(0, 2, 3, 1).flatten(0, 2).to(self._last_total.device).double()


def fuse_indicators(indicators: Sequence[Tensor], *, spreads: Sequence[float], upsample: int = 1) -> Tensor:
    """Standardise the indicator maps of several stages, bring them to the finest grid (bilinear) and average them.

    Args:
        indicators: One (B, h_i, w_i) map per stage.
        spreads: Standard deviation of each stage's indicator over the photographs of the fit.
        upsample: Cells of the result for each cell of the finest map, along each axis.

    Returns:
        Shape (B, upsample * h, upsample * w) for the finest map's h and w, in standard deviations.
    """
    rows, columns = max((each.shape[1:] for each in indicators), key=lambda grid: grid[0] * grid[1])
    grid = (rows * upsample, columns * upsample)
    standard = [
        interpolate(each[:, None] / spread, size=grid, mode="bilinear", align_corners=False)
        for each, spread in zip(indicators, spreads, strict=True)
    ]
    return torch.cat(standard, dim=1).mean(dim=1)
