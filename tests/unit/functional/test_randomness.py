import hashlib

import torch

from leadpp.functional.randomness import derive_seed, generator_for


def test_seeds_differ_by_every_part_of_their_place() -> None:
    seeds = [
        derive_seed(0, "views", 1, 2),
        derive_seed(1, "views", 1, 2),
        derive_seed(0, "order", 1, 2),
        derive_seed(0, "views", 2, 1),
        derive_seed(0, "views", 12),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_value_is_the_same_for_ever() -> None:
    expected = int.from_bytes(hashlib.blake2b(b"123/views/4/5", digest_size=8).digest(), "little") // 2
    assert derive_seed(123, "views", 4, 5) == expected


def test_generators_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    first = torch.rand(3, generator=generator_for(1, "a"))
    assert torch.equal(first, torch.rand(3, generator=generator_for(1, "a")))
    assert torch.equal(before, torch.get_rng_state())
