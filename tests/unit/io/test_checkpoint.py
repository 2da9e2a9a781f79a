from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from leadpp.errors import CheckpointError
from leadpp.io.artifacts import write_tensors
from leadpp.io.checkpoint import (
    load_exactly,
    read_checkpoint,
    save_checkpoint,
)


def network(width: int = 3) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(width)
        return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


def sgd(module: nn.Module) -> Optimizer:
    return SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)


def adam(module: nn.Module) -> Optimizer:
    return AdamW(module.parameters(), lr=0.1)


def learn(module: nn.Module, optimizer: Optimizer, *, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        inputs = torch.linspace(-1, 1 + step, 20).view(5, 4)
        torch.autograd.backward(module(inputs).square().mean())
        optimizer.step()


@pytest.mark.parametrize("make", [sgd, adam])
def test_going_on_from_a_file_is_going_on(tmp_path: Path, make: Callable[[nn.Module], Optimizer]) -> None:
    straight = network()
    optimizer = make(straight)
    learn(straight, optimizer, steps=2)
    path = tmp_path / "epoch-0001.safetensors"
    save_checkpoint(path, modules={"student": straight}, optimizer=optimizer, metadata={"epoch": 1, "name": "ü"})
    learn(straight, optimizer, steps=3)

    resumed = network()
    other = make(resumed)
    checkpoint = read_checkpoint(path)
    checkpoint.load_module("student", resumed)
    checkpoint.load_optimizer(other)
    learn(resumed, other, steps=3)
    assert (checkpoint.metadata["epoch"], checkpoint.metadata["name"]) == (1, "ü")
    for name, tensor in straight.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


def test_momentum_goes_on_in_the_order_of_its_weight(tmp_path: Path) -> None:
    """SGD in one pass walks through memory: a momentum in another order than its weight's would be mixed up."""

    def convolution() -> tuple[nn.Conv2d, SGD]:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            layer = nn.Conv2d(3, 4, kernel_size=3).to(memory_format=torch.channels_last)
        return layer, SGD(layer.parameters(), lr=0.1, momentum=0.9, fused=True)

    def step(layer: nn.Conv2d, optimizer: SGD, number: int) -> None:
        optimizer.zero_grad()
        inputs = torch.linspace(-1, number, 2 * 3 * 25).view(2, 3, 5, 5).contiguous(memory_format=torch.channels_last)
        torch.autograd.backward(layer(inputs).square().mean())
        optimizer.step()

    layer, optimizer = convolution()
    step(layer, optimizer, 1)
    step(layer, optimizer, 2)
    path = tmp_path / "one.safetensors"
    save_checkpoint(path, modules={"layer": layer}, optimizer=optimizer, metadata={})
    step(layer, optimizer, 3)
    resumed, other = convolution()
    checkpoint = read_checkpoint(path)
    checkpoint.load_module("layer", resumed)
    checkpoint.load_optimizer(other)
    step(resumed, other, 3)
    assert torch.equal(resumed.weight, layer.weight)


def test_settings_of_the_optimizer_are_those_of_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    module = network()
    optimizer = sgd(module)
    learn(module, optimizer, steps=2)
    save_checkpoint(path, modules={}, optimizer=optimizer, metadata={})
    again = network()
    changed = SGD(again.parameters(), lr=0.3, momentum=0.5, weight_decay=0.0)
    read_checkpoint(path).load_optimizer(changed)
    (group,) = changed.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.3, 0.5, 0.0)
    for old, new in zip(module.parameters(), again.parameters(), strict=True):
        assert torch.equal(changed.state[new]["momentum_buffer"], optimizer.state[old]["momentum_buffer"])


def test_another_network_is_refused_and_left_alone(tmp_path: Path) -> None:
    target = network(3)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    lacking = dict(before)
    del lacking["1.running_var"]
    for state, message in (
        (network(5).state_dict(), r"f\.bin: '0\.weight' has shape \(5, 4\), expected \(3, 4\)"),
        (lacking, r"1 tensors differ from Sequential, the file lacks '1\.running_var'"),
        (before | {"9.weight": torch.ones(1)}, r"Sequential lacks '9\.weight'"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_exactly(target, {name: value + 1 for name, value in state.items()}, source=Path("f.bin"))
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_missing_sections(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save_checkpoint(path, modules={"student": network()}, optimizer=None, metadata={})
    checkpoint = read_checkpoint(path)
    with pytest.raises(CheckpointError, match="expected a section 'key', found student"):
        checkpoint.load_module("key", network())
    with pytest.raises(CheckpointError, match="expected a section 'optimizer'"):
        checkpoint.load_optimizer(sgd(network()))


def test_an_optimizer_of_other_parameters(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save_checkpoint(path, modules={}, optimizer=sgd(network()), metadata={})
    with pytest.raises(CheckpointError, match="belongs to other parameters"):
        read_checkpoint(path).load_optimizer(sgd(nn.Linear(2, 2)))


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(path)
    save_checkpoint(path, modules={"student": network()}, optimizer=None, metadata={})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="cannot be read as 'checkpoint'"):
        read_checkpoint(path)
    write_tensors(path, {"a": torch.ones(1)}, kind="prototypes")
    with pytest.raises(CheckpointError, match="kind 'checkpoint', found 'prototypes'"):
        read_checkpoint(path)
