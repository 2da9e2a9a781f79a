"""Retrieval as the reference counts it, at 1e-9."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from leadpp.engine.neighbours import retrieval

FOLDER = Path(os.environ.get("LEADPP_GOLDEN", Path(__file__).parent / "data"))


@pytest.mark.parametrize("chunk", [32, 1024])
@pytest.mark.parametrize("name", ["retrieval_a", "retrieval_b"])
def test_retrieval(name: str, chunk: int) -> None:
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as arrays:
        features, labels = torch.from_numpy(arrays["features"]), torch.from_numpy(arrays["labels"])
        expected = {"rank1": arrays["top1"].item(), "rank5": arrays["top5"].item(), "map": arrays["mAP"].item()}
    found = retrieval(features, labels, chunk=chunk)
    assert {key: found.figures[key] for key in expected} == pytest.approx(expected, abs=1e-9)
    assert (found.queries, found.queries_left_out) == (len(labels), 0)
