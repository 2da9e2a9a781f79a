import pytest

from leadpp.distributed.launch import Launch, first_host, read_launch
from leadpp.errors import ConfigError

TORCHRUN = {
    "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "node7",
    "MASTER_PORT": "29501", "TORCHELASTIC_RESTART_COUNT": "2", "TORCHELASTIC_USE_AGENT_STORE": "True",
}  # fmt: skip
SRUN = {
    "SLURM_PROCID": "6", "SLURM_STEP_NUM_TASKS": "7", "SLURM_LOCALID": "2", "SLURM_NODEID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4,3", "SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_JOB_ID": "123456",
}  # fmt: skip


def test_torchrun() -> None:
    assert read_launch(TORCHRUN) == Launch(
        rank=5, count=8, local_rank=1, local_count=4, host="node7", port=29501, attempt=2, hosted=True
    )


def test_srun() -> None:
    launch = read_launch(SRUN)
    assert launch == Launch(
        rank=6, count=7, local_rank=2, local_count=3, host="gpu03", port=launch.port, job="123456.0"
    )
    assert 20_000 <= launch.port < 32_000
    assert read_launch(SRUN | {"MASTER_ADDR": "here", "MASTER_PORT": "1234"}).port == 1234
    for other in (read_launch(SRUN | {"SLURM_JOB_ID": "123457"}), read_launch(SRUN | {"SLURM_STEP_ID": "1"})):
        assert other.port != launch.port
        assert other.job != launch.job


def test_torchrun_within_a_job_of_slurm_is_torchrun() -> None:
    assert read_launch(SRUN | TORCHRUN).count == 8


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_ID": "1"},  # a batch script, without srun
        {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"},
        {"RANK": "0", "WORLD_SIZE": "1"},
    ],
)
def test_one_process_is_alone(variables: dict[str, str]) -> None:
    launch = read_launch(variables)
    assert (launch.count, launch.leads) == (1, True)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"RANK": "8"}, "process 8 of 8"),
        ({"LOCAL_RANK": "4"}, "4 of 4 on its machine"),
        ({"LOCAL_WORLD_SIZE": "9"}, "1 of 9"),
        ({"RANK": "-1"}, "RANK of the launcher: expected a number, found '-1'"),
        ({"WORLD_SIZE": "two"}, "found 'two'"),
        ({"MASTER_PORT": ""}, "MASTER_PORT"),
    ],
)
def test_contradictions_are_refused(changed: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_launch(TORCHRUN | changed)


def test_tasks_that_nobody_can_read() -> None:
    with pytest.raises(ConfigError, match="expected something like"):
        read_launch(SRUN | {"SLURM_STEP_TASKS_PER_NODE": "many"})


@pytest.mark.parametrize(
    ("nodes", "first"), [("n1", "n1"), ("n1,n2", "n1"), ("n[1,3-4]", "n1"), ("a[01-02]-ib,b", "a01-ib"), ("", "")]
)
def test_first_host(nodes: str, first: str) -> None:
    assert first_host(nodes) == first
