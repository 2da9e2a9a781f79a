"""What a stage was made from and by, and the digests of what it wrote: noted when it ends, checked by ``verify``."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import leadpp
from leadpp.data.index import ImageIndex
from leadpp.io.artifacts import file_digest
from leadpp.io.ledger import newest_checkpoint
from leadpp.pipeline.job import BOXES, COMPARISON, PROTOTYPES, Job

_READ = {
    "train": (BOXES, PROTOTYPES),
    "evaluate": (BOXES, PROTOTYPES),
    "report": (BOXES, PROTOTYPES, COMPARISON, "evaluation.json", "photographs.csv", "metrics.jsonl"),
}
"""Files of the run that a stage reads, where they are; the newest checkpoint too after training."""


def sources_of(job: Job, index: ImageIndex, name: str) -> dict[str, Any]:
    """Return what a stage is about to be made from: digests of the photographs, of given files and of the run's own.

    Raises:
        ArtifactError: One of them cannot be read.
    """
    read = [job.run / file for file in _READ.get(name, ())]
    if name in ("evaluate", "report"):
        newest = newest_checkpoint(job.run / "checkpoints")
        read += [] if newest is None else [newest]
    given = job.texts.given() if name == "prototypes" else {}
    return {
        "photographs": index.digest(),
        "given": {role: {"path": str(path.resolve()), "digest": file_digest(path)} for role, path in given.items()},
        "files": _digests(job.run, read),
    }


def origin_of(run: Path, outputs: Sequence[str], *, made_from: dict[str, Any]) -> dict[str, Any]:
    """Return what is noted of a finished stage: ``code``, ``made_from``, and ``files``, what it wrote.

    Raises:
        ArtifactError: A file cannot be read.
    """
    tops = [run / output for output in outputs]
    files = [path for top in tops for path in (sorted(top.rglob("*")) if top.is_dir() else [top])]
    code = {"version": leadpp.__version__, "source": source_digest()}
    return {"code": code, "made_from": made_from, "files": _digests(run, files)}


def source_digest() -> str:
    """Return the BLAKE2b digest of the package's own Python files, 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    root = Path(leadpp.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _digests(run: Path, files: Sequence[Path]) -> dict[str, str]:
    return {path.relative_to(run).as_posix(): file_digest(path) for path in files if path.is_file()}
