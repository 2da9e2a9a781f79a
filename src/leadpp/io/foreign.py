"""Checkpoints that other programs saved with ``torch.save``: tensors and plain values are read, no program is run."""

import argparse
import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from leadpp.errors import CheckpointError

_STATES = ("state_dict", "model", "model_state", "net")
"""Where checkpoints keep their tensors, if not at the top."""
_REMEDY = "save its state_dict alone with torch.save, and give that file"
_DAMAGES = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    ImportError,
    ArithmeticError,
    MemoryError,
    struct.error,
)
"""What ``torch.load`` raises at files that are none of its own, or damaged, beside its own refusal."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ForeignCheckpoint:
    """What a file of another program holds."""

    state: dict[str, Tensor]
    """Its tensors by their names."""
    epoch: int | None = None
    """After how many epochs it was saved, where it says so."""
    also: tuple[str, ...] = ()
    """What else lies in the file beside the tensors, such as ``optimizer``."""


def read_foreign(path: Path) -> ForeignCheckpoint:
    """Read a file that ``torch.save`` wrote, of today or of years ago, on the CPU.

    Nothing is unpickled but tensors, plain values and the ``argparse.Namespace`` in which programs keep their words
    of the command line: a bag of values without any code.

    Args:
        path: A state dict, or a dictionary that holds one under ``state_dict`` or ``model``.

    Raises:
        CheckpointError: Missing, damaged, with other objects inside, or without tensors by name.
    """
    content = _load(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: expected tensors by name, found a {type(content).__name__}; {_REMEDY}")
    place = next((name for name in _STATES if isinstance(content.get(name), Mapping)), None)
    state = content if place is None else content[place]
    odd = [(name, found) for name, found in state.items() if not (isinstance(name, str) and isinstance(found, Tensor))]
    if odd or not state:
        found = f"{odd[0][0]!r}, a {type(odd[0][1]).__name__}" if odd else "none"
        raise CheckpointError(f"{path}: expected tensors by name, found {found}; {_REMEDY}")
    epoch = None if place is None else content.get("epoch")
    return ForeignCheckpoint(
        state={name: tensor.detach() for name, tensor in state.items()},
        epoch=epoch if isinstance(epoch, int) and not isinstance(epoch, bool) and 0 <= epoch < 10**6 else None,
        also=() if place is None else tuple(str(name) for name in content if name != place),
    )


def _load(path: Path) -> object:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch wonders aloud at odd files; what they are is said below
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except IsADirectoryError as error:
        raise CheckpointError(f"{path}: a folder; give the checkpoint file in it") from error
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file; give a checkpoint that torch.save wrote") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: {_refusal(error)}") from error
    except _DAMAGES as error:
        what = "damaged, cut short or something else" if path.stat().st_size else "empty"
        raise CheckpointError(
            f"{path}: cannot be read as a checkpoint of torch.save; it is {what}: fetch it again"
        ) from (error)
    return content


def _refusal(error: pickle.UnpicklingError) -> str:
    named = re.search(r"(?:GLOBAL|global|class|function) `?([A-Za-z_][\w.]*\.[\w.]+)`?", str(error))
    if named is None:
        return "not a checkpoint of torch.save; give a .pth or .pt file with tensors by name"
    return (
        f"it holds {named[1]} beside its tensors, which is not loaded, because unpickling it could run any program; "
        f"where you trust the file, {_REMEDY}"
    )
