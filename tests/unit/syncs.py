"""Counts the moments in which a program would wait for its device."""

from types import TracebackType
from typing import Any, Self

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_ASKING = ("tolist", "cpu", "numpy", "__array__")
"""Methods of a tensor that read it without an operation that a dispatch mode sees (on a CPU)."""
_OPERATIONS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "aten.equal", "repeat_interleave.Tensor")
"""Operations whose result, or its shape, depends on values."""


class Syncs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the name of every operation that reads values of a tensor, such as item, bool, nonzero, masks or cpu."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Self:
        for name in _ASKING:
            self._watch(name, getattr(Tensor, name))
        self._watch_moves()
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
        masked = name.startswith(("aten.index.", "aten.index_put")) and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if masked or any(word in name for word in _OPERATIONS):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))

    def _watch(self, name: str, method: Any) -> None:  # noqa: ANN401
        def watched(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self.seen.append(name)
            return method(tensor, *args, **kwargs)

        self._patch.setattr(Tensor, name, watched)

    def _watch_moves(self) -> None:
        """Take note of tensors that are sent to "cpu" and waited for; a device may be any, the processor here."""
        move = Tensor.to

        def watched(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            places = [place for place in (*args, kwargs.get("device")) if isinstance(place, str)]
            if "cpu" in places and not kwargs.get("non_blocking"):
                self.seen.append("to")
            return move(tensor, *args, **kwargs)

        self._patch.setattr(Tensor, "to", watched)
