"""The page ``claims.md`` and the same figures as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims.protocol import protocol, protocol_lines
from benchmarks.claims.results import Figures, Results, column, mean_and_spread, paired
from benchmarks.claims.rows import REFERENCE, Row
from benchmarks.claims.verdicts import CLAIMS, METRICS, RULE, Interval, Judged, judge
from leadpp.io.artifacts import write_text

PAGE, FIGURES = "claims.md", "claims.json"
DEMO_ROWS = ("frozen", "teacher", "moco", REFERENCE)
"""The rows of the demo, which are shown seed by seed."""
SETS: Mapping[str, str] = {"crop": "object crops", "whole": "whole photographs"}


def write_page(results: Results, rows: Sequence[Row], folder: Path) -> str:
    """Write ``claims.md`` and ``claims.json`` into a folder, and return the text of the page.

    Raises:
        ArtifactError: The disk refused.
    """
    shown = [row for row in rows if row.name in results.by_row]
    facts = protocol(results)
    judged = {name: judge_all(results.figures(name)) for name in SETS}
    text = page(results, shown, facts=facts, judged=judged)
    write_text(folder / PAGE, text)
    content = {
        "protocol": facts,
        "rows": {
            row.name: {"title": row.title, "meaning": row.meaning, "sets": _by_set(results, row)} for row in shown
        },
        "claims": {name: [_judged_json(item) for item in items] for name, items in judged.items()},
    }
    write_text(folder / FIGURES, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return text


def judge_all(figures: Figures) -> list[Judged]:
    """Judge every claim whose rows are there."""
    return [judged for claim in CLAIMS if (judged := judge(claim, figures)) is not None]


def page(
    results: Results, rows: Sequence[Row], *, facts: Mapping[str, Any], judged: Mapping[str, Sequence[Judged]]
) -> str:
    """Return the page as Markdown: protocol, tables, differences and claims."""
    parts = ["# The claims of the method, measured", _opening(results), "## Protocol", "\n".join(protocol_lines(facts))]
    for name, words in SETS.items():
        figures = results.figures(name)
        if figures:
            parts += [f"## On {words}", "Mean ± standard deviation over seeds.", metric_table(figures, rows)]
            parts += [best_rows(figures, rows)]
            parts += [f"Differences to LEAD++ on {words}, paired by seed:", difference_table(figures, rows)]
    by_seed = [row for row in rows if row.name in DEMO_ROWS]
    if len(results.seeds) > 1 and by_seed:
        parts += ["## Seed by seed", f"The rows of `leadpp demo` on {SETS['crop']}, every seed."]
        parts += [seed_table(results.figures("crop"), by_seed)]
    parts += ["## The claims", RULE, verdict_table(judged)]
    main = next((name for name in SETS if judged[name]), None)
    if main is not None:
        parts += [f"Each claim on {SETS[main]}, metric by metric (mean difference ± standard deviation over seeds):"]
        parts += ["\n".join(claim_line(item) for item in judged[main])]
    parts += ["## The rows", "\n".join(_row_line(results, row) for row in rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def metric_table(figures: Figures, rows: Sequence[Row]) -> str:
    """Return a Markdown table of every row's metrics."""
    lines = [_head("row")]
    for row in rows:
        if row.name in figures:
            cells = [mean_and_spread(column(figures, row.name, metric)) for metric in METRICS]
            lines.append(_line(row.title, cells))
    return "\n".join(lines)


def seed_table(figures: Figures, rows: Sequence[Row]) -> str:
    """Return a Markdown table with one line for each seed and row."""
    lines = [_head("seed, row")]
    for seed in sorted({seed for row in rows for seed in figures.get(row.name, {})}):
        for row in rows:
            found = figures.get(row.name, {}).get(seed)
            if found is not None:
                cells = [f"{found[metric]:.3f}" if metric in found else "–" for metric in METRICS]
                lines.append(_line(f"{seed}, {row.title.strip('*')}", cells))
    return "\n".join(lines)


def difference_table(figures: Figures, rows: Sequence[Row]) -> str:
    """Return a Markdown table of every row minus LEAD++, paired by seed; empty without LEAD++."""
    if REFERENCE not in figures:
        return ""
    lines = [_head("row - LEAD++")]
    for row in rows:
        if row.name in figures and row.name != REFERENCE:
            gaps = (paired(figures, row.name, REFERENCE, metric) for metric in METRICS)
            lines.append(_line(row.title, [mean_and_spread(gap, signed=True) for gap in gaps]))
    return "\n".join(lines)


