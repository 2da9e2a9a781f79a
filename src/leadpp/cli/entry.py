"""Entry point: choose the command, show progress, print results, and map errors to exit codes."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from leadpp import __version__
from leadpp.cli.parser import (
    COMMANDS,
    UsageError,
    data_parser,
    demo_parser,
    prepare_parser,
    settings_of,
    top_help,
    unknown_command,
    world_of,
    world_parser,
)
from leadpp.errors import LeadppError

OK, MISTAKE, INTERRUPTED, TERMINATED = 0, 2, 130, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after ``leadpp``; those of the process when left out.

    Returns:
        0 if all went well, 2 for a mistake of the user (one line on standard error says which), 130 for Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        _leave_on_sigterm()
    try:
        return _dispatch(words)
    except LeadppError as error:
        sys.stderr.write(f"leadpp: error: {' '.join(str(error).split())}\n")
        return MISTAKE
    except KeyboardInterrupt:
        sys.stderr.write(f"leadpp: interrupted; {_after_interrupt(words[:1])}\n")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return OK


def _leave_on_sigterm() -> None:
    """Have SIGTERM (a batch system, a container, ``timeout``) clean up as Ctrl-C does, and end with 143."""
    own = os.getpid()

    def leave(number: int, frame: object) -> None:
        del frame
        if os.getpid() != own:  # a forked reading process has nothing to clean up
            os._exit(TERMINATED)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def _after_interrupt(command: list[str]) -> str:
    """Say what there is after Ctrl-C, and how to go on."""
    if command == ["world"]:
        return "nothing was written, a world is written whole or not at all; run the same command to draw it"
    resume = "" if command == ["demo"] else ", a training with --resume"
    return f"finished stages are kept; run the same command to go on{resume}"


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        (sys.stdout if words else sys.stderr).write(top_help())
        return OK if words else MISTAKE
    if words[0] == "--version":
        sys.stdout.write(f"leadpp {__version__}\n")
        return OK
    command, rest = words[0], words[1:]
    if command not in COMMANDS:
        raise unknown_command(command)
    if command == "prototypes":
        if rest[:1] not in (["build"], ["-h"], ["--help"]):
            raise UsageError("leadpp prototypes: expected `leadpp prototypes build --data DIR --run RUN`")
        rest = rest[1:] if rest[0] == "build" else rest
    try:
        plain = {"demo": _demo, "prepare": _prepare, "world": _world}
        return plain[command](rest) if command in plain else _run_stages(command, rest)
    except SystemExit as stop:  # argparse leaves so after it has printed the help
        return int(stop.code or 0)


def _prepare(words: list[str]) -> int:
    parsed = prepare_parser().parse_strictly(words)
    settings = settings_of(parsed)

    from leadpp.cli.results import print_results
    from leadpp.config import build_config, read_yaml
    from leadpp.engine.console import console_progress
    from leadpp.engine.runtime import worker_count
    from leadpp.stages.prepare import prepare

    config = build_config(read_yaml(parsed.config) if parsed.config else {}, settings)
    result = prepare(
        parsed.kind,
        parsed.source,
        parsed.out,
        boxes_csv=parsed.boxes,
        materialize=parsed.materialize,
        seed=config.seed,
        bad_images=config.input.bad_images,
        workers=worker_count(config.input.workers),
        progress=console_progress(),
    )
    print_results({"prepare": result}, command="prepare", as_json=parsed.json)
    return OK


def _world(words: list[str]) -> int:
    parsed = world_parser().parse_strictly(words)

    from leadpp.cli.results import print_results
    from leadpp.engine.console import console_progress
    from leadpp.engine.runtime import worker_count
    from leadpp.stages.world import make_world

    result = make_world(
        parsed.out,
        species=parsed.species,
        per_species=parsed.per_species,
        size=parsed.size,
        seed=parsed.seed,
        descriptions=parsed.descriptions,
        correlate=parsed.correlate,
        overwrite=parsed.overwrite,
        workers=worker_count(parsed.workers),
        progress=console_progress(),
    )
    print_results({"world": result}, command="world", as_json=parsed.json)
    return OK


def _demo(words: list[str]) -> int:
    parsed = demo_parser().parse_strictly(words)

    from leadpp.config import build_config, merge_settings, read_yaml

    settings = merge_settings(read_yaml(parsed.config) if parsed.config else {}, settings_of(parsed))
    build_config(settings)  # a mistake shows before the slow imports

    from leadpp import pipeline
    from leadpp.cli.results import print_demo
    from leadpp.engine.console import console_progress

    found = pipeline.demo(parsed.run, world=world_of(parsed), settings=settings, progress=console_progress())
    print_demo(found, as_json=parsed.json)
    return OK


def _run_stages(command: str, words: list[str]) -> int:
    parsed = data_parser(command).parse_strictly(words)
    settings = settings_of(parsed)

    from leadpp.config import build_config, read_yaml

    build_config(read_yaml(parsed.config) if parsed.config else {}, settings)  # a mistake shows before the slow imports

    from leadpp import pipeline
    from leadpp.cli.results import print_results
    from leadpp.engine.console import console_progress

    texts = {name: getattr(parsed, name, None) for name in ("names", "descriptions", "prototypes")}
    results: dict[str, Any] = pipeline.run(
        parsed.data,
        parsed.run,
        stages=pipeline.STAGES if command == "run" else (command,),
        settings=settings,
        config=parsed.config,
        texts=pipeline.Texts(**texts),
        boxes_csv=parsed.boxes,
        resume=getattr(parsed, "resume", False),
        write_crops=getattr(parsed, "write_crops", False),
        progress=console_progress(),
    )
    print_results(results, command=command, as_json=parsed.json)
    return OK
