"""From a loss to new weights: which weights learn how fast, and how far they may move in a step."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from leadpp.distributed.gradients import GradientSum
from leadpp.distributed.ranks import ALONE, Ranks
from leadpp.engine.plan import LoopPlan
from leadpp.functional.schedule import late_rise, learning_rate
from leadpp.models.backbone import parameter_stages
from leadpp.models.learner import Learner
from leadpp.models.student import Student


class Descent:
    """SGD on the student of a learner; the heads learn at the rate of the schedule, the backbone at shares of it.

    Attributes:
        optimizer: Holds the momentum; checkpoints save it.
        scaler: Scales the loss of half precision; idle otherwise.

    Args:
        learner: What learns.
        plan: How fast and how carefully.
        ranks: The processes whose losses are added up.
    """

    def __init__(self, learner: Learner, plan: LoopPlan, *, ranks: Ranks = ALONE) -> None:
        self._learner, self._plan = learner, plan
        self._sum = GradientSum(ranks, list(learner.student.parameters()))
        self.optimizer = torch.optim.SGD(
            _groups(learner.student, plan),
            lr=plan.learning_rate,
            momentum=plan.momentum,
            fused=True,  # one pass over the weights where the plain loop has five
        )
        self.scaler = torch.amp.GradScaler(learner.device.type, enabled=plan.precision == "fp16")

    def prepare(self, step: int, *, steps_per_epoch: int) -> float:
        """Hold or free the backbone for a step, counted from 0, and set the rates; return that of the heads."""
        plan = self._plan
        rate = learning_rate(
            plan.schedule,
            step,
            steps_per_epoch=steps_per_epoch,
            epochs=plan.epochs,
            warmup_epochs=plan.warmup_epochs,
            peak=plan.learning_rate,
        )
        start = round(min(plan.head_warmup_epochs, plan.epochs / 4) * steps_per_epoch)
        rise = round(plan.warmup_epochs * steps_per_epoch) if plan.schedule == "cosine-step" else 0
        late = min(rate, late_rise(step, start_step=start, warmup_steps=rise, peak=plan.learning_rate))
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * (late if group["late"] else rate)
        self._learner.hold_backbone(held=step < start)
        return rate

    def differentiate(self, loss: Tensor) -> None:
        """Find the gradient of the student, that of all processes.

        Args:
            loss: This process's part of the sum that is minimised.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self._sum.begin()
        torch.autograd.backward(self.scaler.scale(loss))
        self._sum.finish()

    def clip(self) -> Tensor:
        """Clip the gradient if so planned, and return the norm that it had; once after :meth:`differentiate`."""
        self.scaler.unscale_(self.optimizer)
        with_gradient = [weight for weight in self._learner.student.parameters() if weight.grad is not None]
        norm = get_total_norm([weight.grad for weight in with_gradient if weight.grad is not None])
        if self._plan.clip_norm > 0:
            clip_grads_with_norm_(with_gradient, self._plan.clip_norm, norm)
        return norm

    def move(self) -> None:
        """Move the weights along the gradient and to their anchor; with half precision, not where it overflowed."""
        if self._plan.anchor > 0:
            self._pull()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    @torch.no_grad()
    def _pull(self) -> None:
        """Add the decay towards the first weights to the gradient of the backbone, as SGD adds the decay towards 0."""
        backbone, first = self._learner.student.backbone, self._learner.first.backbone
        for weight, start in zip(backbone.parameters(), first.parameters(), strict=True):
            if weight.grad is not None:
                weight.grad.add_(weight - start, alpha=self._plan.anchor)


def _groups(student: Student, plan: LoopPlan) -> list[dict[str, Any]]:
    """Sort the weights by how they learn; what learns alike is one group, in the order of the student's weights."""
    stages = parameter_stages(student.backbone)
    of_backbone = {
        id(weight): {
            "share": plan.backbone_rate * plan.layer_decay**later,
            "late": plan.head_warmup_epochs > 0,
            "weight_decay": 0.0 if plan.anchor > 0 else plan.weight_decay,
        }
        for later, stage in enumerate(reversed(stages))
        for weight in stage
    }
    of_heads = {"share": 1.0, "late": False, "weight_decay": plan.weight_decay}
    groups: dict[tuple[object, ...], list[nn.Parameter]] = {}
    settings: dict[tuple[object, ...], dict[str, Any]] = {}
    for weight in student.parameters():
        how = of_backbone.get(id(weight), of_heads)
        key = tuple(how.values())
        settings[key] = how
        groups.setdefault(key, []).append(weight)
    return [{"params": weights, **settings[key]} for key, weights in groups.items()]
