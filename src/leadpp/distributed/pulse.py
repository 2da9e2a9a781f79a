"""A thread that listens whether the other processes are alive, and ends this one when one of them is not.

A process that waits for a message of one that is gone would wait for ever: gloo notices a closed connection, but
neither a machine that lost its network nor a process that hangs; nccl notices nothing at once.
"""

import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import Protocol

from leadpp.io.words import plain_line

BEAT_S = 2.0
SILENCE_S = 40.0
"""How long a process may be silent before it is taken to be gone."""
GRACE_S = 8.0
"""How long this process may take to notice by itself that another one failed, before its thread ends it."""


class Store(Protocol):
    """Where processes leave words for each other; torch's TCPStore is one."""

    def set(self, key: str, value: str, /) -> None:
        """Leave a word."""
        ...

    def get(self, key: str, /) -> bytes:
        """Return a word that was left."""
        ...

    def check(self, keys: list[str], /) -> bool:
        """Tell whether all words were left."""
        ...

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        """Leave a word where none was, and return the word that is there."""
        ...


@dataclass(kw_only=True)
class _Heard:
    word: str = ""
    at: float = 0.0
    failed_at: float | None = None


class Pulse:
    """Tells the others every two seconds that this process lives, and listens to them.

    Args:
        store: Where words are left; no other thread uses it.
        rank: Number of this process.
        count: How many there are.
        silence_s: How long one may be silent.
        grace_s: How long this process may take to end by itself after another one failed.

    Attributes:
        born: When listening began, by the monotonic clock.
    """

    def __init__(
        self, store: Store, *, rank: int, count: int, silence_s: float = SILENCE_S, grace_s: float = GRACE_S
    ) -> None:
        self._store, self._rank, self._count = store, rank, count
        self._silence_s, self._grace_s = silence_s, grace_s
        self._beats, self._alive = 0, "alive"
        self._ended = threading.Event()
        self.born = time.monotonic()
        self._heard = {other: _Heard(at=self.born) for other in range(count) if other != rank}
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self.beat()
        self._thread.start()

    def finish(self, state: str) -> None:
        """Say how this process ends, ``done`` or ``failed``, and stop."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=BEAT_S + 1)
        self._alive = state
        self.beat()

    def all_done(self) -> bool:
        """Tell whether every other process has said that it ends."""
        return all(self._state(other) != "alive" for other in self._heard)

    def any_failed(self) -> bool:
        """Tell whether another process has said that it failed."""
        return any(self._state(other) == "failed" for other in self._heard)

    def says_first(self, message: str) -> bool:
        """Tell whether no other process has said this message before."""
        key = f"said/{message}"
        return self._store.compare_set(key, "", str(self._rank)) == str(self._rank).encode()

    def loss(self, now: float) -> str:
        """Listen to the others; say in one line who is lost, if anybody is."""
        for other, heard in self._heard.items():
            word = self._word(other)
            if word != heard.word:
                heard.word, heard.at = word, now
            state = self._state_of(word)
            if state == "failed":
                heard.failed_at = heard.failed_at or now
                if now - heard.failed_at > self._grace_s:
                    return f"process {other} of {self._count} ended with an error; see what it said"
            elif state == "alive" and now - heard.at > self._silence_s:
                return (
                    f"process {other} of {self._count} has been silent for {self._silence_s:.0f} s and is taken to be "
                    "gone; run the same command again, a training with --resume"
                )
        return ""

    def _run(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self.beat()
                lost = self.loss(time.monotonic())
            except RuntimeError:  # the store is gone, and with it the process or the launcher that kept it
                lost = "the meeting place of the processes is gone, and with it the first of them or the launcher"
            if lost and not self._ended.is_set():
                sys.stderr.write(f"leadpp: error: (process {self._rank} of {self._count}) {plain_line(lost)}\n")
                sys.stderr.flush()
                os._exit(2)

    def beat(self) -> None:
        """Tell the others that this process lives, or how it ended."""
        self._beats += 1
        self._store.set(f"pulse/{self._rank}", json.dumps({"beat": self._beats, "state": self._alive}))

    def _word(self, other: int) -> str:
        key = f"pulse/{other}"
        return self._store.get(key).decode() if self._store.check([key]) else ""

    def _state(self, other: int) -> str:
        return self._state_of(self._word(other))

    @staticmethod
    def _state_of(word: str) -> str:
        return next((state for state in ("done", "failed") if f'"{state}"' in word), "alive")
