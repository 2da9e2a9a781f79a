import json
from pathlib import Path

import pytest
import torch

from leadpp.cli import main
from leadpp.text.prototypes import Prototypes, write_prototypes

ALIKE = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0]]), dim=1)


def _file(folder: Path, names: tuple[str, ...] = ("auk", "gull", "wren")) -> Path:
    path = folder / "prototypes.safetensors"
    write_prototypes(path, Prototypes(vectors=ALIKE, names=names, model="ViT", temperature=0.01))
    return path


def test_inspect_prints_tables_and_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prototypes", "inspect", str(_file(tmp_path)), "--out", str(tmp_path / "p.html")]) == 0
    captured = capsys.readouterr()
    for word in (
        "3 prototypes, 2 wide",
        "temperature 0.01 (the teacher's own)",
        "practically the same (cosine over 0.999): 1: auk and gull",
        "not looked at, no --features",
    ):
        assert word in captured.out
    assert "1 pair of classes is closer than ViT can tell apart" in captured.err
    assert (tmp_path / "p.html").is_file()


def test_inspect_as_json_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prototypes", "inspect", str(_file(tmp_path)), "--temperature", "0.5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["classes"], found["temperature"], len(found["indistinct"])) == (3, 0.5, 1)


def test_names_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _file(tmp_path, ("[bold]auk[/bold]", "gu\x1b[31mll", "wren"))
    assert main(["prototypes", "inspect", str(path)]) == 0
    captured = capsys.readouterr()
    assert "\x1b[31m" not in captured.out + captured.err
    assert "[bold]auk[/bold]" in captured.out


def test_export_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bird.pt"
    assert main(["prototypes", "export", str(_file(tmp_path)), str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == {
        "prototypes": str(out), "names": str(tmp_path / "bird.names.txt"), "classes": 3, "dim": 2, "dtype": "float16",
        "model": "ViT",
    }  # fmt: skip
    words = ["prototypes", "inspect", str(out), "--names", result["names"], "--temperature", "0.01", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["each"]] == ["auk", "gull", "wren"]
    assert found["made"].startswith("the .pt file bird.pt: 3 x 2 float16, rows 1.0000 to 1.000")
