"""What a run of the pipeline is told."""

from dataclasses import dataclass, field
from pathlib import Path

from leadpp.config import Config
from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.engine.runtime import Progress, SilentProgress

STAGES = ("localize", "prototypes", "train", "evaluate", "report")
"""Every stage after the index, in order."""

PROTOTYPES = "prototypes.safetensors"
BOXES = "boxes.parquet"
COMPARISON = "comparison.json"


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What the user says of the classes; at most one of the three, but names may go with ``.pt`` prototypes."""

    names: Path | str | None = None
    """A file with one class name a line."""
    descriptions: Path | str | None = None
    """A CSV or JSON file of descriptions."""
    prototypes: Path | str | None = None
    """Ready prototypes: the reference's ``.pt`` or our ``.safetensors``."""

    def given(self) -> dict[str, Path]:
        """Return the files that were named, by their role."""
        roles = {"names": self.names, "descriptions": self.descriptions, "prototypes": self.prototypes}
        return {role: Path(path) for role, path in roles.items() if path is not None}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of the pipeline: where it reads, where it writes, and what it was told."""

    data: Path
    run: Path
    config: Config
    texts: Texts = field(default_factory=Texts)
    boxes_csv: Path | None = None
    resume: bool = False
    write_crops: bool = False
    progress: Progress = field(default_factory=SilentProgress)
    ranks: Ranks = ALONE
    """This process among those that do the run together."""

    @property
    def has_prototypes(self) -> bool:
        """Tell whether the run folder holds prototypes."""
        return (self.run / PROTOTYPES).is_file()
