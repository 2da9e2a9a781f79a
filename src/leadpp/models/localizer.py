"""The localizer: fitted once on photographs without boxes, it finds the object in any photograph."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.errors import ArtifactError, DataError
from leadpp.functional.ddt import Direction, SignRule, count_zero_rows, indicator_maps
from leadpp.functional.fusion import StageStatistics, fuse_indicators
from leadpp.functional.part import BoxReading, FloatMap, ObjectBox, find_part, part_box, search_box
from leadpp.io.artifacts import read_tensors, write_tensors
from leadpp.models.backbone import Backbone, create_backbone


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalizerSettings:
    """What decides the boxes besides the network; it travels in the artifact."""

    size: int = 448
    """Side in pixels of the squeezed pictures that boxes are found in."""
    fit_size: int = 0
    """Side in pixels of the pictures of the fit; 0 stands for ``size``."""
    stages: int = 1
    """How many of the network's last stages are fused."""
    upsample: int = 1
    """Cells of the indicator for each cell of the finest map, along each axis; bilinear."""
    threshold: float = 0.0
    """Min-max scaled indicators above this are object."""
    form: Literal["search", "part"] = "search"
    """What crops are made from: the search over cut rates, or the rectangle of the part."""
    sign_rule: SignRule = "border"
    """What decides which side of the direction is the object."""
    batchnorm: Literal["eval", "train-in-apply"] = "eval"
    """Statistics of BatchNorm when boxes are found: the stored ones, or each picture's own."""
    zero_rows: bool = False
    """Count an all-zero descriptor per 64 photographs of the fit."""
    box_reading: BoxReading = "xyxy"
    """How the search reads its boxes."""


@dataclass(frozen=True, kw_only=True)
class Location:
    """Where the object of one photograph is."""

    indicator: FloatMap
    """Indicator map, shape (h, w), positive where the object is."""
    part: ObjectBox
    """Rectangle of the largest part of the map."""
    chosen: ObjectBox
    """The box that crops are made from: the search's or, with ``form="part"``, the same as ``part``."""


