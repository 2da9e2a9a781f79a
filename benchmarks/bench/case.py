"""What is compared: two ways to do the same work, and what is asked of the faster one."""

from collections.abc import Callable
from dataclasses import dataclass

Work = Callable[[], object]
"""Does the measured work once."""
Setup = Callable[[], Work]
"""Makes what the work of one side needs, unmeasured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One line of the table."""

    name: str
    protocol: str
    """Data, sizes, networks, settings, and what one call does."""
    items: int
    """Photographs, samples or queries that one call works through."""
    obvious: Setup
    fast: Setup
    target: float
    """Least ratio of the obvious way's seconds to ours."""
    memory_target: float | None = None
    """Most that our peak of memory may be, as a share of the obvious way's."""
    peak_target_mb: float | None = None
    """Most that our peak of memory may be, in MB."""
    seconds_target: float | None = None
    """Most seconds that our way may take."""
