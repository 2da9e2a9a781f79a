"""``leadpp run`` and the stages one by one."""

from collections.abc import Sequence
from typing import Any

from leadpp.cli.commands import COMMANDS
from leadpp.cli.parser import LineParser, add_plain, add_settings, new_parser, path_argument, settings_of

DATA_COMMANDS = tuple(name for name, command in COMMANDS.items() if command.module == "stages")
"""Commands that take ``--data`` and ``--run``."""


def data_parser(command: str) -> LineParser:
    """Parse one of :data:`DATA_COMMANDS`."""
    parser = new_parser(command, COMMANDS[command].text, usage="--data DIR --run RUN")
    parser.add_argument(
        "--data",
        type=path_argument,
        required=True,
        metavar="DIR",
        help="photographs, a prepared folder, or archives as WebDataset has them: 'shards/{0000..0099}.tar'",
    )
    parser.add_argument(
        "--run", type=path_argument, required=True, metavar="RUN", help="the run folder, new or to go on with"
    )
    parser.add_argument("--boxes", type=path_argument, metavar="CSV", help="true boxes, if not in DIR/bboxes.csv")
    if command in ("run", "prototypes build"):
        texts = parser.add_argument_group("words (at most one, but --names may go with .pt prototypes)")
        texts.add_argument("--names", type=path_argument, metavar="FILE", help="class names, one a line")
        texts.add_argument(
            "--descriptions",
            type=path_argument,
            metavar="FILE",
            help="CSV or JSON of descriptions, one or more a class",
        )
        texts.add_argument(
            "--prototypes", type=path_argument, metavar="FILE", help="ready prototypes, .pt or .safetensors"
        )
    if command in ("run", "localize"):
        parser.add_argument("--write-crops", action="store_true", help="write the object crops into RUN/crops")
    if command in ("run", "train"):
        parser.add_argument("--resume", action="store_true", help="continue from the newest checkpoint")
    add_plain(parser)
    add_settings(parser, only=None)
    return parser


def execute(command: str, words: Sequence[str]) -> int:
    """Parse the words after the command and run its stage, or all of them."""
    stage = command.split(" ", maxsplit=1)[0]
    parsed = data_parser(command).parse_strictly(words)
    settings = settings_of(parsed)

    from leadpp.config import build_config, read_yaml

    build_config(read_yaml(parsed.config) if parsed.config else {}, settings)  # a mistake shows before the slow imports

    from leadpp import pipeline
    from leadpp.cli.results import print_results
    from leadpp.distributed.launch import read_launch
    from leadpp.distributed.meeting import together
    from leadpp.engine.console import console_progress

    texts = {name: getattr(parsed, name, None) for name in ("names", "descriptions", "prototypes")}
    with together(read_launch()) as ranks:
        results: dict[str, Any] = pipeline.run(
            parsed.data,
            parsed.run,
            stages=pipeline.STAGES if command == "run" else (stage,),
            settings=settings,
            config=parsed.config,
            texts=pipeline.Texts(**texts),
            boxes_csv=parsed.boxes,
            resume=getattr(parsed, "resume", False),
            write_crops=getattr(parsed, "write_crops", False),
            progress=console_progress() if ranks.leads else None,
            ranks=ranks,
        )
    if ranks.leads:
        print_results(results, command=stage, as_json=parsed.json)
    return 0
