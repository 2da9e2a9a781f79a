"""``builtin:`` names stand for folders of the package, wherever it lies."""

import gzip
from pathlib import Path

import open_clip
import pytest
import torch

from leadpp.errors import WeightsError
from leadpp.models import builtin
from leadpp.models.backbone import create_backbone
from leadpp.models.openclip import open_clip_parts
from leadpp.models.teacher import load_teacher
from tests.unit.models.tiny_clip import tiny_config, write_tiny_clip
from tests.unit.tiny import save_tiny_network

MERGES = ("t h", "th e</w>", "b i", "r d</w>")
PIECES = 2 * 256 + len(MERGES) + 2


def write_own_words(folder: Path) -> Path:
    """Write a model whose tokenizer knows four merges, and say so as open_clip's configs do."""
    words = {"bpe_path": "bpe.txt.gz"}
    text = {**tiny_config()["text_cfg"], "vocab_size": PIECES, "tokenizer_kwargs": words}
    write_tiny_clip(folder, text_cfg=text)
    with gzip.open(folder / "bpe.txt.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(["#version: 0.2", *MERGES]))
    return folder


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that ships both networks; returns their folder."""
    monkeypatch.setattr(builtin, "networks_folder", lambda: tmp_path)
    save_tiny_network(tmp_path / "world-backbone")
    write_own_words(tmp_path / "world-clip")
    return tmp_path


def test_a_shipped_backbone_keeps_its_name_and_has_the_weights_of_its_folder(shipped: Path) -> None:
    network = create_backbone("builtin:world-backbone")
    twin = create_backbone(f"local-dir:{shipped / 'world-backbone'}")
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.equal(network(pixels), twin(pixels))
    assert network.name == "builtin:world-backbone"


def test_a_shipped_teacher_keeps_its_name_and_reads_with_its_own_word_pieces(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shipped.parent)
    parts = open_clip_parts("builtin:world-clip", "")
    assert parts.name == "builtin:world-clip"
    assert parts.tokenizer.vocab_size == PIECES
    assert parts.tokenizer.encode("the")[0] == 2 * 256 + 1  # one piece, the second merge
    assert len(parts.tokenizer.encode("bird")) == 2  # "bi", "rd</w>"
    plain = open_clip.get_tokenizer(f"local-dir:{shipped / 'world-clip'}", bpe_path=shipped / "world-clip/bpe.txt.gz")
    assert torch.equal(plain(["the bird"]), parts.tokenizer(["the bird"]))
    assert load_teacher(model="builtin:world-clip").encode_texts(["the bird"]).shape == (1, 16)


def test_any_folder_may_bring_its_own_word_pieces(tmp_path: Path) -> None:
    folder = write_own_words(tmp_path / "mine")
    assert open_clip_parts(f"local-dir:{folder}", "").tokenizer.vocab_size == PIECES


@pytest.mark.parametrize("name", ["world-backbone", "world-clip"])
def test_each_missing_file_is_a_broken_install(shipped: Path, name: str) -> None:
    for file in builtin.FILES[name]:
        moved = (shipped / name / file).rename(shipped / "away")
        with pytest.raises(WeightsError, match=f"builtin:{name}: .*{file} is missing.*reinstall") as caught:
            builtin.local_name(f"builtin:{name}")
        assert "\n" not in str(caught.value)
        moved.rename(shipped / name / file)
    assert builtin.local_name(f"builtin:{name}") == f"local-dir:{shipped / name}"


def test_word_pieces_that_the_config_promises_must_be_there(tmp_path: Path) -> None:
    folder = write_own_words(tmp_path / "mine")
    (folder / "bpe.txt.gz").unlink()
    with pytest.raises(WeightsError, match=r"bpe\.txt\.gz: no such file"):
        open_clip_parts(f"local-dir:{folder}", "")


def test_an_unknown_shipped_name_lists_those_that_are() -> None:
    with pytest.raises(WeightsError, match="choose from world-backbone, world-clip"):
        create_backbone("builtin:resnet50")


def test_other_names_are_left_alone() -> None:
    assert builtin.local_name("local-dir:a") == "local-dir:a"
    assert builtin.local_name("resnet18") == "resnet18"
