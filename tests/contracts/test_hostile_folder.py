"""A folder from a stranger goes the whole road: nothing hangs, nothing is silent, nothing that a name says is done."""

import base64
import csv
import hashlib
import html.parser
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tools.draw_demo import CLASSES, draw_demo, draw_photos

SCRIPT = "<script>alert(1)<!--"
HANDLER = "\"><img src=x onerror='alert(1)'>"
FORMULA = '=HYPERLINK("http:evil","click")'
CALL = "@SUM(1+1)*cmd|' C'!A0"
TEMPLATE = "{{7*7}} ${x} %n %s"
DASHES = "-rf --run ..; $(touch owned) `touch owned`"
TERMINAL = "\x1b]0;owned\x07 \x1b[2J\u202egpj.x\nleadpp: all is well"
NAMES = (SCRIPT, HANDLER, FORMULA, CALL, TEMPLATE, DASHES)

TAGS = set(
    "html head meta title style body main header footer section nav article aside div span p a b i em strong small "
    "abbr code pre h1 h2 h3 h4 ul ol li dl dt dd table thead tbody tfoot tr th td caption figure figcaption img svg g "
    "path rect circle line polyline polygon text tspan defs details summary label input form select option output br "
    "hr".split()
)
"""Elements that a page of ours may have; none of them runs, loads or sends anything by itself."""


class Page(html.parser.HTMLParser):
    """What a browser would make of a page: its elements, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.policy = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._inside = tag
        known = dict(attrs)
        if known.get("http-equiv") == "Content-Security-Policy":
            self.policy = known["content"] or ""
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.links += [
            value or "" for name, value in attrs if name in ("src", "href", "action", "formaction", "xlink:href")
        ]
        self.words += [value for name, value in attrs if name in ("alt", "title", "aria-label") and value]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.scripts if self._inside == "script" else self.words).append(data)


def check_page(path: Path) -> str:
    """Refuse a page on which something is run or loaded; return its words."""
    page = Page(path.read_text(encoding="utf-8"))
    assert page.tags - {"script"} <= TAGS, page.tags - TAGS
    assert "default-src 'none'" in page.policy
    for script in page.scripts:  # our own, which the page lets run by its digest
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in page.policy
        assert not any(name in script for name in NAMES)
    assert page.handlers == []
    assert [link for link in page.links if not link.startswith(("data:image/", "#"))] == []
    return "\n".join(page.words)


def check_table(path: Path) -> list[list[str]]:
    """Refuse a table with a cell that a spreadsheet would run; return its cells as they stand."""
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines(keepends=True)))
    live = [cell for row in rows for cell in row if cell[:1] in tuple("=+-@\t\r") and not is_number(cell)]
    assert live == []
    return rows


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def leadpp(*words: object, folder: Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "leadpp", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drawn")
    draw_demo(out, train=1, test=1, epochs=1)
    settings = (out / "settings.yaml").read_text()
    settings = settings.replace("size: 64", "size: 32").replace("size: 128", "size: 64")
    (out / "settings.yaml").write_text(settings.replace("batch_size: 16", "batch_size: 8"))
    return out


def name_classes(photos: Path) -> None:
    """Call the drawn classes by the names of a stranger, and one photograph of each too."""
    for hostile, usual in zip(NAMES, CLASSES, strict=True):
        for split in ("train", "test"):
            folder = photos / split / usual
            first = sorted(folder.iterdir())[0]
            first.rename(folder / f"{hostile}.jpg")
            folder.rename(photos / split / hostile.replace("/", "-"))


@pytest.mark.slow
def test_names_of_classes_and_files_are_words_and_nothing_else(drawn: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw_photos(photos, train=5, test=3)
    (photos / "bboxes.csv").unlink()
    name_classes(photos)
    (photos / "train" / SCRIPT / f"{TERMINAL}.jpg").write_bytes(b"<svg onload='alert(1)'/>")
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    words = ("--data", photos, "--run", tmp_path / "run", "--config", drawn / "settings.yaml")
    done = leadpp("run", *words, "--names", tmp_path / "names.txt", folder=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    told = check_page(tmp_path / "run" / "report.html")
    assert [name for name in NAMES if name[:12] not in told] == []
    assert "49" not in told.split("{{7*7}}")[0][-3:]
    for command in (["name", "--run", "run", "photos"], ["discover", "--run", "run"], ["prototypes", "inspect", "run"]):
        more = ["--out", "inspect.html"] if command[0] == "prototypes" else []
        also = leadpp(*command, *more, folder=tmp_path)
        assert also.returncode == 0, also.stderr.decode()
        assert b"\x1b" not in also.stderr + also.stdout
    pages = [tmp_path / "inspect.html", *(tmp_path / "run").rglob("*.html")]
    assert len(pages) == 4
    for page in pages:
        assert SCRIPT in check_page(page) or page.name == "discovered.html"
    for table in (tmp_path / "run").rglob("*.csv"):
        check_table(table)
    cells = {cell.lstrip("'") for row in check_table(tmp_path / "run" / "descriptions.csv") for cell in row}
    assert set(NAMES) <= cells
    assert not list(tmp_path.rglob("owned"))
    assert b"\x1b" not in done.stderr + done.stdout
    assert "\\nleadpp: all is well.jpg: not an image" in done.stderr.decode()


def spoil(photos: Path) -> dict[str, str]:
    """Put everything into a folder that a photograph may turn out to be; return the reasons that must be told."""
    whole = next(path for path in sorted(photos.iterdir()) if path.suffix == ".jpg").read_bytes()
    Image.new("1", (40, 30), 1).save(photos / "fine-1-bit.png")
    Image.new("CMYK", (40, 30), (0, 9, 9, 0)).save(photos / "fine-cmyk.jpg")
    Image.new("I;16", (40, 30), 500).save(photos / "fine-16-bit.png")
    Image.new("RGBA", (40, 30), (1, 2, 3, 4)).save(photos / "fine-alpha.png")
    Image.new("RGB", (1, 1), "red").save(photos / "fine-pixel.png")
    Image.new("RGB", (1, 100_000), "red").save(photos / "fine-thread.png")
    frames = [Image.new("P", (20, 20), number) for number in range(3)]
    frames[0].save(photos / "fine-moving.gif", save_all=True, append_images=frames[1:])
    contents = {
        "bad-empty.jpg": (b"", "empty file"),
        "bad-half.jpg": (whole[: len(whole) // 2], "damaged"),
        "bad-page.jpg": (b"<!doctype html><script>alert(1)</script>", "not an image"),
        "bad-drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        "bad-program.tif": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(owned) (w) file\n", "not an image"),
        "bad-bomb.png": (bomb(), "1,500 x 1,000 pixels of PNG, more than 1 megapixels"),
    }
    for name, (content, _) in contents.items():
        (photos / name).write_bytes(content)
    os.mkfifo(photos / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(photos / "socket.jpg"))
    (photos / "zero.jpg").symlink_to("/dev/zero")
    (photos / "loop.jpg").symlink_to(photos / "loop.jpg")
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    (photos / "around").symlink_to(photos)
    (photos / os.fsdecode(b"bad\xff\xfe.jpg")).write_bytes(whole)
    return {name: reason for name, (_, reason) in contents.items()}


def bomb() -> bytes:
    """A PNG file whose header names more than a megapixel."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1_500, 1_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.slow
