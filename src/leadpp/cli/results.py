"""Print results: one JSON document for machines, tables for people; the last line counts what was left out."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from leadpp.io.words import plain_line

_COLUMNS = (
    ("knn", "kNN"),
    ("probe_heldout", "probe"),
    ("rank1", "Rank-1"),
    ("map", "mAP"),
    ("purity10", "purity@10"),
    ("cluster_accuracy", "cluster"),
    ("nmi", "NMI"),
    ("naming_student", "naming"),
    ("naming_teacher", "by teacher"),
)


_BAD_LINE = "{} files could not be read and were left out; index.parquet lists them with the reason"


def print_results(results: Mapping[str, Any], *, command: str, as_json: bool) -> None:
    """Print what a command returned.

    Args:
        results: Results by stage, as :func:`leadpp.pipeline.run` returns them.
        command: The command; a single stage prints its own result alone, ``run`` prints all by stage.
        as_json: One JSON document on standard output instead of tables.
    """
    if as_json:
        document = results if command == "run" else results[command]
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        if bad := _bad_count(results):
            sys.stderr.write(_BAD_LINE.format(bad) + "\n")
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    for name, result in results.items():
        if name == "evaluate" and not isinstance(result, Mapping):
            console.print(_evaluation_table(result))
        elif name != "index" or command == "run":
            console.print(f"{name}: {plain_line(_words(result))}", markup=False, soft_wrap=True)
    if bad := _bad_count(results):
        console.print(_BAD_LINE.format(bad), soft_wrap=True)


def print_demo(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the closing table of the demo, what it took and where its report is.

    Args:
        found: What :func:`leadpp.pipeline.demo` returned.
        as_json: The four rows as one JSON list on standard output, the rest on standard error.
    """
    report = f"report: {found['report']}"
    if as_json:
        sys.stdout.write(json.dumps(found["rows"], indent=2, ensure_ascii=False) + "\n")
        sys.stderr.write(report + "\n")
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(_demo_table(found["rows"]))
    console.print(found["note"], style="dim", soft_wrap=True)
    seconds = found["seconds"]
    steps = " · ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    minutes, rest = divmod(round(sum(seconds.values())), 60)
    console.print(f"took: {steps}; together {minutes} min {rest:02d} s", markup=False, soft_wrap=True)
    console.print(report, markup=False, soft_wrap=True)


def _demo_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lay the rows of the demo side by side, the best figure of each column in bold."""
    table = Table(title="Test figures on object crops, in percent")
    table.add_column("")
    own = [{**row, "naming": row.get(f"naming_{row['encoder']}")} for row in rows]
    columns = [(key, word) for key, word in _COLUMNS if not key.startswith("naming")] + [("naming", "naming")]
    shown = [(key, word) for key, word in columns if any(row.get(key) is not None for row in own)]
    best = {key: max(row[key] for row in own if row.get(key) is not None) for key, _ in shown}
    for _, word in shown:
        table.add_column(word, justify="right")
    for row in own:
        table.add_row(row["row"], *(_percent(row.get(key), best=best[key]) for key, _ in shown))
    return table


def _percent(value: float | None, *, best: float) -> Text:
    if value is None:
        return Text("–")
    return Text(f"{100 * value:.1f}", style="bold" if value == best else "")


def _evaluation_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="Test figures (every protocol is in evaluation.json)")
    for word in ("encoder", "feature", "set"):
        table.add_column(word)
    shown = [(key, word) for key, word in _COLUMNS if any(key in row for row in rows)]
    for _, word in shown:
        table.add_column(word, justify="right")
    for row in rows:
        own = row.get(f"naming_{row['encoder']}")
        told = row if own is None or row["encoder"] == "student" else {"naming_teacher": own, **row}
        figures = [f"{told[key]:.3f}" if key in told else "–" for key, _ in shown]
        table.add_row(str(row["encoder"]), str(row["feature"]), str(row["set"]), *figures)
    if rows and "run" in rows[0]:
        table.caption = f"run {rows[0]['run']}"
    return table


def _words(result: object) -> str:
    if not isinstance(result, Mapping):
        return str(result)
    plain = {key: value for key, value in result.items() if isinstance(value, str | int | float)}
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in plain.items()
    )


def _bad_count(results: Mapping[str, Any]) -> int:
    for name in ("index", "prepare"):
        if name in results:
            return int(results[name].get("bad", 0))
    return 0
