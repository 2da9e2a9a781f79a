"""The finish of the text tower: what texts tell, where they belong, how they are read, and how sure the network is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch.nn import functional as F

from leadpp.world.attributes import OPTIONS, Species
from leadpp.world.describing import Describer, describe, noted
from leadpp.world.families import Share, draw_species, share_of
from tools.world_clip import CONTEXT, OPTION_COUNTS, TextSize, clip_config
from tools.world_corpus import Corpus, attribute_codes, draw_corpus
from tools.world_finish import (
    FinishRecipe,
    Lines,
    Naming,
    finish_texts,
    fit_scale,
    read_ends,
    set_scale,
    without_remarks,
    write_lines,
)
from tools.world_guide import (
    GuideRecipe,
    embed_views,
    learn_guide,
    note_codes,
    note_down,
    one_hot,
    usual_shares,
)
from tools.world_words import write_merges, write_texts

SMALL = FinishRecipe(
    guide=GuideRecipe(steps=30, species=5, pictures=2, crops=1),
    text=TextSize(width=32, heads=2, layers=2),
    easy_steps=2,
    easy_species=10,
    steps=2,
    species=10,
    scale_choices=5,
)


@pytest.fixture(scope="module")
def merges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "bpe.txt.gz"
    texts = write_texts(draw_species(60, seed=1, share="reserved"), variants=2, seed=0)
    write_merges(path, [text for some in texts for text in some])
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    path = tmp_path_factory.mktemp("corpus") / "pictures.npy"
    species = draw_species(10, seed=1, share="reserved")
    return draw_corpus(path, species, counts=[2] * 10, seed=0, size=32, processes=1)


def tokenizer_of(merges: Path) -> SimpleTokenizer:
    return open_clip.SimpleTokenizer(bpe_path=str(merges), context_length=CONTEXT)


def network(merges: Path, text: TextSize) -> open_clip.CLIP:
    torch.manual_seed(0)
    return open_clip.CLIP(**clip_config(pieces=tokenizer_of(merges).vocab_size, text=text)["model_cfg"]).eval()


def lines(merges: Path, *, easy: bool, step: int = 0) -> Lines:
    return write_lines(
        tokenizer_of(merges), recipe=replace(SMALL, species=60, easy_species=60), easy=easy, seed=0, step=step
    )


def test_notes_become_codes_and_gaps_stay_gaps() -> None:
    (one,) = draw_species(1, seed=1, share="reserved")
    codes = note_codes([one.values(), {"back": "scaled"}, {}])
    assert codes[0].tolist() == [OPTIONS[name].index(value) for name, value in one.values().items()]
    assert codes[1].tolist() == [2 if name == "back" else -100 for name in OPTIONS]
    assert (codes[2] == -100).all()


def test_what_is_not_told_counts_as_usual() -> None:
    codes = attribute_codes(draw_species(200, seed=1, share="reserved"))
    usual = usual_shares(codes)
    assert torch.allclose(
        torch.stack([part.sum() for part in torch.split(usual, list(OPTION_COUNTS))]), torch.ones(len(OPTIONS))
    )
    assert torch.equal(one_hot(torch.full((1, len(OPTIONS)), -100), usual=usual)[0], usual)
    told = torch.split(one_hot(codes[:5], usual=usual), list(OPTION_COUNTS), dim=1)
    for place, part in enumerate(told):
        for row in range(5):
            if codes[row, place] >= 0:
                assert part[row].tolist() == F.one_hot(codes[row, place], OPTION_COUNTS[place]).tolist()


def test_notes_are_drawn_at_the_describers_rates() -> None:
    codes = attribute_codes(draw_species(5, seed=1, share="reserved")).repeat(2000, 1)
    noted_codes = note_down(codes, generator=torch.Generator().manual_seed(0))
    shown = codes >= 0
    kept = shown & (noted_codes >= 0)
    assert not (noted_codes[~shown] >= 0).any()
    assert float(1 - kept.sum() / shown.sum()) == pytest.approx(0.15, abs=0.01)
    assert float((noted_codes != codes)[kept].float().mean()) == pytest.approx(0.03, abs=0.005)
    assert (noted_codes < torch.tensor(OPTION_COUNTS)).all()


def test_a_guide_finds_pictures_that_are_linear_in_the_attributes() -> None:
    species = draw_species(50, seed=1, share="reserved")
    codes = attribute_codes(species)
    usual = usual_shares(codes)
    drawn = torch.randn(len(usual), 32, generator=torch.Generator().manual_seed(0))
    pictures = F.normalize(one_hot(codes, usual=usual) @ drawn, dim=1)
    labels = torch.arange(50).repeat_interleave(2)
    corpus: Any = Corpus(species=species, images=None, boxes_xyxy=None, labels=labels)  # type: ignore[arg-type]  # no pictures
    recipe = GuideRecipe(steps=300, species=50, pictures=2)
    guide = learn_guide(pictures[labels][:, None], corpus, recipe=recipe, seed=0)
    found = (pictures @ guide(codes).T).argmax(dim=1)
    assert float((found == torch.arange(50)).float().mean()) > 0.9
    assert torch.allclose(guide(codes).norm(dim=1), torch.ones(50), atol=1e-5)


@pytest.mark.parametrize("easy", [True, False])
def test_lines_tell_what_their_codes_say(merges: Path, *, easy: bool) -> None:
    first, again, other = (lines(merges, easy=easy, step=step) for step in (0, 0, 1))
    assert torch.equal(first.tokens, again.tokens)
    assert not torch.equal(first.tokens, other.tokens)
    tokenizer = tokenizer_of(merges)
    place = list(OPTIONS).index("leg_colour")
    for row in range(len(first.tokens)):
        text = tokenizer.decode(first.tokens[row].tolist())
        if bool(first.telling[row]):
            legs = any(f"{part} are" in text or f" {part}" in text for part in ("legs", "feet"))
            assert legs == (int(first.codes[row, place]) >= 0)
    assert first.telling.float().mean() > 0.8


def test_short_lines_are_short_and_without_remarks(merges: Path) -> None:
    short, long = lines(merges, easy=True), lines(merges, easy=False)
    assert short.lengths.float().mean() < 0.6 * long.lengths.float().mean()
    (one,) = draw_species(1, seed=4, share="reserved")
    few = Describer(omission=0.9)
    for variant in range(20):
        text = without_remarks(describe(one, name="Reedwren", seed=0, variant=variant, describer=few))
        assert text.startswith("The Reedwren is")
        for remark in ("Male and female", "It is met", "Seen well", "The voice", "It keeps", "Worn birds"):
            assert remark not in text
        if len(noted(one, seed=0, variant=variant, describer=few)) == 0:
            assert text.count(".") == 1


def test_only_reserved_species_are_written_about(merges: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[Species] = []

    def watched(count: int, *, seed: int, share: Share) -> tuple[Species, ...]:
        met.extend(draw_species(count, seed=seed, share=share))
        return draw_species(count, seed=seed, share=share)

    monkeypatch.setattr("tools.world_finish.draw_species", watched)
    lines(merges, easy=False)
    assert {share_of(one) for one in met} == {"reserved"}


@pytest.mark.parametrize("layers", [1, 3])
def test_ends_are_those_that_open_clip_reads(merges: Path, layers: int) -> None:
    clip = network(merges, TextSize(width=32, heads=2, layers=layers))
    some = lines(merges, easy=False)
    with torch.no_grad():
        ends = read_ends(clip, some.tokens, some.lengths)
        assert torch.allclose(ends @ clip.text_projection, clip.encode_text(some.tokens), atol=1e-5)
        still = read_ends(clip, some.tokens, some.lengths, shifts=torch.zeros(len(some.lengths), dtype=torch.long))
        moved = read_ends(clip, some.tokens, some.lengths, shifts=CONTEXT - some.lengths)
    assert torch.allclose(still, ends, atol=1e-5)
    assert not torch.allclose(moved, ends, atol=1e-2)


def test_naming_asks_for_what_is_not_told_too() -> None:
    naming = Naming(width=4)
    torch.nn.init.zeros_(naming.head.weight)
    torch.nn.init.zeros_(naming.head.bias)
    expected = sum(torch.log(torch.tensor(count + 1.0)) for count in OPTION_COUNTS) / len(OPTION_COUNTS)
    for codes in (torch.full((3, len(OPTIONS)), -100), torch.zeros(3, len(OPTIONS), dtype=torch.long)):
        assert float(naming(torch.randn(3, 4), codes).detach()) == pytest.approx(float(expected), abs=1e-5)


def test_the_finish_changes_the_text_tower_alone(merges: Path, corpus: Corpus) -> None:
    clip = network(merges, TextSize())
    before = {name: weight.clone() for name, weight in clip.visual.state_dict().items()}
    views = embed_views(clip, corpus, recipe=SMALL.guide, seed=0)
    assert views.shape == (20, 2, 128)
    assert torch.allclose(views.norm(dim=2), torch.ones(20, 2), atol=1e-4)
    guide = learn_guide(views, corpus, recipe=SMALL.guide, seed=0)
    told: list[int] = []
    made = [
        finish_texts(clip, guide, merges=merges, recipe=SMALL, seed=0, watch=lambda step, _: told.append(step))
        for _ in range(2)
    ]
    assert told == [1, 2, 3, 4] * 2
    first, second = (one.state_dict() for one in made)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(first[f"visual.{name}"], weight) for name, weight in before.items())
    assert all(weight.requires_grad for weight in made[0].parameters())
    scale = set_scale(made[0], corpus, merges=merges, recipe=SMALL, seed=0)
    scales: Any = made[0].logit_scale
    assert float(scales.detach().exp()) == pytest.approx(scale, rel=1e-4)


def test_the_scale_is_that_under_which_the_labels_were_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    cosines = 0.3 * torch.randn(4000, 20, generator=generator)
    labels = torch.multinomial((12 * cosines).softmax(dim=1), 1, generator=generator)[:, 0]
    assert fit_scale(cosines, labels, choices=20, seed=0, rounds=3) == pytest.approx(12, rel=0.08)
