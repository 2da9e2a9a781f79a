"""BatchNorm over the batch of all processes, whatever class its layers are of.

torch.nn.SyncBatchNorm does it on CUDA alone, and takes the place of layers; here layers stay what they are, and take
other statistics for as long as a context lasts.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from leadpp.distributed.ranks import Ranks


class SharedStatistics(TorchFunctionMode):
    """Have BatchNorm in training normalise by the batch of all processes, each of which holds as many rows.

    Running statistics are moved by those of the whole batch too, so that they stay the same in every process.
    """

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self._ranks = ranks

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Answer calls of ``batch_norm`` that are to use the statistics of the batch; leave the others alone."""
        del types
        named = kwargs or {}
        if func is F.batch_norm and not self._ranks.alone:
            given = dict(zip(_ORDER, args, strict=False)) | named
            if given.get("training", False):
                return shared_batch_norm(ranks=self._ranks, **given)
        return func(*args, **named)


_ORDER = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


def shared_batch_norm(
    *,
    ranks: Ranks,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise (B, C, ...) by mean and variance over the rows of all processes; see ``F.batch_norm``.

    The gradient is that of the whole sum of losses, of which each process holds a part.
    """
    del training
    x = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
    with torch.no_grad():
        mean, variance, size = _moments(ranks, x)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * (size / max(1, size - 1))).to(running_var.dtype), momentum)
    normal: Tensor = _Normalize.apply(x, mean, (variance + eps).rsqrt(), (ranks, size))
    columns = (1, -1, *[1] * (x.dim() - 2))
    if weight is not None:
        normal = normal * weight.view(columns)
    if bias is not None:
        normal = normal + bias.view(columns)
    return normal.to(input.dtype)


def _moments(ranks: Ranks, x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean and variance of each channel over all processes, and over how many values they are."""
    axes = [axis for axis in range(x.dim()) if axis != 1]
    here = x.numel() // x.shape[1]
    variance, mean = torch.var_mean(x, dim=axes, correction=0)
    variances, means = ranks.gather(torch.stack([variance, mean])[None]).unbind(dim=1)
    whole = means.mean(dim=0)
    return whole, (variances + (means - whole).square()).mean(dim=0), here * ranks.count


class _Normalize(torch.autograd.Function):
    """(x - mean) / deviation, where both depend on the rows of every process."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, scale: Tensor, over: tuple[Ranks, int]) -> Tensor:  # noqa: ANN401
        columns = (1, -1, *[1] * (x.dim() - 2))
        normal = (x - mean.view(columns)) * scale.view(columns)
        ctx.save_for_backward(normal, scale)
        ctx.ranks, ctx.size = over
        return normal

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        (gradient,) = gradients
        normal, scale = ctx.saved_tensors
        axes = [axis for axis in range(normal.dim()) if axis != 1]
        columns = (1, -1, *[1] * (normal.dim() - 2))
        sums = torch.stack([gradient.sum(dim=axes), (gradient * normal).sum(dim=axes)])
        straight, along = (part.view(columns) for part in ctx.ranks.sum(sums) / ctx.size)
        return (gradient - straight - normal * along) * scale.view(columns), None, None, None
