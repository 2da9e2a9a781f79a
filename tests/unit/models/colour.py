"""A network whose feature maps are the colours of the picture, so that the object of a test is known by its colour."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.models.backbone import Backbone, FeatureNetwork


class ColourNetwork(nn.Module):
    """Two stages: the colours of 4 x 4 and of 8 x 8 pixels."""

    def __init__(self, *, normed: bool = False) -> None:
        super().__init__()
        self.pretrained_cfg = {"mean": [0.0] * 3, "std": [1.0] * 3, "input_size": [3, 32, 32]}
        self.num_features = 3
        self.norm = nn.BatchNorm2d(3) if normed else nn.Identity()
        if normed:
            self.norm.load_state_dict(
                {
                    "weight": torch.tensor([1.0, 2.0, 0.5]),
                    "bias": torch.tensor([0.1, 0.0, -0.1]),
                    "running_mean": torch.tensor([0.2, 0.3, 0.4]),
                    "running_var": torch.tensor([0.5, 1.0, 2.0]),
                    "num_batches_tracked": torch.tensor(1),
                }
            )

    def forward_features(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(self.norm(images), 8)

    def forward_intermediates(
        self, images: Tensor, *, indices: int, norm: bool, output_fmt: str
    ) -> tuple[Tensor, list[Tensor]]:
        assert (norm, output_fmt) == (True, "NCHW")
        pixels = self.norm(images)
        last = F.avg_pool2d(pixels, 8)
        return last, [F.avg_pool2d(pixels, 4), last][-indices:]


def colour_backbone(*, normed: bool = False) -> Backbone:
    return Backbone(cast("FeatureNetwork", ColourNetwork(normed=normed)), name="colour")
