import torch
from torch import Tensor

from leadpp.functional.randomness import generator_for
from leadpp.models.queue import KeyQueue
from tests.unit.syncs import Syncs


def queue_of(size: int, *, place: int = 0) -> KeyQueue:
    return KeyQueue(size, 2, generator=generator_for(3, "test", place))


def numbered(first: int, last: int) -> Tensor:
    """Rows that say which key they are."""
    return torch.arange(first, last + 1.0)[:, None].repeat(1, 2)


def test_it_starts_with_random_directions() -> None:
    queue = queue_of(50)
    torch.testing.assert_close(queue.snapshot().norm(dim=1), torch.ones(50))
    assert queue.snapshot().std(dim=0).min().item() > 0.5
    assert (queue.fill, queue.place) == (0, 0)
    assert torch.equal(queue_of(50).snapshot(), queue.snapshot())
    assert not torch.equal(queue_of(50, place=1).snapshot(), queue.snapshot())


def test_it_fills_from_the_first_row_and_wraps() -> None:
    queue = queue_of(5)
    untouched = queue.snapshot()[3:].clone()
    queue.push(numbered(1, 3))
    assert (queue.fill, queue.place) == (3, 3)
    assert torch.equal(queue.snapshot()[3:], untouched)
    queue.push(numbered(4, 7))
    assert queue.snapshot()[:, 0].tolist() == [6, 7, 3, 4, 5]
    assert (queue.fill, queue.place) == (5, 2)


def test_it_holds_the_newest_whatever_the_batches() -> None:
    """A ring keeps the last K keys, key n in row n mod K, however they arrive: also more than K at once."""
    queue, pushed = queue_of(7), 0
    for batch in (3, 7, 1, 16, 2, 7, 21):
        queue.push(numbered(pushed, pushed + batch - 1))
        pushed += batch
        newest = {number % 7: number for number in range(max(0, pushed - 7), pushed)}
        assert [queue.snapshot()[row, 0].item() for row in sorted(newest)] == [newest[row] for row in sorted(newest)]
        assert (queue.fill, queue.place) == (min(pushed, 7), pushed % 7)


def test_a_snapshot_is_not_changed_by_later_pushes_that_copy() -> None:
    queue = queue_of(4)
    query = torch.ones(2, requires_grad=True)
    before = queue.snapshot()
    kept = before.clone()
    score = (before @ query).sum()
    queue.push(numbered(1, 3), in_place=False)
    torch.autograd.backward(score)
    assert torch.equal(before, kept)
    assert query.grad is not None
    torch.testing.assert_close(query.grad, kept.sum(dim=0))
    assert queue.snapshot()[:3, 0].tolist() == [1, 2, 3]


def test_a_push_writes_in_place_and_asks_the_device_nothing() -> None:
    queue, copied = queue_of(4), queue_of(4)
    where = queue.snapshot().data_ptr()
    for first, last in ((1, 3), (4, 5), (6, 14)):
        with Syncs() as syncs:
            queue.push(numbered(first, last))
        assert syncs.seen == []
        copied.push(numbered(first, last), in_place=False)
        assert torch.equal(queue.snapshot(), copied.snapshot())
    assert queue.snapshot().data_ptr() == where


def test_keys_carry_no_gradient_in() -> None:
    queue = queue_of(4)
    queue.push(numbered(1, 2).requires_grad_())
    assert not queue.snapshot().requires_grad


def test_the_state_travels() -> None:
    queue, other = queue_of(5), queue_of(5, place=1)
    queue.push(numbered(1, 7))
    other.load_state_dict(queue.state_dict())
    other.push(numbered(8, 8))
    assert other.snapshot()[:, 0].tolist() == [6, 7, 8, 4, 5]
    assert "size=5, dim=2" in repr(other)
