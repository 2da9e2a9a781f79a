"""Counts the moments in which a program would wait for its device."""

from types import TracebackType
from typing import Any, Self

import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_ASKING = ("tolist", "cpu", "numpy", "__array__")
"""Methods of a tensor that read it without an operation that a dispatch mode sees (on a CPU)."""


class Syncs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the name of every operation that reads values of a tensor: item, bool, int, float, nonzero, tolist, cpu."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Self:
        for name in _ASKING:
            self._watch(name, getattr(Tensor, name))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)  # type: ignore[no-untyped-call]
        self._patch.undo()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        del types
        name = str(func)
        if any(word in name for word in ("_local_scalar_dense", "nonzero", "masked_select", "unique")):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))

    def _watch(self, name: str, method: Any) -> None:  # noqa: ANN401
        def watched(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self.seen.append(name)
            return method(tensor, *args, **kwargs)

        self._patch.setattr(Tensor, name, watched)
