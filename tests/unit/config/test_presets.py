"""What each preset is; ``paper`` is held to the reference row by row."""

from typing import Any

import pytest

from leadpp.config import build_config

PAPER = {
    # order of the object queue, key momentum, queue size, forwards
    "train.key_timing": "reference",
    "train.key_update": "forward",
    "train.key_momentum": 0.999,
    "train.queue_size": 65_536,
    "train.forwards": "reference",
    # teacher; scale of the distillation and the alignment; logarithm; alignment
    "teacher.normalization": "imagenet",
    "loss.reduction": "reference",
    "loss.reference_beta": 20.0,
    "loss.reference_alignment": 0.001,
    "loss.reference_world_size": 2,
    "loss.alpha": 0.5,
    "loss.global_global": 1.0,
    "loss.global_object": 0.1,
    "loss.object_object": 1.0,
    "loss.contrastive_temperature": 0.27,
    "loss.distillation_temperature": 0.02,
    "loss.log_form": "softmax-log",
    "loss.alignment_form": "reference",
    # localizer
    "localize.batchnorm": "train-in-apply",
    "localize.fit_size": 512,
    "localize.size": 448,
    "localize.fit_split": "all",
    "localize.fit_images": 0,
    "localize.zero_rows": True,
    "localize.sign_rule": "loading",
    "localize.box_reading": "reference",
    "localize.threshold": 0.0,
    "localize.form": "search",
    "localize.stages": 1,
    "localize.upsample": 1,
    # what is ours
    "augment.crop_least": 0.2,
    "augment.jitter": 0.4,
    "augment.hue": 0.1,
    "augment.jitter_prob": 0.8,
    "augment.grey_prob": 0.2,
    "augment.blur": 2.0,
    "augment.blur_prob": 0.5,
    "teacher.view": "augmented",
    "teacher.neighbours": 0,
    "teacher.balance": 0.0,
    "student.batchnorm": "train",
    "loss.distill_view": "object",
    "loss.structure": 0.0,
    "train.clip_norm": 0.0,
    "train.head_warmup_epochs": 0.0,
    "train.backbone_rate": 1.0,
    "train.layer_decay": 1.0,
    "train.anchor": 0.0,
    "train.average_decay": 0.0,
    "train.blend": 1.0,
    # attention, schedule, probe, text
    "student.attention_scaling": "batch",
    "train.schedule": "cosine-epoch",
    "train.learning_rate": 0.02,
    "train.momentum": 0.9,
    "train.weight_decay": 5e-4,
    "train.batch_size": 64,
    "train.epochs": 100,
    "evaluate.probe_views": 100,
    "evaluate.probe_epochs": 100,
    "text.long": "truncate",
    "seed": 123,
}
DEFAULT = {
    "train.key_timing": "after-step",
    "train.key_update": "step",
    "train.key_momentum": 0.997,
    "train.queue_size": 0,
    "train.forwards": "once",
    "teacher.normalization": "own",
    "loss.reduction": "mean",
    "loss.distillation": 3.2,
    "loss.alignment": 0.016,
    "loss.log_form": "log-softmax",
    "localize.batchnorm": "eval",
    "localize.fit_size": 0,
    "localize.fit_split": "train",
    "localize.fit_images": 1000,
    "localize.zero_rows": False,
    "localize.sign_rule": "border",
    "localize.box_reading": "xyxy",
    "student.attention_scaling": "image",
    "student.batchnorm": "eval",
    "augment.hue": 0.0,
    "augment.grey_prob": 0.0,
    "teacher.view": "clean",
    "loss.distill_view": "both",
    "train.schedule": "cosine-step",
    "text.long": "split",
}
LEAD = {
    "loss.global_global": 1.0,
    "loss.global_object": 0.0,
    "loss.object_object": 0.0,
    "loss.alignment": 0.0,
    "loss.distillation": 3.2,
    "loss.structure": 0.0,
    "loss.distill_view": "global",
}
MOCO = {
    "teacher.use": "no",
    "loss.global_global": 1.0,
    "loss.global_object": 0.0,
    "loss.object_object": 0.0,
    "loss.alignment": 0.0,
    "loss.distillation": 0.0,
    "loss.structure": 0.0,
    "loss.contrast_weighting": "one",
}


@pytest.mark.parametrize(
    ("preset", "rows"),
    [("paper", PAPER), ("lead++", DEFAULT), ("lead", LEAD), ("moco", MOCO)],
    ids=lambda row: str(row)[:6],
)
def test_presets_are_what_their_records_say(preset: str, rows: dict[str, Any]) -> None:
    found: dict[str, Any] = {}
    for name in rows:
        node: Any = build_config({"preset": preset})
        for part in name.split("."):
            node = getattr(node, part)
        found[name] = node
    assert found == rows
