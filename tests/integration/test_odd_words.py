"""Files of words in every odd form, by the command line: read as they are meant, or one line and exit code 2."""

from pathlib import Path

import pytest
from PIL import Image

from leadpp.text.prototypes import read_prototypes
from tests.integration.conftest import Cli

BUILD = ("prototypes", "build", "--networks", "world")
TABLE = "class name;description\r\nWren;A small brown bird, tail up.\r\nAuk;Black and white.\r\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("semicolons.csv", TABLE.encode()),
        ("marked.csv", TABLE.encode("utf-8-sig")),
        ("wide.csv", TABLE.replace(";", "\t").encode("utf-16")),
        ("returns.csv", TABLE.replace("\r\n", "\r").encode()),
        ("quoted.csv", b'class name,description\n"Wren","A small ""brown"" bird,\ntail up."\nAuk,=Black\n'),
    ],
)
def test_odd_tables_are_read(flat: Path, tmp_path: Path, cli: Cli, name: str, content: bytes) -> None:
    path, run = tmp_path / name, tmp_path / "run"
    path.write_bytes(content)
    code, _, err = cli(*BUILD, "--data", flat, "--run", run, "--descriptions", path)
    assert code == 0, err
    assert read_prototypes(run / "prototypes.safetensors").names == ("Wren", "Auk")
    assert ",=" not in (run / "descriptions.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "latin.csv",
            b"class name,description\nCaf\xe9,Small.\n",
            "expected UTF-8 text, found byte 0xe9 at 26, line 2",
        ),
        ("sheet.xlsx", b"PK\x03\x04\x14\x00\x06\x00", "a zip archive or a spreadsheet"),
        ("empty.txt", b"", "found none"),
        ("twice.csv", b"Wren,Small.\nWREN,Small.\n", "the same"),
    ],
)
def test_what_is_no_words_is_one_line(
    *, flat: Path, tmp_path: Path, cli: Cli, name: str, content: bytes, expected: str
) -> None:
    (tmp_path / name).write_bytes(content)
    for role in ("--names", "--descriptions"):
        refuse(cli(*BUILD, "--data", flat, "--run", tmp_path / "run", role, tmp_path / name), expected)
        assert not (tmp_path / "run" / "prototypes.safetensors").exists()


@pytest.mark.parametrize("role", ["--names", "--descriptions", "--prototypes"])
def test_folders_and_pictures_are_one_line(flat: Path, tmp_path: Path, cli: Cli, role: str) -> None:
    words = (*BUILD, "--data", flat, "--run", tmp_path / "run", role)
    refuse(cli(*words, flat), "a folder; expected a file of")
    Image.new("RGB", (8, 8)).save(tmp_path / "bird.jpg")
    refuse(cli(*words, tmp_path / "bird.jpg"), "bird.jpg: expected")
    refuse(cli(*words, tmp_path / "none"), "no such file")


def refuse(result: tuple[int, str, str], expected: str) -> None:
    code, out, err = result
    assert (code, out) == (2, ""), err
    last = err.splitlines()[-1]
    assert last.startswith("leadpp: error: ")
    assert expected in last
