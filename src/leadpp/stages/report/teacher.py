"""Sections of the teacher and of the words: how unsure it is, what that weighs, and what the classes are said to be."""

from typing import Any

import torch

from leadpp.engine.answers import answer, choose_temperatures, misfit
from leadpp.engine.charts import Series, histogram
from leadpp.engine.encoders import teacher_names
from leadpp.functional.distillation import adaptive_weights, normalized_entropy
from leadpp.stages.report.material import Absent, Material
from leadpp.stages.report.wording import decimals

_BINS = 30
_LEADING = 3


def entropy(material: Material) -> dict[str, Any]:
    """Show how unsure the teacher is of the test photographs, and the weights that come of it."""
    spaces, loss = material.spaces, material.config.loss
    banks = [material.first_bank(encoder=name) for name in teacher_names(len(spaces))]
    if differ := misfit([bank.features for bank in banks], spaces):
        raise Absent(f"The teacher's {differ}: evaluate and prototypes build were run with different teachers.")
    temperatures = choose_temperatures(spaces, chosen=loss.distillation_temperature)
    seen = answer([bank.features for bank in banks], [space.vectors for space in spaces], temperatures=temperatures)
    unsure = normalized_entropy(seen).clamp(0, 1)
    contrast, distill = adaptive_weights(unsure, contrast=loss.contrast_weighting, distill=loss.distill_weighting)
    counts = torch.histc(unsure, bins=_BINS, min=0, max=1).int().tolist()
    edges = torch.linspace(0, 1, _BINS + 1).tolist()
    steps = torch.linspace(0, 1, 101)
    weights = adaptive_weights(steps, contrast=loss.contrast_weighting, distill=loss.distill_weighting)
    curves = [
        Series(name=name, xs=steps.tolist(), ys=values.tolist())
        for name, values in zip(("w_c, weight of contrast", "w_d, weight of distillation"), weights, strict=True)
    ]
    return {
        "chart": histogram(
            counts,
            edges,
            label="Histogram of the teacher's entropy",
            x_label="entropy of the teacher, H",
            curves=curves,
        ),
        "of": banks[0].name if len(banks) == 1 else f"{len(banks)} teachers together, {banks[0].set}",
        "count": len(unsure),
        "median": f"{unsure.median().item():.2f}",
        "contrast": f"{contrast.mean().item():.2f}",
        "distill": f"{distill.mean().item():.2f}",
        "temperature": " and ".join(f"{value:.3g}" for value in dict.fromkeys(temperatures)),
        "means": (loss.contrast_weighting, loss.distill_weighting),
    }


def words(material: Material) -> dict[str, Any]:
    """List the texts that the prototypes were made of, each with the classes whose prototypes are nearest to it."""
    prototypes = material.prototypes
    count = len(prototypes.vectors)
    names = prototypes.labels
    cosines = prototypes.vectors @ prototypes.vectors.T
    near = cosines.fill_diagonal_(-2.0).topk(min(_LEADING, count - 1), dim=1)
    rows = [
        {
            "name": names[row],
            "texts": prototypes.texts[row] if prototypes.texts else (),
            "near": [
                (names[place], decimals(cosine, 2))
                for cosine, place in zip(near.values[row].tolist(), near.indices[row].tolist(), strict=True)
            ],
        }
        for row in range(count)
    ]
    models = [space.model for space in material.spaces if space.model]
    known = {
        "model": ", ".join(models),
        "made from": prototypes.made,
        "sentences around names": prototypes.template,
        "share of names": f"{prototypes.names_share:g}" if prototypes.names_share else None,
        "long texts": prototypes.long_text,
    }
    return {
        "rows": rows,
        "facts": {name: value for name, value in known.items() if value},
        "has_texts": prototypes.texts is not None,
        "averaged": any(len(own) > 1 for own in prototypes.texts or ()),
        "has_names": prototypes.names is not None,
        "width": prototypes.dim,
    }
