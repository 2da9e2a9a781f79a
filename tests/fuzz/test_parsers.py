"""Laws of the parsers, on all that hypothesis thinks of: a result or a LeadppError, and what was written comes back."""

import json
import string
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from leadpp.config import build_config, option_fields, read_yaml, write_yaml
from leadpp.data.naming import is_inner_path, natural_key, safe_folder_names
from leadpp.data.records import ImageIndex, ImageRecord, read_index, write_index
from leadpp.data.truth import read_boxes, write_boxes
from leadpp.errors import LeadppError, TextError
from leadpp.io.artifacts import write_table
from leadpp.io.words import plain_line
from leadpp.text.descriptions import read_descriptions, write_descriptions
from leadpp.text.names import check_distinct, check_names, name_key, read_names
from tests.fuzz.readers import READERS_OF
from tests.fuzz.trying import Bench

settings.register_profile("leadpp", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("leadpp")

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = st.lists(WORDS, min_size=1, max_size=6)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
ANYTHING = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    return {name: Bench(name, tmp_path_factory.mktemp("fuzz")) for name in READERS_OF}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("written")


@pytest.mark.parametrize("name", READERS_OF)
@settings(max_examples=25)
@given(content=st.binary(max_size=400))
def test_any_bytes(benches: dict[str, Bench], name: str, content: bytes) -> None:
    benches[name].taken(content)


@given(header=ANYTHING, kind=st.sampled_from(["evaluation", "checkpoint", "prototypes"]))
def test_any_header(benches: dict[str, Bench], header: Any, kind: str) -> None:  # noqa: ANN401 - any JSON
    own = {"kind": kind, "schema": 1, "metadata": header}
    benches["json"].taken(json.dumps({"kind": "evaluation", "schema": 1, "rows": header}).encode())
    benches["json"].taken(json.dumps(header).encode())
    for name in ("checkpoint", "prototypes"):
        for told in (own, header):
            tensors = {"prototypes": torch.eye(2), "student.weight": torch.zeros(2, 2), "optimizer.0.x": torch.zeros(1)}
            benches[name].taken(save(tensors, {"leadpp": json.dumps(told)}))


@given(
    metadata=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("names", "texts", "model", "made", "template"), ANYTHING)
    )
)
def test_prototypes_of_any_words(benches: dict[str, Bench], metadata: dict[str, Any]) -> None:
    header = json.dumps({"kind": "prototypes", "schema": 1, "metadata": metadata})
    benches["prototypes"].taken(save({"prototypes": torch.eye(2)}, {"leadpp": header}))


@given(
    groups=ANYTHING, sections=ANYTHING, names=st.lists(st.text(string.printable, max_size=12), max_size=4, unique=True)
)
def test_checkpoints_of_any_sections(benches: dict[str, Bench], groups: Any, sections: Any, names: list[str]) -> None:  # noqa: ANN401
    metadata = {"optimizer": groups, "sections": sections}
    header = json.dumps({"kind": "checkpoint", "schema": 1, "metadata": metadata})
    weights = {"student.weight": torch.zeros(2, 2), "student.bias": torch.zeros(2)}
    tensors = weights | {f"optimizer.{name}": torch.zeros(2) for name in names}
    benches["checkpoint"].taken(save(tensors, {"leadpp": header}))


@given(
    columns=st.dictionaries(
        st.sampled_from([*ImageRecord.__dataclass_fields__, "other"]),
        st.sampled_from(
            [["a", None], [1, 2], [-1, 2**40], [0.5, None], [[1.0], None], [[0.0, 0.0, 1.0, 1.0]] * 2, [b"\xff", b""]]
        ),
    ),
    metadata=ANYTHING,
)
def test_tables_of_any_columns(
    benches: dict[str, Bench], folder: Path, columns: dict[str, list[object]], metadata: Any  # noqa: ANN401 - any JSON
) -> None:  # fmt: skip
    assume(isinstance(metadata, dict))
    for kind in ("index", "boxes", "embeddings"):
        write_table(folder / "table", pa.table(columns), kind=kind, metadata=metadata)
        benches[{"embeddings": "table"}.get(kind, kind)].taken((folder / "table").read_bytes())


