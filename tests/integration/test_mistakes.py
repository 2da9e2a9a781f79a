"""Wrong input: one clear line, exit code 2, nothing half-written."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leadpp import pipeline
from tests.integration.conftest import Cli


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, out, err = result
    last = err.splitlines()[-1]
    assert (code, out) == (2, ""), err
    assert last.startswith("leadpp: error: ")
    assert "Traceback" not in err
    missing = [word for word in words if word.lower() not in last.lower()]
    assert not missing, last


def test_data_that_is_not_there_or_empty(tmp_path: Path, cli: Cli) -> None:
    run = tmp_path / "run"
    refused(cli("run", "--data", tmp_path / "none", "--run", run), "none")
    (tmp_path / "file").write_text("x")
    refused(cli("run", "--data", tmp_path / "file", "--run", run), "file", "folder")
    (tmp_path / "empty").mkdir()
    refused(cli("run", "--data", tmp_path / "empty", "--run", run), "empty")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("x")
    refused(cli("run", "--data", tmp_path / "words", "--run", run), "words")
    assert not run.exists()


def test_run_folders_that_cannot_be(flat: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "file").write_text("x")
    refused(cli("localize", "--data", flat, "--run", tmp_path / "file"), "file", "--run")
    refused(cli("localize", "--data", flat, "--run", flat / "run"), "outside")


def test_settings_and_words_that_are_wrong(flat: Path, tmp_path: Path, cli: Cli) -> None:
    words = ("--data", flat, "--run", tmp_path / "run")
    settings = tmp_path / "settings.yaml"
    for text, expected in (
        ("trian: {epochs: 3}", ("trian", "train")),
        ("train: {epochs: soon}", ("train.epochs", "whole number")),
        ("train: [", ("YAML",)),
    ):
        settings.write_text(text)
        refused(cli("train", *words, "--config", settings), *expected)
    refused(cli("train", *words, "--config", tmp_path / "none.yaml"), "none.yaml")
    refused(cli("train", *words, "--train.device", "toaster"), "toaster")
    refused(cli("run", *words, "--names", tmp_path / "none.txt"), "none.txt")
    refused(cli("train", *words, "--trian.epochs", "3"), "--train.epochs")
    refused(cli("prototypes", "make", *words), "prototypes build")
    refused(cli("evalute", *words), "evaluate")
    assert not (tmp_path / "run").exists()


def test_unknown_backbones_show_the_closest(flat: Path, tmp_path: Path, cli: Cli) -> None:
    words = ("--data", flat, "--run", tmp_path / "run", "--input.workers", "0")
    refused(cli("localize", *words, "--localize.backbone", "resnet55"), "resnet55", "resnet50")
    refused(cli("localize", *words, "--localize.backbone", f"local-dir:{tmp_path}"), str(tmp_path), "config.json")
    few = ("--preset", "moco", "--train.batch-size", "4")
    refused(cli("train", *words, *few, "--student.backbone", "resnet55"), "resnet50")


def test_stages_before_their_time(flat: Path, demo: Path, tmp_path: Path, cli: Cli) -> None:
    words = ("--run", tmp_path / "run", "--config", demo / "settings.yaml")
    refused(cli("train", "--data", flat, *words), "localize")
    only = ("--run", tmp_path / "other", "--evaluate.encoders", "student")
    refused(cli("evaluate", "--data", demo / "photos", *only), "run train first")
    refused(cli("prototypes", "build", "--data", flat, *words), "names")
    refused(cli("evaluate", "--data", flat, *words), "label")


def test_a_training_set_smaller_than_a_batch(flat: Path, demo: Path, tmp_path: Path, cli: Cli) -> None:
    refused(
        cli(
            "train", "--data", flat, "--run", tmp_path / "run", "--preset", "moco", "--config", demo / "settings.yaml",
            "--train.batch-size", 64,
        ),
        "18", "64",
    )  # fmt: skip


def test_one_class(demo: Path, tmp_path: Path, cli: Cli) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(demo / "photos" / "train" / "Red Disc", photos / "train" / "Red Disc")
    shutil.copytree(demo / "photos" / "test" / "Red Disc", photos / "test" / "Red Disc")
    words = ("--data", photos, "--run", tmp_path / "run", "--config", demo / "settings.yaml")
    refused(cli("evaluate", *words), "one class")
    refused(cli("run", *words, "--preset", "moco", "--train.batch-size", 4, "--train.epochs", 1), "one class")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_prototypes_that_do_not_fit(demo: Path, tmp_path: Path, cli: Cli) -> None:
    words = ("--data", demo / "photos", "--run", tmp_path / "run", "--config", demo / "settings.yaml")
    path = tmp_path / "text.pt"
    vectors = torch.nn.functional.normalize(torch.randn(6, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    torch.save(vectors[:5], path)
    refused(cli("prototypes", "build", *words, "--prototypes", path), "5", "6")
    torch.save(vectors.index_fill(1, torch.tensor([3]), float("nan")), path)
    refused(cli("prototypes", "build", *words, "--prototypes", path), "nan")
    path.write_bytes(b"PK not a tensor")
    refused(cli("prototypes", "build", *words, "--prototypes", path), "text.pt")
    torch.save(torch.nn.functional.normalize(vectors[:, :16], dim=1), path)
    refused(cli("run", *words, "--prototypes", path, "--names", demo / "names.txt", "--train.epochs", 1), "16", "32")
    names = tmp_path / "names.txt"
    names.write_text("Red Disk\nBlue Disc\nRed Square\nBlue Square\nGreen Triangle\nGold Triangle\n")
    refused(cli("prototypes", "build", *words, "--names", names), "Red Disk", "Red Disc")


@pytest.mark.slow
def test_damaged_and_foreign_files_of_a_run(demo: Path, tmp_path: Path, cli: Cli) -> None:
    words = ("--data", demo / "photos", "--run", tmp_path / "run")
    pipeline.run(
        demo / "photos", tmp_path / "run", stages=("localize", "train"), config=demo / "settings.yaml",
        settings={"train": {"epochs": 1}},
    )  # fmt: skip
    checkpoint = max((tmp_path / "run" / "checkpoints").glob("*.safetensors"))
    content = checkpoint.read_bytes()
    from tools.draw_demo import write_backbone

    other = write_backbone(tmp_path / "other", architecture="test_efficientnet")
    refused(cli("evaluate", *words, "--student.backbone", f"local-dir:{other}"), "backbone")
    checkpoint.write_bytes(content[: len(content) // 2])
    refused(cli("evaluate", *words), checkpoint.name)
    checkpoint.write_bytes(content)
    boxes = tmp_path / "run" / "boxes.parquet"
    boxes.write_bytes(boxes.read_bytes()[:400])
    refused(cli("evaluate", *words), "boxes.parquet")


def test_bad_images_are_counted_or_refused(demo: Path, tmp_path: Path, cli: Cli) -> None:
    photos = Path(shutil.copytree(demo / "photos", tmp_path / "photos"))
    folder = photos / "train" / "Red Disc"
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "words.png").write_text("not a picture")
    whole = (folder / "000.jpg").read_bytes()
    (folder / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(folder / "grey.png")
    words = ("--data", photos, "--run", tmp_path / "run", "--config", demo / "settings.yaml")
    refused(cli("localize", *words, "--bad-images", "error"), "3")
    code, out, err = cli("localize", *words)
    assert code == 0, err
    assert "3" in out.splitlines()[-1]
    assert "index.parquet" in out.splitlines()[-1]


@pytest.mark.slow
def test_a_mistake_neither_poisons_the_run_nor_forgets_what_is_finished(demo: Path, tmp_path: Path, cli: Cli) -> None:
    words = ("--data", demo / "photos", "--run", tmp_path / "run")
    assert cli("localize", *words, "--config", demo / "settings.yaml")[0] == 0
    before = (tmp_path / "run" / "config.yaml").read_text()
    refused(cli("localize", *words, "--localize.backbone", "local-dir:/nope"), "/nope")
    assert (tmp_path / "run" / "config.yaml").read_text() == before
    code, _, err = cli("localize", *words)
    assert (code, "unchanged, skipped" in err) == (0, True)


def test_paths_that_are_empty_words(flat: Path, cli: Cli) -> None:
    refused(cli("localize", "--data", flat, "--run", ""), "empty path")
    refused(cli("localize", "--data", "", "--run", "r"), "empty path")
