"""Every reader of files that others may have made, with a few small files that it takes: where mutation begins."""

import contextlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from scipy.io import savemat

from leadpp.config import build_config, read_yaml, write_yaml
from leadpp.data.boxes import read_boxes
from leadpp.data.images import decode_image
from leadpp.data.naming import is_inner_path
from leadpp.data.places import read_place
from leadpp.data.records import ImageIndex, ImageRecord, read_index, write_index
from leadpp.data.sources import READERS, read_shards
from leadpp.data.sources.annotations import read_pairs
from leadpp.data.sources.cars_parquet import open_cars_mirror
from leadpp.data.sources.matlab import read_variable
from leadpp.data.truth import read_boxes as read_true_boxes
from leadpp.data.truth import write_boxes as write_true_boxes
from leadpp.engine.features import load_features, save_features
from leadpp.errors import LeadppError
from leadpp.io.artifacts import read_json, read_table, write_json, write_table
from leadpp.io.checkpoint import read_checkpoint, save_checkpoint
from leadpp.io.foreign import read_foreign
from leadpp.io.journal import read_journal
from leadpp.io.ledger import Keeping, enter_checkpoint, read_newest_whole
from leadpp.text.answers import Answer, PassingError, check_answer, read_completion, read_model_names
from leadpp.text.descriptions import read_descriptions, write_descriptions
from leadpp.text.exchange import read_reference_prototypes
from leadpp.text.names import read_names
from leadpp.text.prompts import default_prompt, read_describe_prompt
from leadpp.text.proposals import read_proposals
from leadpp.text.prototypes import Prototypes, read_prototypes, write_prototypes
from leadpp.text.replies import check_description

Files = dict[str, bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reader:
    """One reader."""

    read: Callable[[Path], object]
    """Reads a file, or the folder that it lies in."""
    seeds: Callable[[Path], Files]
    """Makes files that are read without complaint, given a folder to work in; by names that do not matter."""
    place: str = "file"
    """Path of the file below the folder that is mutated."""
    beside: Callable[[Path], Files] = lambda folder: {}
    """Files that lie beside it, by path."""
    whole_folder: bool = False
    """Whether ``read`` is given the folder."""


def image_record(path: str, **others: Any) -> ImageRecord:  # noqa: ANN401 - fields of any type
    known = {"label": "a", "split": "train", "width_px": 4, "height_px": 3, "checksum": "00"}
    return ImageRecord(path=path, **{**known, **others})


def _index_seeds(folder: Path) -> Files:
    records = (
        image_record("train/a/1.jpg", true_box_xyxy=(0.0, 0.5, 2.0, 3.0), size_bytes=9, mtime_ns=7),
        image_record("test/é/2.jpg", label=None, split="test", reason="empty file", duplicate_of="train/a/1.jpg"),
    )
    index = ImageIndex(root=folder, source="folder", classes=("a", "b"), records=records, split_origin="given")
    write_index(folder / "index.parquet", index)
    return {"index": (folder / "index.parquet").read_bytes()}


def _read_whole_index(path: Path) -> None:
    index = read_index(path)
    index.digest()
    index.notes()
    index.summary()


def _table_seeds(folder: Path) -> Files:
    columns = {"path": ["a", "é"], "label": ["x", None]}
    write_table(folder / "table.parquet", pa.table(columns), kind="embeddings", metadata={"a": [1, None, "b"]})
    return {"table": (folder / "table.parquet").read_bytes()}


def _boxes_seeds(folder: Path) -> Files:
    sides = {
        f"{part}_{side}": [0 if "0" in side else 3] for part in ("object", "crop") for side in ("x0", "y0", "x1", "y1")
    }
    table = pa.table({"path": ["1.jpg"], "fallback": [False], "width_px": [4], "height_px": [3], **sides})
    write_table(folder / "boxes.parquet", table, kind="boxes")
    return {"boxes": (folder / "boxes.parquet").read_bytes()}


def _json_seeds(folder: Path) -> Files:
    write_json(folder / "a.json", {"rows": [{"knn": 0.5, "set": "crop"}], "note": "é"}, kind="evaluation")
    return {"json": (folder / "a.json").read_bytes()}


def _checkpoint_seeds(folder: Path) -> Files:
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(layer.weight, 0.5)
    torch.nn.init.constant_(layer.bias, 0.5)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    save_checkpoint(folder / "c", modules={"student": layer}, optimizer=optimizer, metadata={"epoch": 1})
    return {"checkpoint": (folder / "c").read_bytes()}


def _read_whole_checkpoint(path: Path) -> None:
    checkpoint = read_checkpoint(path)
    layer = torch.nn.Linear(2, 2)
    checkpoint.load_module("student", layer)
    checkpoint.load_optimizer(torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9))


