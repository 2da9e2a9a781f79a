"""What a report is made of: the files of a run folder, read when a section asks for them."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.config.tree import Config
from leadpp.data.boxes import PhotographBoxes, read_boxes
from leadpp.data.index import ImageIndex, ImageRecord, Split
from leadpp.engine.features import load_features
from leadpp.engine.neighbours import unit_rows
from leadpp.errors import ArtifactError
from leadpp.functional.randomness import generator_for
from leadpp.io.artifacts import read_json, read_table, read_tensors
from leadpp.text.prototypes import Prototypes, read_spaces

_SPLITS: tuple[Split, ...] = ("train", "test")


class Absent(Exception):  # noqa: N818 - not an error: a section that has nothing to show
    """What a section needs is not there; the message says what, and which stage makes it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bank:
    """The embedding of some photographs by one encoder."""

    encoder: str
    feature: str
    set: str
    records: tuple[ImageRecord, ...]
    """The N photographs."""
    features: Tensor
    """Unit rows, float32, shape (N, F)."""

    @property
    def name(self) -> str:
        """Say in words whose embedding this is."""
        return f"{self.encoder}, {self.feature}, {self.set}"


@dataclass(frozen=True, kw_only=True)
class Material:
    """A run folder and the index it was made from."""

    index: ImageIndex
    run: Path
    config: Config

    @functools.cached_property
    def usable(self) -> tuple[ImageRecord, ...]:
        """Photographs that can be read, in index order."""
        return self.index.usable()

    @functools.cached_property
    def place_of(self) -> dict[str, int]:
        """Places among the usable photographs, by path."""
        return {record.path: place for place, record in enumerate(self.usable)}

    @functools.cached_property
    def stages(self) -> dict[str, dict[str, Any]]:
        """What ``stages.json`` knows of the finished stages; empty where the stages ran alone."""
        path = self.run / "stages.json"
        stages: dict[str, dict[str, Any]] = read_json(path, kind="stages")["stages"] if path.exists() else {}
        return stages

    @property
    def run_hash(self) -> str:
        """The hash of the run that ``evaluate`` noted and ``leadpp verify`` prints; empty where it did not."""
        return str(self.stages.get("evaluate", {}).get("fingerprint", ""))

    @functools.cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of ``evaluation.json``."""
        if not self.index.labelled:
            raise Absent("The photographs have no labels, so nothing is measured.")
        path = self.run / "evaluation.json"
        if not path.exists():
            raise Absent("No evaluation.json: evaluate makes it.")
        rows: list[dict[str, Any]] = read_json(path, kind="evaluation")["rows"]
        return rows

    @functools.cached_property
    def names(self) -> dict[str, Any]:
        """What ``evaluation.json`` tells of the names: knowledge, promise, and rows if there are any."""
        if not self.rows:
            raise Absent("evaluation.json has no rows.")
        found: dict[str, Any] = read_json(self.run / "evaluation.json", kind="evaluation").get("names", {})
        if not found:
            raise Absent(
                "No names were measured: they need prototypes with names, and an encoder that learnt with them."
            )
        return found

    @functools.cached_property
    def comparison(self) -> dict[str, Any]:
        """What ``comparison.json`` tells of other runs: ``note`` and ``runs``; empty where there is none."""
        path = self.run / "comparison.json"
        return read_json(path, kind="comparison") if path.exists() else {"note": "", "runs": []}

    @functools.cached_property
    def beside(self) -> list[dict[str, Any]]:
        """The rows of other runs, each with the name of its run as ``row``."""
        return [{**row, "row": run["row"]} for run in self.comparison["runs"] for row in run["rows"]]

    @functools.cached_property
    def photographs(self) -> dict[str, dict[str, Any]]:
        """What ``photographs.parquet`` says of each photograph (cluster, names, scores), by path."""
        path = self.run / "photographs.parquet"
        if not path.exists():
            raise Absent("No photographs.parquet: leadpp run makes it of photographs without labels.")
        rows: list[dict[str, Any]] = read_table(path, kind="photographs")[0].to_pylist()
        told = {row["path"]: row for row in rows}
        if any(record.path not in told for record in self.usable):
            raise ArtifactError(f"{path}: its rows are not the photographs of the index; run leadpp run again")
        return told

    @functools.cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``; a line torn by a crash is left out."""
        path = self.run / "metrics.jsonl"
        if not path.exists():
            raise Absent("No metrics.jsonl: train makes it.")
        lines = []
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if isinstance(line, dict):
                lines.append(line)
        return lines

    @functools.cached_property
    def boxes(self) -> PhotographBoxes:
        """The boxes of all usable photographs."""
        if not (self.run / "boxes.parquet").exists():
            raise Absent("No boxes.parquet: localize makes it.")
        return read_boxes(self.run / "boxes.parquet", self.usable)

    @functools.cached_property
    def spaces(self) -> tuple[Prototypes, ...]:
        """The run's prototypes in the space of each teacher."""
        if not (self.run / "prototypes.safetensors").exists():
            raise Absent("No prototypes.safetensors: prototypes build makes it, from names or descriptions.")
        return read_spaces(self.run / "prototypes.safetensors")

    @property
    def prototypes(self) -> Prototypes:
        """The run's prototypes in the space of the first teacher, or of the only one."""
        return self.spaces[0]

    @functools.cached_property
    def indicators(self) -> dict[str, Tensor]:
        """The indicator maps that localize kept, by path; empty where it kept none."""
        path = self.run / "indicators.safetensors"
        if not path.exists():
            return {}
        tensors, metadata = read_tensors(path, kind="indicators")
        return dict(zip(metadata["paths"], tensors["indicators"], strict=True))

    def environment(self) -> dict[str, Any]:
        """Versions and machine of the run."""
        if not (self.run / "env.json").exists():
            raise Absent("No env.json: leadpp run makes it.")
        return read_json(self.run / "env.json", kind="environment")

    def bank(self, encoder: str, feature: str, set_: str, split: Split) -> Bank | None:
        """Return saved embeddings, or None where there are none.

        Raises:
            ArtifactError: The file is damaged, or does not fit its table of photographs.
        """
        path = self.run / "embeddings" / f"{encoder}-{feature}-{set_}-{split}.npy"
        order = self.run / "embeddings" / f"{split}.parquet"
        if not (path.exists() and order.exists()):
            return None
        features = load_features(path)
        paths: list[str] = read_table(order, kind="embeddings")[0].column("path").to_pylist()
        records = tuple(self.usable[self.place_of[name]] for name in paths if name in self.place_of)
        if not len(records) == len(paths) == len(features):
            raise ArtifactError(f"{path}: its rows are not the photographs of the index; run evaluate again")
        return Bank(encoder=encoder, feature=feature, set=set_, records=records, features=unit_rows(features))

    def first_bank(self, *, encoder: str | None = None) -> Bank:
        """Return the first embeddings (of an encoder, if one is named) that there are.

        With labels those of the test photographs, in the order of the evaluated rows; without any, those of all
        photographs, the student's first.

        Raises:
            Absent: There are none.
        """
        if self.index.labelled:
            named = [(row["encoder"], row["feature"], row["set"]) for row in self.rows]
            found = (self.bank(*one, "test") for one in named if encoder in (None, one[0]))
        else:
            wanted = ("student", "teacher") if encoder is None else (encoder,)
            feature = {"student": "gap"}
            found = (
                self._joined_bank(one, feature.get(one, "embedding"), set_)
                for one in wanted
                for set_ in ("whole", "crop")
            )
        bank = next((bank for bank in found if bank is not None), None)
        if bank is None:
            whose = f"of the {encoder} " if encoder else ""
            what, maker = ("test ", "evaluate") if self.index.labelled else ("", "leadpp run")
            raise Absent(f"No embeddings {whose}for the {what}photographs in embeddings/: {maker} makes them.")
        return bank

    def _joined_bank(self, encoder: str, feature: str, set_: str) -> Bank | None:
        """Return saved embeddings of both splits in one."""
        banks = [self.bank(encoder, feature, set_, split) for split in _SPLITS]
        found = [bank for bank in banks if bank is not None]
        if not found:
            return None
        records = tuple(record for bank in found for record in bank.records)
        features = torch.cat([bank.features for bank in found])
        return Bank(encoder=encoder, feature=feature, set=set_, records=records, features=features)

    def classes_of(self, records: Sequence[ImageRecord]) -> Tensor:
        """Return the class numbers of records, (N,).

        Raises:
            Absent: A record has no label.
        """
        labels = [record.label for record in records]
        if not self.index.labelled or None in labels:
            raise Absent("The photographs have no labels.")
        return torch.tensor([self.index.class_index(label) for label in labels if label is not None])

    def pick(self, count: int, *, of: int, purpose: str) -> list[int]:
        """Draw ``count`` of ``of`` places without repetition, in rising order; the same in every report of a run."""
        order = torch.randperm(of, generator=generator_for(self.config.seed, f"report {purpose}"))
        return sorted(order[:count].tolist())