def archived(kind: bytes, named: tuple[bytes, bytes, bytes], size: bytes | None, magic: bytes, content: bytes) -> bytes:
    """Make a member of an archive, with a right sum of the bytes of its header whatever else is in it."""
    name, prefix, leads_to = named
    size = b"%011o" % len(content) if size is None else size
    own = name.ljust(100, b"\0") + b"0000644\0" * 3 + size.ljust(12, b"\0") + b"0" * 12
    rest = kind + leads_to.ljust(100, b"\0") + magic + bytes(80) + prefix.ljust(155, b"\0") + bytes(12)
    return own + b"%06o\0 " % (sum(own) + 8 * 32 + sum(rest)) + rest + content + bytes(-len(content) % 512)


RECORDS_OF_PAX = st.builds(
    lambda key, value: b"%d %s=%s\n" % (len(key) + len(value) + 5, key, value),
    st.sampled_from([b"path", b"size", b"GNU.sparse.map", b"GNU.sparse.major", b"GNU.sparse.size", b"hdrcharset"]),
    st.sampled_from([b"-512", b"99999999999", b"0,1,2", b"BINARY", b"x.jpg", b"1"]) | st.binary(max_size=20),
)
MEMBERS = st.builds(
    archived,
    st.sampled_from([b"0", b"\0", b"5", b"1", b"2", b"3", b"6", b"7", b"L", b"K", b"S", b"x", b"g", b"X", b"V"]),
    st.tuples(
        st.sampled_from([b"1.jpg", b"1.cls", b"1.json", b"../1.jpg", b"a//./b.png"]) | st.binary(max_size=100),
        st.just(b"") | st.binary(max_size=155),
        st.just(b"") | st.binary(max_size=100),
    ),
    st.none() | st.integers(0, 4096).map(lambda number: b"%011o" % number) | st.binary(max_size=12),
    st.sampled_from([b"ustar\00000", b"ustar  \0", bytes(8)]),
    st.lists(RECORDS_OF_PAX | st.binary(max_size=40), max_size=30).map(b"".join),
)


@settings(max_examples=300)
@given(members=st.lists(MEMBERS, max_size=5), ended=st.booleans())
def test_archives_of_any_headers(benches: dict[str, Bench], members: list[bytes], ended: bool) -> None:
    benches["shard"].taken(b"".join(members) + bytes(1024 * ended))


SETTINGS = st.dictionaries(
    st.sampled_from([".".join(leaf.path) for leaf in option_fields()]), PLAIN | st.lists(PLAIN), max_size=3
)


@given(flat=SETTINGS)
def test_settings_of_any_value(folder: Path, flat: dict[str, Any]) -> None:
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        group, _, name = path.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[name] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(nested), encoding="utf-8")
    try:
        config = build_config(read_yaml(folder / "config.yaml"))
    except LeadppError:
        return
    (folder / "config.yaml").write_text(write_yaml(config), encoding="utf-8")
    assert build_config(read_yaml(folder / "config.yaml")) == config


@given(names=NAMES)
def test_names_come_back(folder: Path, names: list[str]) -> None:
    (folder / "names.txt").write_text("\n".join(names), encoding="utf-8", newline="")
    try:
        read = read_names(folder / "names.txt")
    except TextError:
        return
    check_distinct(read, what="names")
    assert [name.strip() for name in read] == list(read)


def same_newlines(text: str) -> str:
    return "\n".join(text.replace("\r\n", "\r").split("\r"))


def seen(text: str) -> str:
    """Leave out what no class name has: control characters, line breaks and other letters that nobody sees."""
    return "".join(letter for letter in text if unicodedata.category(letter) not in {"Cc", "Cf", "Zl", "Zp"}).strip()


