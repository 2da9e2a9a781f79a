"""Checkpoints: everything that a training needs to go on, in one file that is loaded exactly or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from leadpp.errors import ArtifactError, CheckpointError
from leadpp.io.artifacts import read_tensors, write_tensors

_KIND = "checkpoint"


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
        content = self._section("optimizer")
        settings = optimizer.state_dict()["param_groups"]
        own = [len(group["params"]) for group in settings]
        found = self._group_sizes()
        if found != own:
            raise CheckpointError(
                f"{self.path}: its optimizer state belongs to other parameters (groups of {found} tensors, expected "
                f"{own}); train from the start"
            )
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        state: dict[int, dict[str, Any]] = {}
        for name, tensor in content.items():
            number, _, quantity = name.partition(".")
            if not number.isdecimal() or int(number) >= len(weights):
                raise CheckpointError(f"{self.path}: its optimizer state names no parameter by {name[:40]!r}")
            state.setdefault(int(number), {})[quantity] = _laid_out_as(weights[int(number)], tensor)
        optimizer.load_state_dict({"state": state, "param_groups": settings})

    def _group_sizes(self) -> list[int]:
        """Return how many tensors each group of the optimizer had."""
        try:
            return [len(group["params"]) for group in self.metadata["optimizer"]]
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"{self.path}: says nothing of the optimizer's groups; train from the start"
            ) from error

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


def gather_state(
    modules: Mapping[str, nn.Module], optimizer: Optimizer | None, metadata: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Name everything that a checkpoint is to hold; the tensors are those of the modules themselves, not copies.

    Args:
        modules: By the names under which :meth:`Checkpoint.load_module` finds them; without dots.
        optimizer: Found under ``optimizer``; its settings go into the metadata.
        metadata: Any JSON object.

    Returns:
        Tensors by ``section.name``, and the metadata of the file.
    """
    tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    described = dict(metadata)
    if optimizer is not None:
        content = optimizer.state_dict()
        described["optimizer"] = content["param_groups"]
        for number, quantities in content["state"].items():
            tensors |= {f"optimizer.{number}.{name}": t for name, t in quantities.items() if isinstance(t, Tensor)}
    described["sections"] = [*modules, *(["optimizer"] if optimizer is not None else [])]
    return tensors, described


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write what :func:`gather_state` named; a reader meets the old file or the whole new one.

    Raises:
        ArtifactError: The disk refused.
    """
    write_tensors(path, tensors, kind=_KIND, metadata=metadata)


def save_checkpoint(
    path: Path, *, modules: Mapping[str, nn.Module], optimizer: Optimizer | None, metadata: Mapping[str, Any]
) -> None:
    """Write modules and optimizer to one file; see :func:`gather_state` and :func:`write_checkpoint`.

    Raises:
        ArtifactError: The disk refused.
    """
    write_checkpoint(path, *gather_state(modules, optimizer, metadata))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what :func:`save_checkpoint` wrote.

    Raises:
        CheckpointError: Missing, truncated, or not a checkpoint.
    """
    try:
        tensors, metadata = read_tensors(path, kind=_KIND)
    except ArtifactError as error:
        raise CheckpointError(str(error)) from error
    named: Sequence[str] = metadata.pop("sections", ())
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        raise CheckpointError(f"{path}: its list of sections is no list of names; train from the start")
    sections: dict[str, dict[str, Tensor]] = {name: {} for name in named}
    for name, tensor in tensors.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = tensor
    return Checkpoint(path=path, sections=sections, metadata=metadata)


def _laid_out_as(weight: Tensor, tensor: Tensor) -> Tensor:
    """Give what belongs to a weight the weight's order in memory, which SGD in one pass takes for granted."""
    return torch.empty_like(weight, dtype=tensor.dtype).copy_(tensor) if tensor.shape == weight.shape else tensor
