"""Which GPU is whose, where several processes of a run are on one machine."""

import os

import torch


def own_card(local_rank: int, *, processes: int) -> int | None:
    """Return the number of the GPU that is this process's own; None where there are too few.

    A process that sees one GPU, because its launcher shows it no other (srun with ``--gpus-per-task``), has that.

    Args:
        local_rank: Number of this process on its machine.
        processes: How many of the run are there.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if cards >= processes:
        return local_rank
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return 0 if cards == 1 and shown and "," not in shown else None
