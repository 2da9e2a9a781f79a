"""The parts of the tool that makes the shipped networks, against slower or plainer ways to the same answer."""

import math
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch.nn import functional as F

from leadpp.world.attributes import OPTIONS
from leadpp.world.families import draw_species, share_of
from tools.world_clip import CONTEXT, OPTION_COUNTS, Aided, clip_config, contrast, draw_kin, name_attributes
from tools.world_corpus import attribute_codes, draw_corpus
from tools.world_measures import knn, rank1, reliability
from tools.world_views import cut, square_regions
from tools.world_words import encode, write_merges, write_texts


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_cutting_the_whole_at_its_own_size_changes_nothing_but_the_side() -> None:
    pictures = (noise(2, 3, 8, 8).sigmoid() * 255).to(torch.uint8)
    whole = torch.tensor([[0.0, 0.0, 8.0, 8.0]]).expand(2, 4)
    answer = cut(pictures, whole, size=8, mirrored=torch.tensor([False, True]))
    assert torch.allclose(answer[0] * 255, pictures[0].float(), atol=1e-3)
    assert torch.allclose(answer[1] * 255, pictures[1].flip(2).float(), atol=1e-3)


def test_cutting_a_region_is_slicing_it() -> None:
    pictures = (noise(1, 3, 8, 8).sigmoid() * 255).to(torch.uint8)
    answer = cut(pictures, torch.tensor([[2.0, 3.0, 6.0, 7.0]]), size=4)
    assert torch.allclose(answer[0] * 255, pictures[0, :, 3:7, 2:6].float(), atol=1e-3)


def test_squares_stay_inside_of_the_picture() -> None:
    boxes = torch.tensor([[0.0, 10.0, 4.0, 30.0], [40.0, 40.0, 63.0, 63.0], [1.0, 1.0, 64.0, 64.0]])
    squares = square_regions(boxes, side=64, margin=0.5)
    assert torch.allclose(squares[:, 2] - squares[:, 0], squares[:, 3] - squares[:, 1])
    assert squares.min() >= 0
    assert squares.max() <= 64


def test_contrast_is_the_mean_of_both_questions() -> None:
    images, texts = noise(6, 5), noise(3, 5, seed=1)
    total = 0.0
    for row in range(6):
        cosines = [float(F.cosine_similarity(images[row], text, dim=0)) * 7 for text in texts]
        total -= math.log(math.exp(cosines[row // 2]) / sum(map(math.exp, cosines))) / 6 / 2
        others = [float(F.cosine_similarity(image, texts[row // 2], dim=0)) * 7 for image in images]
        total -= math.log(math.exp(others[row]) / sum(map(math.exp, others))) / 6 / 2
    assert float(contrast(images, texts, torch.tensor(7.0))) == pytest.approx(total, abs=1e-5)


def test_who_knows_nothing_pays_the_log_of_the_options() -> None:
    codes = attribute_codes(draw_species(10, seed=3))
    loss = name_attributes(torch.zeros(10, sum(OPTION_COUNTS)), codes)
    assert float(loss) == pytest.approx(sum(map(math.log, OPTION_COUNTS)) / len(OPTIONS), abs=1e-5)


def test_a_crown_colour_that_is_unseen_is_not_asked_for() -> None:
    species = draw_species(30, seed=3)
    place = list(OPTIONS).index("crown_colour")
    assert [code == -100 for code in attribute_codes(species)[:, place].tolist()] == [
        one.crown == "plain" for one in species
    ]


def test_texts_in_groups_are_those_that_open_clip_encodes(tmp_path: Path) -> None:
    texts = write_texts(draw_species(5, seed=1, share="reserved"), variants=2, seed=0)
    pieces = write_merges(tmp_path / "bpe.txt.gz", [text for some in texts for text in some])
    tokens = encode(texts, merges=tmp_path / "bpe.txt.gz", context=CONTEXT)
    clip: Any = open_clip.CLIP(**clip_config(pieces=pieces)["model_cfg"]).eval()
    rows = tokens.tokens.flatten(0, 1).long()
    with torch.no_grad():
        assert torch.allclose(
            Aided(clip, dim=128).texts(rows, tokens.lengths.flatten()), clip.encode_text(rows), atol=1e-4
        )


def test_kin_are_whole_families_and_strangers_come_from_different_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    kin = draw_kin(50, 20, kin=True, generator=generator)
    assert sorted((kin // 5).tolist()) == sorted([family for family in set((kin // 5).tolist()) for _ in range(5)])
    strangers = draw_kin(50, 10, kin=False, generator=generator)
    assert len(set((strangers // 5).tolist())) == 10


def test_pictures_are_drawn_once_and_found_again(tmp_path: Path) -> None:
    species = draw_species(3, seed=1, share="reserved")
    assert {share_of(one) for one in species} == {"reserved"}
    first = draw_corpus(tmp_path / "a.npy", species, counts=[2, 1, 1], seed=0, size=32, processes=1)
    assert first.labels.tolist() == [0, 0, 1, 2]
    written = (tmp_path / "a.npy").stat().st_mtime_ns
    again = draw_corpus(tmp_path / "a.npy", species, counts=[2, 1, 1], seed=0, size=32, processes=1)
    assert (tmp_path / "a.npy").stat().st_mtime_ns == written
    assert torch.equal(first.boxes_xyxy, again.boxes_xyxy)
    other = draw_corpus(tmp_path / "a.npy", species, counts=[2, 1, 1], seed=1, size=32, processes=1)
    assert not torch.equal(first.boxes_xyxy, other.boxes_xyxy)


def test_neighbours_never_count_a_picture_itself() -> None:
    features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    assert rank1(features, torch.tensor([0, 0, 1, 1])) == 1
    assert rank1(features, torch.tensor([0, 1, 0, 1])) == 0
    assert knn(features, torch.tensor([0, 0, 1, 1]), neighbours=1) == 1


def test_calibration_compares_confidence_with_hits() -> None:
    cosines = torch.tensor([[math.log(3.0), 0.0]] * 4)
    found = reliability(cosines, torch.tensor([0, 0, 0, 1]), temperature=1.0)
    assert found["bins"] == [[4, 0.75, 0.75]]
    assert found["ece"] == pytest.approx(0, abs=1e-4)
