import pytest
import torch

from benchmarks.profile_step import report


def test_waits_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    report(lambda: torch.ones(3).sum().item(), steps=4, cuda=False, rows=3)
    shown = capsys.readouterr().out
    assert "aten::sum" in shown
    assert "waits in 4 steps: aten::_local_scalar_dense 4, " in shown
    report(lambda: torch.ones(3).sum(), steps=2, cuda=False, rows=3)
    assert "waits in 2 steps: aten::_local_scalar_dense 0, " in capsys.readouterr().out
