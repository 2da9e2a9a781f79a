"""The LEAD++ sum: named terms with one value a sample, how they are weighed, and their total."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from leadpp.functional.distillation import LogForm, Weighting
from leadpp.functional.gradcam import AlignmentForm

TermName = Literal["global_global", "global_object", "object_object", "distillation", "alignment", "structure"]
ViewName = Literal["global_1", "global_2", "object_1", "object_2"]
QueueName = Literal["global", "object"]

VIEW_NAMES: tuple[ViewName, ...] = ("global_1", "global_2", "object_1", "object_2")


class Comparison(NamedTuple):
    """What a contrastive term compares."""

    term: TermName
    query: ViewName
    """View that the query encoder sees."""
    key: ViewName
    """View that the key encoder sees, the positive."""
    queue: QueueName
    """Where the negatives come from."""


_COMPARISONS = (
    Comparison("global_global", "global_1", "global_2", "global"),
    Comparison("global_object", "global_1", "object_2", "object"),
    Comparison("object_object", "object_1", "object_2", "object"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """What is minimised; the defaults are the paper's LEAD++ with means in place of the reference's sums.

    The settings of a run have defaults of their own (``leadpp.config.tree.LossConfig``).

    A term whose weight is 0 is switched off in either reduction: it is not computed, and the views that it alone
    needs are not encoded.
    """

    alpha: float = 0.5
    """Scale of the contrastive terms."""
    global_global: float = 1.0
    """Weight of whole with whole, times alpha."""
    global_object: float = 0.1
    """Weight of whole with object, times alpha."""
    object_object: float = 1.0
    """Weight of object with object, times alpha."""
    distillation: float = 3.2
    """Weight of mean(w_d KL): the reference's strength for 200 classes, batch 64 and 2 processes, at any of these."""
    alignment: float = 0.016
    """Weight of the mean alignment, likewise."""
    structure: float = 0.0
    """Weight of the mean divergence from the neighbourhoods that the backbone saw at first; ours, in every view that a
    term above has the student encode."""
    reduction: Literal["mean", "reference"] = "mean"
    """Means over the batch; or the reference's sums of distillation and alignment, over its number of processes."""
    reference_beta: float = 20.0
    """The reference's beta: its distillation is beta / C sum(w_d KL)."""
    reference_alignment: float = 0.001
    """Times alpha: the reference's weight of the sum of alignments."""
    reference_world_size: int = 2
    """Processes over which the reference averages gradients, in effect dividing its sums."""
    contrastive_temperature: float = 0.27
    """Divides the InfoNCE logits."""
    distillation_temperature: float = 0.02
    """Divides the cosines with the prototypes, of spaces that have no temperature of their own."""
    structure_temperature: float = 0.1
    """Divides the cosines within the batch."""
    structure_teacher: float = 0.0
    """How much the teacher's opinion counts, times w_d, beside the first backbone's, in the view that both saw."""
    contrast_weighting: Weighting = "entropy"
    """w_c: the squared entropy of the teacher, 1, or 0.5."""
    distill_weighting: Weighting = "entropy"
    """w_d: one minus the squared entropy of the teacher, 1, or 0.5."""
    distill_view: Literal["object", "global", "both"] = "object"
    """Where the student is held to the teacher's answer: on the first object view, which the teacher sees too; on the
    first whole view, likewise; or on both, the teacher looking at the object view alone, so that the student must
    see in the whole photograph what the teacher sees in the crop."""
    log_form: LogForm = "log-softmax"
    """The stable logarithm of the softmax, or the reference's."""
    alignment_form: AlignmentForm = "reference"
    """Grad-CAM as it is, or scaled to [0, 1] per image first."""

    def uses(self, term: TermName) -> bool:
        """Tell whether a term has weight."""
        scale = 1.0 if term in {"distillation", "structure"} else self.alpha
        return scale > 0 and getattr(self, term) > 0

    def scores_objects(self) -> bool:
        """Tell whether object with object must be scored: for its own sake or for the Grad-CAM of the alignment."""
        return self.uses("object_object") or self.uses("alignment")

    def comparisons(self) -> tuple[Comparison, ...]:
        """Name what the contrastive terms compare, in the order of the reference."""
        wanted = {one.term: self.uses(one.term) for one in _COMPARISONS} | {"object_object": self.scores_objects()}
        return tuple(one for one in _COMPARISONS if wanted[one.term])

    def queues(self) -> tuple[QueueName, ...]:
        """Name the queues that the terms draw negatives from."""
        return tuple(dict.fromkeys(one.queue for one in self.comparisons()))

    def asks_teacher(self) -> bool:
        """Tell whether the teacher has a say: in distillation, in weights of the contrast, or in neighbourhoods."""
        compares = self.uses("structure") and self.structure_teacher > 0
        return self.uses("distillation") or (bool(self.queues()) and (self.contrast_weighting == "entropy" or compares))

    def teacher_view(self) -> ViewName:
        """Name the view that the teacher looks at."""
        return "global_1" if self.distill_view == "global" else "object_1"

    def pupil_views(self) -> tuple[ViewName, ...]:
        """Name the views on which the student is held to the teacher's answer."""
        return ("object_1", "global_1") if self.distill_view == "both" else (self.teacher_view(),)

    def views(self, *, taught: bool) -> tuple[ViewName, ...]:
        """Name the views that the terms need, in a fixed order.

        Args:
            taught: Whether there is a teacher.
        """
        needed = {view for one in self.comparisons() for view in (one.query, one.key)}
        if taught and self.asks_teacher():
            needed.add(self.teacher_view())
            if self.uses("distillation"):
                needed |= set(self.pupil_views())
        return tuple(view for view in VIEW_NAMES if view in needed)

    def reduce(self, terms: "LossTerms", *, shares: int = 1) -> dict[TermName, Tensor]:
        """Weigh and reduce each term that was computed; the total of the objective is the sum of the parts.

        Args:
            terms: The losses of a batch, or of one of several shares of it of the same size.
            shares: How many shares there are: the parts of a whole batch are the sums of those of its shares.

        Returns:
            One scalar for each term with weight, in a fixed order.
        """
        parts: dict[TermName, Tensor] = {}
        contrastive: tuple[TermName, ...] = ("global_global", "global_object", "object_object")
        for name in contrastive:
            if name in terms.losses and self.uses(name):
                weighted = (terms.contrast_weight * terms.losses[name]).mean()
                parts[name] = self.alpha * getattr(self, name) * weighted / shares
        if "distillation" in terms.losses and self.uses("distillation"):
            parts["distillation"] = self._reduce_distillation(terms, shares)
        if "alignment" in terms.losses and self.uses("alignment"):
            parts["alignment"] = self._reduce_alignment(terms.losses["alignment"], shares)
        if "structure" in terms.losses and self.uses("structure"):
            parts["structure"] = self.structure * terms.losses["structure"].mean() / shares
        return parts

    def _reduce_distillation(self, terms: "LossTerms", shares: int) -> Tensor:
        weighted = terms.distill_weight * terms.losses["distillation"]
        if self.reduction == "mean":
            return self.distillation * weighted.mean() / shares
        return self.reference_beta / terms.classes * weighted.sum() / self.reference_world_size

    def _reduce_alignment(self, loss: Tensor, shares: int) -> Tensor:
        if self.reduction == "mean":
            return self.alignment * loss.mean() / shares
        return self.reference_alignment * self.alpha * loss.sum() / self.reference_world_size


@dataclass(frozen=True, kw_only=True, slots=True)
class LossTerms:
    """The losses of one step before they are weighed and reduced, one value a sample."""

    losses: Mapping[TermName, Tensor]
    """Each (B,): InfoNCE of the three pairs, KL of distillation and structure, alignment; absent where not computed."""
    contrast_weight: Tensor
    """w_c, shape (B,), without gradient."""
    distill_weight: Tensor
    """w_d, shape (B,), without gradient."""
    classes: int = 0
    """C, the number of prototypes; 0 without a teacher."""


def total(parts: Mapping[TermName, Tensor]) -> Tensor:
    """Add up the parts of :meth:`Objective.reduce`; at least one."""
    return torch.stack(list(parts.values())).sum()