class Localizer:
    """Deep descriptor transforming over the feature maps of a frozen network.

    Attributes:
        backbone: The network.
        settings: What was asked for.
        directions_: One learned direction per stage, from the earliest to the last.
        images_: Photographs of the fit.
    """

    directions_: list[Direction]
    images_: int

    def __init__(self, backbone: Backbone, settings: LocalizerSettings) -> None:
        """Hold the network, which is put in eval mode, and the settings."""
        self.backbone = backbone.eval().requires_grad_(requires_grad=False)
        self.settings = settings

    @property
    def fit_size(self) -> int:
        """Side in pixels of the squeezed pictures that :meth:`fit` expects."""
        return self.settings.fit_size or self.settings.size

    @property
    def applies_as_fitted(self) -> bool:
        """Whether the fit computes the very maps in which objects are found, so that they need not be made again."""
        return self.fit_size == self.settings.size and self.settings.batchnorm == "eval"

    @torch.no_grad()
    def fit(
        self,
        batches: Iterable[Tensor],
        *,
        keep: Callable[[list[Tensor]], None] | None = None,
        ranks: Ranks = ALONE,
    ) -> Self:
        """Learn the directions in one pass; memory does not grow with the number of photographs.

        Several processes that each have a share of the photographs, or none, learn the same from all of them.

        Args:
            batches: Squeezed pictures of side :attr:`fit_size`, uint8 (B, 3, S, S), on the network's device.
            keep: Is handed the feature maps of each batch, one (B, F_i, h_i, w_i) per stage.
            ranks: This process among those that fit together.

        Raises:
            DataError: No photographs, or nothing varies among them.
        """
        statistics: StageStatistics | None = None
        for images in batches:
            maps = self.backbone.forward_stages(images, self.settings.stages)
            if statistics is None:
                statistics = StageStatistics([each.shape[1] for each in maps], device=_float64_device(images.device))
            statistics.update(maps)
            if keep is not None:
                keep(maps)
        statistics = self._pooled(statistics, ranks)
        if self.settings.zero_rows:
            statistics.stages[-1].add_zero_rows(count_zero_rows(statistics.images))
        try:
            self.directions_ = statistics.directions(sign_rule=self.settings.sign_rule)
        except ValueError as error:
            raise DataError(
                f"the localizer learns nothing from {statistics.images} photographs ({error}); are they all one colour?"
            ) from error
        self.images_ = statistics.images
        ranks.copy_first([tensor for each in self.directions_ for tensor in (each.mean, each.vector)])
        return self

    @torch.no_grad()
    def indicators(self, images: Tensor) -> Tensor:
        """Compute indicator maps in one forward pass; uint8 (B, 3, S, S) -> (B, h, w).

        Returns:
            Projections on the direction; of several stages, or upsampled, in standard deviations.

        Raises:
            ArtifactError: The localizer is not fitted.
        """
        self._directions()
        if self.settings.batchnorm == "train-in-apply":
            with _OwnStatistics():
                return self.project(self.backbone.forward_stages(images, self.settings.stages))
        return self.project(self.backbone.forward_stages(images, self.settings.stages))

    @torch.no_grad()
    def project(self, maps: Sequence[Tensor]) -> Tensor:
        """Compute indicator maps from the feature maps of each stage; (B, F_i, h_i, w_i) -> (B, h, w).

        Returns:
            As :meth:`indicators`.

        Raises:
            ArtifactError: The localizer is not fitted.
        """
        directions = self._directions()
        scores = [
            indicator_maps(each, mean=direction.mean, vector=direction.vector)
            for each, direction in zip(maps, directions, strict=True)
        ]
        if self.settings.stages == self.settings.upsample == 1:
            return scores[0]
        spreads = [direction.spread for direction in directions]
        return fuse_indicators(scores, spreads=spreads, upsample=self.settings.upsample)

    def predict(self, images: Tensor, *, widths_px: Sequence[int], heights_px: Sequence[int]) -> list[Location]:
        """Find the object in each picture.

        Args:
            images: Squeezed pictures of side ``settings.size``, uint8 (B, 3, S, S), on the network's device.
            widths_px: Widths of the photographs before they were squeezed.
            heights_px: Heights of the photographs.

        Raises:
            ArtifactError: The localizer is not fitted.
        """
        return self.locate(self.indicators(images), widths_px=widths_px, heights_px=heights_px)

    def locate(self, indicators: Tensor, *, widths_px: Sequence[int], heights_px: Sequence[int]) -> list[Location]:
        """Find the object in each indicator map, (B, h, w); sizes as in :meth:`predict`."""
        return [
            self._locate(indicator, width_px=width, height_px=height)
            for indicator, width, height in zip(indicators.cpu().numpy(), widths_px, heights_px, strict=True)
        ]

    def warnings(self) -> list[str]:
        """Say where the sign rules disagree about which side is the object.

        Raises:
            ArtifactError: The localizer is not fitted.
        """
        last = self._directions()[-1]
        if not last.disagreeing:
            return []
        margins = ", ".join(f"{rule} {margin:+.2f}" for rule, margin in last.margins.items())
        return [
            f"the rules for the object's side disagree ({margins}); localize.sign_rule: {self.settings.sign_rule} "
            "decided: look at the boxes in the report"
        ]

    def save(self, path: Path, *, metadata: dict[str, Any] | None = None) -> None:
        """Write directions, settings and the network's name; ``metadata`` is any JSON object to go with them."""
        directions = self._directions()
        tensors = {f"{name}_{place}": getattr(each, name) for place, each in enumerate(directions) for name in _TENSORS}
        stages = [{"spread": d.spread, "explained_frac": d.explained_frac, "margins": d.margins} for d in directions]
        content = {
            **(metadata or {}),
            "backbone": self.backbone.name,
            "settings": dataclasses.asdict(self.settings),
            "stages": stages,
            "images": self.images_,
        }
        write_tensors(path, tensors, kind="localizer", metadata=content)

    @classmethod
    def load(cls, path: Path, *, backbone: Backbone | None = None) -> Self:
        """Read a localizer.

        Args:
            path: The file that :meth:`save` wrote.
            backbone: The network, if it is there already; otherwise it is created by its stored name.

        Raises:
            ArtifactError: The file is missing, damaged or of another kind, or was made with another network.
            WeightsError: The network cannot be created.
        """
        tensors, content = read_tensors(path, kind="localizer")
        if backbone is not None and backbone.name != content["backbone"]:
            raise ArtifactError(
                f"{path}: made with backbone {content['backbone']!r}, got {backbone.name!r}; run localize again"
            )
        localizer = cls(backbone or create_backbone(content["backbone"]), LocalizerSettings(**content["settings"]))
        localizer.directions_ = [
            Direction(mean=tensors[f"mean_{place}"], vector=tensors[f"vector_{place}"], **stage)
            for place, stage in enumerate(content["stages"])
        ]
        localizer.images_ = content["images"]
        return localizer

    def _pooled(self, statistics: StageStatistics | None, ranks: Ranks) -> StageStatistics:
        """Add up the sums of all processes; one without photographs learns from the others how wide they are."""
        own = [len(each.total) for each in statistics.stages] if statistics else [0] * self.settings.stages
        widths = ranks.largest(*own)
        if not all(widths):
            raise DataError("there is no photograph to fit the localizer on; add some, or set localize.fit_split: all")
        if statistics is None:
            statistics = StageStatistics(widths, device=_float64_device(self.backbone.mean.device))
        return statistics.pool(ranks.sum)

    def _directions(self) -> list[Direction]:
        if not hasattr(self, "directions_"):
            raise ArtifactError("the localizer is not fitted; call fit or load first")
        return self.directions_

    def _locate(self, indicator: FloatMap, *, width_px: int, height_px: int) -> Location:
        part = find_part(indicator, threshold=self.settings.threshold)
        plain = part_box(part, width_px=width_px, height_px=height_px)
        if self.settings.form == "part":
            return Location(indicator=indicator, part=plain, chosen=plain)
        chosen = search_box(
            part,
            size_px=self.settings.size,
            width_px=width_px,
            height_px=height_px,
            reading=self.settings.box_reading,
        )
        return Location(indicator=indicator, part=plain, chosen=chosen)


_TENSORS = ("mean", "vector")


class _OwnStatistics(TorchFunctionMode):
    """Normalise each picture by its own statistics wherever BatchNorm would take the stored ones.

    For batches of one picture this is BatchNorm in train mode, and it is exact for batches of any size.
    """

    def __torch_function__(
        self,
        func: Callable[..., Tensor],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Tensor:
        """Pass every function on, and BatchNorm as InstanceNorm with BatchNorm's weights."""
        if func is not torch.nn.functional.batch_norm:
            return func(*args, **(kwargs or {}))
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        given = dict(zip(names, args, strict=False)) | (kwargs or {})
        return torch.nn.functional.instance_norm(
            given["input"], weight=given.get("weight"), bias=given.get("bias"), eps=given.get("eps", 1e-5)
        )


def _float64_device(device: torch.device) -> torch.device:
    """Return the device on which sums are kept: MPS has no float64."""
    return torch.device("cpu") if device.type == "mps" else device
