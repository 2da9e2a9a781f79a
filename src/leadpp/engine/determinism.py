"""Arithmetic whose result is fixed, for as long as a stage computes; what was set before is put back.

Every draw of a run is a function of its seed, so on a CPU the same command gives the same bits. What is left to chance
is the order in which numbers are added: by the number of threads, and on a GPU by which thread comes first, by the
algorithm that was fastest in a try, and by how many digits it keeps.
"""

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator
from typing import ParamSpec, Protocol, TypeVar, cast

import torch
from threadpoolctl import threadpool_limits

from leadpp.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")

_SWITCHES: tuple[tuple[object, str, object], ...] = (
    (torch.backends.cudnn, "deterministic", True),
    (torch.backends.cudnn, "benchmark", False),
    (torch.backends.cudnn.conv, "fp32_precision", "ieee"),  # type: ignore[attr-defined]
    (torch.backends.cudnn.rnn, "fp32_precision", "ieee"),
    (torch.backends.cuda.matmul, "fp32_precision", "ieee"),
    (torch.backends.mkldnn, "deterministic", True),
)
"""Whose switch, its name, and how it is set."""
_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
"""What cuBLAS reads: rooms of its own for each stream, so that no sum depends on which was free."""
_NO_FORM = re.compile(r"(\S+) does not have a deterministic implementation|(CuBLAS)")


class Asking(Protocol):
    """Settings that say whether results are to be fixed."""

    @property
    def deterministic(self) -> bool:
        """Whether they are."""
        ...


def deterministic_if_asked(stage: Callable[P, R]) -> Callable[P, R]:
    """Have a stage, whose settings are its keyword ``config``, compute within :func:`fixed_arithmetic` if they ask."""

    @functools.wraps(stage)
    def computed(*args: P.args, **kwargs: P.kwargs) -> R:
        if not cast("Asking", kwargs["config"]).deterministic:
            return stage(*args, **kwargs)
        with fixed_arithmetic():
            return stage(*args, **kwargs)

    return computed


@contextlib.contextmanager
def fixed_arithmetic() -> Iterator[None]:
    """Use deterministic algorithms, full float32 and one thread for what a CPU computes; put all back at the end.

    One thread, because a sum that threads share is another one where they are more or fewer.

    Raises:
        ConfigError: An operation within has no deterministic form on its device.
    """
    with contextlib.ExitStack() as before:
        before.callback(
            torch.use_deterministic_algorithms,
            torch.are_deterministic_algorithms_enabled(),
            warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
        )
        torch.use_deterministic_algorithms(True)
        for owner, name, value in _SWITCHES:
            before.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        before.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(1)
        before.enter_context(threadpool_limits(limits=1))  # of numpy, scipy and scikit-learn
        before.enter_context(_workspace())
        try:
            yield
        except RuntimeError as error:
            if (found := _NO_FORM.search(str(error))) is None or "eterministic" not in str(error):
                raise
            raise ConfigError(
                f"deterministic is set, and {found[1] or found[2]} has no deterministic form on this device; compute "
                "on a CPU (--train.device cpu), or do without (--deterministic no)"
            ) from error


@contextlib.contextmanager
def _workspace() -> Iterator[None]:
    """Tell cuBLAS what it needs, where there is a GPU and nobody has told it."""
    name, value = _WORKSPACE
    if not torch.cuda.is_available() or name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
