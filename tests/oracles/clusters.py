"""Agreement of two partitions, counted pair by pair and symbol by symbol."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence


def mutual_information_share(first: Sequence[int], second: Sequence[int]) -> float:
    """Mutual information over the mean of the two entropies."""
    total = len(first)

    def entropy(counts: Counter[int]) -> float:
        return -sum(count / total * math.log(count / total) for count in counts.values())

    one, two, both = Counter(first), Counter(second), Counter(zip(first, second, strict=True))
    shared = sum(
        count / total * math.log(count * total / (one[left] * two[right])) for (left, right), count in both.items()
    )
    return shared / ((entropy(one) + entropy(two)) / 2)


def adjusted_pair_agreement(first: Sequence[int], second: Sequence[int]) -> float:
    """Hubert and Arabie 1985: pairs together in both partitions, beyond chance."""
    pairs = list(itertools.combinations(range(len(first)), 2))
    together_first = sum(first[a] == first[b] for a, b in pairs)
    together_second = sum(second[a] == second[b] for a, b in pairs)
    together = sum(first[a] == first[b] and second[a] == second[b] for a, b in pairs)
    chance = together_first * together_second / len(pairs)
    return (together - chance) / ((together_first + together_second) / 2 - chance)
