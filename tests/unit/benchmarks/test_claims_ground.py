from pathlib import Path
from typing import Any

import pytest

from benchmarks.claims.ground import Source, lay_ground
from benchmarks.claims.making import code_digest
from leadpp import pipeline
from leadpp.engine.runtime import SilentProgress
from leadpp.text.descriptions import read_descriptions


def localize_nothing(data: Path, run: Path, **settings: object) -> dict[str, Any]:
    del data, settings
    run.mkdir(exist_ok=True)
    (run / "boxes.parquet").write_bytes(b"boxes")
    index = {"digest": "abc", "classes": 2, "train": 2, "test": 2, "split": "given"}
    return {"index": index, "localize": {"policy": "square"}}


def test_a_world_is_made_again_only_when_it_is_to_have_other_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "run", localize_nothing)
    made = []
    for each in (1, 1, 3):
        source = Source(species=2, per_species=2, size=32, descriptions_each=each)
        ground = lay_ground(source, out=tmp_path, seed=5, progress=SilentProgress())
        texts = read_descriptions(ground.texts["descriptions"])
        assert {len(several) for several in texts.values()} == {each}
        assert ground.facts["world"]["descriptions"] == each  # so that no row made of other words is taken for done
        made.append((ground.data / "world.json").stat().st_mtime_ns)
    assert made[0] == made[1] != made[2]


def test_the_code_is_known_by_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "part" / "one.py").write_text("A = 1\n")
    monkeypatch.setattr("leadpp.__file__", str(tmp_path / "__init__.py"))
    first = code_digest.__wrapped__()
    (tmp_path / "notes.txt").write_text("no code")
    assert code_digest.__wrapped__() == first
    (tmp_path / "part" / "one.py").write_text("A = 2\n")
    assert code_digest.__wrapped__() != first
