"""The page that shows how alike prototypes are: a picture of all cosines, and the same in words."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leadpp.engine.charts import heat_map, number
from leadpp.engine.pages import render_page
from leadpp.functional.likeness import LEAST_ODDS, SAME_COSINE, similarity_order
from leadpp.io.artifacts import write_text

_MOST_CELLS = 200
_MOST_PAIRS = 200


def write_page(out: Path, results: Mapping[str, Any], *, vectors: Tensor) -> None:
    """Write the page.

    Args:
        out: The file.
        results: What :func:`~leadpp.stages.inspect.inspect_prototypes` found.
        vectors: The prototypes, unit rows, shape (C, D).

    Raises:
        ArtifactError: The disk refused.
    """
    order = similarity_order(vectors).tolist()
    each = [results["each"][place] for place in order]
    page = render_page(
        "leadpp.stages.inspect",
        "inspect.html.j2",
        over="prototypes",
        title=Path(results["source"]).resolve().name,
        found=results,
        picture=_picture(vectors[order], [row["name"] for row in each]),
        each=each,
        pairs=results["indistinct"][:_MOST_PAIRS] or results["pairs"],
        least_odds=LEAST_ODDS,
        same_cosine=SAME_COSINE,
        number=number,
        odds=odds_words,
    )
    write_text(out, page)


def odds_words(odds: float | None) -> str:
    """Write odds to one.

    >>> odds_words(1.25), odds_words(412.0), odds_words(None)
    ('1.25 : 1', '412 : 1', 'over 1,000,000 : 1')
    """
    return "over 1,000,000 : 1" if odds is None or odds > 1e6 else f"{number(odds)} : 1"


def _picture(vectors: Tensor, names: Sequence[str]) -> str:
    """Draw the cosines; of more classes than can be seen, neighbours share a cell that shows their largest."""
    cosines = (vectors @ vectors.T).fill_diagonal_(-math.inf)
    group = -(-len(names) // _MOST_CELLS)
    if group > 1:
        starts = range(0, len(names), group)
        names = [f"{names[start]} and the next {len(names[start : start + group]) - 1}" for start in starts]
        cosines = _largest_of(_largest_of(cosines, group).T, group)
    return heat_map(cosines.tolist(), names, label="Cosines of all pairs of prototypes, alike ones side by side")


def _largest_of(values: Tensor, group: int) -> Tensor:
    """Keep the largest of each so many rows; (N, M) -> (ceil(N / group), M)."""
    return torch.stack([rows.max(dim=0).values for rows in torch.split(values, group)])
