"""One whole step of the reference, array by array, through the classes that train."""

from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.engine.lessons import Lessons, Space
from leadpp.engine.step import Pair, Scores, StepPlan, remember, score_step
from leadpp.functional.contrastive import contrastive_logits
from leadpp.functional.objective import Objective, TermName, ViewName, total
from leadpp.functional.randomness import generator_for
from leadpp.models.learner import Learner
from leadpp.models.queue import KeyQueue
from leadpp.models.student import Student
from tests.golden.arrays import FOLDER, Arrays, assert_close, number, read, tensor

FILES = sorted(path.name for path in FOLDER.glob("train_step_*.npz"))
TERMS: dict[str, TermName] = {"1": "global_global", "2": "global_object", "3": "object_object"}


class MapsAsImages(nn.Module):
    """The stored numbers begin at the feature map, so the backbone hands it through."""

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.feature_dim = feature_dim

    def forward(self, images: Tensor) -> Tensor:
        return images


@dataclass
class StoredTeacher:
    raw: Tensor

    def encode_images(self, images: Tensor) -> Tensor:
        del images
        return F.normalize(self.raw, dim=1)


@dataclass
class Outcome:
    """A step as it was stored, and the same step as it is computed here."""

    arrays: Arrays
    learner: Learner
    views: dict[ViewName, Tensor]
    scores: Scores
    parts: dict[TermName, Tensor]
    objective: Objective
    cam_pass: Tensor
    """What the backward pass of Grad-CAM alone leaves at q3, (B, D)."""

    def pair(self, which: str) -> Pair:
        return self.scores.pairs[TERMS[which]]

    def check(self, actual: Tensor | None, name: str) -> None:
        assert actual is not None, name
        assert_close(actual, self.arrays[name], name=name)


@cache
def step(file: str) -> Outcome:
    arrays = read(file)
    learner = _learner(arrays)
    names: tuple[ViewName, ...] = ("global_1", "global_2", "object_1", "object_2")
    views = {name: tensor(arrays, f"im_{place}") for place, name in enumerate(names, start=1)}
    for name in ("global_1", "object_1"):
        views[name].requires_grad_()
    objective = Objective(
        alpha=number(arrays, "alpha"),
        reference_beta=number(arrays, "beta"),
        contrastive_temperature=number(arrays, "T"),
        distillation_temperature=number(arrays, "temperature"),
        reduction="reference",
        reference_world_size=1,
        log_form="softmax-log",
    )
    plan = StepPlan(
        forwards="reference", key_update="forward", key_timing="reference", key_momentum=number(arrays, "m")
    )
    lessons = Lessons((Space(teacher=StoredTeacher(tensor(arrays, "teacher_raw")), prototypes=tensor(arrays, "text")),))
    scores = score_step(learner, views, objective=objective, plan=plan, lessons=lessons)
    parts = objective.reduce(scores.terms)
    (cam_pass,) = torch.autograd.grad(
        parts["object_object"], scores.pairs["object_object"].query.embedding, retain_graph=True
    )
    for pair in scores.pairs.values():
        pair.query.embedding.retain_grad()
    torch.autograd.backward(total(parts))
    remember(learner, scores.pending)
    return Outcome(arrays, learner, views, scores, parts, objective, cam_pass)


def _learner(arrays: Arrays) -> Learner:
    channels = arrays["im_1"].shape[1]
    generator = generator_for(0, "overwritten below")
    student = Student(
        MapsAsImages(channels),
        embedding_dim=arrays["queue"].shape[0],
        attention_channels=arrays["conv16_weight"].shape[0],
        attention_scaling="batch",
        generator=generator,
    )
    learner = Learner(
        student,
        queues=("global", "object"),
        queue_size=arrays["queue"].shape[1],
        generator=generator,
    )
    for layer in ("0", "2"):
        for part in ("weight", "bias"):
            for encoder, letter in ((learner.student, "q"), (learner.key, "k")):
                stored = tensor(arrays, f"{letter}_fc_{layer}_{part}")
                encoder.projector.get_parameter(f"{layer}.{part}").data.copy_(stored)
    student.attention.conv.weight.data.copy_(tensor(arrays, "conv16_weight"))
    for part in ("weight", "bias", "running_mean", "running_var"):
        getattr(student.attention.norm, part).data.copy_(tensor(arrays, f"bn16_{part}"))
    _fill(learner.queue("global"), arrays, suffix="")
    _fill(learner.queue("object"), arrays, suffix="2")
    return learner.train()


def _fill(queue: KeyQueue, arrays: Arrays, *, suffix: str) -> None:
    queue.keys.copy_(tensor(arrays, f"queue{suffix}").T)
    queue.pushed.fill_(int(arrays[f"queue_ptr{suffix}"].item()))


def test_there_are_stored_steps() -> None:
    assert FILES, f"no train_step_*.npz in {FOLDER}"


@pytest.fixture(params=FILES)
def outcome(request: pytest.FixtureRequest) -> Outcome:
    return step(request.param)


@pytest.mark.parametrize("which", TERMS)
def test_contrast(outcome: Outcome, which: str) -> None:
    pair = outcome.pair(which)
    logits = contrastive_logits(
        pair.query.embedding, pair.key, pair.negatives, temperature=outcome.objective.contrastive_temperature
    )
    outcome.check(pair.query.embedding, f"q{which}")
    outcome.check(pair.key, f"k{which}")
    outcome.check(logits, f"logits{which}")
    outcome.check(outcome.scores.terms.losses[TERMS[which]], f"ce{which}")


