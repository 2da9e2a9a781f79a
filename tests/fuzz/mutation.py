"""A small fuzzer of our own: files that are nearly right, each a function of (seed, number)."""

import random
from collections.abc import Sequence

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63, 2**64 - 1)
_WORDS = (
    b"\0", b"\n", b"\r\n", b'"', b"'", b",", b";", b"\t", b"{", b"}", b"[", b"]", b":", b"<", b"&", b"null", b"NaN",
    b"Infinity", b"1e999", b"-1", b"../", b"/", b"\\ud800", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"&a [*a]",
    b"!!python/object:os.system", b"<!ENTITY", b"9" * 400, b"[" * 3000, b"__class__", b"train", b"nan", b"inf",
)  # fmt: skip
_LONGEST = 1 << 16


def mutate(seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """Make a file that is nearly one of the seeds: one to six changes of it."""
    content = bytearray(rng.choice(seeds))
    for _ in range(1 + min(5, int(rng.expovariate(0.7)))):
        _CHANGES[rng.randrange(len(_CHANGES))](content, seeds, rng)
    return bytes(content[:_LONGEST])


def _place(content: bytearray, rng: random.Random) -> int:
    # Headers and footers say most, so half of all changes are made there.
    length = len(content)
    if length > 128 and rng.random() < 0.5:
        return rng.choice((rng.randrange(64), length - 1 - rng.randrange(64)))
    return rng.randrange(length + 1)


def _flip(content: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    if content:
        content[_place(content, rng) % len(content)] ^= 1 << rng.randrange(8)


def _set(content: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    if content:
        content[_place(content, rng) % len(content)] = rng.randrange(256)


def _number(content: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    at, width = _place(content, rng), rng.choice((1, 2, 4, 8))
    value = rng.choice(_NUMBERS) % (1 << (8 * width))
    content[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))


def _cut(content: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    at = _place(content, rng)
    del content[at : at + rng.choice((1, 2, 4, 16, 64, 1 << 20))]


def _repeat(content: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    at = _place(content, rng)
    content[at:at] = content[at : at + rng.choice((1, 4, 32))] * rng.choice((1, 2, 50))


def _word(content: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    at = _place(content, rng)
    content[at : at + rng.choice((0, 0, 1, 4))] = rng.choice(_WORDS)


def _splice(content: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    other = rng.choice(seeds)
    at, start = _place(content, rng), rng.randrange(len(other) + 1)
    content[at:] = other[start:]


def _move(content: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    at, to, width = _place(content, rng), _place(content, rng), rng.choice((1, 4, 8, 32))
    content[to:to] = content[at : at + width]


_CHANGES = (_flip, _set, _number, _cut, _repeat, _word, _splice, _move)
