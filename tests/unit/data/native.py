"""Miniature copies of data sets in the layouts in which they are downloaded, awkward names and all."""

import io
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.io import savemat

LONG_NAME = "Long " + "tailed " * 27 + "Widows"
BIRDS = ("001.Black_footed_Albatross", "002.Ålesund_Café_Gull", "003." + LONG_NAME.replace(" ", "_"))
CARS = ("AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012", "Citroën 2CV")
VARIANTS = ("Boeing 717", "F-16A/B", "F/A-18")
DOGS = ("n02085620-Chihuahua", "n02086240-Shih-Tzu", "n02111889-Samoyed")


def photo_bytes(name: str, *, width: int = 40, height: int = 60) -> bytes:
    """Draw a picture that no other name has."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((width, height)).save(stream, "JPEG")
    return stream.getvalue()


def write_photo(path: Path, *, width: int = 40, height: int = 60, name: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photo_bytes(name or str(path), width=width, height=height))
    return path


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_cub(root: Path) -> Path:
    """Two photographs a class: the first trains, the second tests; every box is 5.5 7.0 20.0 30.5 (x y w h)."""
    images = [f"{bird}/{bird.split('.')[0]}_{n}.jpg" for bird in BIRDS for n in (1, 2)]
    for image in images:
        write_photo(root / "images" / image, name=image)
    ids = range(1, len(images) + 1)
    write_lines(root / "images.txt", [f"{i} {image}" for i, image in zip(ids, images, strict=True)])
    write_lines(root / "image_class_labels.txt", [f"{i} {(i + 1) // 2}" for i in ids])
    write_lines(root / "train_test_split.txt", [f"{i} {i % 2}" for i in ids])
    write_lines(root / "classes.txt", [f"{i} {bird}" for i, bird in enumerate(BIRDS, start=1)])
    write_lines(root / "bounding_boxes.txt", [f"{i} 5.5 7.0 20.0 30.5" for i in ids])
    return root


def save_annotations(path: Path, classes: Sequence[int] | None, *, box: tuple[int, int, int, int]) -> None:
    """Write a struct array as the devkit does: every field of every row is an array of its own."""
    names = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", *(["class"] if classes else []), "fname"]
    count = len(classes) if classes else 2
    array = np.zeros((1, count), dtype=[(name, object) for name in names])
    for i in range(count):
        corners = [np.array([[edge]], dtype=np.uint8) for edge in box]
        label = [np.array([[classes[i]]], dtype=np.uint8)] if classes else []
        array[0, i] = (*corners, *label, f"{i + 1:05d}.jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"annotations": array})


def make_cars(root: Path, *, test_annos: str = "") -> Path:
    """Four training photographs (classes 1 2 3 3) and one test photograph (class 2), boxes 1-based inclusive."""
    devkit = root / "devkit"
    devkit.mkdir(parents=True)
    savemat(devkit / "cars_meta.mat", {"class_names": np.array([CARS], dtype=object)})
    save_annotations(devkit / "cars_train_annos.mat", [1, 2, 3, 3], box=(1, 2, 30, 40))
    save_annotations(devkit / "cars_test_annos.mat", None, box=(1, 2, 30, 40))
    save_annotations(root / test_annos / "cars_test_annos_withlabels.mat", [2], box=(5, 6, 40, 60))
    for i in range(4):
        write_photo(root / "cars_train" / f"{i + 1:05d}.jpg", name=f"car train {i}")
    write_photo(root / "cars_test" / "00001.jpg", name="car test")
    return root


def make_cars_mirror(root: Path, *, names: bool = True, labels: Sequence[int] = (0, 1, 2, 1)) -> Path:
    """Two train shards and one test shard, and a corrupted copy that must not be read."""
    write_shard(root / "data" / "train-00000-of-00002.parquet", labels[:2], names=names, tag="train 0")
    write_shard(root / "data" / "train-00001-of-00002.parquet", labels[2:], names=names, tag="train 1")
    write_shard(root / "data" / "test-00000-of-00001.parquet", [1], names=names, tag="test")
    (root / "data" / "motion_blur-00000-of-00001.parquet").write_bytes(b"never read")
    return root


def write_shard(path: Path, labels: Sequence[int], *, names: bool, tag: str) -> None:
    images = [{"bytes": photo_bytes(f"{tag} {i}"), "path": None} for i in range(len(labels))]
    features = {"image": {"_type": "Image"}, "label": {"names": list(CARS), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else None
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("label", pa.int64())], metadata=metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, "label": list(labels)}, schema=schema), path)


def make_aircraft(root: Path, *, base: str = "data") -> Path:
    """Two training photographs a variant and one of the test part; 40 x 60 pixels of which 20 rows are banner."""
    folder = root / base
    trainval = [(f"1{v}{n}", name) for v, name in enumerate(VARIANTS) for n in range(2)]
    test = [(f"2{v}0", name) for v, name in enumerate(VARIANTS)]
    write_lines(folder / "images_variant_trainval.txt", [f"{image} {name}" for image, name in trainval])
    write_lines(folder / "images_variant_test.txt", [f"{image} {name}" for image, name in test])
    write_lines(folder / "images_box.txt", [f"{image} 3 4 30 50" for image, _ in trainval + test])
    for image, _ in trainval + test:
        write_photo(folder / "images" / f"{image}.jpg", name=image)
    return root


def make_dogs(root: Path, *, lists: str = "") -> Path:
    """Two photographs a breed: the first trains, the second tests; the second of each breed shows two dogs."""
    for part, number in (("train", 1), ("test", 2)):
        files = [f"{dog}/{dog[:9]}_{number}.jpg" for dog in DOGS]
        for file in files:
            write_photo(root / "Images" / file, name=file)
            boxes = [(0, 1, 10, 12)] if number == 1 else [(0, 0, 5, 5), (2, 3, 30, 40), (1, 1, 6, 6)]
            write_dog_boxes(root / "Annotation" / file.removesuffix(".jpg"), boxes)
        (root / lists).mkdir(exist_ok=True)
        content = {
            "file_list": np.array([[file] for file in files], dtype=object),
            "labels": np.array([[i + 1] for i in range(len(DOGS))], dtype=np.uint8),
        }
        savemat(root / lists / f"{part}_list.mat", content)
    return root


def write_dog_boxes(path: Path, boxes: Sequence[tuple[int, int, int, int]]) -> None:
    objects = "".join(
        f"<object><name>dog</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>"
        "</object>"
        for x0, y0, x1, y1 in boxes
    )
    write_lines(path, [f"<annotation><size><width>40</width></size>{objects}</annotation>"])
