"""What lies in the folder of a benchmark, by row and seed."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.claims.making import finished
from benchmarks.claims.rows import Row
from leadpp.errors import DataError

Figures = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Metrics by row and seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """The finished rows of a benchmark."""

    by_row: Mapping[str, Mapping[int, Mapping[str, Any]]]
    """Content of each ``result.json`` by row and seed, rows in the order of the table."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed of which there is a row."""
        return tuple(sorted({seed for results in self.by_row.values() for seed in results}))

    def figures(self, set_name: str) -> Figures:
        """Return the metrics on ``crop`` or ``whole``; rows that were not measured there are left out."""
        found = {
            name: {seed: result["sets"][set_name] for seed, result in results.items() if set_name in result["sets"]}
            for name, results in self.by_row.items()
        }
        return {name: by_seed for name, by_seed in found.items() if by_seed}

    def one(self, *preferred: str) -> Mapping[str, Any]:
        """Return the result of the first seed of the first of these rows that is there, or of any."""
        name = next((name for name in preferred if name in self.by_row), next(iter(self.by_row)))
        return self.by_row[name][min(self.by_row[name])]

    def mixed(self) -> bool:
        """Tell whether rows were made with different shared settings, networks or code."""
        return len({result["shared"] for results in self.by_row.values() for result in results.values()}) > 1


def gather(out: Path, rows: Iterable[Row]) -> Results:
    """Read every finished row of every seed.

    Raises:
        DataError: There is none.
    """
    folders = sorted((path for path in out.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))
    by_row: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        for folder in folders:
            result = finished(folder / row.name)
            if result is not None:
                by_row.setdefault(row.name, {})[int(folder.name)] = result
    if not by_row:
        raise DataError(f"{out}: no finished row; run the benchmark with --out {out.name} first")
    return Results(by_row=by_row)


def mean_and_spread(values: Sequence[float], *, signed: bool = False) -> str:
    """Write a mean and the standard deviation over seeds (n - 1); one seed has no deviation.

    >>> mean_and_spread([0.5, 0.7]), mean_and_spread([0.25], signed=True), mean_and_spread([])
    ('0.600 ± 0.141', '+0.250', '–')
    """
    if not values:
        return "–"
    mean = math.fsum(values) / len(values)
    words = f"{mean:+.3f}" if signed else f"{mean:.3f}"
    return words if len(values) == 1 else f"{words} ± {statistics.stdev(values):.3f}"


def column(figures: Figures, row: str, metric: str) -> list[float]:
    """Return a metric of a row, one a seed, where it is known."""
    return [by_seed[metric] for _, by_seed in sorted(figures.get(row, {}).items()) if metric in by_seed]


def paired(figures: Figures, first: str, second: str, metric: str) -> list[float]:
    """Return first minus second of a metric, one for each seed that both have."""
    ones, others = figures.get(first, {}), figures.get(second, {})
    seeds = sorted(ones.keys() & others.keys())
    return [
        ones[seed][metric] - others[seed][metric] for seed in seeds if metric in ones[seed] and metric in others[seed]
    ]
