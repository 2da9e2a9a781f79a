"""``leadpp prepare``: a folder as downloaded becomes a prepared one."""

from collections.abc import Sequence

from leadpp.cli.commands import COMMANDS
from leadpp.cli.parser import ROOT_GROUP, LineParser, add_plain, add_settings, new_parser, path_argument, settings_of


def prepare_parser() -> LineParser:
    """Parse ``leadpp prepare``."""
    parser = new_parser("prepare", COMMANDS["prepare"].text, usage="{cub,cars,aircraft,dogs,folder,shards} SOURCE OUT")
    kinds = ["cub", "cars", "aircraft", "dogs", "folder", "shards"]
    parser.add_argument("kind", choices=kinds, help="the native layout")
    parser.add_argument(
        "source", type=path_argument, metavar="SOURCE", help="the folder as downloaded, or 'FOLDER/{0000..0099}.tar'"
    )
    parser.add_argument("out", type=path_argument, metavar="OUT", help="the prepared folder to write")
    parser.add_argument(
        "--boxes", type=path_argument, metavar="CSV", help="true boxes: path,x0,y0,x1,y1, half-open pixels"
    )
    parser.add_argument(
        "--materialize",
        choices=["none", "copy", "hard", "soft"],
        default="none",
        help="write an ImageFolder of copies, hard links or symbolic links; none (default) writes only the index",
    )
    add_plain(parser)
    add_settings(parser, only=("input", ROOT_GROUP))
    return parser


def execute(command: str, words: Sequence[str]) -> int:
    """Parse the words after the command and run it."""
    del command
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
        most_pixels=config.input.most_pixels,
        workers=worker_count(config.input.workers),
        progress=console_progress(),
    )
    print_results({"prepare": result}, command="prepare", as_json=parsed.json)
    return 0
