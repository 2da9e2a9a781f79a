"""The reference's probe feature: attention in evaluation mode, whole batch and one image at a time."""

import torch

from leadpp.functional.gradcam import Scaling
from leadpp.functional.randomness import generator_for
from leadpp.models.student import Student
from tests.golden.arrays import Arrays, assert_close, number, read, tensor
from tests.golden.test_train_step import MapsAsImages

ARRAYS = read("probe_mask.npz")


def _student(arrays: Arrays, *, scaling: Scaling) -> Student:
    channels = arrays["featmap"].shape[1]
    student = Student(
        MapsAsImages(channels),
        embedding_dim=4,
        attention_channels=arrays["conv16_weight"].shape[0],
        attention_scaling=scaling,
        generator=generator_for(0, "overwritten below"),
    )
    student.attention.conv.weight.data.copy_(tensor(arrays, "conv16_weight"))
    for part in ("weight", "bias", "running_mean", "running_var"):
        getattr(student.attention.norm, part).data.copy_(tensor(arrays, f"bn16_{part}"))
    student.attention.norm.eps = number(arrays, "bn16_eps")
    return student.eval()


@torch.no_grad()
def test_over_the_batch() -> None:
    student, maps = _student(ARRAYS, scaling="batch"), tensor(ARRAYS, "featmap")
    assert_close(student.attention_map(maps), ARRAYS["mask"], name="mask")
    assert_close(student.attention_feature(maps), ARRAYS["output"], name="output")


@torch.no_grad()
def test_one_image_at_a_time() -> None:
    student, maps = _student(ARRAYS, scaling="batch"), tensor(ARRAYS, "featmap")
    alone = torch.cat([student.attention_feature(one) for one in torch.split(maps, 1)])
    assert_close(alone, ARRAYS["output_single"], name="output_single")


@torch.no_grad()
def test_default_scaling_is_the_single_image_form_in_any_batch() -> None:
    student, maps = _student(ARRAYS, scaling="image"), tensor(ARRAYS, "featmap")
    assert_close(student.attention_feature(maps), ARRAYS["output_single"], name="output_single")