def best_rows(figures: Figures, rows: Sequence[Row]) -> str:
    """Say which label-free row is the best by each metric, by its mean over seeds."""
    said = []
    for metric, words in METRICS.items():
        means = {
            row.title.strip("*"): math.fsum(values) / len(values)
            for row in rows
            if row.label_free and (values := column(figures, row.name, metric))
        }
        if means:
            best = max(means, key=lambda title: means[title])
            said.append(f"{words} {best} ({means[best]:.3f})")
    return f"Best label-free row: {'; '.join(said)}." if said else ""


def verdict_table(judged: Mapping[str, Sequence[Judged]]) -> str:
    """Return one line a claim with its verdict on every set, and the mean difference that it rests on."""
    sentences = list(dict.fromkeys(item.claim.sentence for items in judged.values() for item in items))
    lines = [f"| claim | {' | '.join(SETS.values())} |", f"|---|{'---|' * len(SETS)}"]
    for sentence in sentences:
        found = {name: item for name, items in judged.items() for item in items if item.claim.sentence == sentence}
        cells = [
            f"**{found[name].verdict}**, {_spread_words(found[name].overall)}" if name in found else "–"
            for name in SETS
        ]
        lines.append(_line(sentence, cells))
    return "\n".join(lines)


def claim_line(judged: Judged) -> str:
    """Return one sentence: the claim, its verdict, and the figures it rests on."""
    claim, by_metric = judged.claim, judged.by_metric
    told = ", ".join(f"{METRICS[name]} {_spread_words(interval)}" for name, interval in by_metric.items())
    line = f"- {claim.sentence}: **{judged.verdict}** (`{claim.first}` - `{claim.second}`"
    if len(by_metric) == 1:
        return f"{line}: {told}, {_interval_words(judged.overall)})."
    mean = f"mean {_spread_words(judged.overall)}, {_interval_words(judged.overall)}"
    return f"{line}: {mean}; {told})."


def _opening(results: Results) -> str:
    return (
        f"Written by `python -m benchmarks.claims`; rows: {len(results.by_row)}, seeds: {len(results.seeds)}. "
        "What all share is in the protocol, in what each row differs stands at the end. All is in `claims.json` too."
    )


def _head(first: str) -> str:
    return f"| {first} | {' | '.join(METRICS.values())} |\n|---|{'---|' * len(METRICS)}"


def _line(title: str, cells: Sequence[str]) -> str:
    return f"| {title} | {' | '.join(cells)} |"


def _spread_words(interval: Interval) -> str:
    return f"{interval.mean:+.3f}" if interval.count == 1 else f"{interval.mean:+.3f} ± {interval.spread:.3f}"


def _interval_words(interval: Interval) -> str:
    if interval.count == 1:
        return "one seed"
    return f"interval {interval.low:+.3f} to {interval.high:+.3f}, {interval.count} seeds"


def _row_line(results: Results, row: Row) -> str:
    took = [math.fsum(result["seconds"].values()) for result in results.by_row[row.name].values()]
    return f"- **{row.title.strip('*')}** (`{row.name}`, {math.fsum(took) / len(took):.0f} s a seed). {row.meaning}"


def _by_set(results: Results, row: Row) -> dict[str, Any]:
    by_seed = results.by_row[row.name]
    return {
        name: {str(seed): result["sets"][name] for seed, result in by_seed.items() if name in result["sets"]}
        for name in SETS
    }


def _judged_json(judged: Judged) -> dict[str, Any]:
    claim = judged.claim
    return {
        "sentence": claim.sentence,
        "first": claim.first,
        "second": claim.second,
        "rule": claim.rule,
        "every_metric": claim.every,
        "verdict": judged.verdict,
        "mean": _interval_json(judged.overall),
        "by_metric": {name: _interval_json(interval) for name, interval in judged.by_metric.items()},
    }


def _interval_json(interval: Interval) -> dict[str, float | None]:
    told = {"mean": interval.mean, "spread": interval.spread, "low": interval.low, "high": interval.high}
    return {key: value if math.isfinite(value) else None for key, value in told.items()} | {"count": interval.count}
