from pathlib import Path

import pytest

from leadpp.text.descriptions import read_descriptions, write_descriptions
from leadpp.text.provenance import OWN, TEMPLATE, Origin, described_text, read_provenance

SMALL = Origin(model="small", prompt="0123456789ab", date="2026-02-01", seed="7")


def write(path: Path, *rows: tuple[str, str, Origin]) -> Path:
    path.write_text(described_text(rows), encoding="utf-8")
    return path


def test_the_table_is_read_as_descriptions_and_no_cell_is_a_formula(tmp_path: Path) -> None:
    rows = [("@home", "=1+1", SMALL), ("@home", "'=1+1", SMALL), ("Kea", "Green, with\na hook.", SMALL)]
    path = write(tmp_path / "d.csv", *rows)
    assert read_descriptions(path) == {"@home": ("=1+1", "'=1+1"), "Kea": ("Green, with\na hook.",)}
    lines = path.read_text().splitlines()
    assert lines[0] == "class name,description,model,prompt,date,seed"
    assert lines[1] == "'@home,'=1+1,small,0123456789ab,2026-02-01,7"
    write_descriptions(tmp_path / "plain.csv", read_descriptions(path))
    assert read_descriptions(tmp_path / "plain.csv") == read_descriptions(path)
    assert "\n=" not in (tmp_path / "plain.csv").read_text().replace(",", "\n")


@pytest.mark.parametrize(
    ("origins", "words"),
    [
        ([SMALL], "written by small (prompt 0123456789ab, 2026-02-01)"),
        (
            [SMALL, Origin(model="small", prompt="0123456789ab", date="2026-01-30")],
            "written by small (prompt 0123456789ab, 2026-01-30 to 2026-02-01)",
        ),
        (
            [SMALL, Origin(model="-big", prompt="ff", date="2026-02-01")],
            "written by small (prompt 0123456789ab, 2026-02-01) and -big (prompt ff, 2026-02-01)",
        ),
        ([Origin(model=TEMPLATE)], "names in a template, written by no language model"),
        ([Origin(model=OWN)], "one's own, checked by leadpp describe"),
        (
            [Origin(model=TEMPLATE), SMALL],
            "names in a template, written by no language model; written by small (prompt 0123456789ab, 2026-02-01)",
        ),
        ([Origin(model="")], ""),
    ],
)
def test_who_wrote_it_in_words(tmp_path: Path, origins: list[Origin], words: str) -> None:
    rows = [(f"class {number}", "A text.", origin) for number, origin in enumerate(origins)]
    assert read_provenance(write(tmp_path / "d.csv", *rows)) == words


def test_tables_that_do_not_tell(tmp_path: Path) -> None:
    for name, content in (
        ("a.csv", "class name,description\nKea,Green.\n"),
        ("b.csv", "Kea,Green.\n"),
        ("c.csv", ""),
        ("d.json", '{"Kea": "Green."}'),
        ("e.csv", 'class name,description,model,prompt,date,seed\n"Kea'),
    ):
        (tmp_path / name).write_text(content)
        assert read_provenance(tmp_path / name) == ""
    assert read_provenance(tmp_path / "none.csv") == ""
