from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from leadpp.errors import ArtifactError, CheckpointError
from leadpp.io.artifacts import write_json, write_tensors
from leadpp.io.checkpoint import (
    checkpoint_path,
    keep_newest,
    load_exactly,
    newest_checkpoint,
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


def test_momentum_of_weights_that_lie_by_channels_goes_on_too(tmp_path: Path) -> None:
    """The fused step reads weight and momentum as they lie in memory, whatever the order of their axes."""

    def make() -> tuple[nn.Conv2d, Optimizer]:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            conv = nn.Conv2d(4, 3, kernel_size=2).to(memory_format=torch.channels_last)
        return conv, SGD(conv.parameters(), lr=0.1, momentum=0.9, fused=True)

    def learn_pictures(conv: nn.Module, optimizer: Optimizer, *, steps: int) -> None:
        pictures = torch.linspace(-1, 1, 2 * 4 * 5 * 5).view(2, 4, 5, 5)
        for _ in range(steps):
            optimizer.zero_grad()
            torch.autograd.backward(conv(pictures).square().mean())
            optimizer.step()

    straight, optimizer = make()
    learn_pictures(straight, optimizer, steps=2)
    path = tmp_path / "epoch-0001.safetensors"
    save_checkpoint(path, modules={"student": straight}, optimizer=optimizer, metadata={})
    resumed, other = make()
    checkpoint = read_checkpoint(path)
    checkpoint.load_module("student", resumed)
    checkpoint.load_optimizer(other)
    learn_pictures(straight, optimizer, steps=3)
    learn_pictures(resumed, other, steps=3)
    assert torch.equal(resumed.weight, straight.weight)


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


def touch(folder: Path, *epochs: int) -> list[Path]:
    paths = [checkpoint_path(folder, epoch=epoch) for epoch in epochs]
    for path in paths:
        path.write_bytes(b"")
    return paths


@pytest.mark.parametrize(
    ("keep", "left"),
    [(1, [10_000]), (2, [9_999, 10_000]), (3, [20, 9_999, 10_000]), (9, [10, 20, 9_999, 10_000]), (0, None)],
)
def test_keeping_the_newest(tmp_path: Path, keep: int, left: list[int] | None) -> None:
    newest = touch(tmp_path, 10, 20, 9_999, 10_000)[-1]
    keep_newest(tmp_path, newest, keep=keep)
    expected = [checkpoint_path(tmp_path, epoch=epoch) for epoch in left or (10, 20, 9_999, 10_000)]
    assert sorted(tmp_path.glob("epoch-*")) == sorted(expected)
    assert newest_checkpoint(tmp_path) == newest


def test_later_checkpoints_of_an_earlier_training_go(tmp_path: Path) -> None:
    paths = touch(tmp_path, 2, 4, 50, 60)
    keep_newest(tmp_path, paths[1], keep=2)
    assert sorted(tmp_path.glob("epoch-*")) == paths[:2]


def test_where_there_is_no_newest(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nowhere") is None
    (path,) = touch(tmp_path, 3)
    keep_newest(tmp_path, path, keep=1)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"epoch-0003\.safetensors: no such file, though .*last\.json names it"):
        newest_checkpoint(tmp_path)
    write_json(tmp_path / "last.json", {}, kind="something else")
    with pytest.raises(CheckpointError, match="found 'something else'"):
        newest_checkpoint(tmp_path)


def test_a_checkpoint_that_cannot_be_deleted(tmp_path: Path) -> None:
    old, new = touch(tmp_path, 1, 2)
    old.unlink()
    old.mkdir()
    with pytest.raises(ArtifactError, match=r"epoch-0001\.safetensors: cannot delete an old checkpoint"):
        keep_newest(tmp_path, new, keep=1)
