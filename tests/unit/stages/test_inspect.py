import json
import math
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from leadpp.engine.features import save_features
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import ArtifactError, TextError
from leadpp.stages.inspect import inspect_prototypes
from leadpp.text.prototypes import Prototypes, write_prototypes

EVIL = '<img src=x onerror="alert(1)">'
NAMES = ("auk", "gull", EVIL, "wren")


def _vectors() -> Tensor:
    """Two that are practically the same, one at 0.98 from them, and one across."""
    angles = torch.tensor([0.0, 0.02, 0.2, math.pi / 2], dtype=torch.float64)
    return torch.stack([angles.cos(), angles.sin()], dim=1).float()


def _file(folder: Path, temperature: float | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "prototypes.safetensors"
    write_prototypes(
        path, Prototypes(vectors=_vectors(), names=NAMES, model="ViT", temperature=temperature, made="names")
    )
    return path


def _photographs(path: Path, *angles: float) -> Path:
    save_features(path, torch.tensor([[3 * math.cos(angle), 3 * math.sin(angle)] for angle in angles]))
    return path


def test_pairs_are_listed_by_likeness_and_judged_by_the_temperature(tmp_path: Path) -> None:
    progress = SilentProgress()
    found = inspect_prototypes(_file(tmp_path), temperature=0.03, progress=progress)
    cosines = [math.cos(gap) for gap in (0.02, 0.18, 0.2)]
    assert [pair["cosine"] for pair in found["pairs"][:3]] == pytest.approx(cosines, abs=1e-6)
    assert [(pair["first"], pair["second"]) for pair in found["same"]] == [("auk", "gull")]
    assert [(pair["first"], pair["second"]) for pair in found["indistinct"]] == [
        ("auk", "gull"), ("gull", EVIL), ("auk", EVIL)
    ]  # fmt: skip
    assert found["pairs"][1]["odds"] == pytest.approx(math.exp((1 - cosines[1]) / 0.03), rel=1e-4)
    assert found["each"][3] == {
        "name": "wren", "nearest": EVIL, "cosine": pytest.approx(math.sin(0.2), abs=1e-6),
        "odds": pytest.approx(math.exp((1 - math.sin(0.2)) / 0.03), rel=1e-3),
    }  # fmt: skip
    assert len(progress.notes) == 1
    assert progress.notes[0].startswith("3 pairs of classes are closer than ViT can tell apart at temperature 0.03")
    quiet = SilentProgress()
    assert inspect_prototypes(_file(tmp_path), temperature=1e-4, progress=quiet)["indistinct"] == []
    assert quiet.notes == []


def test_rank_and_mean_are_those_of_numpy(tmp_path: Path) -> None:
    found = inspect_prototypes(_file(tmp_path))
    rows = _vectors().double().numpy()
    pairs = [rows[i] @ rows[j] for i in range(4) for j in range(4) if i != j]
    assert found["mean_cosine"] == pytest.approx(np.mean(pairs), abs=1e-6)
    for key, matrix in (("effective_rank", rows), ("effective_rank_centred", rows - rows.mean(axis=0))):
        shares = np.linalg.svd(matrix, compute_uv=False)
        shares = shares / shares.sum()
        assert found[key] == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-4)


