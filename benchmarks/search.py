r"""The search for defaults that do no harm: named settings, with a good teacher, a weak one and none, against frozen.

The variants are a YAML list of ``name``, ``settings`` and, where one goes over another, ``over``; see
``benchmarks/search_variants.yaml``. In worlds, by default those of the tuning seeds, which are never reported:

    python -m benchmarks.search --out OUT --variants benchmarks/search_variants.yaml --jobs 2

On an ordinary folder with labels (``--data PHOTOS --descriptions FILE``), or on kinds of produce that are never
reported, the seeds being those of the training:

    LEADPP_CONSE_WEIGHTS=WEIGHTS python -m benchmarks.search --out OUT --data PRODUCE --produce tuning \
        --backbone local-dir:WEIGHTS --teacher-factory benchmarks.teachers.conse:teacher \
        --set input.size=128 localize.size=224 evaluate.view=squeeze train.epochs=10 train.batch_size=32

Finished rows are kept in OUT/SEED/VARIANT@TEACHER/result.json and not made again; OUT/search.md holds the table.
``--table OUT`` writes it anew and runs nothing.
"""

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmarks.claims.command import add_source_arguments, read_source, run_command
from benchmarks.claims.jobs import Outcome, work_through
from benchmarks.claims.results import Figures, Results, column, gather, mean_and_spread, paired
from benchmarks.claims.rows import BY_NAME, Row
from benchmarks.claims.verdicts import FEATURE_METRICS, METRICS
from leadpp.config.reader import merge_settings
from leadpp.engine.runtime import Progress
from leadpp.errors import ConfigError
from leadpp.io.artifacts import write_text

TeacherKind = Literal["good", "weak", "none"]

