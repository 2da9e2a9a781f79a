from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from leadpp.functional.objective import LossTerms, Objective, TermName, ViewName, total
from leadpp.functional.randomness import generator_for

ALL: tuple[TermName, ...] = ("global_global", "global_object", "object_object", "distillation", "alignment")
MOCO = Objective(global_object=0, object_object=0, alignment=0, distillation=0, contrast_weighting="one")
LEAD = Objective(global_object=0, object_object=0, alignment=0, distill_view="global")


def drawn_terms(*, classes: int = 200, samples: int = 64) -> LossTerms:
    generator = generator_for(9, "test")
    losses: dict[TermName, Tensor] = {
        name: torch.rand(samples, generator=generator, dtype=torch.float64) for name in ALL
    }
    weight = torch.rand(samples, generator=generator, dtype=torch.float64)
    return LossTerms(losses=losses, contrast_weight=weight, distill_weight=1 - weight, classes=classes)


def test_parts_as_the_paper_adds_them() -> None:
    terms, objective = drawn_terms(), Objective(alpha=0.7)
    parts = {name: part.item() for name, part in objective.reduce(terms).items()}
    values = {name: loss.tolist() for name, loss in terms.losses.items()}
    w_c, w_d = terms.contrast_weight.tolist(), terms.distill_weight.tolist()

    def mean(weights: list[float], name: TermName) -> float:
        return float(sum(w * value for w, value in zip(weights, values[name], strict=True))) / 64

    assert parts == pytest.approx(
        {
            "global_global": 0.7 * mean(w_c, "global_global"),
            "global_object": 0.7 * 0.1 * mean(w_c, "global_object"),
            "object_object": 0.7 * mean(w_c, "object_object"),
            "distillation": 3.2 * mean(w_d, "distillation"),
            "alignment": 0.016 * sum(values["alignment"]) / 64,
        }
    )
    assert total(objective.reduce(terms)).item() == pytest.approx(sum(parts.values()))


def test_defaults_are_the_references_strength_on_cub() -> None:
    """200 classes, batch 64, 2 processes: beta / C and 0.001 alpha of sums are 3.2 and 0.016 of means."""
    terms = drawn_terms()
    ours, reference = (replace(Objective(), reduction=form).reduce(terms) for form in ("mean", "reference"))
    for name in ALL:
        assert ours[name].item() == pytest.approx(reference[name].item()), name


def test_means_do_not_know_classes_or_batch() -> None:
    terms = drawn_terms(samples=8)
    twice = LossTerms(
        losses={name: loss.repeat(2) for name, loss in terms.losses.items()},
        contrast_weight=terms.contrast_weight.repeat(2),
        distill_weight=terms.distill_weight.repeat(2),
        classes=10,
    )
    for name, part in Objective().reduce(terms).items():
        assert Objective().reduce(twice)[name].item() == pytest.approx(part.item())


def test_the_references_sums() -> None:
    terms = drawn_terms(classes=10, samples=4)
    objective = Objective(reduction="reference", reference_beta=12, reference_alignment=0.01, reference_world_size=1)
    parts = objective.reduce(terms)
    weighted = (terms.distill_weight * terms.losses["distillation"]).sum().item()
    assert parts["distillation"].item() == pytest.approx(12 * weighted / 10)
    assert parts["alignment"].item() == pytest.approx(0.01 * 0.5 * terms.losses["alignment"].sum().item())
    halved = replace(objective, reference_world_size=2).reduce(terms)
    for name, share in (("distillation", 0.5), ("alignment", 0.5), ("global_global", 1.0)):
        assert halved[name].item() == pytest.approx(share * parts[name].item())  # type: ignore[index]