def test_a_folder_with_everything_in_it(drawn: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, path in enumerate(sorted((drawn / "photos").rglob("*.jpg"))):
        (photos / f"{number:02d}.jpg").write_bytes(path.read_bytes())
    (photos / f"{FORMULA.replace('/', '-')}.jpg").write_bytes((photos / "00.jpg").read_bytes())
    reasons = spoil(photos)
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    given = ("--config", drawn / "settings.yaml", "--names", tmp_path / "names.txt", "--input.max-megapixels", 1)
    words = ("--data", photos, "--run", tmp_path / "run", *given)
    refused = leadpp("run", *words, "--bad-images", "error", folder=tmp_path)
    assert refused.returncode == 2
    assert f"{len(reasons)} of" in refused.stderr.decode().splitlines()[-1]
    assert not (tmp_path / "run").exists()
    done = leadpp("run", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    told = done.stderr.decode()
    assert f"{len(reasons)} of 26 files cannot be read and are left out" in told
    assert "1 links to a folder above themselves are not followed" in told
    assert "1 files or folders whose names are not valid UTF-8 are left out; rename them" in told
    assert "5 broken links or special files are left out" in told
    listed = leadpp_index(tmp_path / "run" / "index.parquet")
    assert {name: reason for name, reason in listed.items() if reason and not reason.startswith(reasons[name])} == {}
    assert {name for name, reason in listed.items() if reason} == reasons.keys()
    rows = check_table(tmp_path / "run" / "photographs.csv")
    assert {row[0].lstrip("'") for row in rows[1:]} == listed.keys() - reasons.keys()
    check_page(tmp_path / "run" / "report.html")


def leadpp_index(path: Path) -> dict[str, str | None]:
    from leadpp.data.index import read_index

    return {record.path: record.reason for record in read_index(path).records}
