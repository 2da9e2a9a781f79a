"""The figures as a file for machines and as a table for people."""

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from leadpp.io.artifacts import write_text

Result = dict[str, Any]

BEGIN, END = "<!-- bench -->", "<!-- end of bench -->"


def judge(result: Result) -> list[str]:
    """Return what a result misses of its targets, in words; empty where it meets them all."""
    asked = (
        ("ratio", "target", "times faster", 1),
        ("memory_ratio", "memory_target", "of the memory", -1),
        ("peak_mb", "peak_target_mb", "MB", -1),
        ("seconds", "seconds_target", "s", -1),
    )
    return [
        f"{result[figure]:.3g} {unit} where {result[target]:g} was asked"
        for figure, target, unit, sense in asked
        if result.get(target) is not None and sense * (result[figure] - result[target]) < 0
    ]


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Write the list of results as JSON."""
    write_text(path, json.dumps(list(results), indent=1) + "\n")


def read_results(path: Path) -> list[Result]:
    """Read what :func:`write_results` wrote."""
    results: list[Result] = json.loads(path.read_text(encoding="utf-8"))
    return results


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table, with the protocol of each below it."""
    lines = [
        "| work | ours, s | CPU | obvious, s | CPU | ratio | asked | peak, MB | of the obvious | asked | |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(result) for result in results]
    lines += ["", *(f"- `{result['name']}`: {result['protocol']}" for result in results)]
    return "\n".join(lines) + "\n"


def machine(threads: int) -> str:
    """Say where it was measured."""
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads, Python {platform.python_version()}, "
        f"torch {version('torch')}, float32, one process"
    )


def put_table(page: Path, results: Sequence[Result], *, where: str) -> None:
    """Replace what stands between the two marks of a page by the table.

    Raises:
        ValueError: The page has not got the two marks.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page}: expected the marks {BEGIN} and {END}, between which the table goes")
    write_text(page, f"{before}{BEGIN}\n{where}.\n\n{table(results)}{END}{after}")


def _row(result: Result) -> str:
    missed = judge(result)
    memory = result.get("memory_target")
    peak = result.get("peak_target_mb")
    asked = " ".join(
        part
        for part in (f"{memory:g} ×" if memory is not None else "", f"{peak:g} MB" if peak is not None else "")
        if part
    )
    seconds = result.get("seconds_target")
    cells = [
        f"`{result['name']}`",
        _seconds(result["seconds"]) + (f" (asked {seconds:g})" if seconds is not None else ""),
        _seconds(result["cpu_seconds"]),
        _seconds(result["seconds_obvious"]),
        _seconds(result["cpu_seconds_obvious"]),
        f"**{result['ratio']:.2f}**",
        f"{result['target']:g}",
        f"{result['peak_mb']:,.0f}",
        f"{result['memory_ratio']:.2f}",
        asked or "–",
        "missed" if missed else "met",
    ]
    return "| " + " | ".join(cells) + " |"


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:,.2f}"
