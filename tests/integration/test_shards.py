"""The same photographs in folders and in tar archives: the same boxes, weights and features, to the last bit."""

import json
import re
import runpy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from leadpp.data.index import open_data, read_index
from leadpp.data.naming import natural_key
from leadpp.stages.compare import compare
from tests.integration.conftest import Cli
from tests.unit.data.tars import pack

FAST = ("--evaluate.probe-epochs", "1", "--evaluate.probe-views", "1", "--train.epochs", "1")


def pack_folder(folder: Path, *, labelled: bool) -> dict[str, bytes]:
    """Return the photographs of a folder as members of archives, in no order that an index would choose."""
    files: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*.jpg"), key=lambda path: natural_key(str(path)), reverse=True):
        name = path.relative_to(folder).as_posix()
        files[name] = path.read_bytes()
        if labelled:
            files[f"{name[:-4]}.cls"] = path.parent.name.encode()
    return files


def boxes(run: Path) -> list[dict[str, object]]:
    return [{**row, "path": None} for row in pq.read_table(run / "boxes.parquet").to_pylist()]


def features(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "embeddings").glob("*.npy"))}


def ran(cli: Cli, words: Sequence[object], *, data: object, run: Path) -> None:
    code, _, err = cli("run", "--data", data, "--run", run, *words, *FAST)
    assert code == 0, err