KINDS: tuple[TeacherKind, ...] = ("good", "weak", "none")
TUNING_SEEDS = (0, 1, 2)
WEAK_STRENGTH = 3
"""The strength of the noise that makes a weak teacher of the good one."""
SETS = ("crop", "whole")
DEFAULT_VARIANTS = Path(__file__).with_name("search_variants.yaml")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")
_FROZEN, _TEACHER = BY_NAME["frozen"], BY_NAME["teacher"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One step of the search."""

    name: str
    """Short, fit for a folder."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What it sets over what all rows share, that of the variants below it included."""

    def row(self, kind: TeacherKind) -> Row:
        """Return the row of this variant with one kind of teacher."""
        return Row(
            name=f"{self.name}@{kind}",
            title=f"{self.name}, {kind}",
            meaning=f"{self.name} with {'no teacher' if kind == 'none' else f'a {kind} teacher'}.",
            settings=self.settings,
            words="none" if kind == "none" else "descriptions",
            noise=WEAK_STRENGTH if kind == "weak" else 0,
        )


def read_variants(path: Path) -> tuple[Variant, ...]:
    """Read the list of variants.

    Raises:
        ConfigError: The file is missing or malformed, a name is used twice or unfit for a folder, or ``over`` names no
            earlier variant.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot read the variants: {' '.join(str(error).split())}") from error
    if not isinstance(content, list):
        raise ConfigError(f"{path}: expected a list of variants, found {type(content).__name__}")
    found: dict[str, Variant] = {}
    for item in content:
        variant = _variant(item, found, path)
        found[variant.name] = variant
    return tuple(found.values())


def _variant(item: object, earlier: Mapping[str, Variant], path: Path) -> Variant:
    if not isinstance(item, dict) or not set(item) <= {"name", "settings", "over"} or "name" not in item:
        raise ConfigError(f"{path}: a variant has name, settings and over, found {item!r}")
    name, over = str(item["name"]), item.get("over")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{path}: {name!r} is unfit for a folder; use letters, digits and + . _ -")
    if name in earlier:
        raise ConfigError(f"{path}: two variants are called {name!r}")
    if over is not None and over not in earlier:
        raise ConfigError(f"{path}: {name!r} goes over {over!r}, which is no earlier variant")
    below = earlier[over].settings if over is not None else {}
    return Variant(name=name, settings=merge_settings(below, item.get("settings") or {}))


def search_page(results: Results, variants: Sequence[Variant], kinds: Sequence[TeacherKind]) -> str:
    """Return the tables as Markdown: a summary, then every metric minus frozen on both sets."""
    careful = "Careful: some rows were made with other shared settings, networks or code than others.\n"
    parts = [
        "# The search for defaults that do no harm",
        f"Seeds {', '.join(map(str, results.seeds))}. Figures are differences to the frozen backbone of the same seed, "
        "mean ± standard deviation over seeds. *mean*: over the metrics of features, on object crops. *worst*: the "
        "metric and set where the mean difference is lowest. Naming is the student's, in brackets its teacher's.",
        *([careful] if results.mixed() else []),
        summary_table(results, variants, kinds),
    ]
    for name in SETS:
        if results.figures(name):
            parts += [f"## On {'object crops' if name == 'crop' else 'whole photographs'}"]
            parts += [metric_table(results, variants, kinds, set_name=name)]
    return "\n\n".join(parts) + "\n"


def summary_table(results: Results, variants: Sequence[Variant], kinds: Sequence[TeacherKind]) -> str:
    """Return one line a variant: mean gain and worst metric with each kind of teacher, and the time of a row."""
    heads = [f"{kind}: {word}" for kind in kinds for word in ("mean", "worst")]
    lines = [f"| variant | {' | '.join(heads)} | s a row |", f"|---|{'---|' * (len(heads) + 1)}"]
    for variant in variants:
        cells: list[str] = []
        seconds: list[float] = []
        for kind in kinds:
            name = variant.row(kind).name
            cells += [mean_and_spread(mean_gains(results, name), signed=True), _worst_words(results, name)]
            seconds += [math.fsum(row["seconds"].values()) for row in results.by_row.get(name, {}).values()]
        if seconds:
            lines.append(f"| {variant.name} | {' | '.join(cells)} | {math.fsum(seconds) / len(seconds):.0f} |")
    return "\n".join(lines)


def metric_table(results: Results, variants: Sequence[Variant], kinds: Sequence[TeacherKind], *, set_name: str) -> str:
    """Return every row's metrics minus frozen; the first line is the frozen backbone itself, the second the teacher."""
    figures = results.figures(set_name)
    lines = [f"| row | {' | '.join(METRICS.values())} |", f"|---|{'---|' * len(METRICS)}"]
    for row in (_FROZEN, _TEACHER):
        if row.name in figures:
            cells = [mean_and_spread(column(figures, row.name, metric)) for metric in METRICS]
            lines.append(f"| {row.title} (as it is) | {' | '.join(cells)} |")
    for variant in variants:
        for row in (variant.row(kind) for kind in kinds):
            if row.name in figures:
                gaps = [paired(figures, row.name, _FROZEN.name, metric) for metric in FEATURE_METRICS]
                cells = [mean_and_spread(gap, signed=True) for gap in gaps]
                lines.append(f"| {row.title} | {' | '.join(cells)} | {_naming(figures, row)} |")
    return "\n".join(lines)


def mean_gains(results: Results, name: str) -> list[float]:
    """Return, for each seed, the mean over the feature metrics of a row minus frozen on object crops."""
    figures = results.figures("crop")
    gaps = [gap for metric in FEATURE_METRICS if (gap := paired(figures, name, _FROZEN.name, metric))]
    return [math.fsum(values) / len(values) for values in zip(*gaps, strict=True)]


def worst_gain(results: Results, name: str) -> tuple[float, str] | None:
    """Return the lowest mean difference to frozen of any metric on any set, and where it is; None if none is known."""
    found = []
    for set_name in SETS:
        figures = results.figures(set_name)
        for metric in FEATURE_METRICS:
            gaps = paired(figures, name, _FROZEN.name, metric)
            if gaps:
                found.append((math.fsum(gaps) / len(gaps), f"{METRICS[metric]}, {set_name}"))
    return min(found, default=None)


def _worst_words(results: Results, name: str) -> str:
    worst = worst_gain(results, name)
    return "–" if worst is None else f"{worst[0]:+.3f} ({worst[1]})"


def _naming(figures: Figures, row: Row) -> str:
    own = column(figures, row.name, "naming")
    if not own:
        return "–"
    teacher = column(figures, row.name, "naming_teacher") or column(figures, _TEACHER.name, "naming")
    return f"{mean_and_spread(own)} ({mean_and_spread(teacher)})"


def main(words: Sequence[str] | None = None) -> int:
    """Read the command line, make what is missing, and write the table; return the exit code."""
    return run_command(partial(_search, _parser().parse_args(words)))


def _search(arguments: argparse.Namespace, progress: Progress) -> list[Outcome]:
    out = arguments.table or arguments.out
    variants = read_variants(arguments.variants)
    failed = [] if arguments.table else _make_missing(variants, arguments, progress)
    every = [_FROZEN, _TEACHER, *(variant.row(kind) for variant in variants for kind in KINDS)]
    text = search_page(gather(out, every), variants, KINDS)
    write_text(out / "search.md", text)
    print(text)
    return failed


def _make_missing(variants: Sequence[Variant], arguments: argparse.Namespace, progress: Progress) -> list[Outcome]:
    unknown = sorted(set(arguments.only or ()) - {variant.name for variant in variants})
    if unknown:
        raise ConfigError(f"{arguments.variants}: no variant {unknown[0]!r}")
    chosen = [variant for variant in variants if not arguments.only or variant.name in arguments.only]
    first = [_FROZEN] if arguments.teachers == ["none"] else [_FROZEN, _TEACHER]
    rows = [*first, *(variant.row(kind) for variant in chosen for kind in KINDS if kind in arguments.teachers)]
    source, out = read_source(arguments), arguments.out
    return work_through(source, rows, seeds=arguments.seeds, out=out, jobs=arguments.jobs, progress=progress)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--out", type=Path, help="folder of worlds, runs and results")
    place.add_argument("--table", type=Path, metavar="OUT", help="write the table of this folder and run nothing")
    parser.add_argument("--variants", type=Path, default=DEFAULT_VARIANTS, help="YAML list of variants")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="make these variants alone")
    parser.add_argument("--teachers", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(TUNING_SEEDS))
    add_source_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
