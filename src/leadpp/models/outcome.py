"""What a training gives away: the student as it is, averaged over its last steps, or mixed with what it began as."""

import copy
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from leadpp.models.student import FirstBackbone, Student


class StudentAverage(nn.Module):
    """An exponential moving average of a student, weights and BatchNorm statistics alike.

    Args:
        student: Where the average begins.
        decay: What is kept of the average at each step. The first steps keep less, (1 + n) / (10 + n) after n of them,
            so that the beginning is soon forgotten.
    """

    updates: Tensor

    def __init__(self, student: Student, *, decay: float) -> None:
        super().__init__()
        self.student = copy.deepcopy(student).requires_grad_(False).eval()
        self.decay = decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self._done: int | None = None  # the same count here, asked of the device once, because asking is waiting for it
        self.register_load_state_dict_post_hook(_forget_count)  # type: ignore[no-untyped-call]  # torch types it not

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def update(self, student: Student) -> None:
        """Take in the student after a step."""
        if self._done is None:
            self._done = int(self.updates)
        keep = min(self.decay, (1 + self._done) / (10 + self._done))
        _mix(self.student, student, share=1 - keep)
        self.updates += 1
        self._done += 1


def _forget_count(average: nn.Module, _: object) -> None:
    average._done = None  # type: ignore[assignment]


@torch.no_grad()
def blend_student(student: Student, first: FirstBackbone, *, share: float) -> Student:
    """Return a copy whose backbone lies between the one it began as and its own.

    After WiSE-FT (Wortsman et al., CVPR 2022): theta = (1 - share) theta_first + share theta_trained.

    Args:
        student: The trained student; it stays as it is.
        first: What its backbone was before training.
        share: Of the trained weights and BatchNorm statistics, from 0 to 1; the heads stay trained.
    """
    blended = copy.deepcopy(student).requires_grad_(False).eval()
    _mix(blended.backbone, first.backbone, share=1 - share)
    return blended


@torch.no_grad()
def blend_state(student: Mapping[str, Tensor], first: Mapping[str, Tensor], *, share: float) -> dict[str, Tensor]:
    """Return the state of :func:`blend_student`, from the states of the student and of its first backbone."""
    return {
        name: tensor.lerp(first[name].to(tensor.dtype), 1 - share)
        if name in first and tensor.is_floating_point()
        else tensor
        for name, tensor in student.items()
    }


def _mix(into: nn.Module, other: nn.Module, *, share: float) -> None:
    """Move every floating-point tensor of a module towards another's by a share, but not BatchNorm's counts."""
    theirs = other.state_dict()
    for name, tensor in into.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(theirs[name].to(tensor.dtype), share)
