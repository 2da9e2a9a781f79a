"""The shipped networks are the files of their cards, as good as these say, and met no species of a user's world."""

import json
from typing import Any

import open_clip
import pytest
import timm
import torch

from leadpp.models.builtin import FILES, networks_folder
from leadpp.world.families import draw_species, share_of
from tools.world_cards import CHECKED, sha256
from tools.world_measures import Exam, draw_exam, measure_backbone, measure_clip

TOLERANCE = 0.04
"""Other processors round otherwise: 8 of the 200 pictures may change sides."""
FOLDER = networks_folder()


def card(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / name / "card.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> Exam:
    return draw_exam(tmp_path_factory.mktemp("exam") / "pictures.npy", per_species=CHECKED)


@pytest.mark.parametrize("name", FILES)
def test_files_are_those_of_the_card(name: str) -> None:
    digests = card(name)["sha256"]
    assert set(digests) == set(FILES[name])
    assert {file: sha256(FOLDER / name / file) for file in digests} == digests


@pytest.mark.parametrize("name", FILES)
def test_the_page_tells_of_how_it_was_made_and_of_its_limits(name: str) -> None:
    page = (FOLDER / name / "CARD.md").read_text(encoding="utf-8")
    for wanted in ("tools.train_world_models", "--seed", "reserved", "MIT", "## Limits", "## Measured"):
        assert wanted in page


def test_both_together_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 6_000_000


def test_the_backbone_is_as_good_as_its_card_says(exam: Exam) -> None:
    said = card("world-backbone")["check"]
    assert measure_backbone("builtin:world-backbone", exam) == pytest.approx(said, abs=TOLERANCE)


def test_the_two_towers_are_as_good_as_their_card_says(exam: Exam) -> None:
    said, found = card("world-clip")["check"], measure_clip("builtin:world-clip", exam)
    figures = {key: value for key, value in said.items() if isinstance(value, float)}
    assert {key: found[key] for key in figures} == pytest.approx(figures, abs=TOLERANCE)
    for kind in ("whole", "crop"):
        for old, new in zip(said[f"calibration_{kind}"], found[f"calibration_{kind}"], strict=True):
            assert new["ece"] == pytest.approx(old["ece"], abs=TOLERANCE)


def test_zero_shot_is_neither_weak_nor_saturated() -> None:
    worlds = [card("world-clip")["measured"], *card("world-clip")["further_seeds"].values()]
    assert all(0.35 <= world["zero_shot_crop"] <= 0.65 for world in worlds)
    assert sum(world["zero_shot_crop"] for world in worlds) / len(worlds) > 0.45
    assert sum(world["zero_shot_whole"] for world in worlds) / len(worlds) > 0.40


def test_three_descriptions_tell_more_than_one() -> None:
    for world in (card("world-clip")["measured"], *card("world-clip")["further_seeds"].values()):
        for kind in ("whole", "crop"):
            assert world[f"three_texts_{kind}"] > world[f"zero_shot_{kind}"] > world[f"names_only_{kind}"]


def test_its_own_temperature_is_the_best_calibrated() -> None:
    for kind in ("whole", "crop"):
        *others, own = (one["ece"] for one in card("world-clip")["measured"][f"calibration_{kind}"])
        assert own < min(others)


def test_plain_timm_and_plain_open_clip_load_them() -> None:
    network = timm.create_model(f"local-dir:{FOLDER / 'world-backbone'}", pretrained=True).eval()
    local = f"local-dir:{FOLDER / 'world-clip'}"
    clip: Any = open_clip.create_model(local, require_pretrained=True).eval()
    words = open_clip.get_tokenizer(local, bpe_path=str(FOLDER / "world-clip" / "bpe.txt.gz"))
    pixels = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert network(pixels).shape == (2, 256)
        assert clip.encode_image(pixels).shape == clip.encode_text(words(["a bird", "a plump bird"])).shape == (2, 128)


def test_small_tokenizer_cuts_the_worlds_words_as_the_full_one_does() -> None:
    full = open_clip.SimpleTokenizer()
    small = open_clip.SimpleTokenizer(bpe_path=str(FOLDER / "world-clip" / "bpe.txt.gz"))
    text = "The Plain-breasted Woodthrush is a long-necked species; its bill is middle-sized, down-curved and ash-grey."
    assert [small.decoder[token] for token in small.encode(text)] == [
        full.decoder[token] for token in full.encode(text)
    ]


def test_open_and_reserved_species_never_meet() -> None:
    reserved = {one.key() for one in draw_species(600, seed=0, share="reserved")}
    opened = draw_species(600, seed=0, share="open")
    assert not reserved & {one.key() for one in opened}
    assert {share_of(one) for one in opened} == {"open"}
