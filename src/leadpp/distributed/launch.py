"""Which of how many processes this one is, as torchrun or SLURM's srun says it; knows nothing of torch."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from leadpp.errors import ConfigError

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_FIRST_PORT, _PORTS = 20_000, 12_000  # below those that a system gives to whoever asks


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """One of several processes, and where they meet."""

    rank: int = 0
    """Number of this process, from 0."""
    count: int = 1
    """How many there are."""
    local_rank: int = 0
    """Its number on this machine."""
    local_count: int = 1
    """How many there are on this machine."""
    host: str = "127.0.0.1"
    """Where they meet: the machine of the first process."""
    port: int = 0
    attempt: int = 0
    """How often torchrun has started them again; what an earlier attempt left at the meeting place is not read."""
    job: str = ""
    """What SLURM calls this step of this job: several may run on the same machines."""
    hosted: bool = False
    """Whether the launcher keeps the meeting place; otherwise the first process does."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files and speaks to people."""
        return self.rank == 0


def read_launch(environment: Mapping[str, str] | None = None) -> Launch:
    """Read what the launcher says of this process; one process that nobody launched is alone.

    torchrun is asked first (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``, ``LOCAL_WORLD_SIZE``, ``MASTER_ADDR``,
    ``MASTER_PORT``), then srun (``SLURM_PROCID``, ``SLURM_STEP_NUM_TASKS``, ``SLURM_LOCALID``,
    ``SLURM_STEP_TASKS_PER_NODE``, ``SLURM_STEP_NODELIST``, ``SLURM_JOB_ID``). A batch script that calls us without
    srun has the variables of its job, but not those of a step: it is one process.

    >>> read_launch({}).count
    1
    >>> read_launch({"RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "29500"}).rank
    1

    Args:
        environment: Variables; those of the process when left out.

    Raises:
        ConfigError: The variables contradict each other, or one is no number.
    """
    variables = os.environ if environment is None else environment
    if "RANK" in variables and "WORLD_SIZE" in variables:
        launch = _of_torchrun(variables)
    elif _number(variables, "SLURM_STEP_NUM_TASKS", 1) > 1 and "SLURM_PROCID" in variables:
        launch = _of_slurm(variables)
    else:
        return Launch()
    if not (0 <= launch.rank < launch.count and 0 <= launch.local_rank < launch.local_count <= launch.count):
        raise ConfigError(
            f"the launcher says that this is process {launch.rank} of {launch.count} and {launch.local_rank} of "
            f"{launch.local_count} on its machine, which cannot be; unset {', '.join(_TORCHRUN)} to run alone"
        )
    return launch


def _of_torchrun(variables: Mapping[str, str]) -> Launch:
    rank, count = _number(variables, "RANK"), _number(variables, "WORLD_SIZE")
    return Launch(
        rank=rank,
        count=count,
        local_rank=_number(variables, "LOCAL_RANK", rank),
        local_count=_number(variables, "LOCAL_WORLD_SIZE", count),
        host=variables.get("MASTER_ADDR", "127.0.0.1"),
        port=_number(variables, "MASTER_PORT", 29_500),
        attempt=_number(variables, "TORCHELASTIC_RESTART_COUNT", 0),
        hosted=variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def _of_slurm(variables: Mapping[str, str]) -> Launch:
    rank, count = _number(variables, "SLURM_PROCID"), _number(variables, "SLURM_STEP_NUM_TASKS")
    nodes = variables.get("SLURM_STEP_NODELIST", variables.get("SLURM_JOB_NODELIST", "127.0.0.1"))
    job, step = _number(variables, "SLURM_JOB_ID", 0), _number(variables, "SLURM_STEP_ID", 0)
    tasks = variables.get("SLURM_STEP_TASKS_PER_NODE", str(count))
    return Launch(
        rank=rank,
        count=count,
        local_rank=_number(variables, "SLURM_LOCALID", rank),
        local_count=_tasks_of(tasks, node=_number(variables, "SLURM_NODEID", 0)),
        host=variables.get("MASTER_ADDR", first_host(nodes)),
        port=_number(variables, "MASTER_PORT", _FIRST_PORT + (job + 97 * step) % _PORTS),
        job=f"{job}.{step}",
    )


def first_host(nodes: str) -> str:
    """Return the first machine of a list as SLURM writes it.

    >>> first_host("node[003-005,9],other"), first_host("alone"), first_host("a1,a2")
    ('node003', 'alone', 'a1')
    """
    found = re.match(r"(?P<stem>[^\[,]+)(\[(?P<first>\d+)[^\]]*\](?P<rest>[^,]*))?", nodes)
    return "" if found is None else found["stem"] + (found["first"] or "") + (found["rest"] or "")


def _tasks_of(tasks: str, *, node: int) -> int:
    """Return how many processes a machine has, of a list as SLURM writes it.

    >>> _tasks_of("4(x2),3", node=0), _tasks_of("4(x2),3", node=2)
    (4, 3)
    """
    counts: list[int] = []
    for part in tasks.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if found is None:
            raise ConfigError(f"SLURM_STEP_TASKS_PER_NODE: expected something like 4(x2),3, got {tasks!r}")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts[min(node, len(counts) - 1)]


def _number(variables: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = variables.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch(r"\d{1,10}", text):
        raise ConfigError(f"the variable {name} of the launcher: expected a number, found {text!r}")
    return int(text)