@pytest.mark.slow
def test_without_labels(flat: Path, demo: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two archives, read by processes of their own; the folder in this one."""
    files = pack_folder(flat, labelled=False)
    names = sorted(files)
    for number, some in enumerate((names[:10], names[10:])):
        pack(tmp_path / f"shards/{number:04d}.tar", {name: files[name] for name in reversed(some)})
    words = ("--config", demo / "settings.yaml")
    ran(cli, words, data=flat, run=tmp_path / "files")
    ran(cli, (*words, "--input.workers", "2"), data=tmp_path / "shards/{0000..0001}.tar", run=tmp_path / "tars")
    assert boxes(tmp_path / "files") == boxes(tmp_path / "tars")
    assert compare(tmp_path / "files", tmp_path / "tars")["identical"]
    assert features(tmp_path / "files") == features(tmp_path / "tars") != {}
    told = [(tmp_path / run / "photographs.csv").read_text().splitlines() for run in ("files", "tars")]
    assert told[1][1].startswith("0000.tar/00.jpg,")
    assert told[1][-1].startswith(f"0001.tar/{names[-1]},")
    assert [line.rpartition("/")[2] for line in told[1]] == told[0]
    embedded_as_the_document_says(tmp_path, monkeypatch)


def embedded_as_the_document_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the lines of docs/scale.md over two archives; their features are those of the run."""
    document = (Path(__file__).parents[2] / "docs/scale.md").read_text(encoding="utf-8")
    lines = next(block for block in re.findall(r"```python\n(.*?)```", document, re.DOTALL) if "embedded/" in block)
    (folder / "lines.py").write_text(lines.replace("range(100)", "range(2)").replace('"RUN"', '"tars"'))
    (folder / "embedded").mkdir()
    monkeypatch.chdir(folder)
    runpy.run_path("lines.py")
    found = np.concatenate([np.load(folder / f"embedded/{number:04d}.npy", allow_pickle=False) for number in range(2)])
    own = np.load(folder / "tars/embeddings/student-embedding-whole-train.npy", allow_pickle=False)
    np.testing.assert_allclose(found, own, atol=1e-6)  # sums depend on how many are in a batch


@pytest.mark.slow
def test_with_labels_words_and_all_that_follows(demo: Path, tmp_path: Path, cli: Cli) -> None:
    for part in ("train", "test"):
        pack(tmp_path / f"{part}-000.tar", pack_folder(demo / "photos" / part, labelled=True))
    data = tmp_path / "{train,test}-{000..000}.tar"
    words = ("--config", demo / "settings.yaml", "--names", demo / "names.txt", "--input.cache", "ram")
    ran(cli, words, data=demo / "photos", run=tmp_path / "files")
    ran(cli, (*words, "--write-crops"), data=data, run=tmp_path / "tars")
    assert boxes(tmp_path / "files") == boxes(tmp_path / "tars")
    assert compare(tmp_path / "files", tmp_path / "tars")["identical"]
    assert features(tmp_path / "files") == features(tmp_path / "tars") != {}
    assert len(list((tmp_path / "tars/crops").rglob("*.jpg"))) == len(open_data(data, seed=1).usable())
    assert "data:image/" in (tmp_path / "tars/report.html").read_text()
    for after in (("discover",), ("prototypes", "inspect", tmp_path / "tars"), ("verify", tmp_path / "tars")):
        run = () if len(after) > 1 else ("--run", tmp_path / "tars")
        code, _, err = cli(*after, *run)
        assert code == 0, err
    code, _, err = cli("run", "--data", data, "--run", tmp_path / "tars")
    assert (code, err.count("unchanged, skipped")) == (0, 5), err


@pytest.mark.slow
def test_prepared_once(demo: Path, tmp_path: Path, cli: Cli) -> None:
    """An index made of archives is opened without reading their headers again, and refuses archives that changed."""
    for part in ("train", "test"):
        pack(tmp_path / f"in/{part}.tar", pack_folder(demo / "photos" / part, labelled=True))
    data, out = tmp_path / "in/{train,test}.tar", tmp_path / "out"
    code, printed, err = cli("prepare", "shards", data, out, "--json")
    assert code == 0, err
    assert {name: json.loads(printed)[name] for name in ("train", "test", "bad")} == {"train": 36, "test": 18, "bad": 0}
    assert open_data(out, seed=1) == open_data(data, seed=1) == read_index(out / "index.parquet")
    code, printed, err = cli("prepare", "shards", data, tmp_path / "copied", "--materialize", "copy", "--json")
    assert code == 0, err
    copied = {path.relative_to(tmp_path / "copied").as_posix(): path for path in (tmp_path / "copied").rglob("*.jpg")}
    photos = {path.relative_to(demo / "photos").as_posix(): path for path in (demo / "photos").rglob("*.jpg")}
    assert {name: path.read_bytes() for name, path in copied.items()} == {
        name: path.read_bytes() for name, path in photos.items()
    }
    code, _, err = cli("describe", "--data", data, "--out", tmp_path / "words.csv")
    assert (code, len((tmp_path / "words.csv").read_text().splitlines())) == (0, 7), err
    (tmp_path / "in/test.tar").touch()
    refused(cli, "localize", "--data", out, "--run", tmp_path / "run", words="1 of its 2 archives were changed")
    (tmp_path / "in/test.tar").unlink()
    refused(cli, "localize", "--data", out, "--run", tmp_path / "run", words="18 of its 54 photographs are no longer")


def refused(cli: Cli, *asked: object, words: str) -> None:
    code, out, err = cli(*asked)
    last = err.splitlines()[-1]
    assert (code, out) == (2, ""), err
    assert last.startswith("leadpp: error: ")
    assert words in last


def test_mistakes(tmp_path: Path, cli: Cli) -> None:
    home = tmp_path / "shards"
    pack(home / "0.tar", {"1.jpg": b""})
    (home / "cut.tar").write_bytes((home / "0.tar").read_bytes()[:100])
    (home / "0.tar.gz").write_bytes(b"\x1f\x8b\x08\x00")
    run = ("--run", tmp_path / "run")
    for name, words in (
        ("{0..1}.tar", "1 of 2 archives are not there"),
        ("{0.tar", "a brace stands alone"),
        ("cut.tar", "damaged or cut off"),
        ("0.tar.gz", "decompress it (gunzip)"),
        ("0.tar", "0.tar/1.jpg: empty file"),
        ("", "archives are named one by one"),
    ):
        refused(cli, "train", "--data", home / name, *run, words=words)
    refused(cli, "prepare", "shards", home / "0.tar", tmp_path / "out", "--materialize", "soft", words="archives")
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "out").exists()