TEXTS = st.builds(lambda before, after: (before + "x" + after).replace("\0", "").strip(), WORDS, WORDS)


@given(
    texts=st.dictionaries(TEXTS.map(seen), st.lists(TEXTS, min_size=1, max_size=3, unique_by=same_newlines), min_size=1)
)
@example({"=1+1": ["-2", "'=3"]})
@example({"A,B": ['say "x"\nand y']})
def test_descriptions_come_back(folder: Path, texts: dict[str, list[str]]) -> None:
    try:
        check_names(list(texts), what="names")
    except TextError:
        assume(False)
    write_descriptions(folder / "d.csv", {name: tuple(one) for name, one in texts.items()})
    expected = {same_newlines(name): tuple(map(same_newlines, one)) for name, one in texts.items()}
    assert read_descriptions(folder / "d.csv") == expected


EDGE, LENGTH = st.floats(-1e6, 1e6), st.floats(1e-3, 1e6)
BOX = st.tuples(EDGE, EDGE, LENGTH, LENGTH).map(lambda one: (one[0], one[1], one[0] + one[2], one[1] + one[3]))
PATHS = st.text(string.ascii_letters + ",\"'=é東", min_size=1)


@given(boxes=st.dictionaries(PATHS, BOX))
def test_true_boxes_come_back(folder: Path, boxes: dict[str, tuple[float, float, float, float]]) -> None:
    write_boxes(folder / "b.csv", boxes)
    read = read_boxes(folder / "b.csv")
    assert read.keys() == boxes.keys()
    for name, box in boxes.items():
        assert read[name] == pytest.approx(box, rel=1e-11, abs=1e-11)


RECORDS = st.builds(
    ImageRecord,
    path=st.text(string.ascii_letters + "é /\n", min_size=1).filter(is_inner_path),
    label=st.none() | WORDS,
    split=st.sampled_from(["train", "test"]),
    width_px=st.integers(0, 2**31 - 1),
    height_px=st.integers(0, 2**31 - 1),
    checksum=WORDS,
    reason=st.none() | WORDS,
    least_scale=st.sampled_from([1, 2]),
    true_box_xyxy=st.none() | BOX,
    size_bytes=st.integers(0, 2**63 - 1),
    offset_bytes=st.integers(0, 2**63 - 1),
)


@given(records=st.lists(RECORDS, max_size=4), classes=st.lists(WORDS, max_size=3), origin=WORDS)
def test_an_index_comes_back(folder: Path, records: list[ImageRecord], classes: list[str], origin: str) -> None:
    index = ImageIndex(
        root=folder, source="folder", classes=tuple(classes), records=tuple(records), split_origin=origin
    )
    write_index(folder / "index.parquet", index)
    assert read_index(folder / "index.parquet") == index


@given(paths=st.lists(WORDS, max_size=8))
def test_natural_order_is_an_order(paths: list[str]) -> None:
    ordered = sorted(paths, key=natural_key)
    assert sorted(ordered[1:] + ordered[:1], key=natural_key) == ordered


@given(names=st.lists(WORDS, max_size=6, unique=True))
@example(["..", ".", "/", "a", "A", "CON", "nul.txt", "x" * 300, "x" * 301])
def test_folders_of_any_names_are_safe_and_distinct(names: list[str]) -> None:
    folders = safe_folder_names(names)
    assert len({folder.casefold() for folder in folders.values()}) == len(names)
    for folder in folders.values():
        assert is_inner_path(folder)
        assert "/" not in folder
        assert folder not in (".", "..")
        assert len(folder.encode()) <= 255
        assert not any(letter < " " for letter in folder)


@given(name=WORDS)
def test_keys_of_names_are_their_own_keys(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)


@given(words=st.text())
def test_a_line_is_a_line(words: str) -> None:
    assert plain_line(words).isprintable()
