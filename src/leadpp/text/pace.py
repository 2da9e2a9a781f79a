"""How fast a server is asked: as fast as it goes until it complains, then one request after another at its own pace."""

import asyncio
import time

_LONGEST_GAP_S = 60.0
_SLOWER, _FASTER = 2.0, 0.8
"""What a complaint and an answer do to the gap between two requests. So about one request in four tries whether the
server could take more by now; a refusal costs no tokens."""


class Pace:
    """Lets requests pass, in the order in which they come; after a complaint with a gap between any two."""

    def __init__(self, *, first_gap_s: float) -> None:
        """Begin without gaps.

        Args:
            first_gap_s: The gap after the first complaint; it doubles with each further one, up to a minute.
        """
        self._first_gap_s, self._gap_s = first_gap_s, 0.0
        self._next_s = self._slowed_s = 0.0
        self._door = asyncio.Lock()

    async def turn(self) -> float:
        """Wait until a request may be sent; return when that is, by the monotonic clock."""
        async with self._door:
            while (left := self._next_s - time.monotonic()) > 0:
                await asyncio.sleep(left)
            now = time.monotonic()
            self._next_s = now + self._gap_s
            return now

    def slow_down(self, *, sent_s: float, wait_s: float | None, draw: float) -> None:
        """Have all wait, because the server says that there are too many requests.

        Args:
            sent_s: When the request was sent that it says so of; one from before the last complaint tells nothing new
                of the pace.
            wait_s: How long it wants to be left alone; None if it does not say.
            draw: From 0 to 1, so that not all who ask this server come again at the same moment.
        """
        now = time.monotonic()
        if sent_s >= self._slowed_s:
            self._gap_s = min(_LONGEST_GAP_S, max(self._first_gap_s, _SLOWER * self._gap_s))
            self._slowed_s = now
        wait = self._gap_s * (0.5 + draw / 2) if wait_s is None else wait_s + self._first_gap_s * draw / 10
        self._next_s = max(self._next_s, now + wait)

    def quicken(self) -> None:
        """Shorten the gap, because the server has answered."""
        self._gap_s *= _FASTER