def test_the_temperature_is_the_given_one_else_the_teachers_else_the_runs_else_the_default(tmp_path: Path) -> None:
    own, unknown = _file(tmp_path / "own", 0.07), _file(tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("loss: {distillation_temperature: 0.04}\n")
    auto = tmp_path / "auto"
    auto.mkdir()
    (auto / "config.yaml").write_text("loss: {distillation_temperature: 0}\n")
    for found, expected, origin in (
        (inspect_prototypes(own, temperature=0.5), 0.5, "given"),
        (inspect_prototypes(own), 0.07, "the teacher's own"),
        (inspect_prototypes(tmp_path / "run"), 0.04, "loss.distillation_temperature of the run"),
        (inspect_prototypes(_file(tmp_path / "auto"), run=auto), 0.02, "the default of loss.distillation_temperature"),
        (inspect_prototypes(unknown), 0.02, "the default of loss.distillation_temperature"),
    ):
        assert (found["temperature"], found["temperature_from"]) == (expected, origin)
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(TextError, match="expected a temperature above 0"):
            inspect_prototypes(own, temperature=wrong)


def test_classes_without_photographs_are_named(tmp_path: Path) -> None:
    features = _photographs(tmp_path / "f.npy", 0.001, 0.005, 0.21, 0.25, 0.3)
    found = inspect_prototypes(_file(tmp_path), features=features, temperature=0.02)
    assert (found["photographs"], found["photographs_from"]) == (5, "f.npy")
    assert found["unseen"] == ["gull", "wren"]
    assert set(found["unseen_balanced"]) <= {"gull", "wren"}
    assert [row["photographs"] for row in found["each"]] == [2, 0, 3, 0]
    assert found["each"][3]["closest_photograph"] == pytest.approx(math.sin(0.3), abs=1e-6)
    assert inspect_prototypes(_file(tmp_path))["unseen"] is None


def test_a_run_gives_its_teachers_embeddings_of_crops_first(tmp_path: Path) -> None:
    run = tmp_path / "run"
    _file(run)
    assert "no embeddings of teacher;" in inspect_prototypes(run)["photographs_from"]
    (run / "embeddings").mkdir()
    _photographs(run / "embeddings" / "teacher-embedding-whole-test.npy", 1.5)
    _photographs(run / "embeddings" / "student-embedding-crop-test.npy", 1.5)
    assert inspect_prototypes(run)["unseen"] == ["auk", "gull", EVIL]
    _photographs(run / "embeddings" / "teacher-embedding-crop-test.npy", 0.0)
    _photographs(run / "embeddings" / "teacher-embedding-crop-train.npy", 0.2, 0.21)
    for found in (inspect_prototypes(run), inspect_prototypes(_file(tmp_path / "other"), run=run)):
        assert found["photographs"] == 3
        assert found["unseen"] == ["gull", "wren"]
        assert found["photographs_from"] == "teacher-embedding-crop-test.npy, teacher-embedding-crop-train.npy"


def test_each_of_several_teachers_has_its_own_embeddings(tmp_path: Path) -> None:
    turned = Prototypes(vectors=_vectors().flip(1), names=NAMES, model="two", made="names")
    write_prototypes(
        tmp_path / "prototypes.safetensors", Prototypes(vectors=_vectors(), names=NAMES, made="names"), turned
    )
    _photographs(tmp_path / "embeddings" / "teacher_1-embedding-whole-all.npy", 0.0)
    _photographs(tmp_path / "embeddings" / "teacher_2-embedding-whole-all.npy", 0.0)
    assert inspect_prototypes(tmp_path)["unseen"] == ["gull", EVIL, "wren"]
    second = inspect_prototypes(tmp_path, space=2)
    assert (second["unseen"], second["model"], second["spaces"]) == (["auk", "gull", EVIL], "two", 2)


def test_features_of_another_space_are_refused(tmp_path: Path) -> None:
    path = _file(tmp_path)
    save_features(tmp_path / "f.npy", torch.ones(2, 3))
    with pytest.raises(TextError, match=r"in the space of the prototypes, 2 wide, found 3; give embeddings of ViT"):
        inspect_prototypes(path, features=tmp_path / "f.npy")
    save_features(tmp_path / "f.npy", torch.ones(0, 2))
    with pytest.raises(TextError, match="holds no photograph"):
        inspect_prototypes(path, features=tmp_path / "f.npy")
    with pytest.raises(ArtifactError, match="no such file"):
        inspect_prototypes(path, features=tmp_path / "absent.npy")
    write_prototypes(path, Prototypes(vectors=_vectors()[:1]))
    with pytest.raises(TextError, match="found one prototype"):
        inspect_prototypes(path)


def test_results_are_json_even_where_odds_are_beyond_numbers(tmp_path: Path) -> None:
    found = inspect_prototypes(_file(tmp_path), temperature=1e-4)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["each"][3]["odds"] is None


def test_the_page_shows_all_and_asks_nothing_of_a_network(tmp_path: Path) -> None:
    features = _photographs(tmp_path / "f.npy", 0.001, 0.005, 0.21)
    out = tmp_path / "sub" / "page.html"
    found = inspect_prototypes(_file(tmp_path), features=features, temperature=0.03, out=out)
    assert found["page"] == str(out)
    page = out.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|iframe|img)|https?://|url\(", page)
    assert "default-src 'none'" in page
    assert EVIL in unescape(page)
    assert page.count("<svg") == 1
    for word in (
        "gull",
        "0.9998",
        "Not told apart",
        "3 pairs are so close",
        "from a cosine of 0.9792 on",
        "evened out",
    ):
        assert word in page
    none = tmp_path / "none.html"
    inspect_prototypes(_file(tmp_path), temperature=1e-4, out=none)
    assert "No pair is so close" in none.read_text()
    assert "Of photographs nothing is known: no --features and no --run were given." in none.read_text()


def test_of_many_classes_neighbours_share_a_cell(tmp_path: Path) -> None:
    rows = torch.nn.functional.normalize(torch.randn(450, 8, generator=torch.Generator().manual_seed(1)), dim=1)
    write_prototypes(tmp_path / "p.safetensors", Prototypes(vectors=rows))
    inspect_prototypes(tmp_path / "p.safetensors", out=tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text()
    assert page.count('<rect class="row"') == 150
    assert "and the next 2</title>" in page
    assert page.count('<tr><th scope="row">prototype') >= 450
    assert len(page) < 1_000_000
