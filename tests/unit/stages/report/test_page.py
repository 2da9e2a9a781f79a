"""The page as a whole: nothing from outside, nothing that runs, and something to read whatever is missing."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from leadpp.config.tree import ReportConfig
from leadpp.data.index import ImageIndex
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import ArtifactError
from leadpp.io.artifacts import write_json
from leadpp.stages.report import report
from tests.progress import WatchedProgress
from tests.unit.stages.report.world import CONFIG, EVIL, make_index, write_run

ALL = (
    "Figures Training Boxes Views Teacher Names Neighbours Confusion Map Words Stages Data Settings Environment".split()
)


class Page(HTMLParser):
    """Keeps what a browser would see of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.tags, self.attributes, self.text = html, list[str](), list[tuple[str, str, str]](), ""
        self.missing: list[str] = []
        self._in_missing = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._in_missing = ("class", "missing") in attrs

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_missing:
            self.missing.append(data)
            self._in_missing = False


def render(run: Path, index: ImageIndex) -> Page:
    result = report(index=index, run=run, config=CONFIG)
    assert result["report"] == str(run / "report.html")
    return Page((run / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ImageIndex:
    return make_index(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, index: ImageIndex) -> Page:
    run = tmp_path_factory.mktemp("parent") / "run"
    write_run(run, index)
    return render(run, index)


def test_a_whole_run_fills_every_section(page: Page) -> None:
    assert page.missing == []
    assert page.tags.count("section") == page.tags.count("h2") == len(ALL)
    assert page.tags.count("h1") == 1


def test_nothing_is_loaded_and_nothing_runs(page: Page) -> None:
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    for tag, name, value in page.attributes:
        if name in {"src", "srcset", "href", "xlink:href", "action", "poster", "data", "background"}:
            assert value.startswith(("data:image/", "#")), (tag, name, value[:80])
    assert "url(" not in page.html
    assert "@import" not in page.html
    assert "://" not in page.html
    assert ("meta", "content", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in page.attributes


def test_hostile_names_are_text(page: Page) -> None:
    assert EVIL in page.text
    assert "<script" not in page.html
    assert "onerror=alert(1)>" not in page.html
    assert "bee &amp; wasp" in page.html


def test_pictures_have_words_and_tables_have_headers(page: Page) -> None:
    words = [value for tag, name, value in page.attributes if tag == "img" and name == "alt"]
    assert len(words) == page.tags.count("img") > 40
    assert all(words)
    charts = [name for tag, name, _ in page.attributes if tag == "svg" and name in {"aria-label", "aria-hidden"}]
    assert len(charts) == page.tags.count("svg")
    assert [value for tag, name, value in page.attributes if tag == "th" and name == "scope"].count("row") > 10
    assert page.tags.count("th") == sum(1 for tag, name, _ in page.attributes if tag == "th" and name == "scope")
    assert ("html", "lang", "en") in page.attributes


def test_every_link_leads_to_a_section(page: Page) -> None:
    ids = {value for _, name, value in page.attributes if name == "id"}
    links = {value for tag, name, value in page.attributes if tag == "a" and name == "href"}
    assert len(links) == len(ALL)
    assert {link.removeprefix("#") for link in links} <= ids


def test_an_empty_run_says_what_is_missing_and_who_makes_it(tmp_path: Path, index: ImageIndex) -> None:
    result = report(index=index, run=tmp_path, config=CONFIG)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert set(result["missing"]) == set(ALL) - {"Views", "Data", "Settings"}
    for words in ("evaluate makes it", "train makes it", "localize makes it", "prototypes build makes it"):
        assert words in page.text


def test_unlabelled_photographs_are_told_why_there_are_no_figures(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    bare = make_index(tmp_path / "photographs", labelled=False)
    assert "The photographs have no labels, so nothing is measured" in render(tmp_path, bare).text


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "sections"),
    [
        (lambda run: (run / "boxes.parquet").unlink(), {"Boxes"}),
        (lambda run: (run / "boxes.parquet").write_bytes(b"PAR1 torn"), {"Boxes", "Views"}),
        (lambda run: (run / "prototypes.safetensors").unlink(), {"Teacher", "Words"}),
        (lambda run: (run / "embeddings" / "teacher-embedding-whole-test.npy").write_bytes(b"?"), {"Teacher"}),
        (
            lambda run: (run / "evaluation.json").write_text("{"),
            {"Figures", "Teacher", "Names", "Neighbours", "Confusion", "Map"},
        ),
        (
            lambda run: write_json(run / "evaluation.json", {"rows": []}, kind="evaluation"),
            {"Figures", "Teacher", "Names", "Neighbours", "Confusion", "Map"},
        ),
        (lambda run: (run / "metrics.jsonl").write_text(""), {"Training"}),
        (lambda run: (run / "stages.json").unlink(), {"Stages"}),
        (lambda run: (run / "env.json").unlink(), {"Environment"}),
    ],
    ids=[
        "no boxes",
        "torn boxes",
        "no words",
        "torn teacher",
        "torn figures",
        "no rows",
        "no log",
        "no stages",
        "no env",
    ],
)
def test_one_missing_or_damaged_file_costs_its_own_sections_only(
    tmp_path: Path, index: ImageIndex, damage: Damage, sections: set[str]
) -> None:
    run = tmp_path / "run"
    write_run(run, index)
    damage(run)
    result = report(index=index, run=run, config=CONFIG)
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    assert set(result["missing"]) == sections
    assert len(page.missing) == len(sections)
    assert all(reason.strip() for reason in page.missing)


def test_a_photograph_that_is_gone_costs_its_sections_only(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    index = make_index(tmp_path / "photographs")
    write_run(tmp_path / "run", index)
    (tmp_path / "photographs" / "00.png").unlink()
    progress = SilentProgress()
    result = report(index=index, run=tmp_path / "run", config=CONFIG, progress=progress)
    assert "Boxes" in result["missing"]
    assert "Figures" not in result["missing"]
    assert any(note.startswith("the report has no Boxes: ") and "00.png" in note for note in progress.notes)


def test_what_a_run_never_had_is_no_mistake(tmp_path: Path, index: ImageIndex) -> None:
    progress = SilentProgress()
    assert "Figures" in report(index=index, run=tmp_path, config=CONFIG, progress=progress)["missing"]
    assert progress.notes == []


def test_the_title_is_the_settings_or_the_folders(tmp_path: Path, index: ImageIndex) -> None:
    report(index=index, run=tmp_path, config=CONFIG)
    assert f"<h1>{index.root.name}</h1>" in (tmp_path / "report.html").read_text()
    named = type(CONFIG)(input=CONFIG.input, report=ReportConfig(title="A <b>title</b>"))
    report(index=index, run=tmp_path, config=named)
    assert "<h1>A &lt;b&gt;title&lt;/b&gt;</h1>" in (tmp_path / "report.html").read_text()


def test_the_same_run_gives_the_same_page(tmp_path: Path, index: ImageIndex) -> None:
    write_run(tmp_path / "run", index)
    first = render(tmp_path / "run", index).html
    assert render(tmp_path / "run", index).html == first


def test_progress_is_told_section_by_section(tmp_path: Path, index: ImageIndex) -> None:
    progress = WatchedProgress()
    report(index=index, run=tmp_path, config=CONFIG, progress=progress)
    assert [(piece.total, piece.done, piece.unit) for piece in progress.pieces] == [(len(ALL), len(ALL), "sections")]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, index: ImageIndex) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(ArtifactError, match=r"report\.html: cannot write"):
        report(index=index, run=tmp_path, config=CONFIG)
