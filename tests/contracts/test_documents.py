"""Documents keep their word: what they point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
_NAMED = re.compile(r"`((?:docs|benchmarks|src|tests|tools)/[\w./-]+\.\w+)`")
_RECORD = re.compile(r"docs/decisions/(\d{4})")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_named_files_are_there(page: Path) -> None:
    words = page.read_text(encoding="utf-8")
    linked = [page.parent / target for target in _LINK.findall(words)]
    named = [ROOT / target for target in _NAMED.findall(words)]
    assert [str(path) for path in (*linked, *named) if not path.exists()] == []


def test_records_that_code_speaks_of_are_there() -> None:
    known = {path.name[:4] for path in (ROOT / "docs" / "decisions").glob("*.md")}
    sources = [path for folder in ("src", "tests", "benchmarks", "tools") for path in (ROOT / folder).rglob("*.py")]
    spoken = {(path.name, number) for path in sources for number in _RECORD.findall(path.read_text(encoding="utf-8"))}
    assert not {(name, number) for name, number in spoken if number not in known}
    assert len(known) == len(list((ROOT / "docs" / "decisions").glob("*.md")))
