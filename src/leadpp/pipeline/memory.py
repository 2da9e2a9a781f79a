"""What a run folder remembers in ``stages.json``: whose it is, what it was given, and what its stages did."""

import datetime
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from leadpp.errors import DataError
from leadpp.io.artifacts import read_json, write_json


class Memory:
    """The content of ``stages.json``; every change is written at once."""

    def __init__(self, run: Path) -> None:
        self._path = run / "stages.json"
        content = read_json(self._path, kind="stages") if self._path.exists() else {}
        self.data: dict[str, str] = content.get("data", {})
        """Where the photographs are, and the digest of their index."""
        self.inputs: dict[str, str] = content.get("inputs", {})
        """Files that the user named, by role: names, descriptions, prototypes, boxes."""
        self.stages: dict[str, dict[str, Any]] = content.get("stages", {})
        """Fingerprint, seconds, end, results and origin of each finished stage."""

    def remember(
        self,
        name: str,
        *,
        fingerprint: str,
        seconds: float,
        summary: object,
        origin: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Note that a stage is finished, what it gave, and what it wrote from what (:mod:`leadpp.pipeline.origin`)."""
        self.stages[name] = {
            "fingerprint": fingerprint,
            "seconds": round(seconds, 3),
            "finished": datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
            "summary": summary,
            **origin,
        }
        self._write()

    def forget(self, name: str) -> None:
        """Note that a stage is under way, so that its files are not to be trusted."""
        if self.stages.pop(name, None) is not None:
            self._write()

    def restore(self, name: str, known: dict[str, Any]) -> None:
        """Note that a stage is as it was before it was begun anew."""
        self.stages[name] = known
        self._write()

    def keep(self, files: Mapping[str, Path], *, instead_of: tuple[str, ...]) -> None:
        """Note the files that the user named; those of the roles ``instead_of`` are forgotten."""
        kept = {role: path for role, path in self.inputs.items() if role not in instead_of}
        inputs = kept | {role: str(path.resolve()) for role, path in files.items()}
        if inputs != self.inputs:
            self.inputs = inputs
            self._write()

    def own(self, data: Path, digest: str) -> None:
        """Note whose run this is.

        Raises:
            DataError: It is another data folder's.
        """
        here = str(data.resolve())
        if self.data and self.data["path"] != here and self.data["digest"] != digest:
            raise DataError(
                f"{self._path.parent}: this run folder belongs to the data in {self.data['path']}, not to {here}; "
                "choose another --run, or give that --data"
            )
        if self.data != {"path": here, "digest": digest}:
            self.data = {"path": here, "digest": digest}
            self._write()

    def _write(self) -> None:
        write_json(self._path, {"data": self.data, "inputs": self.inputs, "stages": self.stages}, kind="stages")
