import numpy as np
import pytest
import torch
from torch.nn import functional as F

from leadpp.functional.ddt import DescriptorStatistics, indicator_maps, principal_direction
from leadpp.functional.fusion import StageStatistics, fuse_indicators
from leadpp.functional.randomness import generator_for


def make_stages(count: int = 8) -> list[torch.Tensor]:
    """A fine and a coarse map that share an object; the fine one has a stronger texture of its own."""
    generator = generator_for(2, "stages")
    objects = (torch.rand(count, 1, 4, 4, generator=generator) > 0.6).float()
    texture = torch.randn(count, 1, 8, 8, generator=generator)
    fine_object = F.interpolate(objects, scale_factor=2)
    fine = torch.cat([3 * texture, fine_object, -fine_object], dim=1)
    coarse = torch.cat([objects, 2 * objects], dim=1)
    return [
        fine + 0.1 * torch.randn(fine.shape, generator=generator),
        coarse + 0.1 * torch.randn(coarse.shape, generator=generator),
    ]


def test_last_stage_is_fitted_by_itself() -> None:
    fine, coarse = make_stages()
    last = StageStatistics([3, 2]).update([fine, coarse]).directions()[-1]
    alone = principal_direction(DescriptorStatistics(2).update_maps(coarse))
    torch.testing.assert_close(last.vector, alone.vector)
    assert last.margins == alone.margins


def test_earlier_stage_follows_the_covariance_with_the_last_indicator() -> None:
    fine, coarse = make_stages()
    first, last = StageStatistics([3, 2]).update([fine, coarse]).directions()
    indicator = indicator_maps(coarse, mean=last.mean, vector=last.vector).flatten().double().numpy()
    pooled = fine.reshape(8, 3, 4, 2, 4, 2).mean(dim=(3, 5)).permute(0, 2, 3, 1).reshape(-1, 3).double().numpy()
    expected = np.array([np.cov(pooled[:, channel], indicator, bias=True)[0, 1] for channel in range(3)])
    np.testing.assert_allclose(first.vector.numpy(), expected / np.linalg.norm(expected), rtol=1e-5)


def test_texture_of_an_earlier_stage_is_left_alone_though_it_varies_most() -> None:
    fine, coarse = make_stages()
    own = principal_direction(DescriptorStatistics(3).update_maps(fine)).vector
    followed = StageStatistics([3, 2]).update([fine, coarse]).directions()[0].vector
    assert float(own[0].abs()) > 0.99
    assert float(followed[0].abs()) < 0.3
    assert float(followed[1]) > 0.6
    assert float(followed[2]) < -0.6


def test_directions_of_several_processes_are_those_of_one() -> None:
    stages = make_stages()
    first, second = (
        StageStatistics([3, 2]).update([each[share] for each in stages]) for share in (slice(5), slice(5, 8))
    )
    told: list[torch.Tensor] = []

    def tell(sums: torch.Tensor) -> torch.Tensor:
        told.append(sums)
        return sums

    second.pool(tell)
    first.pool(lambda sums: sums + told.pop(0))
    expected = StageStatistics([3, 2]).update(stages)
    assert (first.images, told) == (8, [])
    for found, one in zip(first.directions(sign_rule="border"), expected.directions(sign_rule="border"), strict=True):
        torch.testing.assert_close(found.vector, one.vector, rtol=0, atol=1e-12)
        assert found.margins == pytest.approx(one.margins, abs=1e-12)


def test_flipped_sign_of_the_last_stage_flips_the_earlier_ones() -> None:
    fine, coarse = make_stages()
    by_loading = StageStatistics([3, 2]).update([fine, -coarse]).directions(sign_rule="loading")
    by_norm = StageStatistics([3, 2]).update([fine, -coarse]).directions(sign_rule="norm")
    torch.testing.assert_close(by_loading[1].vector, -by_norm[1].vector)
    torch.testing.assert_close(by_loading[0].vector, -by_norm[0].vector)


def test_streaming_equals_stacking() -> None:
    fine, coarse = make_stages()
    whole = StageStatistics([3, 2]).update([fine, coarse])
    streamed = StageStatistics([3, 2])
    for part in (slice(5, 8), slice(0, 2), slice(2, 5)):
        streamed.update([fine[part], coarse[part]])
    assert whole.images == streamed.images == 8
    for first, second in zip(whole.directions(), streamed.directions(), strict=True):
        torch.testing.assert_close(first.vector, second.vector, rtol=1e-9, atol=1e-12)
        assert first.spread == pytest.approx(second.spread, rel=1e-9)


def test_zero_rows_of_the_last_stage_do_not_touch_what_the_others_follow() -> None:
    fine, coarse = make_stages()
    statistics = StageStatistics([3, 2]).update([fine, coarse])
    before = statistics.directions()[0].vector
    statistics.stages[-1].add_zero_rows(1)
    torch.testing.assert_close(statistics.directions()[0].vector, before, rtol=0.05, atol=0.01)


def test_fused_map_is_the_mean_of_standardised_maps_on_the_finest_grid() -> None:
    fine, coarse = torch.full((2, 4, 6), 3.0), torch.full((2, 2, 3), 10.0)
    fused = fuse_indicators([fine, coarse], spreads=[2.0, 5.0])
    torch.testing.assert_close(fused, torch.full((2, 4, 6), 1.75))
    assert fuse_indicators([fine, coarse], spreads=[2.0, 5.0], upsample=3).shape == (2, 12, 18)


def test_upsampling_is_bilinear() -> None:
    step = torch.tensor([[[0.0, 1.0]]])
    fused = fuse_indicators([step], spreads=[0.5], upsample=2)
    torch.testing.assert_close(fused, torch.tensor([[[0.0, 0.5, 1.5, 2.0], [0.0, 0.5, 1.5, 2.0]]]))


def test_one_map_on_its_own_grid_is_only_scaled() -> None:
    scores = torch.rand(2, 3, 4, generator=generator_for(1, "scores"))
    torch.testing.assert_close(fuse_indicators([scores], spreads=[0.5]), scores * 2)
