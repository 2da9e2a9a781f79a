"""Where and how a run computes: device, worker processes, and how it tells a person about its progress."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol, TypeVar

import torch

from leadpp.distributed.cards import own_card
from leadpp.errors import ConfigError

T = TypeVar("T")

Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""Arithmetic of forward passes, as in settings."""


class Progress(Protocol):
    """How a stage tells what it is doing; the command line shows it, library users may ignore it."""

    def track(
        self,
        items: Iterable[T],
        *,
        total: int,
        what: str,
        unit: str = "images",
        size: Callable[[T], int] | None = None,
        describe: Callable[[], str] | None = None,
    ) -> Iterator[T]:
        """Yield the items and show how many of ``total`` units are done, the rate and the time left.

        Args:
            items: What is worked through.
            total: How many units there are in all.
            what: What is being done.
            unit: What is counted.
            size: Units in an item, such as the photographs of a batch; one each when left out.
            describe: Asked after every item for words to show beside the rate, such as loss terms.
        """
        ...

    def note(self, message: str) -> None:
        """Show one line that stays."""
        ...


class SilentProgress:
    """Tells nothing; notes are kept in ``notes``."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def track(
        self,
        items: Iterable[T],
        *,
        total: int,
        what: str,
        unit: str = "images",
        size: Callable[[T], int] | None = None,
        describe: Callable[[], str] | None = None,
    ) -> Iterator[T]:
        """Yield the items."""
        del total, what, unit, size, describe
        yield from items

    def note(self, message: str) -> None:
        """Keep the line."""
        self.notes.append(message)


def pick_device(name: str, *, processes: int = 1) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` into a device that is there.

    Args:
        name: As in settings; ``cuda`` is the GPU of this process where there are several.
        processes: How many of a run are on this machine; each needs a GPU of its own.

    Raises:
        ConfigError: No such device on this machine, or too few for the processes.
    """
    device = _named_device(name)
    shared = device.type == "cuda" and (device.index is not None or own_card(0, processes=processes) is None)
    if processes > 1 and shared:
        raise ConfigError(
            f"{processes} processes here, each in need of a GPU, but train.device is {name} and there are "
            f"{torch.cuda.device_count()}; start as many processes as there are GPUs, with train.device auto or cuda"
        )
    if processes > 1 and device.type == "mps":
        raise ConfigError(f"{processes} processes cannot share the GPU of this machine; set train.device to cpu")
    return device


def _named_device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"train.device must be auto, cpu, cuda, cuda:N or mps, got {name!r}") from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise ConfigError(f"train.device is {name!r}, but this machine has no such device; use auto or cpu")
    return device


def pick_precision(name: Precision, device: torch.device) -> Literal["fp32", "bf16", "fp16"]:
    """Turn ``auto`` into the arithmetic that is fast on a device: bf16 where its matrix units know it, else fp32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # Public torch tells of AVX alone; only with AMX is bf16 several times faster, without it may be slower than fp32.
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return "bf16" if device.type == "cpu" and has_tiles() else "fp32"


def worker_count(asked: int, *, processes: int = 1) -> int:
    """Return the number of reading processes: ``asked``, or one less than this process's share of the cores for -1."""
    return asked if asked >= 0 else max(0, core_count() // processes - 1)


def restarted_by() -> str:
    """Return the variable by which SLURM or torchrun says that this job was started again; empty if it was not.

    >>> restarted_by()
    ''
    """
    counts = {name: os.environ.get(name, "") for name in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")}
    return next((name for name, count in counts.items() if count.isdecimal() and int(count) > 0), "")


def core_count() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