def _prototype_seeds(folder: Path) -> Files:
    write_prototypes(
        folder / "p", Prototypes(vectors=torch.eye(3), names=("a", "b", "c"), texts=(("x",), ("y",), ("z",)))
    )
    write_prototypes(folder / "q", Prototypes(vectors=torch.eye(2, 4)))
    return {name: (folder / name).read_bytes() for name in ("p", "q")}


def _reference_seeds(folder: Path) -> Files:
    torch.save(torch.eye(2, 3, dtype=torch.float16), folder / "t.pt")
    torch.save(torch.eye(2, 3), folder / "old.pt", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(folder / "stored.zip", "w") as archive:
        archive.writestr("data.pkl", b"cos\nsystem\n(S'touch owned'\ntR.")
    return {name: (folder / name).read_bytes() for name in ("t.pt", "old.pt", "stored.zip")}


def _feature_seeds(folder: Path) -> Files:
    save_features(folder / "f.npy", torch.arange(6.0).view(2, 3))
    pickled = io.BytesIO()
    np.save(pickled, np.array([None, {}], dtype=object), allow_pickle=True)
    return {"features": (folder / "f.npy").read_bytes(), "pickled": pickled.getvalue()}


def _foreign_seeds(folder: Path) -> Files:
    state = {"module.encoder_q.conv1.weight": torch.zeros(2, 3, 1, 1), "module.encoder_q.bn1.bias": torch.zeros(2)}
    torch.save({"epoch": 9, "arch": "resnet50", "state_dict": state}, folder / "new.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    return {name: (folder / name).read_bytes() for name in ("new.pth", "old.pth")}


def _ledger_seeds(folder: Path) -> Files:
    checkpoint = folder / "epoch-0001.safetensors"
    checkpoint.write_bytes(_checkpoint_seeds(folder)["checkpoint"])
    enter_checkpoint(checkpoint, Keeping(best={"metric": "knn", "value": 0.5}), folder=folder)
    return {name: (folder / name).read_bytes() for name in (checkpoint.name, "last.json")}


def _read_newest(folder: Path) -> None:
    read_newest_whole(folder, notify=lambda words: None)


def _read_prompts(path: Path) -> None:
    read_describe_prompt(path, domain="birds", parts=("bill",), min_words=3, max_words=9)


_ANSWER = {
    "model": "m",
    "choices": [{"message": {"role": "assistant", "content": "A small bird with a red cap."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 4},
}


def _answer_seeds(folder: Path) -> Files:
    del folder
    return {
        "good": json.dumps(_ANSWER).encode(),
        "list": json.dumps(_ANSWER).replace("A small bird with", '[\\"Wren\\", \\"Robin\\"]').encode(),
        "error": b'{"error": {"message": "no such model", "code": 404}}',
        "page": b"<!doctype html><title>502</title>",
    }


def _read_answer(path: Path) -> None:
    """Do all that is done with what a language model's server says, whatever its status."""
    for status in (200, 404, 500):
        answer = Answer(
            status=status,
            headers={"retry-after": path.read_bytes()[:9].decode(errors="replace")},
            body=path.read_bytes(),
        )
        with contextlib.suppress(LeadppError, PassingError):
            check_answer(answer, where="http://here", scrub=str, now=0)
            text = read_completion(answer, where="http://here", scrub=str).text
            check_description(text, name="Wren", others=("Robin",), min_words=3, max_words=9)
            assert all(name.encode() for name in read_proposals(text))
    read_model_names(path.read_bytes())


def _config_seeds(folder: Path) -> Files:
    del folder
    return {
        "whole": write_yaml(build_config({})).encode(),
        "short": b"train: {epochs: 3}\ninput:\n  size: 64\npreset: moco\n",
    }


def _read_whole_config(path: Path) -> None:
    build_config(read_yaml(path))


def _read_and_write_descriptions(path: Path) -> None:
    descriptions = read_descriptions(path)
    write_descriptions(path.with_name("written.csv"), descriptions)
    assert len(read_descriptions(path.with_name("written.csv"))) == len(descriptions)


def _true_box_seeds(folder: Path) -> Files:
    write_true_boxes(folder / "b.csv", {"a/1.jpg": (0.0, 1.0, 2.5, 3.0), "b,2.jpg": (0.0, 0.0, 1.0, 1.0)})
    return {"boxes": (folder / "b.csv").read_bytes(), "odd": b'\xef\xbb\xbfpath,x0,y0,x1,y1,z\r\n"a\nb",0,0,1e3,1\r\n'}


def _mat_seeds(folder: Path) -> Files:
    names = np.array(["A b", "C"], dtype=object)
    kinds = [("bbox_x1", "O"), ("bbox_y1", "O"), ("bbox_x2", "O"), ("bbox_y2", "O"), ("class", "O"), ("fname", "O")]
    rows = np.array([(1, 2, 3, 4, 1, "1.jpg"), (1, 2, 3, 4, 2, "2.jpg")], dtype=kinds)
    savemat(folder / "small.mat", {"class_names": names, "annotations": rows, "labels": np.array([1, 2])})
    savemat(folder / "packed.mat", {"class_names": names, "annotations": rows}, do_compression=True)
    savemat(folder / "old.mat", {"labels": np.array([1, 2])}, format="4")
    return {name: (folder / name).read_bytes() for name in ("small.mat", "packed.mat", "old.mat")}


def _read_mats(path: Path) -> None:
    read_variable(path, "annotations")


_ANNOTATION = b"""<annotation><size><width>9</width></size><object><name>dog</name><bndbox><xmin>1</xmin><ymin>2</ymin>
<xmax>3</xmax><ymax>4</ymax></bndbox></object><object><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>1</xmax><ymax>1</ymax>
</bndbox></object></annotation>"""


def _dog_lists(folder: Path) -> Files:
    lists = {"file_list": np.array(["n02085620-Chihuahua/1.jpg", "n02085782-Spaniel/2.jpg"], dtype=object)}
    savemat(folder / "list.mat", {**lists, "labels": np.array([[1], [2]])})
    content = (folder / "list.mat").read_bytes()
    return {"train_list.mat": content, "test_list.mat": content, "Annotation/n02085620-Chihuahua/1": _ANNOTATION}


_CUB = {
    "classes.txt": b"1 001.A_b\n2 002.C\n",
    "images.txt": b"1 001.A_b/1.jpg\n2 002.C/2.jpg\n",
    "image_class_labels.txt": b"1 1\n2 2\n",
    "train_test_split.txt": b"1 1\n2 0\n",
    "bounding_boxes.txt": b"1 60.0 27.0 325.0 304.0\n2 1 2 3 4\n",
}
_AIRCRAFT = {
    "images_box.txt": b"001 1 2 30 40\n002 1 1 2 2\n",
    "images_variant_trainval.txt": b"001 707-320\n",
    "images_variant_test.txt": b"002 DC-10\n",
}


def _source(kind: str, place: str, files: Callable[[Path], Files]) -> Reader:
    """Read a whole data set of which one file is mutated."""
    return Reader(
        read=READERS[kind],
        seeds=lambda folder: {"own": files(folder)[place]},
        place=place,
        beside=lambda folder: {path: content for path, content in files(folder).items() if path != place},
        whole_folder=True,
    )


def _mirror_seeds(folder: Path) -> Files:
    del folder
    image = pa.array(
        [{"bytes": b"\xff\xd8\xff", "path": "a"}], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    names = json.dumps({"info": {"features": {"label": {"names": ["A", "B"]}}}})
    table = pa.table({"image": image, "label": pa.array([1])}).replace_schema_metadata({"huggingface": names})
    stream = io.BytesIO()
    import pyarrow.parquet as pq

    pq.write_table(table, stream)
    return {"shard": stream.getvalue()}


def _mirror_both(folder: Path) -> Files:
    return {"data/test-0.parquet": _mirror_seeds(folder)["shard"]}


def _read_mirror(folder: Path) -> None:
    for _ in open_cars_mirror(folder).images():
        pass


def _image_seeds(folder: Path) -> Files:
    del folder
    seeds: Files = {}
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF"):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, kind, exif=exif)
        seeds[kind] = stream.getvalue()
    return seeds


def _shard_seeds(folder: Path) -> Files:
    del folder
    deep = "deep/" * 30 + "\xe9"
    contents = {
        "1.jpg": b"\xff\xd8\xff" * 200,
        "1.cls": b"7",
        f"{deep}.png": b"",
        f"{deep}.cls": b"A b",
        "1.mask.png": b"x",
    }
    seeds: Files = {}
    for name, form in (("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
            for path, content in contents.items():
                info = tarfile.TarInfo(path)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            link = tarfile.TarInfo("link.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        seeds[name] = stream.getvalue()
    labelled = b'{"label": "a", "class": 3}'
    info, sparse = tarfile.TarInfo("9.json"), tarfile.TarInfo("GNUSparseFile.0/x.jpg")
    info.size = len(labelled)
    sparse.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
    sparse.size = 515
    picture = tarfile.TarInfo("9.webp")
    seeds["sparse"] = (
        info.tobuf() + labelled.ljust(512, b"\0") + picture.tobuf()
        + sparse.tobuf(tarfile.PAX_FORMAT) + b"1\n0\n3\n".ljust(512, b"\0") + b"abc".ljust(512, b"\0") + bytes(1024)
    )  # fmt: skip
    return seeds


def _read_shard(path: Path) -> None:
    """List an archive, and read what it lists as long as that is."""
    raw = read_shards(path)
    size = path.stat().st_size
    for record in raw.records:
        assert is_inner_path(record.path)
        assert record.offset_bytes + record.size_bytes <= size
        assert len(read_place(record.place(raw.root), most_bytes=size)) == record.size_bytes
    assert "".join((*raw.classes, *raw.remarks)).encode() is not None


GUIDED = ("index", "table", "checkpoint", "prototypes", "reference")
"""Readers that are fuzzed for long, by coverage where there is a fuzzer for it."""

READERS_OF: dict[str, Reader] = {
    "index": Reader(read=_read_whole_index, seeds=_index_seeds),
    "table": Reader(read=lambda path: read_table(path, kind="embeddings")[0].to_pylist(), seeds=_table_seeds),
    "boxes": Reader(read=lambda path: read_boxes(path, [image_record("1.jpg")]), seeds=_boxes_seeds),
    "json": Reader(read=lambda path: read_json(path, kind="evaluation"), seeds=_json_seeds),
    "checkpoint": Reader(read=_read_whole_checkpoint, seeds=_checkpoint_seeds),
    "prototypes": Reader(read=read_prototypes, seeds=_prototype_seeds),
    "reference": Reader(read=read_reference_prototypes, seeds=_reference_seeds),
    "features": Reader(read=load_features, seeds=_feature_seeds),
    "config": Reader(read=_read_whole_config, seeds=_config_seeds),
    "foreign": Reader(read=read_foreign, seeds=_foreign_seeds),
    "last-checkpoint": Reader(
        read=_read_newest,
        seeds=lambda folder: {"own": _ledger_seeds(folder)["last.json"]},
        place="last.json",
        beside=_ledger_seeds,
        whole_folder=True,
    ),
    "journal": Reader(read=read_journal, seeds=lambda folder: {"lines": b'{"a": 1}\n{"b": ["\xc3\xa9"]}\n{"torn'}),
    "answer": Reader(read=_read_answer, seeds=_answer_seeds),
    "prompt": Reader(read=_read_prompts, seeds=lambda folder: {"own": default_prompt("describe").encode()}),
    "names": Reader(read=read_names, seeds=lambda folder: {"names": "Häher\nF/A-18\n  747-100 \r\n".encode()}),
    "csv": Reader(
        read=_read_and_write_descriptions,
        seeds=lambda folder: {
            "plain": b'class name,description\nA,"red, and ""small"""\nB,\'=1+1\n',
            "odd": b'\xef\xbb\xbfB;"x\ny"\r\nC\tD\r\n',
        },
    ),
    "descriptions-json": Reader(
        read=_read_and_write_descriptions,
        seeds=lambda folder: {
            "object": b'{"A": "red", "B": {"text": "blue"}, "C": ["x", "y"]}',
            "list": b'[{"class": "A", "text": "\\ud83d\\ude00"}, {"name": "B", "description": "b"}]',
        },
        place="file.json",
    ),
    "true-boxes": Reader(read=read_true_boxes, seeds=_true_box_seeds),
    "pairs": Reader(read=read_pairs, seeds=lambda folder: {"pairs": b"1 001.A/b c.jpg\r\n2 x\n\n"}),
    "mat": Reader(read=_read_mats, seeds=_mat_seeds),
    "annotation": _source("dogs", "Annotation/n02085620-Chihuahua/1", _dog_lists),
    "dogs": _source("dogs", "train_list.mat", _dog_lists),
    **{f"cub-{name.partition('.')[0]}": _source("cub", name, lambda folder: _CUB) for name in _CUB},
    **{f"aircraft-{name.partition('.')[0]}": _source("aircraft", name, lambda folder: _AIRCRAFT) for name in _AIRCRAFT},
    "mirror": Reader(
        read=_read_mirror, seeds=_mirror_seeds, place="data/train-0.parquet", beside=_mirror_both, whole_folder=True
    ),
    "shard": Reader(read=_read_shard, seeds=_shard_seeds, place="file.tar"),
    "images": Reader(read=lambda path: decode_image(path, most_pixels=1_000_000), seeds=_image_seeds),
}
"""Readers by name."""
