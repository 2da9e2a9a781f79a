"""Whether a run folder still holds what its stages wrote, and what was made from what."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from leadpp import __version__
from leadpp.config import build_config, read_yaml
from leadpp.data.index import read_index
from leadpp.errors import ArtifactError, LeadppError
from leadpp.io.artifacts import file_digest, read_json
from leadpp.io.ledger import read_ledger
from leadpp.pipeline.fingerprints import fingerprint
from leadpp.pipeline.job import Job
from leadpp.pipeline.memory import Memory


def verify(run: Path) -> dict[str, Any]:
    """Check every file of a run against the digest that was noted when it was written.

    Args:
        run: The run folder; nothing in it is changed.

    Returns:
        Ready for JSON: ``whole``; how many ``files`` were checked; ``trouble``, a line for each file that is gone or
        changed and for each stage that was made from other files than lie here; ``notes``, what cannot be known;
        ``run``, the hash of the run that its figures carry (empty before they are made), and whether it was
        ``made_again`` from what lies here and is the same; ``stages``, by name when each was ``finished``, in how many
        ``seconds``, by which ``code``, and what it was ``made_from``.

    Raises:
        ArtifactError: It is no run folder, or its memory is damaged.
    """
    if not (run / "stages.json").is_file():
        raise ArtifactError(f"{run}: expected a run folder, found no stages.json; give a folder that leadpp has run in")
    memory = Memory(run)
    noted = _noted(run, memory)
    found = {name: file_digest(run / name) if (run / name).is_file() else None for name in noted}
    trouble = [line for name, (digest, by) in noted.items() for line in _check(name, digest, found[name], by=by)]
    trouble += [line for name, known in memory.stages.items() for line in _stale(run, name, known, noted)]
    trouble += _other_photographs(memory)
    run_hash = memory.stages.get("evaluate", {}).get("fingerprint", "")
    trouble += _other_figures(run / "evaluation.json", run_hash)
    return {
        "whole": not trouble,
        "files": len(noted),
        "trouble": trouble,
        "notes": list(_notes(run, memory)),
        "run": run_hash,
        "made_again": bool(run_hash) and run_hash == _hash_again(run),
        "stages": {name: _origin(known) for name, known in memory.stages.items()},
    }


def _noted(run: Path, memory: Memory) -> dict[str, tuple[str, str]]:
    """Return digest and writer of every file that is known by one."""
    noted = {
        name: (digest, stage)
        for stage, known in memory.stages.items()
        for name, digest in known.get("files", {}).items()
    }
    ledger = read_ledger(run / "checkpoints")
    for name, known in (ledger.known if ledger else {}).items():
        noted.setdefault(f"checkpoints/{Path(name).name}", (known["digest"], "train"))
    return noted


def _check(name: str, noted: str, found: str | None, *, by: str) -> Iterator[str]:
    if found is None:
        yield f"{name}: is gone, {by} wrote it"
    elif found != noted:
        yield f"{name}: is not what {by} wrote (digest {found}, noted {noted})"


def _stale(run: Path, name: str, known: Mapping[str, Any], noted: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Tell of files that a stage was made from, and that are others now."""
    for source, digest in known.get("made_from", {}).get("files", {}).items():
        if source in noted and noted[source][0] != digest:
            yield f"{name}: was made from another {source} than {noted[source][1]} has written since; run {name} again"
        elif source not in noted and not (run / source).is_file():
            yield f"{name}: was made from {source}, which is gone; run {name} again"


def _other_photographs(memory: Memory) -> Iterator[str]:
    for name, known in memory.stages.items():
        photographs = known.get("made_from", {}).get("photographs")
        if photographs is not None and photographs != memory.data.get("digest"):
            yield f"{name}: was made from other photographs than the run has now; run {name} again"


def _other_figures(path: Path, run_hash: str) -> Iterator[str]:
    """Tell of figures that say they are of another run; those of older versions do not say."""
    try:
        carried = read_json(path, kind="evaluation").get("run", run_hash)
    except ArtifactError:  # none there, or changed, which is told of elsewhere
        return
    if run_hash and carried != run_hash:  # evaluate that did not end is no trouble: it makes them anew
        yield f"{path.name}: its figures are of run {carried}, evaluate was of {run_hash}; run evaluate again"


def _hash_again(run: Path) -> str:
    """Make the hash of a run from its settings and files; empty where they cannot be read."""
    try:
        config, index = build_config(read_yaml(run / "config.yaml")), read_index(run / "index.parquet")
        return fingerprint(Job(data=index.root, run=run, config=config), index, "evaluate")
    except LeadppError:
        return ""


def _notes(run: Path, memory: Memory) -> Iterator[str]:
    for name, known in memory.stages.items():
        if "files" not in known:
            yield f"{name}: digests not recorded, an older version made it"
        code = known.get("code", {}).get("version", __version__)
        if code != __version__:
            yield f"{name}: made by leadpp {code}, this is {__version__}"
        for role, given in known.get("made_from", {}).get("given", {}).items():
            path = Path(given["path"])
            if not path.is_file() or file_digest(path) != given["digest"]:
                yield f"{name}: the {role} that it was given, {path}, are not there any more as they were"
    if "evaluate" not in memory.stages and (run / "evaluation.json").is_file():
        yield "evaluate: not finished; its figures lie there, and are made anew when it is run again"
    if "train" not in memory.stages and (run / "checkpoints").is_dir():
        yield "train: not finished; --resume goes on with it"


def _origin(known: Mapping[str, Any]) -> dict[str, Any]:
    unknown = "not recorded"
    return {
        "finished": known.get("finished", unknown),
        "seconds": known.get("seconds", unknown),
        "code": known.get("code", unknown),
        "made_from": known.get("made_from", unknown),
        "files": len(known["files"]) if "files" in known else unknown,
    }
