import io

import pytest
from rich.console import Console

from leadpp.engine.console import PlainProgress, TerminalProgress, console_progress


def test_plain_lines_carry_count_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 10.0, 20.0, 30.0])
    progress = PlainProgress(every_s=15, clock=lambda: next(times))
    batches = [[1, 2], [3, 4], [5, 6]]
    passed = list(progress.track(batches, total=6, what="reading", size=len, describe=lambda: "loss 1.0"))
    assert passed == batches
    captured = capsys.readouterr()
    assert captured.err == "  reading: 4/6 images, 0.2/s, 10 s left, loss 1.0\n"
    assert captured.out == ""


def test_terminal_bars_show_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = TerminalProgress()
    stream = io.StringIO()
    monkeypatch.setattr(progress, "_console", Console(file=stream, force_terminal=True, width=120, highlight=False))
    assert list(progress.track("abc", total=3, what="reading", unit="letters", describe=lambda: "loss 2")) == list(
        "abc"
    )
    progress.note("[1/2] done")
    shown = stream.getvalue()
    assert "reading" in shown
    assert "loss 2" in shown
    assert "[1/2] done" in shown


def test_pipes_get_plain_lines() -> None:
    assert isinstance(console_progress(), PlainProgress)
