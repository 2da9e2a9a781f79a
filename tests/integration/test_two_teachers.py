"""Two teachers from words to report, and teachers that are not to be had."""

import json
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.integration.conftest import Cli
from tests.unit.models.tiny_clip import write_tiny_clip

SHORT = (
    *("--networks", "world", "--input.workers", "0", "--train.epochs", "1", "--train.batch-size", "8"),
    *("--evaluate.probe-epochs", "1", "--evaluate.probe-views", "1", "--evaluate.sets", "whole"),
)


def test_two_teachers_go_all_the_way_and_only_what_they_change_is_done_again(
    tiny_world: Path, tmp_path: Path, cli: Cli
) -> None:
    run = tmp_path / "run"
    own = write_tiny_clip(tmp_path / "own")
    words = ("run", "--data", tiny_world, "--run", run, "--json", "--descriptions", tiny_world / "descriptions.csv")
    teachers = ("--teacher.models", f"builtin:world-clip,local-dir:{own}", "--loss.distillation-temperature", "0")
    code, out, err = cli(*words, *SHORT, *teachers)
    assert code == 0, err
    found = json.loads(out)
    assert [(row["encoder"], row["feature"]) for row in found["evaluate"]] == [
        ("student", "gap"),
        ("student", "attention"),
        ("frozen", "gap"),
        ("teacher_1", "embedding"),
        ("teacher_2", "embedding"),
        ("teacher", "answer"),
    ]
    together = found["evaluate"][-1]["naming_teacher"]
    assert [row.get("naming_teacher") for row in found["evaluate"][:2]] == [together] * 2
    assert "naming_student" in found["evaluate"][0]
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "2 teachers together, whole" in page
    assert "teacher_2" in page

    _, _, err = cli(*words, *SHORT, *teachers)
    assert all(f"{name}: unchanged, skipped" in err for name in ("localize", "prototypes", "train", "evaluate"))
    weights = load_file(own / "open_clip_model.safetensors")
    weights["visual.proj"] = weights["visual.proj"] + torch.eye(*weights["visual.proj"].shape)
    save_file(weights, own / "open_clip_model.safetensors")
    _, _, err = cli(*words, *SHORT, *teachers)
    assert "localize: unchanged, skipped" in err
    assert not any(f"{name}: unchanged, skipped" in err for name in ("prototypes", "train", "evaluate"))


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty hub cache on a machine that is told to stay offline."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("ViT-B-99:openai,builtin:world-clip", ["open_clip knows no model 'ViT-B-99'", "closest"]),
        ("builtin:world-clip,ViT-B-16:opnai", ["'opnai' is neither a file nor a tag", "closest: openai"]),
        ("builtin:world-clip,ViT-SO400M-14-SigLIP:webli", ["timm/ViT-SO400M-14-SigLIP", "hf download", "local-dir:"]),
        ("builtin:world-clip,MobileCLIP-S1:datacompdr", ["apple/MobileCLIP-S1-OpenCLIP", "hf download"]),
        ("builtin:world-clip,local-dir:none", ["none: no such folder", "open_clip_config.json"]),
        ("builtin:world-clip,builtin:world-clip", ["names 'builtin:world-clip' twice"]),
        ("ViT-B-16", ["expected MODEL:TAG or one of local-dir:"]),
    ],
)
def test_teachers_that_are_not_to_be_had(
    tiny_world: Path, tmp_path: Path, cli: Cli, models: str, expected: list[str]
) -> None:
    names = tiny_world / "names.txt"
    words = ("prototypes", "build", "--data", tiny_world, "--run", tmp_path / "run", "--names", names)
    code, out, err = cli(*words, "--teacher.models", models)
    last = err.splitlines()[-1]
    assert (code, out) == (2, ""), err
    assert last.startswith("leadpp: error: ")
    assert err.count("leadpp: error") == 1
    assert "Traceback" not in err
    assert not [word for word in expected if word not in last], last
    assert not (tmp_path / "run" / "prototypes.safetensors").exists()
