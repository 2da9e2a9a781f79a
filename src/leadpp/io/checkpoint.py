"""Checkpoints: everything that a training needs to go on, in one file that is loaded exactly or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from leadpp.errors import ArtifactError, CheckpointError
from leadpp.io.artifacts import read_json, read_tensors, write_json, write_tensors

_KIND = "checkpoint"
_POINTER_KIND = "last-checkpoint"
_POINTER = "last.json"
_FILES = "epoch-*.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """What a checkpoint file holds, on the CPU."""

    path: Path
    """Where it was read from, for messages."""
    sections: Mapping[str, Mapping[str, Tensor]]
    """State by the name under which it was saved, for instance ``student`` or ``optimizer``."""
    metadata: Mapping[str, Any]
    """What was said about it: backbone, widths, epoch, step, ..."""

    def load_module(self, name: str, module: nn.Module) -> None:
        """Load a section into a module, exactly.

        Raises:
            CheckpointError: The section is missing, or is the state of another module.
        """
        load_exactly(module, self._section(name), source=self.path)

    def load_optimizer(self, optimizer: Optimizer) -> None:
        """Load what the optimizer has gathered, such as momentum; rates and other settings stay those of the optimizer.

        Raises:
            CheckpointError: It was saved for other parameters.
        """
        state: dict[int, dict[str, Any]] = {}
        for name, tensor in self._section("optimizer").items():
            number, _, quantity = name.partition(".")
            state.setdefault(int(number), {})[quantity] = tensor
        settings = optimizer.state_dict()["param_groups"]
        own = [len(group["params"]) for group in settings]
        found = [len(group["params"]) for group in self.metadata["optimizer"]]
        if found != own:
            raise CheckpointError(
                f"{self.path}: its optimizer state belongs to other parameters (groups of {found} tensors, expected "
                f"{own}); train from the start"
            )
        optimizer.load_state_dict({"state": state, "param_groups": settings})
        # A file keeps no order of memory, and PyTorch's fused steps go through weight and momentum as they lie there.
        for weight, quantities in optimizer.state.items():
            for quantity, tensor in quantities.items():
                if isinstance(tensor, Tensor) and tensor.shape == weight.shape:
                    quantities[quantity] = torch.empty_like(weight, dtype=tensor.dtype).copy_(tensor)

    def _section(self, name: str) -> Mapping[str, Tensor]:
        if name not in self.sections:
            raise CheckpointError(
                f"{self.path}: expected a section {name!r}, found {', '.join(self.sections) or 'none'}; "
                "it was saved by another version or for another purpose"
            )
        return self.sections[name]


def load_exactly(module: nn.Module, state: Mapping[str, Tensor], *, source: Path) -> None:
    """Load every tensor of a module, or nothing.

    Args:
        module: What is loaded into.
        state: Its whole state dict.
        source: The file that the state came from, for messages.

    Raises:
        CheckpointError: A tensor is missing, is one too many or has another shape; names the first.
    """
    own = module.state_dict()
    odd = sorted(own.keys() ^ state.keys())
    if odd:
        where = "the file lacks" if odd[0] in own else f"{type(module).__name__} lacks"
        raise CheckpointError(
            f"{source}: {len(odd)} tensors differ from {type(module).__name__}, {where} {odd[0]!r}; "
            "it is a checkpoint of another backbone or other settings"
        )
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            raise CheckpointError(
                f"{source}: {name!r} has shape {tuple(state[name].shape)}, expected {tuple(tensor.shape)}; "
                "it is a checkpoint of another backbone or other settings"
            )
    module.load_state_dict(state)


def save_checkpoint(
    path: Path, *, modules: Mapping[str, nn.Module], optimizer: Optimizer | None, metadata: Mapping[str, Any]
) -> None:
    """Write modules and optimizer to one file.

    Args:
        path: The file; a reader meets the old one or the whole new one.
        modules: By the names under which :meth:`Checkpoint.load_module` finds them; without dots.
        optimizer: Saved under ``optimizer``; its settings go into the metadata.
        metadata: Any JSON object.

    Raises:
        ArtifactError: The disk refused.
    """
    tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    described = dict(metadata)
    if optimizer is not None:
        content = optimizer.state_dict()
        described["optimizer"] = content["param_groups"]
        for number, quantities in content["state"].items():
            tensors |= {f"optimizer.{number}.{name}": t for name, t in quantities.items() if isinstance(t, Tensor)}
    described["sections"] = [*modules, *(["optimizer"] if optimizer is not None else [])]
    write_tensors(path, tensors, kind=_KIND, metadata=described)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what :func:`save_checkpoint` wrote.

    Raises:
        CheckpointError: Missing, truncated, or not a checkpoint.
    """
    try:
        tensors, metadata = read_tensors(path, kind=_KIND)
    except ArtifactError as error:
        raise CheckpointError(str(error)) from error
    sections: dict[str, dict[str, Tensor]] = {name: {} for name in metadata.pop("sections", ())}
    for name, tensor in tensors.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = tensor
    return Checkpoint(path=path, sections=sections, metadata=metadata)


def checkpoint_path(folder: Path, *, epoch: int) -> Path:
    """Return where the checkpoint after so many epochs is kept.

    >>> checkpoint_path(Path("run/checkpoints"), epoch=10).name
    'epoch-0010.safetensors'
    """
    return folder / f"epoch-{epoch:04d}.safetensors"


def keep_newest(folder: Path, newest: Path, *, keep: int) -> None:
    """Point to the newest checkpoint, then delete the oldest ones and those of an earlier, longer training.

    Args:
        folder: Where checkpoints are.
        newest: One of them, just written.
        keep: How many to keep, the newest included; 0 keeps all.

    Raises:
        ArtifactError: The disk refused.
    """
    write_json(folder / _POINTER, {"file": newest.name}, kind=_POINTER_KIND)
    by_epoch = sorted(folder.glob(_FILES), key=_epoch_of)
    earlier = [path for path in by_epoch if _epoch_of(path) < _epoch_of(newest)]
    later = by_epoch[len(earlier) + 1 :]
    surplus = max(0, len(earlier) + 1 - keep) if keep else 0
    for path in (*earlier[:surplus], *later):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ArtifactError(f"{path}: cannot delete an old checkpoint: {error.strerror}; delete it") from error


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a folder, or None where there has been none.

    Raises:
        CheckpointError: The pointer is damaged, or the file it names is gone.
    """
    pointer = folder / _POINTER
    if not pointer.exists():
        return None
    try:
        path = folder / str(read_json(pointer, kind=_POINTER_KIND).get("file"))
    except ArtifactError as error:
        raise CheckpointError(str(error)) from error
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, though {pointer} names it; train from the start")
    return path


def _epoch_of(path: Path) -> int:
    digits = path.stem.partition("-")[2]
    return int(digits) if digits.isdecimal() else -1
