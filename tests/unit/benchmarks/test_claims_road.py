import json
from pathlib import Path

import pytest

from benchmarks.claims.__main__ import main
from leadpp.text.prototypes import read_prototypes
from tools.draw_demo import write_backbone, write_teacher


@pytest.mark.slow
def test_a_tiny_world_goes_the_whole_road_and_a_second_call_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_backbone(tmp_path / "backbone")
    write_teacher(tmp_path / "teacher")
    out = tmp_path / "out"
    words = ["--out", str(out), "--seeds", "3", "--species", "4", "--per-species", "8", "--size", "48"]
    words += ["--descriptions-each", "2"]
    words += [
        "--backbone",
        f"local-dir:{tmp_path / 'backbone'}",
        "--teacher-model",
        f"local-dir:{tmp_path / 'teacher'}",
    ]
    words += ["--set", "train.epochs=1", "train.batch_size=8", "input.size=32", "localize.size=64"]
    words += ["evaluate.probe_epochs=2", "evaluate.kmeans_restarts=1", "evaluate.probe_views=1"]
    rows = ["frozen", "teacher", "contrast", "lead++", "true-boxes", "random-words", "noisy-4", "names", "supervised"]
    rows += ["wrong-words"]
    assert main([*words, "--rows", *rows]) == 0
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("3/*/result.json")}
    assert {path.parent.name for path in stamps} == set(rows)
    named = {
        path.parent.name for path in stamps if "naming" in json.loads(path.read_text(encoding="utf-8"))["sets"]["crop"]
    }
    assert named == set(rows) - {"frozen", "contrast", "supervised"}
    right, wrong = (
        read_prototypes(out / "3" / row / "run" / "prototypes.safetensors") for row in ("lead++", "wrong-words")
    )
    assert right.texts is not None
    assert wrong.texts is not None
    assert [len(texts) for texts in right.texts] == [2] * 4
    assert set(wrong.texts) == set(right.texts)
    assert not any(own == other for own, other in zip(right.texts, wrong.texts, strict=True))
    assert str(tmp_path) not in (out / "claims.json").read_text(encoding="utf-8")

    assert main([*words, "--rows", *rows]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("3/*/result.json")} == stamps
    assert main(["--table", str(out), "--to", str(tmp_path / "page")]) == 0
    assert "| **LEAD++** |" in capsys.readouterr().out
    assert (tmp_path / "page" / "claims.md").read_text() == (out / "claims.md").read_text()
