import dataclasses
import json
from pathlib import Path

import pytest

from leadpp.errors import ArtifactError, TextError
from leadpp.text.descriptions import read_descriptions
from leadpp.text.ledger import Author, Entry, Ledger, journal_path, read_entries

SMALL = Author(model="small", prompt="ab", seed=1, temperature=0.5)
PLACES = [("Wren", 0), ("Robin", 0), ("Robin", 1)]


def entry(name: str, number: int = 0, author: Author = SMALL) -> Entry:
    return Entry(name=name, number=number, text=f"{name} {number}.", author=author, date="2026-01-02", tokens_in=3)


def test_what_is_accepted_is_there_again_and_in_the_order_of_the_table(tmp_path: Path) -> None:
    out = tmp_path / "d.csv"
    with Ledger(out) as ledger:
        ledger.check(SMALL, keep=False)
        ledger.accept([entry("Robin")])
        ledger.accept([entry("Wren"), entry("Robin", 1)])
    with Ledger(out) as ledger:
        ledger.check(SMALL, keep=False)
        assert all(place in ledger for place in PLACES)
        assert ("Wren", 1) not in ledger
        assert ledger.texts("Robin") == ["Robin 0.", "Robin 1."]
        assert ledger.texts("Kea") == []
        assert ledger.write_table([*PLACES, ("Kea", 0)]) == 3
        before = out.stat().st_mtime_ns
        assert ledger.write_table(PLACES) == 3
        assert out.stat().st_mtime_ns == before
        assert ledger.write_table(PLACES[:1]) == 1
    assert read_entries(out)["Robin", 1] == entry("Robin", 1)
    assert read_descriptions(out) == {"Wren": ("Wren 0.",)}


def test_a_seed_that_the_server_did_not_take_is_not_in_the_table(tmp_path: Path) -> None:
    out = tmp_path / "d.csv"
    without = dataclasses.replace(entry("Robin"), left_out=("seed",))
    with Ledger(out) as ledger:
        ledger.accept([entry("Wren"), without])
        ledger.write_table(PLACES)
    assert read_entries(out)["Robin", 0] == without
    assert [line.rpartition(",")[2] for line in out.read_text().splitlines()] == ["seed", "1", ""]
    with Ledger(out) as ledger:
        ledger.check(SMALL, keep=False)  # the author is the same: the same is asked for


def test_a_table_of_nothing_is_not_written(tmp_path: Path) -> None:
    with Ledger(tmp_path / "d.csv") as ledger:
        assert ledger.write_table(PLACES) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_the_ledgers_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "d.csv"
    out.write_text("my own work")
    with Ledger(out) as ledger:
        with pytest.raises(TextError, match="not as leadpp describe left it; give another --out, or --fresh"):
            ledger.check(SMALL, keep=True)
        (moved,) = ledger.set_aside()
        assert (moved.name, moved.read_text()) == ("d.csv.old", "my own work")
        ledger.check(SMALL, keep=False)
        ledger.accept([entry("Wren")])
        ledger.write_table(PLACES)
    out.write_text(out.read_text().replace("Wren 0.", "Wren, by hand."))
    with Ledger(out) as ledger:
        with pytest.raises(TextError, match=r"which renames it to d\.csv\.old1"):
            ledger.check(SMALL, keep=False)
        assert [path.name for path in ledger.set_aside()] == ["d.csv.old1", "d.csv.journal.jsonl.old"]
        assert ("Wren", 0) not in ledger
    assert (tmp_path / "d.csv.old").read_text() == "my own work"
    assert "by hand" in (tmp_path / "d.csv.old1").read_text()
    assert '"Wren 0."' in (tmp_path / "d.csv.journal.jsonl.old").read_text()


def test_a_crash_between_journal_and_table_leaves_the_table_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "d.csv"
    with Ledger(out) as ledger:
        ledger.accept([entry("Wren")])
        ledger.write_table(PLACES)
        ledger.accept([entry("Robin")])

        def crash(path: Path, text: str) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("leadpp.text.ledger.write_text", crash)
            with pytest.raises(KeyboardInterrupt):
                ledger.write_table(PLACES)
    with Ledger(out) as ledger:
        ledger.check(SMALL, keep=False)
        assert ledger.write_table(PLACES) == 2


@pytest.mark.parametrize(
    "other",
    [
        Author(model="big", prompt="ab", seed=1, temperature=0.5),
        Author(model="small", prompt="cd", seed=1, temperature=0.5),
        Author(model="small", prompt="ab", seed=2, temperature=0.5),
        Author(model="small", prompt="ab", seed=1, temperature=None),
    ],
)
def test_authors_are_not_mixed_unless_that_is_wanted(tmp_path: Path, other: Author) -> None:
    with Ledger(tmp_path / "d.csv") as ledger:
        ledger.accept([entry("Wren"), entry("Robin")])
        with pytest.raises(TextError, match="2 of its 2 descriptions are by small") as caught:
            ledger.check(other, keep=False)
        assert str(other) in str(caught.value)
        assert "--keep" in str(caught.value)
        ledger.check(other, keep=True)
        ledger.accept([entry("Robin", 1, other)])
        ledger.write_table(PLACES)
    rows = (tmp_path / "d.csv").read_text().splitlines()[1:]
    assert [row.split(",")[2:4] for row in rows] == [["small", "ab"]] * 2 + [[other.model, other.prompt]]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"name": "Wren"}, "line 2: damaged"),
        ({**entry("Wren").record(), "author": "me"}, "line 2: damaged"),
        ({**entry("Wren").record(), "more": 1}, "line 2: damaged"),
    ],
)
def test_damaged_and_foreign_journals(tmp_path: Path, line: dict[str, object], words: str) -> None:
    out = tmp_path / "d.csv"
    with Ledger(out) as ledger:
        ledger.accept([entry("Robin")])
    path = journal_path(out)
    header = path.read_text().splitlines()[0]
    path.write_text(f"{header}\n{json.dumps(line)}\n")
    with pytest.raises(ArtifactError, match=words):
        Ledger(out)
    path.write_text('{"kind": "proposals", "schema": 1}\n')
    with pytest.raises(ArtifactError, match="expected a journal of leadpp describe"):
        Ledger(out)
    with pytest.raises(ArtifactError, match="expected a journal"):  # and the lock was let go of
        read_entries(out)


def test_a_table_has_to_be_a_csv(tmp_path: Path) -> None:
    for call in (Ledger, read_entries):
        with pytest.raises(TextError, match=r"ends in \.csv"):
            call(tmp_path / "d.json")
    assert list(tmp_path.iterdir()) == []
