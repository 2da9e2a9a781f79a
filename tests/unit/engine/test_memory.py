"""Memory that runs out amid a step."""

import copy
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.engine.iteration import Iteration
from leadpp.engine.memory import memory_told, ran_out
from leadpp.errors import LeadppError
from leadpp.models.learner import Learner
from leadpp.models.parts import encode_in_parts
from tests.distributed.learning import BATCH, VARIANTS, Variant, learner_of, lessons_of
from tests.unit.tiny import TinyBackbone, tiny_views

FULL, REFERENCE = VARIANTS["full"], VARIANTS["reference"]


class SmallDevice:
    """Runs out of memory when a network remembers more rows for its backward pass than there is room for."""

    def __init__(self, network: nn.Module, *, room: int, after: int = 0) -> None:
        self.room, self.after, self.failures = room, after, 0
        self._passes = self._remembered = 0
        network.register_forward_pre_hook(self._enter)

    def _enter(self, network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        del network
        if not torch.is_grad_enabled():
            return
        self._passes += 1
        if self._passes > self.after and len(inputs[0]) > self.room:
            self.failures += 1
            raise torch.OutOfMemoryError("the card is full")


def trainer_of(variant: Variant, *, batchnorm: bool, ranks: Ranks = ALONE) -> tuple[Learner, Iteration]:
    learner = learner_of(variant)
    learner.student.batchnorm = learner.key.batchnorm = "train" if batchnorm else "eval"
    iteration = Iteration(
        learner.train(),
        objective=variant.objective,
        order=variant.order,
        loop=variant.loop,
        lessons=lessons_of(variant),
        ranks=ranks,
    )
    return learner, iteration


def step(iteration: Iteration, number: int) -> Mapping[str, float]:
    batch: dict[str, Tensor] = dict(tiny_views(BATCH, place=number).items())
    return iteration.run(batch, step=number, epoch=0, steps_per_epoch=4).figures()


def assert_same(learner: Learner, other: Learner, *, tolerance: float) -> None:
    for name, tensor in other.state_dict().items():
        assert torch.allclose(learner.state_dict()[name], tensor, rtol=tolerance, atol=tolerance), name


@pytest.mark.parametrize("variant", [FULL, REFERENCE], ids=["full", "reference"])
@pytest.mark.parametrize(("room", "parts"), [(4, 2), (3, 4), (1, 8)])
def test_a_step_in_parts_is_the_step(variant: Variant, room: int, parts: int) -> None:
    whole, usual = trainer_of(variant, batchnorm=False)
    learner, iteration = trainer_of(variant, batchnorm=False)
    device = SmallDevice(learner.student.backbone, room=room)
    for number in range(3):
        expected, figures = step(usual, number), step(iteration, number)
        assert figures == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert learner.student.parts == parts
    assert device.failures == {2: 1, 4: 2, 8: 3}[parts]
    assert_same(learner, whole, tolerance=1e-6)


@pytest.mark.parametrize("variant", [FULL, REFERENCE], ids=["full", "reference"])
def test_statistics_of_the_batch_are_kept_and_move_once(variant: Variant) -> None:
    whole, usual = trainer_of(variant, batchnorm=True)
    learner, iteration = trainer_of(variant, batchnorm=True)
    learner.divide(1)
    for number in range(3):
        assert step(iteration, number) == step(usual, number)
    assert_same(learner, whole, tolerance=0)


@pytest.mark.parametrize("variant", [FULL, REFERENCE], ids=["full", "reference"])
@pytest.mark.parametrize("after", [0, 1])
def test_what_a_failed_try_has_changed_is_put_back(variant: Variant, after: int) -> None:
    whole, usual = trainer_of(variant, batchnorm=True)
    learner, iteration = trainer_of(variant, batchnorm=True)
    device = SmallDevice(learner.student.backbone, room=0, after=after)

    def enough(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if device.failures:
            device.room = BATCH

    learner.student.backbone.register_forward_pre_hook(enough, prepend=True)
    for number in range(2):
        assert step(iteration, number) == step(usual, number)
    assert (device.failures, iteration.parts) == (1, 1)
    assert_same(learner, whole, tolerance=0)


def test_memory_that_is_too_small_for_one_row_is_a_clear_end() -> None:
    learner, iteration = trainer_of(FULL, batchnorm=False)
    SmallDevice(learner.student.backbone, room=0)
    before = copy.deepcopy(learner.student.state_dict())
    with pytest.raises(
        LeadppError, match=r"a batch of 8, although it is taken in the smallest parts \(the card is full\); lower"
    ):
        step(iteration, 0)
    for name, tensor in before.items():
        assert torch.equal(learner.student.state_dict()[name], tensor)


def test_other_errors_go_on() -> None:
    learner, iteration = trainer_of(FULL, batchnorm=False)

    def fail(network: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise RuntimeError("something else")

    learner.student.backbone.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="something else"):
        step(iteration, 0)


def test_the_error_of_a_cpu_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert ran_out(caught.value)
    told = pytest.raises(LeadppError, match="cpu has too little memory for a batch of 8; lower")
    with told, memory_told(torch.device("cpu"), batch_size=8):
        torch.empty(1 << 60)


def test_other_errors_are_not_about_memory() -> None:
    with pytest.raises(RuntimeError, match="not about it"), memory_told(torch.device("cpu"), batch_size=8):
        raise RuntimeError("not about it")


def test_one_of_several_processes_does_not_try_again_while_the_others_wait() -> None:
    learner, iteration = trainer_of(FULL, batchnorm=False, ranks=Ranks(rank=0, count=2))
    device = SmallDevice(learner.student.backbone, room=0)
    with pytest.raises(torch.OutOfMemoryError):
        step(iteration, 0)
    assert (device.failures, learner.student.parts) == (1, 0)


def test_half_precision_can_be_tried_again_too() -> None:
    variant = replace(FULL, loop=replace(FULL.loop, precision="fp16"))
    learner, iteration = trainer_of(variant, batchnorm=False)
    device = SmallDevice(learner.student.backbone, room=4)
    assert step(iteration, 0).keys() == step(iteration, 1).keys()
    assert device.failures == 1


def test_less_is_remembered_for_the_backward_pass() -> None:
    backbone, images = TinyBackbone().eval(), tiny_views(BATCH)["global_1"]
    remembered = []
    for parts in (0, 4):
        sizes: list[int] = []

        def keep(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            encode_in_parts(backbone, images, parts=parts)
        remembered.append(sum(sizes))
    assert remembered[1] == images.numel() < remembered[0]
