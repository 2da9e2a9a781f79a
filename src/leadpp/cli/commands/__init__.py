"""The commands: what each does in a line, and the module that reads its words and runs it.

Each module has ``execute(command, words)``, which returns the exit code; what is slow it imports where it is needed.
"""

from typing import NamedTuple


class Command(NamedTuple):
    """One command."""

    module: str
    """Name of its module in this package."""
    text: str
    """What it does, in a line."""
    shared: bool = False
    """Whether several processes, as torchrun starts them, do it together."""


COMMANDS = {
    "run": Command("stages", "everything: localize, prototypes, train, evaluate, report", shared=True),
    "demo": Command(
        "demo", "draw a small world of birds and run the whole method in it, beside MoCo, with networks that come along"
    ),
    "prepare": Command("prepare", "turn a downloaded dataset or any folder into a prepared folder"),
    "world": Command("world", "draw a folder of imaginary birds, with true boxes, masks, attributes and descriptions"),
    "propose": Command("propose", "have a language model list the classes, where nobody knows their names"),
    "describe": Command(
        "describe", "turn class names into descriptions, by any language model behind an OpenAI-compatible server"
    ),
    "localize": Command("stages", "find the object in every photograph", shared=True),
    "prototypes build": Command("stages", "turn names or descriptions into prototypes", shared=True),
    "prototypes inspect": Command(
        "prototypes",
        "show which prototypes are alike, which the teacher cannot tell apart, which no photograph is near",
    ),
    "prototypes export": Command("prototypes", "write prototypes as the reference's .pt, one bare tensor"),
    "train": Command("stages", "train the student", shared=True),
    "evaluate": Command(
        "stages", "measure the features: kNN, linear probe, retrieval, clustering, naming", shared=True
    ),
    "report": Command("stages", "write report.html", shared=True),
    "import-weights": Command(
        "import_weights", "turn a checkpoint of the reference, of MoCo or of torchvision into a run folder"
    ),
    "compare": Command("trust", "say whether two trainings are the same bit for bit, and if not where they part"),
    "verify": Command("trust", "check every file of a run against its digest, and say what was made from what"),
    "name": Command("name", "say what is in photographs, with the names that a run learnt and how sure it is of them"),
    "discover": Command("discover", "show clusters of a run's photographs for which it has no name"),
}
"""Every command in the order in which help shows them; of two words where a noun has several verbs."""
