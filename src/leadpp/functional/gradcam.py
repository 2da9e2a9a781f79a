"""Where the object loss looks (Grad-CAM), where the attention head looks, and how far apart the two are."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

AlignmentForm = Literal["reference", "scaled"]
Scaling = Literal["image", "batch"]

_REFERENCE_EPSILON = 1e-7


def grad_cam(feature_map: Tensor, gradient: Tensor) -> Tensor:
    """Weigh the channels of a feature map by a gradient and keep what speaks for: relu(sum over F of map * gradient).

    A loss of the pooled feature has the same gradient at every position of the map: that of the feature / (H W). LEAD++
    takes the gradient of the object term itself, not of a class score.

    Args:
        feature_map: Shape (B, F, H, W); gradients pass through it.
        gradient: Of a loss with respect to the average of the map over its positions, shape (B, F); a constant.

    Returns:
        Shape (B, H, W), 0 or more.

    Raises:
        ValueError: The two shapes do not fit together.
    """
    if feature_map.shape[:2] != gradient.shape:
        raise ValueError(f"expected a gradient of shape {feature_map.shape[:2]}, got {gradient.shape}")
    height, width = feature_map.shape[2:]
    return torch.einsum("bfhw,bf->bhw", feature_map, gradient.detach() / (height * width)).relu()


def scale_map(raw: Tensor, *, over: Scaling) -> Tensor:
    """Min-max scale maps: subtract the minimum, then divide by (1e-7 + the maximum of what is left).

    Args:
        raw: Shape (B, H, W).
        over: ``image`` scales each map by its own extremes; ``batch`` (reference) all maps by those of the whole
            batch, so that the map of an image depends on its neighbours.

    Returns:
        Shape (B, H, W), in [0, 1).
    """
    axes = (1, 2) if over == "image" else (0, 1, 2)
    above = raw - raw.amin(dim=axes, keepdim=True)
    return above / (_REFERENCE_EPSILON + above.amax(dim=axes, keepdim=True))


def attention_pool(feature_map: Tensor, attention: Tensor) -> Tensor:
    """Average a feature map under an attention map, to unit length; (B, F, H, W), (B, H, W) -> (B, F)."""
    return F.normalize((feature_map * attention.unsqueeze(1)).mean(dim=(2, 3)), dim=1)


def alignment_loss(cam: Tensor, attention: Tensor, *, form: AlignmentForm = "reference") -> Tensor:
    """How far attention is from Grad-CAM: sum over rows of KL(softmax(cam) || softmax(attention)), along the width.

    Args:
        cam: Grad-CAM, shape (B, H, W).
        attention: Scaled attention, shape (B, H, W).
        form: ``reference`` takes Grad-CAM as it is, which is so small that its softmax is nearly uniform; ``scaled``
            brings it to [0, 1] per image first.

    Returns:
        Shape (B,), from 0 up. Gradients pass through both maps.

    Raises:
        ValueError: The two shapes differ.
    """
    if cam.shape != attention.shape:
        raise ValueError(f"expected two maps of one shape, got {cam.shape} and {attention.shape}")
    target = (scale_map(cam, over="image") if form == "scaled" else cam).log_softmax(dim=2)
    return (target.exp() * (target - attention.log_softmax(dim=2))).sum(dim=(1, 2))
