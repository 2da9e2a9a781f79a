"""Run commands on a disk that fails for one file after another; called as a process with ``disk.c`` loaded before.

Reads cases as JSON from standard input, one object a line: ``words`` of the command, ``path``, ``after`` and ``errno``
of the fault. Answers each with a line: exit code and standard error of the command on the failing disk, and of the same
command on the mended one.
"""

import contextlib
import io
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from leadpp.cli import main


def run(words: list[str]) -> tuple[int, str]:
    """Run a command in this process; return its code and what it said on standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except BaseException:  # noqa: BLE001 - what gets past the command line is what is looked for
            code = -1
            err.write(traceback.format_exc())
    return code, err.getvalue()


def answer(case: dict[str, Any]) -> dict[str, Any]:
    """Run the command of a case on the failing disk, look at what is there, and run it again."""
    os.environ.update(FAULT_PATH=case["path"], FAULT_AFTER=str(case["after"]), FAULT_ERRNO=str(case["errno"]))
    failing = run(case["words"])
    left = [path.name for path in Path(case["run"]).rglob("*.partial")]
    whole, _ = run(["verify", case["run"]])
    os.environ["FAULT_PATH"] = ""
    return {"failing": failing, "partial": left, "whole": whole, "mended": run(case["words"])}


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()
