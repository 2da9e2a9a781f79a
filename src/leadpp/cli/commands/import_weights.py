"""``leadpp import-weights``: what the reference, MoCo or torchvision trained becomes a run folder."""

from collections.abc import Sequence

from leadpp.cli.commands import COMMANDS
from leadpp.cli.parser import JSON_HELP, LineParser, new_parser, path_argument


def import_parser() -> LineParser:
    """Parse ``leadpp import-weights``."""
    parser = new_parser("import-weights", COMMANDS["import-weights"].text, usage="CHECKPOINT OUT")
    parser.add_argument(
        "checkpoint",
        type=path_argument,
        metavar="CHECKPOINT",
        help="model_last.pth of the reference, a checkpoint of MoCo or LCR, or a ResNet of torchvision",
    )
    parser.add_argument("out", type=path_argument, metavar="OUT", help="the run folder to write, new or empty")
    parser.add_argument(
        "--text-space",
        choices=["auto", "yes", "no"],
        default="auto",
        help="whether the embedding lies in the space of CLIP's texts, so that it can name; auto (default) says yes of "
        "the reference's checkpoints alone",
    )
    seed = "draws the heads that the checkpoint has not; they are not measured. Default: 0"
    parser.add_argument("--seed", type=int, default=0, metavar="N", help=seed)
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    return parser


def execute(command: str, words: Sequence[str]) -> int:
    """Parse the words after the command and run it."""
    parsed = import_parser().parse_strictly(words)

    from leadpp.cli.results import print_results
    from leadpp.engine.console import console_progress
    from leadpp.stages.import_weights import import_weights

    result = import_weights(
        parsed.checkpoint,
        parsed.out,
        text_space=parsed.text_space,
        seed=parsed.seed,
        progress=console_progress(),
    )
    print_results({command: result}, command=command, as_json=parsed.json)
    return 0
