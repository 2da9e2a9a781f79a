"""Found by colour: red squares on grey grounds of any brightness."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from leadpp.errors import ArtifactError, DataError
from leadpp.functional.ddt import DescriptorStatistics, SignRule, indicator_maps, principal_direction
from leadpp.functional.randomness import generator_for
from leadpp.io.artifacts import write_tensors
from leadpp.models.backbone import Backbone, create_backbone
from leadpp.models.localizer import Localizer, LocalizerSettings
from tests.unit.models.colour import ColourNetwork, colour_backbone

SIZE = 48
RULES: tuple[SignRule, SignRule] = ("border", "norm")


def pictures(count: int = 6, *, purpose: str = "pictures", ground: tuple[int, int] = (40, 160)) -> Tensor:
    """A red ring of 24 x 24 pixels at (8, 8) round a paler core.

    The core is the weakest of the object, which min-max scaling makes 0; the rectangle does not depend on it.
    """
    generator = generator_for(4, purpose)
    images = torch.randint(*ground, (count, 1, 1, 1), generator=generator).expand(-1, 3, SIZE, SIZE).clone()
    images[:, :, 8:32, 8:32] = torch.tensor([240, 20, 20]).view(3, 1, 1)
    images[:, :, 16:24, 16:24] = torch.tensor([200, 60, 60]).view(3, 1, 1)
    return (images + torch.randint(0, 6, images.shape, generator=generator)).to(torch.uint8)


def fitted(**settings: object) -> Localizer:
    chosen = LocalizerSettings(**{"size": SIZE, "form": "part", **settings})  # type: ignore[arg-type]
    return Localizer(colour_backbone(), chosen).fit([pictures()])


@pytest.mark.parametrize(("stages", "upsample"), [(1, 1), (2, 1), (2, 2)])
def test_object_is_found_in_new_pictures_of_any_size(stages: int, upsample: int) -> None:
    localizer = fitted(stages=stages, upsample=upsample, threshold=0.5)
    found = localizer.predict(pictures(2, purpose="new"), widths_px=[480, 96], heights_px=[48, 96])
    assert [each.part.box_xyxy for each in found] == [(80, 8, 320, 32), (16, 16, 64, 64)]
    assert [each.chosen.fallback for each in found] == [False, False]
    side = 6 * stages * upsample
    assert found[0].indicator.shape == (side, side)


def test_indicator_is_the_projection_on_the_direction_of_the_stacked_descriptors() -> None:
    localizer = fitted()
    maps = colour_backbone()(pictures())
    direction = principal_direction(DescriptorStatistics(3).update_maps(maps))
    expected = indicator_maps(maps, mean=direction.mean, vector=direction.vector)
    torch.testing.assert_close(localizer.indicators(pictures()), expected)


def test_batches_do_not_matter() -> None:
    streamed = Localizer(colour_backbone(), LocalizerSettings(size=SIZE, stages=2))
    streamed.fit(iter(torch.split(pictures(), 4)))
    whole = fitted(stages=2, form="search")
    for first, second in zip(streamed.directions_, whole.directions_, strict=True):
        torch.testing.assert_close(first.vector, second.vector, rtol=1e-9, atol=1e-12)
    one_by_one = torch.cat([streamed.indicators(each[None]) for each in pictures()])
    torch.testing.assert_close(one_by_one, whole.indicators(pictures()))


def test_one_forward_pass_serves_all_cut_rates() -> None:
    localizer = fitted(form="search")
    network = localizer.backbone.network
    assert isinstance(network, ColourNetwork)
    calls: list[int] = []
    network.norm.register_forward_hook(lambda *_: calls.append(1))
    found = localizer.predict(pictures(), widths_px=[96] * 6, heights_px=[96] * 6)
    assert len(calls) == 1
    assert {each.chosen.cut_rate for each in found} == {0.85}


def test_search_is_told_size_and_reading() -> None:
    sizes = {"widths_px": [480] * 2, "heights_px": [480] * 2}
    plain = fitted(form="search").predict(pictures(2), **sizes)
    misread = fitted(form="search", box_reading="reference").predict(pictures(2), **sizes)
    assert plain[0].part.box_xyxy == misread[0].part.box_xyxy == (80, 80, 320, 320)
    # 0.85 of 24 pixels about 19.5, in whole pixels: 9 to 29, times 10.
    assert plain[0].chosen.box_xyxy == (90, 90, 290, 290)
    assert misread[0].chosen.box_xyxy == (90, 90, 380, 380)


def test_own_statistics_are_batchnorm_in_train_mode_one_picture_at_a_time() -> None:
    settings = LocalizerSettings(size=SIZE, batchnorm="train-in-apply")
    localizer = Localizer(colour_backbone(normed=True), settings).fit([pictures()])
    network = localizer.backbone.network
    assert isinstance(network, ColourNetwork)
    before = copy.deepcopy(network.state_dict())
    actual = localizer.indicators(pictures())

    slow = copy.deepcopy(network).train()
    maps = torch.cat([slow.forward_features(each[None] / 255) for each in pictures()])
    (direction,) = localizer.directions_
    torch.testing.assert_close(actual, indicator_maps(maps, mean=direction.mean, vector=direction.vector))
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_fit_uses_the_stored_statistics_in_either_mode() -> None:
    directions = [
        Localizer(colour_backbone(normed=True), LocalizerSettings(size=SIZE, batchnorm=mode)).fit([pictures()])
        for mode in ("eval", "train-in-apply")
    ]
    torch.testing.assert_close(directions[0].directions_[0].vector, directions[1].directions_[0].vector)
    images = pictures()
    assert not torch.allclose(directions[0].indicators(images), directions[1].indicators(images))


def test_zero_rows_are_one_for_each_64_photographs_or_part_of_them() -> None:
    means = []
    for zero_rows in (False, True):
        localizer = Localizer(colour_backbone(), LocalizerSettings(size=SIZE, zero_rows=zero_rows))
        means.append(localizer.fit([pictures(50), pictures(16)]).directions_[0].mean)
    cells = 66 * 36
    torch.testing.assert_close(means[1], means[0] * cells / (cells + 2))


def test_sign_rule_is_followed_and_disagreement_is_told() -> None:
    # Light grounds are longer vectors than red objects, so the rule of lengths takes the ground for the object.
    by_border, by_norm = (
        Localizer(colour_backbone(), LocalizerSettings(size=SIZE, sign_rule=rule)).fit([pictures(ground=(150, 250))])
        for rule in RULES
    )
    torch.testing.assert_close(by_border.directions_[0].vector, -by_norm.directions_[0].vector)
    (warning,) = by_border.warnings()
    assert "rules for the object's side disagree" in warning
    assert "norm -" in warning
    assert "sign_rule: border" in warning


def test_agreement_of_the_rules_needs_no_warning() -> None:
    localizer = Localizer(colour_backbone(), LocalizerSettings(size=SIZE)).fit([pictures(ground=(0, 20))])
    assert min(localizer.directions_[0].margins.values()) > 0
    assert localizer.warnings() == []


def test_saved_localizer_carries_everything(tmp_path: Path) -> None:
    localizer = fitted(stages=2, upsample=2, threshold=0.25, sign_rule="border", box_reading="reference")
    localizer.save(tmp_path / "localizer.safetensors", metadata={"data": "abc"})
    again = Localizer.load(tmp_path / "localizer.safetensors", backbone=colour_backbone())
    assert again.settings == localizer.settings
    assert again.images_ == 6
    assert again.directions_[0].margins == localizer.directions_[0].margins
    torch.testing.assert_close(again.indicators(pictures()), localizer.indicators(pictures()), rtol=0, atol=0)
    assert again.warnings() == localizer.warnings()


def test_loading_creates_the_network_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def create(name: str) -> Backbone:
        asked.append(name)
        return colour_backbone()

    fitted().save(tmp_path / "l.safetensors")
    monkeypatch.setattr("leadpp.models.localizer.create_backbone", create)
    Localizer.load(tmp_path / "l.safetensors")
    assert asked == ["colour"]


def test_another_network_is_refused(tmp_path: Path) -> None:
    fitted().save(tmp_path / "l.safetensors")
    other = create_backbone("test_resnet", pretrained=False)
    with pytest.raises(ArtifactError, match="made with backbone 'colour', got 'test_resnet'; run localize again"):
        Localizer.load(tmp_path / "l.safetensors", backbone=other)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    write_tensors(tmp_path / "p.safetensors", {"x": torch.zeros(1)}, kind="prototypes")
    with pytest.raises(ArtifactError, match="expected a file of kind 'localizer'"):
        Localizer.load(tmp_path / "p.safetensors")


def test_use_before_fit_is_an_error_of_its_own(tmp_path: Path) -> None:
    localizer = Localizer(colour_backbone(), LocalizerSettings(size=SIZE))
    with pytest.raises(ArtifactError, match="not fitted"):
        localizer.indicators(pictures())
    with pytest.raises(ArtifactError, match="not fitted"):
        localizer.save(tmp_path / "l.safetensors")


def test_nothing_to_learn_from_is_the_data_s_fault() -> None:
    localizer = Localizer(colour_backbone(), LocalizerSettings(size=SIZE))
    with pytest.raises(DataError, match="no photograph to fit"):
        localizer.fit([])
    with pytest.raises(DataError, match="learns nothing from 2 photographs"):
        localizer.fit([torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8)])


def test_network_is_frozen_and_in_eval_mode() -> None:
    backbone = colour_backbone(normed=True).train()
    localizer = Localizer(backbone, LocalizerSettings(fit_size=64))
    assert not backbone.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert localizer.fit_size == 64
    assert Localizer(backbone, LocalizerSettings(size=96)).fit_size == 96


def test_indicators_of_photographs_do_not_depend_on_their_neighbours() -> None:
    localizer = fitted()
    alone = localizer.indicators(pictures()[2:3])
    np.testing.assert_allclose(localizer.indicators(pictures())[2:3].numpy(), alone.numpy(), rtol=1e-5)
