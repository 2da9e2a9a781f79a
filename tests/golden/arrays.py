"""The stored numbers of the reference, and how close to them is close enough."""

import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

FOLDER = Path(os.environ.get("LEADPP_GOLDEN", Path(__file__).parent / "data"))
TOLERANCE = 1e-5
"""Relative to an array's largest magnitude."""

Arrays = dict[str, NDArray[np.generic]]


def read(name: str) -> Arrays:
    with np.load(FOLDER / name, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def tensor(arrays: Arrays, name: str) -> torch.Tensor:
    return torch.from_numpy(np.asarray(arrays[name], dtype=np.float32))


def number(arrays: Arrays, name: str) -> float:
    return float(arrays[name].item())


def assert_close(actual: torch.Tensor, expected: NDArray[np.generic], *, name: str) -> None:
    """Compare with the tolerance that the stored arrays promise; shapes must agree too."""
    found = actual.detach().cpu().double().numpy()
    assert found.shape == expected.shape, name
    scale = float(np.abs(expected).max())
    worst = float(np.abs(found - expected).max())
    assert worst <= TOLERANCE * scale, f"{name}: off by {worst:.3e}, largest magnitude {scale:.3e}"
