"""Signals that ask a training to end: it finishes its step, saves what it has, and ends with the signal's code."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C; a batch system, a container or ``timeout``; and the notice that SLURM gives some time before."""

_ANSWER = b"\nthe step is finished and saved; Ctrl-C again ends at once\n"


class StopRequest:
    """Listens for signals, and remembers the first until the training has come to a place where it can end.

    Attributes:
        signal: The first signal that came; None so far.
        urgent: Whether Ctrl-C came after it, so that nothing more is to be waited for.

    Args:
        shared: Whether other processes take part: then a signal breaks nothing off until :meth:`agree` has been told
            what all of them heard, so that all end at the same place.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self.signal: signal.Signals | None = None
        self.urgent = False
        self._shared, self._agreed = shared, not shared
        self._at_once = False

    def agree(self, number: int) -> None:
        """Take in the signal that any of the processes heard; 0 if none did."""
        if number:
            self.signal = self.signal or signal.Signals(number)
            self._agreed = True

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals for as long as this lasts; in any other thread than the first there are none to take."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        own = os.getpid()

        def hear(number: int, frame: FrameType | None) -> None:
            del frame
            if os.getpid() != own:  # a forked process that has yet to say what it does with signals
                os._exit(128 + number)
            self._hear(signal.Signals(number))

        before: dict[signal.Signals, Any] = {number: signal.signal(number, hear) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal break off what is done here, which must be such that nothing is lost by it.

        Raises:
            Stopped: It came, now or before.
        """
        self._at_once = True
        try:
            if self.signal is not None and self._agreed:
                raise Stopped
            yield
        finally:
            self._at_once = False

    def leave(self) -> NoReturn:
        """End as the signal asks: as Ctrl-C does, or with 128 and the number of the signal as the exit code.

        Raises:
            KeyboardInterrupt: It was Ctrl-C.
            SystemExit: It was another.
        """
        assert self.signal is not None  # noqa: S101 - nobody leaves without being asked to
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.signal)

    def _hear(self, number: signal.Signals) -> None:
        if self.signal is not None:
            if number == signal.SIGINT:
                self.urgent = True
                raise KeyboardInterrupt
            return
        self.signal = number
        if self._at_once and not self._shared:
            raise Stopped
        if number == signal.SIGINT and sys.stderr is not None and sys.stderr.isatty():
            os.write(sys.stderr.fileno(), _ANSWER)  # print() may be in the middle of a line


class Stopped(BaseException):
    """A signal broke off what can be done again."""
