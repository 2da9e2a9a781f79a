"""What processes that do one run together say to each other; a process alone says everything to itself.

Every method is called by all processes, in the same order. Nothing is pickled: what is not a tensor is JSON.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from leadpp.errors import LeadppError

_GONE = ("connection closed", "connection reset", "broken pipe", "connection refused", "timed out", "remote process")
"""What gloo and nccl say of a process that is gone, among much else."""


_BLOCK_BYTES = 64 << 20
"""Most that one message holds."""


_GLANCE_S = 0.005


class LostRankError(LeadppError):
    """Another process is gone, or cannot be reached."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """This process among those that do one run; by default it is alone, and every method gives back what it got."""

    rank: int = 0
    """Number of this process, from 0."""
    count: int = 1
    """How many there are."""
    local_count: int = 1
    """How many there are on this machine."""
    gradients: dist.ProcessGroup | None = None
    """A line of their own for the sums of gradients, which are on their way while a backward pass says other things."""

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.count == 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks to people."""
        return self.rank == 0

    def share(self, size: int) -> slice:
        """Return which of ``size`` items in a row are this process's; the first ones have one more if need be.

        >>> [Ranks(rank=rank, count=3).share(8) for rank in range(3)]
        [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
        """
        each, more = divmod(size, self.count)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def share_of_batches(self, size: int, *, batch_size: int) -> slice:
        """Return which of ``size`` items in a row are this process's, in whole batches.

        Every item then goes through a network beside the same others as in one process, so that its features are the
        same to the last bit. There are no items for some processes where there are fewer batches than processes.

        >>> [Ranks(rank=rank, count=3).share_of_batches(13, batch_size=4) for rank in range(3)]
        [slice(0, 8, None), slice(8, 12, None), slice(12, 13, None)]
        """
        batches = self.share(-(-size // batch_size))
        return slice(min(size, batches.start * batch_size), min(size, batches.stop * batch_size))

    def words(self, what: str) -> str:
        """Say what this process does of something that all do together.

        >>> Ranks().words("finding objects"), Ranks(count=2).words("finding objects")
        ('finding objects', 'finding objects, process 0 of 2')
        """
        return what if self.alone else f"{what}, process {self.rank} of {self.count}"

    def mine(self, everyone: Tensor) -> Tensor:
        """Return the rows that this process gave to :meth:`gather`; (count B, ...) -> (B, ...)."""
        return everyone.chunk(self.count)[self.rank]

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up a tensor over the processes, without gradient; every process gets the same to the last bit."""
        if self.alone:
            return tensor
        total = tensor.detach().clone(memory_format=torch.contiguous_format)
        with told():
            dist.all_reduce(total)
        return total

    def gather(self, rows: Tensor) -> Tensor:
        """Put the rows of all processes under one another in their order, without gradient; (B, ...) -> (count B, ...).

        Every process gives as many rows as the others.
        """
        if self.alone:
            return rows
        mine = rows.detach().contiguous()
        parts = [torch.empty_like(mine) for _ in range(self.count)]
        with told():
            dist.all_gather(parts, mine)
        return torch.cat(parts)

    def gather_uneven(self, rows: Tensor) -> Tensor:
        """Put the rows of all processes under one another in their order, as many as each has; (n, ...) -> (N, ...)."""
        if self.alone:
            return rows
        counts = self.everyones(len(rows))
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows.detach()
        parts = self.gather(padded).chunk(self.count) if max(counts) else [padded] * self.count
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def everyones(self, number: int) -> list[int]:
        """Return the number of each process, in their order."""
        return [int(each) for each in self.gather(torch.tensor([number]))]

    def collect(self, rows: Tensor, counts: Sequence[int]) -> None:
        """Bring the rows of all processes, on the CPU, to the first, which alone has room for them; none is kept twice.

        Args:
            rows: The first process's has room for all: (N, ...), of which its own come first and the rest is filled.
                The others' own rows, (n, ...).
            counts: How many rows each process has.
        """
        if self.alone:
            return
        with told():
            if not self.leads:
                for block in _blocks(rows.detach().contiguous()):
                    dist.send(block, dst=0)
                return
            start = counts[0]
            for other in range(1, self.count):
                for block in _blocks(rows[start : start + counts[other]]):
                    dist.recv(block, src=other)
                start += counts[other]

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors with those of the first process."""
        if self.alone:
            return
        with told(), torch.no_grad():
            for tensor in tensors:
                whole = tensor.detach().contiguous()
                dist.broadcast(whole, src=0)
                tensor.copy_(whole)

    def largest(self, *numbers: int) -> tuple[int, ...]:
        """Return the largest of each number over the processes."""
        if self.alone:
            return numbers
        most = torch.tensor(numbers)
        with told():
            dist.all_reduce(most, op=dist.ReduceOp.MAX)
        return tuple(int(number) for number in most)

    def tell(self, message: Any = None) -> Any:  # noqa: ANN401 - JSON of any shape
        """Return what the first process says, JSON of any shape; what the others give is not heard."""
        if self.alone:
            return message
        said = torch.tensor([*json.dumps(message).encode()] if self.leads else [], dtype=torch.uint8)
        length = torch.tensor([len(said)])
        with told():
            under_way = dist.broadcast(length, src=0, async_op=True)
            assert under_way is not None  # noqa: S101 - None is for processes left out, which none is
            while not under_way.is_completed():  # which may be hours; torch's own wait would hear no signal
                time.sleep(_GLANCE_S)
            under_way.wait()
        text = said if self.leads else torch.empty(int(length), dtype=torch.uint8)
        with told():
            dist.broadcast(text, src=0)
        return json.loads(bytes(text.tolist()))

    def first(self, action: Callable[[], Any]) -> Any:  # noqa: ANN401 - JSON of any shape
        """Have the first process do something while the others wait; return what it returned, JSON of any shape.

        Raises:
            LeadppError: The first process failed.
        """
        if self.alone:
            return action()
        if not self.leads:
            answer = self.tell()
            if "failed" in answer:
                raise LeadppError(answer["failed"])
            return answer["done"]
        try:
            done = action()
        except LeadppError as error:
            self.tell({"failed": str(error)})
            raise
        return self.tell({"done": done})["done"]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if not self.alone:
            self.largest(0)


ALONE = Ranks()
"""One process that nobody works with."""


def _blocks(rows: Tensor) -> Iterator[Tensor]:
    """Cut rows into messages, whole rows each."""
    each = max(1, _BLOCK_BYTES // max(1, rows[:1].numel() * rows.element_size()))
    for start in range(0, len(rows), each):
        yield rows[start : start + each]


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn what torch says when another process is gone into one line.

    Raises:
        LostRankError: It is gone.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # gloo and nccl have no class of their own for it in common
        reason = next((words for words in _GONE if words.lower() in str(error).lower()), "")
        if not reason:
            raise
        raise LostRankError(
            f"another process of this run is gone or cannot be reached ({reason}); see what it said, and run the same "
            "command again, a training with --resume"
        ) from error
