"""``leadpp compare`` and ``leadpp verify``: whether two runs are the same, and whether one is what it was."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from leadpp.cli.commands import COMMANDS
from leadpp.cli.parser import JSON_HELP, LineParser, new_parser, path_argument
from leadpp.io.words import plain_line

DIFFERENT = 1
"""Exit code where something is not as it should be."""


def compare_parser() -> LineParser:
    """Parse ``leadpp compare``."""
    parser = new_parser("compare", COMMANDS["compare"].text, usage="RUN_A RUN_B")
    parser.add_argument("run_a", type=path_argument, metavar="RUN_A", help="a run folder whose training has saved")
    parser.add_argument("run_b", type=path_argument, metavar="RUN_B", help="another one")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    parser.epilog = "Exit code: 0 if they are identical, 1 if not, 2 for a mistake."
    return parser


def verify_parser() -> LineParser:
    """Parse ``leadpp verify``."""
    parser = new_parser("verify", COMMANDS["verify"].text, usage="RUN")
    parser.add_argument("run", type=path_argument, metavar="RUN", help="a run folder")
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    parser.epilog = "Exit code: 0 if all is as it was written, 1 if not, 2 for a mistake."
    return parser


def execute(command: str, words: Sequence[str]) -> int:
    """Parse the words after the command and run it."""
    if command == "compare":
        parsed = compare_parser().parse_strictly(words)

        from leadpp.stages.compare import compare

        found = compare(parsed.run_a, parsed.run_b)
        lines, well = comparison_lines(found), found["identical"]
    else:
        parsed = verify_parser().parse_strictly(words)

        from leadpp.pipeline.verifying import verify

        found = verify(parsed.run)
        lines, well = verification_lines(found), found["whole"]
    text = json.dumps(found, indent=2, ensure_ascii=False) if parsed.json else "\n".join(map(plain_line, lines))
    sys.stdout.write(text + "\n")
    return 0 if well else DIFFERENT


def comparison_lines(found: Mapping[str, Any]) -> list[str]:
    """Say what :func:`leadpp.stages.compare.compare` found."""
    lines = []
    for name, part in found["parts"].items():
        first = part["first"]
        words = "identical" if first is None else f"differ, first in {first['name']}: {first['what']}"
        lines.append(f"{name}: {words}")
    return [*lines, "the runs are identical" if found["identical"] else "the runs differ"]


def verification_lines(found: Mapping[str, Any]) -> list[str]:
    """Say what :func:`leadpp.pipeline.verifying.verify` found."""
    lines = [f"{name}: {_origin_words(stage)}" for name, stage in found["stages"].items()]
    lines += [f"note: {line}" for line in found["notes"]]
    lines += [f"trouble: {line}" for line in found["trouble"]]
    if found["run"]:
        again = (
            "made again from its files and settings" if found["made_again"] else "noted; what lies here gives another"
        )
        lines.append(f"run {found['run']}: {again}")
    checked = f"{found['files']} files checked"
    return [
        *lines,
        f"{checked}: all as written" if found["whole"] else f"{checked}: {len(found['trouble'])} in trouble",
    ]


def _origin_words(stage: Mapping[str, Any]) -> str:
    if not isinstance(stage["made_from"], Mapping):
        return f"finished {stage['finished']}; by what and from what is not recorded"
    code, made_from = stage["code"], stage["made_from"]
    sources = [f"photographs {made_from['photographs'][:8]}"]
    sources += [f"{given['path']} {given['digest'][:8]}" for given in made_from["given"].values()]
    sources += [f"{name} {digest[:8]}" for name, digest in made_from["files"].items()]
    when = f"finished {stage['finished']} in {stage['seconds']:.1f} s"
    return f"{when} by leadpp {code['version']} ({code['source'][:8]}) from {', '.join(sources)}"
