"""The rows of the table: what each is, and in what it differs from LEAD++."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from leadpp.config import PRESETS

Kind = Literal["trained", "frozen", "teacher", "supervised"]
Boxes = Literal["found", "whole", "true"]
Words = Literal["descriptions", "names", "wrong", "random", "none"]

REFERENCE = "lead++"
"""Name of the row that the others are compared with."""

PAPER_QUEUE = 10_880
"""Negatives of the queue: the reference's 65,536 for 5,994 photographs, scaled to a world's 1,000; 170 batches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row: an encoder that is measured, and how it is made."""

    name: str
    """Short, fit for the command line and for a folder."""
    title: str
    """What the table calls it."""
    meaning: str
    """What it is, in one sentence."""
    kind: Kind = "trained"
    """A training of the method, the network it begins as, the teacher, or a training on the labels."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """In which settings it differs from what all rows share."""
    boxes: Boxes = "found"
    """What object views are cut from in training: the boxes of DDT, whole photographs, or true boxes. All rows are
    evaluated on the crops of DDT."""
    words: Words = "descriptions"
    """What prototypes are made of: descriptions; names; the descriptions of other species; noise; or there are none."""
    noise: int = 0
    """How strong the noise on the teacher's image embedding is, from 1 to 4 (``benchmarks.teachers.noisy``); 0 none."""
    label_free: bool = True
    """Whether nobody had to label or outline anything for it."""

    @property
    def taught(self) -> bool:
        """Whether a teacher has a say, so that there are prototypes and naming can be measured."""
        return self.words != "none"

    def identity(self) -> dict[str, Any]:
        """Return what decides its figures, ready for JSON; title and meaning do not."""
        return {key: value for key, value in asdict(self).items() if key not in ("title", "meaning", "label_free")}


def _noisy(strength: int) -> Row:
    return Row(
        name=f"noisy-{strength}",
        title=f"teacher with noise, strength {strength}",
        meaning=f"LEAD++ whose teacher's image embedding carries noise of strength {strength} of 4.",
        noise=strength,
    )


ROWS: tuple[Row, ...] = (
    Row(
        name="frozen",
        title="frozen backbone",
        meaning="The network that every training begins as, untouched.",
        kind="frozen",
        words="none",
    ),
    Row(
        name="teacher",
        title="teacher",
        meaning="The teacher's own image embedding, and its zero-shot naming with the descriptions.",
        kind="teacher",
    ),
    Row(
        name="moco",
        title="MoCo",
        meaning="The contrast of two whole views alone, trained as carefully as LEAD++: same views, rates and blend.",
        settings={"preset": "moco"},
        words="none",
    ),
    Row(
        name="contrast",
        title="contrast with boxes, no teacher",
        meaning="The three contrasts, alignment and neighbourhoods of LEAD++ with w_c = 1; nobody is asked.",
        settings={"teacher": {"use": "no"}},
        words="none",
    ),
    Row(
        name="distillation",
        title="distillation alone",
        meaning="The teacher's opinion of the object with w_d = 1; neither contrast nor alignment nor neighbourhoods.",
        settings={"loss": {"alpha": 0.0, "distill_weighting": "one", "structure": 0.0}},
    ),
    Row(
        name="lead",
        title="LEAD",
        meaning="One context: contrast and distillation on whole views, weighted by entropy; trained as LEAD++ is.",
        settings={"preset": "lead"},
    ),
    Row(
        name="no-boxes",
        title="LEAD++ without boxes",
        meaning="LEAD++ whose object views are cut from whole photographs.",
        boxes="whole",
    ),
    Row(
        name="no-entropy",
        title="LEAD++ without entropy weights",
        meaning="LEAD++ with w_c = w_d = 0.5 for every photograph.",
        settings={"loss": {"contrast_weighting": "half", "distill_weighting": "half"}},
    ),
    Row(
        name="no-cross",
        title="LEAD++ without the cross term",
        meaning="LEAD++ without the contrast of whole with object views.",
        settings={"loss": {"global_object": 0.0}},
    ),
    Row(
        name="no-alignment",
        title="LEAD++ without attention alignment",
        meaning="LEAD++ whose attention is not aligned with the Grad-CAM of the object term.",
        settings={"loss": {"alignment": 0.0}},
    ),
    Row(
        name="no-structure",
        title="LEAD++ without neighbourhoods",
        meaning="LEAD++ that keeps no neighbourhoods, neither the first backbone's nor the teacher's.",
        settings={"loss": {"structure": 0.0}},
    ),
    Row(
        name="raw-answers",
        title="LEAD++ with the teacher's raw answers",
        meaning="LEAD++ whose teacher's answers are neither averaged with their neighbours' nor balanced.",
        settings={"teacher": {"neighbours": 0, "balance": 0.0}},
    ),
    Row(
        name="augmented",
        title="LEAD++ whose teacher sees augmented views",
        meaning="LEAD++ whose teacher is asked about every augmented view anew, as the paper has it; no consensus.",
        settings={"teacher": {"view": "augmented"}},
    ),
    Row(
        name="cached",
        title="LEAD++ with two remembered views",
        meaning="LEAD++ whose teacher is asked about two augmented views a photograph, which then come by turns.",
        settings={"teacher": {"view": "cached:2"}},
    ),
    Row(
        name="strong-views",
        title="LEAD++ with the views of MoCo v2",
        meaning="LEAD++ on views that MoCo v2 learns from: smaller crops, changed colours, grey, more blur.",
        settings={"augment": PRESETS["paper"]["augment"]},
    ),
    Row(
        name="true-boxes",
        title="LEAD++ with true boxes",
        meaning="LEAD++ whose object views are cut from the true boxes, by the crop policy of the found ones.",
        boxes="true",
        label_free=False,
    ),
    Row(name=REFERENCE, title="**LEAD++**", meaning="The whole method as shipped."),
    Row(
        name="random-words",
        title="random prototypes",
        meaning="LEAD++ whose prototypes are random unit vectors.",
        words="random",
    ),
    Row(
        name="wrong-words",
        title="descriptions of wrong species",
        meaning="LEAD++ where every species has the prototype of another.",
        words="wrong",
    ),
    Row(
        name="names",
        title="names only",
        meaning="LEAD++ whose prototypes are made of the names in a fixed sentence.",
        words="names",
    ),
    *(_noisy(strength) for strength in (1, 2, 3, 4)),
    Row(
        name="paper",
        title="`paper`",
        meaning="The reference's forms of losses, keys, queues and views, its rate and temperatures, "
        "on the world's pictures, epochs, batch and boxes; the queue is scaled to the world.",
        settings={
            "preset": "paper",
            "loss": {"distillation_temperature": 0.02},
            "train": {"learning_rate": 0.02, "queue_size": PAPER_QUEUE},
        },
    ),
    Row(
        name="supervised",
        title="supervised upper bound",
        meaning="The same backbone trained on the labels with cross-entropy, on the same views, epochs and batch.",
        kind="supervised",
        words="none",
        label_free=False,
    ),
)
"""Every row, in the order of the table."""

QUICK = ("frozen", "teacher", "moco", "contrast", "no-boxes", "no-entropy", "wrong-words", REFERENCE)
"""The eight rows of ``--quick``."""

BY_NAME: Mapping[str, Row] = {row.name: row for row in ROWS}
"""Each row by its name."""
