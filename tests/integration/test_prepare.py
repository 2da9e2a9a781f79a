"""``leadpp prepare`` from the command line, and what follows on the prepared folder."""

import json
from pathlib import Path

import pytest

from tests.integration.conftest import Cli


@pytest.mark.slow
@pytest.mark.parametrize("materialize", ["none", "copy", "hard", "soft"])
def test_a_prepared_folder_is_data_with_its_boxes(
    materialize: str, tiny_world: Path, demo: Path, tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "prepared"
    words = ("prepare", "folder", tiny_world, out, "--materialize", materialize)
    code, printed, err = cli(*words, "--json")
    assert code == 0, err
    told = json.loads(printed)
    assert (told["classes"], told["train"], told["test"], told["bad"]) == (4, 16, 16, 0)
    pictures = [path for path in out.rglob("*.jpg") if path.is_symlink() == (materialize == "soft")]
    assert len(pictures) == (0 if materialize == "none" else 32)
    code, printed, err = cli(
        "localize", "--data", out, "--run", tmp_path / "run", "--config", demo / "settings.yaml", "--json"
    )
    assert code == 0, err
    assert json.loads(printed)["corloc"] >= 0


def test_mistakes_of_prepare(tiny_world: Path, tmp_path: Path, cli: Cli) -> None:
    for words, expected in (
        (("folder", tmp_path / "none", tmp_path / "out"), "none"),
        (("cub", tiny_world, tmp_path / "out"), "images.txt"),
        (("folder", tiny_world, tiny_world / "out"), "out"),
        (("folder", tiny_world, tmp_path / "out", "--boxes", tmp_path / "no.csv"), "no.csv"),
        (("folder", tiny_world, tmp_path / "out", "--config", tmp_path / "no.yaml"), "no.yaml"),
    ):
        code, out, err = cli("prepare", *words)
        assert (code, out) == (2, ""), err
        assert expected in err.splitlines()[-1]
        assert err.splitlines()[-1].startswith("leadpp: error: ")
    assert not (tmp_path / "out").exists()