@pytest.mark.parametrize("reduction", ["mean", "reference"])
def test_structure_is_a_mean_that_alpha_does_not_scale(reduction: Literal["mean", "reference"]) -> None:
    terms = drawn_terms(samples=4)
    kept = torch.tensor([0.5, 1.0, 2.0, 4.5], dtype=torch.float64)
    terms = replace(terms, losses={**terms.losses, "structure": kept})
    objective = Objective(structure=0.3, alpha=0.0, reduction=reduction)
    parts = objective.reduce(terms)
    assert list(parts) == ["distillation", "structure"]
    assert parts["structure"].item() == pytest.approx(0.3 * 2)
    assert "structure" not in Objective().reduce(terms)


def test_structure_alone_is_nothing_to_learn_from() -> None:
    """It is kept in the views of the other terms, and asks for none of its own."""
    assert Objective(alpha=0, structure=1).views(taught=False) == ()
    assert replace(MOCO, structure=1).views(taught=False) == ("global_1", "global_2")


def test_order_of_samples_does_not_matter() -> None:
    terms = drawn_terms()
    order = torch.randperm(64, generator=generator_for(9, "order"))
    shuffled = LossTerms(
        losses={name: loss[order] for name, loss in terms.losses.items()},
        contrast_weight=terms.contrast_weight[order],
        distill_weight=terms.distill_weight[order],
        classes=terms.classes,
    )
    assert total(Objective().reduce(shuffled)).item() == pytest.approx(total(Objective().reduce(terms)).item())


def test_a_term_without_weight_is_left_out() -> None:
    for form in ("mean", "reference"):
        parts = replace(LEAD, reduction=form).reduce(drawn_terms())
        assert list(parts) == ["global_global", "distillation"]


def test_a_term_that_was_not_computed_is_left_out() -> None:
    terms = drawn_terms()
    without = replace(terms, losses={"global_global": terms.losses["global_global"]})
    assert list(Objective().reduce(without)) == ["global_global"]


@pytest.mark.parametrize(
    ("objective", "taught", "views"),
    [
        (Objective(), True, ("global_1", "global_2", "object_1", "object_2")),
        (Objective(), False, ("global_1", "global_2", "object_1", "object_2")),
        (MOCO, False, ("global_1", "global_2")),
        (MOCO, True, ("global_1", "global_2")),
        (LEAD, True, ("global_1", "global_2")),
        (replace(LEAD, distill_view="object"), True, ("global_1", "global_2", "object_1")),
        (replace(LEAD, distill_view="object"), False, ("global_1", "global_2")),
        (replace(LEAD, distill_view="both"), True, ("global_1", "global_2", "object_1")),
        (Objective(alpha=0, distill_view="both"), True, ("global_1", "object_1")),
        (replace(MOCO, distill_view="both", contrast_weighting="entropy"), True, ("global_1", "global_2", "object_1")),
        (replace(MOCO, global_global=0, global_object=0.1), False, ("global_1", "object_2")),
        (replace(MOCO, global_global=0, alignment=0.1), False, ("object_1", "object_2")),
        (Objective(alpha=0), True, ("object_1",)),
        (Objective(alpha=0), False, ()),
        (replace(MOCO, structure=1.0, structure_teacher=0.5), True, ("global_1", "global_2", "object_1")),
        (replace(MOCO, structure=1.0), True, ("global_1", "global_2")),
    ],
)
def test_views_that_are_needed(objective: Objective, taught: bool, views: tuple[ViewName, ...]) -> None:
    assert objective.views(taught=taught) == views


def test_queues_that_are_needed() -> None:
    assert Objective().queues() == ("global", "object")
    assert LEAD.queues() == ("global",)
    assert replace(MOCO, global_global=0, alignment=0.1).queues() == ("object",)
    assert Objective(alpha=0).queues() == ()


def test_who_asks_the_teacher() -> None:
    assert Objective().asks_teacher()
    assert not MOCO.asks_teacher()
    assert replace(MOCO, contrast_weighting="entropy").asks_teacher()
    assert Objective(alpha=0).asks_teacher()
    assert not Objective(alpha=0, distillation=0).asks_teacher()
