"""Files that are whole, typed and traceable.

Every writer here writes beside the target and renames, so that a reader meets the old file or the whole new one; every
file says its kind and schema version, and every reader checks them. Failures of the disk and damaged files become one
:class:`~leadpp.errors.ArtifactError`.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from leadpp.errors import ArtifactError

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "a file-size limit was reached; raise it and run the same command again",
    errno.EROFS: "the file system is read-only; choose a folder that can be written",
    errno.EACCES: "permission denied; choose a folder that can be written",
    errno.EPERM: "permission denied; choose a folder that can be written",
    errno.ENOTDIR: "a file stands where a folder is meant; choose another path",
    errno.EEXIST: "a file stands where a folder is meant; choose another path",
    errno.EISDIR: "a folder stands where a file is meant; choose another path",
}

_LEFT_BEHIND = re.compile(r"\..+\.(\d+)\.partial", re.ASCII)


def make_folder(path: Path) -> Path:
    """Create a folder and its parents, and return it.

    Raises:
        ArtifactError: It cannot be made, for instance because a file stands in its place.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _write_error(path, error) from error
    return path


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses within the block into one line on ``path``.

    Raises:
        ArtifactError: The disk refused, with what to do about it.
    """
    try:
        yield
    except OSError as error:
        raise _write_error(path, error) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; rename it over ``path`` at the end, or remove it on any failure.

    Raises:
        ArtifactError: The disk refused, with what to do about it.
    """
    make_folder(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        usual = stat.S_IMODE(partial.stat().st_mode)
        yield partial
        partial.chmod(usual)  # safetensors makes files that only their owner can read
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise _write_error(path, error) from error
    except SafetensorError as error:
        raise _tensor_write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # a read-only disk refuses this too
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` to fill; put it in the place of ``path`` at the end, or remove it.

    Whatever lay at ``path`` is removed once the new folder is whole, and stays as it was on any failure.

    Raises:
        ArtifactError: The disk refused, with what to do about it.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        yield make_folder(partial)
        if path.exists():
            path.rename(old)
        partial.rename(path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for folder in (partial, old):
            shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def append_line(path: Path, line: str) -> None:
    """Add one line to a log such as ``metrics.jsonl``; a torn last line of an earlier crash is completed first."""
    try:
        make_folder(path.parent)
        with path.open("ab+") as stream:
            if stream.tell() > 0:
                stream.seek(-1, os.SEEK_END)
                torn = stream.read(1) != b"\n"
                stream.seek(0, os.SEEK_END)
            else:
                torn = False
            stream.write((b"\n" if torn else b"") + line.encode() + b"\n")
    except OSError as error:
        raise _write_error(path, error) from error


def append_bytes(path: Path, content: bytes) -> None:
    """Add to the end of a file, which is made if there is none."""
    make_folder(path.parent)
    try:
        with path.open("ab") as stream:
            stream.write(content)
    except OSError as error:
        raise _write_error(path, error) from error


def write_json(path: Path, payload: Mapping[str, Any], *, kind: str, schema: int = 1) -> None:
    """Write a JSON object together with its kind and schema version."""
    text = json.dumps({"kind": kind, "schema": schema, **payload}, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path, *, kind: str, schema: int = 1) -> dict[str, Any]:
    """Read a JSON object that :func:`write_json` wrote, without its kind and schema.

    Raises:
        ArtifactError: Missing, damaged, of another kind or of another schema.
    """
    try:
        payload = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # no UTF-8, no JSON, a number of 5,000 digits, [[[[...
        raise _read_error(path, kind, error) from error
    if not isinstance(payload, dict):
        raise ArtifactError(f"{path}: expected a JSON object of kind {kind!r}, found {type(payload).__name__}")
    _check_kind(path, payload.pop("kind", None), payload.pop("schema", None), kind=kind, schema=schema)
    return payload


def write_table(
    path: Path, table: pa.Table, *, kind: str, schema: int = 1, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a Parquet table; ``metadata`` is any JSON object that travels with it."""
    header = {"leadpp": json.dumps({"kind": kind, "schema": schema, "metadata": dict(metadata or {})})}
    with replacing(path) as partial:
        pq.write_table(table.replace_schema_metadata(header), partial)


def read_table(path: Path, *, kind: str, schema: int = 1) -> tuple[pa.Table, dict[str, Any]]:
    """Read a Parquet table that :func:`write_table` wrote, and its metadata.

    Raises:
        ArtifactError: Missing, damaged, of another kind or of another schema.
    """
    try:
        table = pq.read_table(path, partitioning=None)
        table.validate(full=True)  # texts that are no UTF-8, among other things
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: names of columns that are no UTF-8
        raise _read_error(path, kind, error) from error
    return table, _open_header(path, (table.schema.metadata or {}).get(b"leadpp"), kind=kind, schema=schema)


def write_tensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    *,
    kind: str,
    schema: int = 1,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write tensors as safetensors; ``metadata`` is any JSON object that travels with them."""
    header = {"leadpp": json.dumps({"kind": kind, "schema": schema, "metadata": dict(metadata or {})})}
    with replacing(path) as partial:
        save_file(_apart(tensors), partial, metadata=header)


def read_tensors(path: Path, *, kind: str, schema: int = 1) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read the tensors and the metadata that :func:`write_tensors` wrote, on the CPU.

    Raises:
        ArtifactError: Missing, damaged, of another kind or of another schema.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            header = (stream.metadata() or {}).get("leadpp")
            metadata = _open_header(path, header, kind=kind, schema=schema)
            return {name: stream.get_tensor(name) for name in stream.keys()}, metadata  # noqa: SIM118 - no iterator
    except (OSError, SafetensorError) as error:
        raise _read_error(path, kind, error) from error


def file_digest(path: Path) -> str:
    """Return the BLAKE2b digest of a file's bytes, 32 hexadecimal digits.

    Raises:
        ArtifactError: The file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot read: {_reason(error)}") from error


def remove_partials(folder: Path) -> list[Path]:
    """Remove what writers that were killed have left beside their targets, and return what it was.

    What another process that lives is writing stays; this one may not be writing in the folder.
    """
    left = [path for path in folder.rglob(".*") if _left_behind(path.name)]
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # a read-only disk refuses, and will say so to whoever writes
                path.unlink(missing_ok=True)
    return left


def _left_behind(name: str) -> bool:
    """Say whether a name is that of a partial file whose writer is gone.

    This process's own number counts as that of a dead one: it writes nothing yet, and in a container every process
    that was killed had the same number.
    """
    found = _LEFT_BEHIND.fullmatch(name)
    return found is not None and (int(found[1]) == os.getpid() or not _lives(int(found[1])))


def _lives(process: int) -> bool:
    if sys.platform == "win32" or process == 0:  # on Windows the question itself would end the process
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True  # somebody else's
    except (OSError, OverflowError):
        return False
    return True


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Bring tensors to the CPU, each with memory of its own; those that have it already are not copied."""
    taken: set[int] = set()
    apart: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        storage = plain.untyped_storage()
        shared = storage.data_ptr() in taken or storage.nbytes() != plain.numel() * plain.element_size()
        apart[name] = plain.clone() if shared else plain
        taken.add(apart[name].untyped_storage().data_ptr())
    return apart


def _open_header(path: Path, header: str | bytes | None, *, kind: str, schema: int) -> dict[str, Any]:
    if header is None:
        raise ArtifactError(f"{path}: not a leadpp file of kind {kind!r} (no leadpp header in it)")
    try:
        content = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise _read_error(path, kind, error) from error
    if not isinstance(content, dict) or not isinstance(content.get("metadata"), dict):
        raise ArtifactError(f"{path}: not a leadpp file of kind {kind!r} (its leadpp header is no header of ours)")
    _check_kind(path, content.get("kind"), content.get("schema"), kind=kind, schema=schema)
    metadata: dict[str, Any] = content["metadata"]
    return metadata


def _check_kind(path: Path, found: object, version: object, *, kind: str, schema: int) -> None:
    if found != kind:
        raise ArtifactError(f"{path}: expected a file of kind {kind!r}, found {found!r}")
    if version != schema:
        raise ArtifactError(
            f"{path}: schema {version} of {kind!r} cannot be read, this version of leadpp reads schema {schema}; "
            "make the file again"
        )


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_error(path: Path, kind: str, error: Exception) -> ArtifactError:
    if isinstance(error, FileNotFoundError):
        return ArtifactError(f"{path}: no such file; expected a {kind!r} that an earlier stage writes")
    return ArtifactError(f"{path}: cannot be read as {kind!r} ({_reason(error)}); remove it and run its stage again")


def _tensor_write_error(path: Path, error: SafetensorError) -> ArtifactError:
    """Find the system's error number, which safetensors gives in words only, 0.5 in others."""
    number = re.search(r"(?:os error |Os { code: )(\d+)", str(error))
    if number is None:
        return ArtifactError(f"{path}: cannot write: {_reason(error)}")
    return _write_error(path, OSError(int(number[1]), _reason(error)))


def _write_error(path: Path, error: OSError) -> ArtifactError:
    advice = _ADVICE.get(error.errno or 0, _reason(error))
    return ArtifactError(f"{path}: cannot write: {advice}")
