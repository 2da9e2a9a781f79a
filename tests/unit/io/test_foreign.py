import argparse
import collections
import fractions
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from leadpp.errors import CheckpointError
from leadpp.io.foreign import read_foreign

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(7)}


def saved(folder: Path, content: object, *, zipped: bool = True) -> Path:
    path = folder / "checkpoint.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False], ids=["today", "before torch 1.6"])
@pytest.mark.parametrize(
    "content",
    [
        STATE,
        collections.OrderedDict(STATE),
        {name: nn.Parameter(tensor, requires_grad=False) for name, tensor in STATE.items()},
        {
            "state_dict": STATE,
            "epoch": 3,
            "arch": "resnet50",
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        },
        {"model": STATE, "epoch": 3, "args": argparse.Namespace(lr=0.1, data="birds")},
    ],
    ids=["bare", "ordered", "parameters", "MoCo's", "with arguments"],
)
def test_tensors_are_read_from_where_they_lie(tmp_path: Path, content: dict[str, object], zipped: bool) -> None:
    found = read_foreign(saved(tmp_path, content, zipped=zipped))
    assert list(found.state) == list(STATE)
    assert all(torch.equal(found.state[name], tensor) for name, tensor in STATE.items())
    assert not any(tensor.requires_grad for tensor in found.state.values())
    assert found.epoch == content.get("epoch")
    assert found.also == tuple(name for name in content if name not in ("state_dict", "model", *STATE))


@pytest.mark.parametrize("epoch", [-1, True, 2.5, "last", 10**9])
def test_an_odd_epoch_is_none(tmp_path: Path, epoch: object) -> None:
    assert read_foreign(saved(tmp_path, {"state_dict": STATE, "epoch": epoch})).epoch is None


class Trap:
    """Leaves a trace if it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("trapped",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": STATE, "hook": Trap()}, "posix.mkdir beside its tensors, .* could run any program"),
        ({"state_dict": STATE, "best": np.float64(3)}, "numpy._core.multiarray.scalar beside"),
        ({"state_dict": STATE, "share": fractions.Fraction(1, 2)}, "fractions.Fraction beside"),
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear beside"),
        (torch.ones(3), "expected tensors by name, found a Tensor"),
        ([torch.ones(3)], "expected tensors by name, found a list"),
        ({}, "expected tensors by name, found none"),
        ({"state_dict": {}}, "expected tensors by name, found none"),
        ({"a": {"b": torch.ones(3)}}, "expected tensors by name, found 'a', a dict"),
        ({3: torch.ones(3)}, "expected tensors by name, found 3, a Tensor"),
        ({"epoch": 3}, "expected tensors by name, found 'epoch', a int"),
    ],
)
def test_anything_else_is_refused_and_not_run(
    tmp_path: Path, content: object, message: str, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, content, zipped=zipped)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_foreign(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("content", [b"", b"a text\n", bytes(range(256)) * 9, b"\x1f\x8b\x08zip", b"PK\x03\x04zip"])
def test_other_files_are_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint of torch\.save") as caught:
        read_foreign(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_was_cut_short_is_one_line(tmp_path: Path, zipped: bool) -> None:
    path = saved(tmp_path, {"a": torch.ones(9000)}, zipped=zipped)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(CheckpointError, match="it is damaged, cut short or something else"):
        read_foreign(path)


def test_a_folder_and_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a folder; give the checkpoint file in it"):
        read_foreign(tmp_path)
    with pytest.raises(CheckpointError, match="no such file"):
        read_foreign(tmp_path / "model_last.pth")