def test_distributions(outcome: Outcome) -> None:
    lesson, (answer,) = outcome.scores.lesson, outcome.scores.answers
    assert lesson is not None
    outcome.check(lesson.embeddings[0], "f_t")
    outcome.check(outcome.pair("3").query.embedding, "f_s")
    outcome.check(lesson.distribution.probs, "similarity_t_softmax")
    outcome.check(answer.probs, "similarity_s_softmax")
    assert outcome.scores.terms.classes == outcome.arrays["num_classes"]


def test_weights(outcome: Outcome) -> None:
    assert outcome.scores.lesson is not None
    outcome.check(outcome.scores.lesson.entropy, "entropy")
    outcome.check(outcome.scores.terms.contrast_weight, "weights_contrastive")
    outcome.check(outcome.scores.terms.distill_weight, "weights_distill")


def test_alignment_maps(outcome: Outcome) -> None:
    alignment = outcome.scores.alignment
    assert alignment is not None
    outcome.check(alignment.gradient, "grad_wrt_act1")
    outcome.check(alignment.cam, "gradcam")
    outcome.check(alignment.attention, "att_max")


def test_losses(outcome: Outcome) -> None:
    parts, objective = outcome.parts, outcome.objective
    outcome.check(parts["global_global"], "loss1")
    outcome.check(parts["global_object"] / objective.global_object, "loss2")
    outcome.check(parts["object_object"], "loss3")
    outcome.check(parts["distillation"], "loss_distill")
    outcome.check(outcome.scores.terms.losses["alignment"].sum(), "loss_cam")
    others = [part for name, part in parts.items() if name != "distillation"]
    outcome.check(torch.stack(others).sum(), "loss_cl")
    outcome.check(total(parts), "loss")


def test_gradients_of_embeddings_and_maps(outcome: Outcome) -> None:
    for which in ("1", "2"):
        outcome.check(outcome.pair(which).query.embedding.grad, f"grad_q{which}")
    # The reference retains the gradient at q3, and so adds to it what the earlier pass for Grad-CAM leaves there; no
    # other gradient is touched by that pass.
    gradient = outcome.pair("3").query.embedding.grad
    assert gradient is not None
    outcome.check(gradient + outcome.cam_pass, "grad_q3")
    outcome.check(outcome.views["global_1"].grad, "grad_im_1")
    outcome.check(outcome.views["object_1"].grad, "grad_im_3")


def test_gradients_of_parameters(outcome: Outcome) -> None:
    student = outcome.learner.student
    for layer in ("0", "2"):
        for part in ("weight", "bias"):
            outcome.check(student.projector.get_parameter(f"{layer}.{part}").grad, f"grad_q_fc_{layer}_{part}")
    outcome.check(student.attention.conv.weight.grad, "grad_conv16_weight")
    outcome.check(student.attention.norm.weight.grad, "grad_bn16_weight")
    outcome.check(student.attention.norm.bias.grad, "grad_bn16_bias")


def test_state_afterwards(outcome: Outcome) -> None:
    learner = outcome.learner
    for layer in ("0", "2"):
        for part in ("weight", "bias"):
            outcome.check(learner.key.projector.get_parameter(f"{layer}.{part}"), f"after_k_fc_{layer}_{part}")
    for queue, suffix in ((learner.queue("global"), ""), (learner.queue("object"), "2")):
        outcome.check(queue.snapshot().T, f"after_queue{suffix}")
        assert queue.place == outcome.arrays[f"after_queue_ptr{suffix}"].item()
    outcome.check(learner.student.attention.norm.running_mean, "after_bn16_running_mean")
    outcome.check(learner.student.attention.norm.running_var, "after_bn16_running_var")


def test_every_stored_result_is_compared(outcome: Outcome) -> None:
    """A new array in the files must be noticed here, not passed over."""
    given = {f"im_{n}" for n in (1, 2, 3, 4)} | {"text", "teacher_raw", "queue", "queue2", "queue_ptr", "queue_ptr2"}
    given |= {"alpha", "beta", "T", "temperature", "m", "num_classes", "conv16_weight"}
    given |= {f"bn16_{part}" for part in ("weight", "bias", "running_mean", "running_var")}
    head = {f"fc_{layer}_{part}" for layer in ("0", "2") for part in ("weight", "bias")}
    given |= {f"{letter}_{name}" for letter in "qk" for name in head}
    results = {f"{what}{n}" for what in ("logits", "q", "k", "grad_q", "ce", "loss") for n in TERMS}
    results |= {"loss_distill", "loss_cam", "loss_cl", "loss", "entropy", "weights_contrastive", "weights_distill"}
    results |= {"gradcam", "att_max", "grad_wrt_act1", "f_t", "f_s", "grad_im_1", "grad_im_3"}
    results |= {"similarity_t_softmax", "similarity_s_softmax", "grad_conv16_weight", "grad_bn16_weight"}
    results |= {"grad_bn16_bias", *(f"grad_q_{name}" for name in head), *(f"after_k_{name}" for name in head)}
    results |= {"after_queue", "after_queue2", "after_queue_ptr", "after_queue_ptr2"}
    results |= {"after_bn16_running_mean", "after_bn16_running_var"}
    assert set(outcome.arrays) == given | results


def test_no_gradient_reaches_teacher_or_weights(outcome: Outcome) -> None:
    assert outcome.scores.lesson is not None
    assert not outcome.scores.lesson.embeddings[0].requires_grad
    assert not outcome.scores.terms.contrast_weight.requires_grad
    assert not outcome.scores.terms.distill_weight.requires_grad
