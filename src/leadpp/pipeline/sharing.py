"""How the processes of one run take part: the first decides, writes and speaks, the others do their shares."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from leadpp.config import build_config
from leadpp.data.index import ImageIndex, read_index
from leadpp.errors import ArtifactError, LeadppError
from leadpp.pipeline.job import Job

SHARED: tuple[str, ...] = ("localize", "train", "evaluate")
"""Stages that every process does a share of; the others are done by the first alone."""

Runner = Callable[[Job, ImageIndex], object]


class Leading:
    """What the first process tells the others, stage by stage."""

    def __init__(self, job: Job) -> None:
        self._job, self._amid = job, False

    @contextlib.contextmanager
    def stage(self, name: str, index: ImageIndex) -> Iterator[None]:
        """Have the others do their shares of a stage, over the photographs of an index, for as long as this lasts."""
        if name not in SHARED:
            yield
            return
        self._job.ranks.tell({"stage": name, "config": dataclasses.asdict(self._job.config), "index": index.digest()})
        self._amid = True
        yield
        self._amid = False

    @contextlib.contextmanager
    def dismissing(self) -> Iterator[None]:
        """Let the others go when all is done; amid a stage, where they wait for other words, by leaving."""
        try:
            yield
        except LeadppError as error:
            if not self._amid:
                self._job.ranks.tell({"failed": str(error)})
            raise
        self._job.ranks.tell({})


def follow(job: Job, runners: dict[str, Runner]) -> None:
    """Do the shares of the stages that the first process names, until there are no more.

    Args:
        job: As the first process was given it; settings come from that.
        runners: What does a stage.

    Raises:
        LeadppError: This process failed, or the first one did.
    """
    while message := job.ranks.tell():
        if "failed" in message:
            raise LeadppError(message["failed"])
        config = build_config(message["config"])
        # Read anew for each stage: what the run knows of its photographs is what the first process wrote last.
        path = job.run / "index.parquet"
        index = read_index(path)
        if index.digest() != message["index"]:
            raise ArtifactError(
                f"{path}: process {job.ranks.rank} of {job.ranks.count} finds other photographs there than the first "
                "process wrote; the run folder must be on a disk that all machines see alike"
            )
        runners[message["stage"]](dataclasses.replace(job, config=config), index)
