"""Shortening a text to what a tower reads, by leaving out sentences.

Extractive: every word that is left stood in the text, in its order. A language model would write a smoother summary,
but it would need a network, cost something, answer otherwise tomorrow, and might say what the description does not;
whoever wants one asks it for shorter descriptions in the first place (``leadpp describe``).

Shape letters: S sentences, D embedding.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from leadpp.text.splitting import TokenCounter, fits, split_sentences


def summarize(
    texts: Sequence[str], wholes: Tensor, *, counter: TokenCounter, encode: Callable[[Sequence[str]], Tensor]
) -> list[str]:
    """Keep of each text the sentences that fit together and are, on the average, most like the whole text.

    Args:
        texts: Texts longer than the tower reads.
        wholes: What each is as a whole: the mean of its pieces, unit rows, shape (len(texts), D).
        counter: The tower, as one that says how much it reads.
        encode: Returns unit rows for sentences that each fit.

    Returns:
        The shortened texts, each of which the tower reads to its end; see :func:`choose_sentences` for the rule.
    """
    parts = [split_sentences(text, counter=counter) for text in texts]
    vectors = torch.split(encode([part.strip() for own in parts for part in own]), [len(own) for own in parts])
    return [
        _summary(own, rows, whole=whole, counter=counter)
        for own, rows, whole in zip(parts, vectors, wholes, strict=True)
    ]


def _summary(parts: Sequence[str], vectors: Tensor, *, whole: Tensor, counter: TokenCounter) -> str:
    def joined(places: Sequence[int]) -> str:
        return "".join(parts[place] for place in places).strip()

    marks = counter.count_tokens("")
    tokens = [counter.count_tokens(part.strip()) - marks for part in parts]
    return joined(choose_sentences(vectors, tokens, whole=whole, fitting=lambda places: fits(joined(places), counter)))


def choose_sentences(
    vectors: Tensor, tokens: Sequence[int], *, whole: Tensor, fitting: Callable[[Sequence[int]], bool]
) -> list[int]:
    """Choose sentences whose mean is close to the whole, one after another.

    Greedy: beginning with none, that sentence is added which, of those that still fit beside the chosen ones, brings
    the mean of the chosen (each weighted by its tokens) to the largest cosine with the whole; of equal ones the first.
    It ends when none fits, and not before: a sentence that moves the mean away says something all the same.

    Args:
        vectors: Unit rows, one a sentence, shape (S, D).
        tokens: Of each sentence, without marks.
        whole: Unit vector, shape (D,).
        fitting: Tells whether the tower reads these sentences together, places in ascending order.

    Returns:
        Places of the chosen sentences, ascending; the first alone if none fits.
    """
    rows = vectors.double() * torch.tensor(tokens, dtype=torch.float64)[:, None]
    total = torch.zeros_like(rows[0])
    chosen: list[int] = []
    while able := [place for place in range(len(rows)) if place not in chosen and fitting(sorted([*chosen, place]))]:
        cosines = torch.nn.functional.normalize(total + rows[able], dim=1) @ whole.double()
        best = able[int(cosines.argmax())]
        total = total + rows[best]
        chosen.append(best)
    return sorted(chosen) or [0]
