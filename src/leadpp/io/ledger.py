"""Which checkpoints of a folder are kept, which is the newest, and whether a file still is what was written.

``last.json`` names the newest; beside it stand the checksum of each, which are kept for good, and which was best.
Files that it does not tell of (from older versions) are ordered by their names and taken as they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leadpp.errors import ArtifactError, CheckpointError
from leadpp.io.artifacts import file_digest, read_json, write_json
from leadpp.io.checkpoint import Checkpoint, read_checkpoint

_KIND = "last-checkpoint"
_POINTER = "last.json"
_FILES = "epoch-*.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Keeping:
    """What is kept beside a new checkpoint."""

    newest: int = 2
    """How many of the newest, the new one included; 0 keeps all."""
    for_good: bool = False
    """Whether the new one is kept whatever comes."""
    best: Mapping[str, Any] | None = None
    """What makes the new one the best so far, any JSON object; it is kept until a better one comes."""
    alone: bool = False
    """Whether all others are of an earlier training, and give way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """The content of ``last.json``."""

    newest: str
    """Name of the newest file."""
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    """``digest`` and ``for_good`` by name."""
    best: dict[str, Any] | None = None
    """``file``, and what made it the best."""


def checkpoint_path(folder: Path, *, epoch: int, step: int | None = None) -> Path:
    """Return where a checkpoint is kept: the one after so many epochs, or the one at a step of the next.

    >>> checkpoint_path(Path("run/checkpoints"), epoch=10).name
    'epoch-0010.safetensors'
    >>> checkpoint_path(Path("run/checkpoints"), epoch=10, step=1234).name
    'epoch-0010-step-00001234.safetensors'
    """
    return folder / (f"epoch-{epoch:04d}" + ("" if step is None else f"-step-{step:08d}") + ".safetensors")


def keep_newest(folder: Path, newest: Path, *, keep: int) -> None:
    """Enter a checkpoint and delete the oldest ones; see :func:`enter_checkpoint`.

    Args:
        folder: Where checkpoints are.
        newest: One of them, just written.
        keep: How many to keep, the newest included; 0 keeps all.

    Raises:
        ArtifactError: The disk refused.
    """
    enter_checkpoint(newest, Keeping(newest=keep), folder=folder)


def enter_checkpoint(newest: Path, keeping: Keeping, *, folder: Path) -> None:
    """Point to the newest checkpoint, then delete those that are not to be kept and those of later steps.

    Args:
        newest: A checkpoint of the folder, just written.
        keeping: Which others stay.
        folder: Where checkpoints are.

    Raises:
        ArtifactError: The disk refused.
    """
    before = None if keeping.alone else _read_if_whole(folder)
    known = dict(before.known) if before else {}
    known[newest.name] = {"digest": file_digest(newest), "for_good": keeping.for_good}
    best = {"file": newest.name, **keeping.best} if keeping.best is not None else before.best if before else None
    staying = _staying(sorted(folder.glob(_FILES), key=_place), newest, known, best, keeping)
    names = {path.name for path in staying}
    ledger = {
        "file": newest.name,
        "checkpoints": {name: what for name, what in known.items() if name in names},
        "best": best if best and best["file"] in names else None,
    }
    write_json(folder / _POINTER, ledger, kind=_KIND)
    for path in set(folder.glob(_FILES)) - set(staying):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ArtifactError(f"{path}: cannot delete an old checkpoint: {error.strerror}; delete it") from error


def read_ledger(folder: Path) -> Ledger | None:
    """Read ``last.json``; None where there is none.

    Raises:
        CheckpointError: It is damaged.
    """
    pointer = folder / _POINTER
    if not pointer.exists():
        return None
    try:
        content = read_json(pointer, kind=_KIND)
    except ArtifactError as error:
        raise CheckpointError(str(error)) from error
    known = content.get("checkpoints")
    return Ledger(
        newest=Path(str(content.get("file"))).name,  # a name, never a path to elsewhere
        known=known if isinstance(known, dict) else {},
        best=content.get("best"),
    )


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a folder, or None where there has been none.

    Raises:
        CheckpointError: The pointer is damaged, or the file it names is gone.
    """
    ledger = read_ledger(folder)
    if ledger is None:
        return None
    path = folder / ledger.newest
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file, though {folder / _POINTER} names it; train from the start")
    return path


def read_newest_whole(folder: Path, *, notify: Callable[[str], None]) -> Checkpoint | None:
    """Read the newest checkpoint of a folder that is what was written; None where there has been none.

    Args:
        folder: Where checkpoints are.
        notify: Told why an older one is taken.

    Raises:
        CheckpointError: There are some, and none of them is whole.
    """
    if not (folder / _POINTER).exists():
        return None
    trouble: CheckpointError | None = None
    ledger = None
    try:
        ledger = read_ledger(folder)
    except CheckpointError as error:
        trouble = error
    for path in _candidates(folder, ledger):
        try:
            checkpoint = read_sound(path, ledger)
        except CheckpointError as error:
            trouble = trouble or error
            continue
        if trouble is not None:
            notify(f"{trouble}; going on from {path.name}, which is whole")
        return checkpoint
    raise trouble or CheckpointError(f"{folder}: no checkpoint there; train from the start")


def read_sound(path: Path, ledger: Ledger | None) -> Checkpoint:
    """Read a checkpoint after a look at its checksum, if that is known.

    Raises:
        CheckpointError: It is missing, damaged, or not what was written.
    """
    noted = ledger.known.get(path.name, {}).get("digest") if ledger else None
    if noted is not None and path.is_file() and file_digest(path) != noted:
        raise CheckpointError(f"{path}: it is damaged, its checksum is not the one noted when it was written")
    return read_checkpoint(path)


def _candidates(folder: Path, ledger: Ledger | None) -> list[Path]:
    """Return the newest checkpoint and all before it, newest first; without a ledger all there are."""
    there = set(folder.glob(_FILES))
    if ledger is not None:
        newest = folder / ledger.newest
        there = {newest} | {path for path in there if _place(path) < _place(newest)}
    return sorted(there, key=_place, reverse=True)


def _staying(
    in_order: list[Path],
    newest: Path,
    known: Mapping[str, Mapping[str, Any]],
    best: Mapping[str, Any] | None,
    keeping: Keeping,
) -> list[Path]:
    """Return which of a folder's checkpoints stay."""
    if keeping.alone:
        return [newest]
    earlier = [path for path in in_order if _place(path) < _place(newest)]
    kept = len(earlier) if keeping.newest == 0 else keeping.newest - 1
    aging = [path for path in earlier if not known.get(path.name, {}).get("for_good")]
    young = aging[len(aging) - min(kept, len(aging)) :]
    return [
        *(path for path in earlier if path not in aging or path in young or (best and path.name == best["file"])),
        newest,
    ]


def _read_if_whole(folder: Path) -> Ledger | None:
    try:
        return read_ledger(folder)
    except CheckpointError:  # it is about to be written anew
        return None


def _place(path: Path) -> tuple[int, int]:
    """Return how far a training was: its epochs, and its steps where it was amid one."""
    epoch, _, step = path.stem.removeprefix("epoch-").partition("-step-")
    return (int(epoch) if epoch.isdecimal() else -1, int(step) if step.isdecimal() else -1)
