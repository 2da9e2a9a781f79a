"""Where the processes of a run meet, and how they part."""

import contextlib
import datetime
import os
import socket
import sys
import time
from collections.abc import Iterator
from typing import cast

import torch
import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # there, if not in its list of names
from torch.distributed.distributed_c10d import PrefixStore, Store

from leadpp.distributed.cards import own_card
from leadpp.distributed.launch import Launch
from leadpp.distributed.pulse import Pulse
from leadpp.distributed.ranks import ALONE, LostRankError, Ranks
from leadpp.errors import ConfigError, LeadppError, SaidError

_MEETING_S = 300
"""How long the processes wait for each other at the start: machines of a cluster do not start at once."""
_PATIENCE_S = 10
"""After how long the first one says that it waits."""
_WORK = datetime.timedelta(days=7)
"""How long one may wait for another's part; who is gone is found by the pulse, not by this."""
_PARTING_S = {"done": 20, "failed": 3}
"""How long the process that keeps the meeting place waits for the others to part."""


_EXPLANATION_S = 2
"""How long a process that misses another one waits for that one's word that it failed."""
_PRECEDENCE_S = 0.5
"""What all processes have to say, the first one says."""


@contextlib.contextmanager
def together(launch: Launch) -> Iterator[Ranks]:
    """Meet the other processes of a run, if there are any, and part from them when the work is done.

    If another process ends with an error, is killed, or is silent for 40 s, this one ends too, with a line that says
    so and code 2: where it waits for the other's message, at once if the connection was closed, and by its pulse else.

    Raises:
        ConfigError: The others did not come, or there are fewer GPUs here than processes.
        SaidError: In place of a mistake that another process has told of in the same words.
    """
    if launch.count == 1:
        yield ALONE
        return
    pulse = _meet(launch)
    state = "failed"
    try:
        yield Ranks(
            rank=launch.rank,
            count=launch.count,
            local_count=launch.local_count,
            gradients=cast("dist.ProcessGroup", dist.new_group(timeout=_WORK)),
        )
        state = "done"
    except LeadppError as error:
        lost = isinstance(error, LostRankError)
        if _another_failed(pulse) if lost else not _says_first(pulse, launch, str(error)):
            raise SaidError(str(error)) from error
        raise
    finally:
        _part(pulse, launch, state=state)


def _meet(launch: Launch) -> Pulse:
    card = own_card(launch.local_rank, processes=launch.local_count)
    if card is not None:
        torch.cuda.set_device(card)
    if launch.local_count == launch.count:
        _stay_on_this_machine()
    try:
        store = _store(launch, keeps=launch.leads and not launch.hosted)
        _await_all(store, launch)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if card is not None and dist.is_nccl_available() else "gloo",
            store=PrefixStore("work", store),
            rank=launch.rank,
            world_size=launch.count,
            timeout=_WORK,
        )
        beats = PrefixStore("pulse", _store(launch, keeps=False))  # of its own: a store serves one question at a time
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            f"process {launch.rank} of {launch.count} did not meet the others at {launch.host}:{launch.port} "
            f"({str(error).splitlines()[0]}); see that all were started and that this address can be reached"
        ) from error
    pulse = Pulse(beats, rank=launch.rank, count=launch.count)
    pulse.start()
    return pulse


def _await_all(store: Store, launch: Launch) -> None:
    """Wait here, where a signal is heard, until all processes have come; torch would wait where none is.

    Raises:
        ConfigError: Some did not come.
    """
    here, began, said = store.add("here", 1), time.monotonic(), False
    while here < launch.count:
        waited = time.monotonic() - began
        if waited > _MEETING_S:
            raise ConfigError(
                f"process {launch.rank} of {launch.count} waited {_MEETING_S} s at {launch.host}:{launch.port}, but "
                f"{here} came; see that all were started, or unset RANK, WORLD_SIZE and SLURM_STEP_NUM_TASKS for one"
            )
        if launch.leads and waited > _PATIENCE_S and not said:
            sys.stderr.write(
                f"leadpp: waiting at {launch.host}:{launch.port}; {here} of {launch.count} processes came\n"
            )
            said = True
        time.sleep(0.02)
        here = store.add("here", 0)


def _stay_on_this_machine() -> None:
    """Have gloo listen where no other machine can reach it, unless the user has said where."""
    own = (
        [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")] if hasattr(socket, "if_nameindex") else []
    )
    if own:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", own[0])


def _store(launch: Launch, *, keeps: bool) -> Store:
    """Reach the meeting place, or open it: on one machine where no other can reach it."""
    listener = None
    if keeps and launch.local_count == launch.count:
        listener = socket.create_server((launch.host, launch.port))
    kept = TCPStore(
        launch.host,
        launch.port,
        world_size=launch.count,
        is_master=keeps,
        timeout=datetime.timedelta(seconds=_MEETING_S),
        wait_for_workers=False,
        master_listen_fd=None if listener is None else listener.detach(),
    )
    return PrefixStore(f"leadpp/{launch.job}/{launch.attempt}", kept)


def _says_first(pulse: Pulse, launch: Launch, message: str) -> bool:
    if not launch.leads:
        time.sleep(_PRECEDENCE_S)
    with contextlib.suppress(RuntimeError):
        return pulse.says_first(message)
    return True


def _another_failed(pulse: Pulse) -> bool:
    """Tell whether the process that is missed said that it failed, and so has told the user why."""
    with contextlib.suppress(RuntimeError):
        deadline = time.monotonic() + _EXPLANATION_S
        while time.monotonic() < deadline:
            if pulse.any_failed():
                return True
            time.sleep(0.05)
    return False


def _part(pulse: Pulse, launch: Launch, *, state: str) -> None:
    """Say how this process ends; the one that keeps the meeting place stays until the others have done so."""
    with contextlib.suppress(RuntimeError):
        pulse.finish(state)
        deadline = time.monotonic() + _PARTING_S[state]
        while launch.leads and not launch.hosted and not pulse.all_done() and time.monotonic() < deadline:
            time.sleep(0.05)
    if state == "done":  # an abort in the middle of a message may hang, and the end of the process does the same
        dist.destroy_process_group()
