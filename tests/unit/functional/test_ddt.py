import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from leadpp.functional import ddt
from leadpp.functional.ddt import (
    SIGN_RULES,
    DescriptorStatistics,
    SignRule,
    border_cells,
    count_zero_rows,
    direction_along,
    indicator_maps,
    leading_vector,
    principal_direction,
)
from leadpp.functional.randomness import generator_for
from tests.oracles.localization import pearson


def make_maps(count: int = 6, channels: int = 5, *, purpose: str = "maps") -> torch.Tensor:
    """Maps whose descriptors vary most along one line, and stronger in the middle of the map."""
    generator = generator_for(7, purpose)
    noise = torch.rand(count, channels, 4, 6, generator=generator)
    middle = (~border_cells(4, 6)).float()
    line = torch.linspace(-1, 2, channels).view(1, channels, 1, 1)
    return 3 + noise + 2 * line * middle * torch.rand(count, 1, 4, 6, generator=generator)


def rows_of(maps: torch.Tensor) -> torch.Tensor:
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def assert_same(first: DescriptorStatistics, second: DescriptorStatistics) -> None:
    for name, value in vars(first).items():
        torch.testing.assert_close(torch.as_tensor(value), torch.as_tensor(getattr(second, name)), rtol=1e-12, atol=0)


def test_mean_and_covariance_are_numpy_s() -> None:
    rows = rows_of(make_maps()).double().numpy()
    statistics = DescriptorStatistics(5).update_maps(make_maps())
    np.testing.assert_allclose(statistics.mean.numpy(), rows.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(statistics.covariance.numpy(), np.cov(rows.T, bias=True), rtol=1e-5)


def test_streaming_equals_stacking_in_any_order_of_batches() -> None:
    maps = make_maps()
    stacked = DescriptorStatistics(5).update_maps(maps)
    streamed = DescriptorStatistics(5)
    for batch in torch.split(maps.flip(0), 4):
        streamed.update_maps(batch)
    assert_same(stacked, streamed)


def told_by(statistics: DescriptorStatistics) -> list[torch.Tensor]:
    """What another process gives to be added up, in order."""
    told: list[torch.Tensor] = []

    def tell(sums: torch.Tensor) -> torch.Tensor:
        told.append(sums)
        return sums

    statistics.pool(tell)
    return told


def test_sums_of_several_processes_are_those_of_one() -> None:
    maps = make_maps()
    shares = [DescriptorStatistics(5).update_maps(maps[share]) for share in (slice(0, 4), slice(4, 6), slice(0, 0))]
    told = [told_by(share) for share in shares[1:]]
    pooled = shares[0].pool(lambda sums: sums + sum(words.pop(0) for words in told))
    assert_same(pooled, DescriptorStatistics(5).update_maps(maps))
    assert (type(pooled.count), type(pooled.border_count)) == (int, int)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 24, 64, 100])
@pytest.mark.parametrize("images", [1, 63, 64, 65, 192, 200])
def test_zero_rows_are_those_of_the_buffer(images: int, batch_size: int) -> None:
    rows, held = 0, 0
    for batch in range(1, -(-images // batch_size) + 1):
        held += 1
        if batch_size * batch % 64 == 0:
            rows, held = rows + 1, 0
    assert count_zero_rows(images, batch_size=batch_size) == rows + (held > 0)


def test_memory_does_not_grow_with_the_descriptors() -> None:
    statistics = DescriptorStatistics(5).update_maps(make_maps(1))
    before = sum(value.numel() for value in vars(statistics).values() if isinstance(value, torch.Tensor))
    statistics.update_maps(make_maps(50))
    after = sum(value.numel() for value in vars(statistics).values() if isinstance(value, torch.Tensor))
    assert before == after == 25 + 3 * 5


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_direction_is_the_first_principal_component(offset: float) -> None:
    rows = rows_of(make_maps()) + offset
    direction = principal_direction(DescriptorStatistics(5).update(rows))
    oracle = PCA(n_components=1).fit(rows.double().numpy())
    np.testing.assert_allclose(direction.vector.numpy(), oracle.components_[0], atol=1e-6)
    assert direction.explained_frac == pytest.approx(float(oracle.explained_variance_ratio_[0]), rel=1e-6)
    scores = (rows.double() - direction.mean) @ direction.vector
    assert direction.spread == pytest.approx(float(scores.std(correction=0)), rel=1e-6)


def test_covariance_of_many_channels_is_numpy_s() -> None:
    # More channels than one matrix product takes.
    rows = torch.randn(40, 1500, generator=generator_for(3, "rows"), dtype=torch.float64) + 5
    covariance = DescriptorStatistics(1500).update(rows[:30]).update(rows[30:]).covariance
    np.testing.assert_allclose(covariance.numpy(), np.cov(rows.numpy().T, bias=True), rtol=0, atol=1e-12)


def spectrum(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A symmetric matrix of given eigenvalues, and its eigenvectors as columns."""
    square = torch.randn(len(values), len(values), generator=generator_for(5, "basis"), dtype=torch.float64)
    basis = torch.linalg.qr(square)[0]
    matrix = (basis * values) @ basis.T
    return (matrix + matrix.T) / 2, basis


@pytest.mark.parametrize("gap", [0.5, 1e-2, 1e-4])
@pytest.mark.parametrize("channels", [40, 300])
def test_leading_vector_is_that_of_the_whole_spectrum(channels: int, gap: float) -> None:
    values = torch.linspace(0, 1, channels, dtype=torch.float64)
    values[-1] += gap
    matrix, basis = spectrum(values)
    vector = leading_vector(matrix)
    assert torch.equal(vector, leading_vector(matrix))
    for expected in (basis[:, -1], torch.linalg.eigh(matrix)[1][:, -1]):
        assert float((vector - expected * (expected @ vector)).norm()) < 1e-8


def test_leading_vector_of_a_tie_is_any_of_its_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.linspace(0, 1, 300, dtype=torch.float64)
    values[-2] = 1.0
    matrix, basis = spectrum(values)
    for restarts in (1, 50):  # one restart is not enough: the whole spectrum is computed
        monkeypatch.setattr(ddt, "_MOST_RESTARTS", restarts)
        vector = leading_vector(matrix)
        assert float((basis[:, -2:].T @ vector).norm()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_leading_vector_where_all_directions_are_alike(scale: float) -> None:
    vector = leading_vector(scale * torch.eye(300, dtype=torch.float64))
    assert float(vector.norm()) == pytest.approx(1.0)


def test_direction_follows_a_permutation_of_channels_and_ignores_scale() -> None:
    rows = rows_of(make_maps())
    order = torch.randperm(5, generator=generator_for(1, "order"))
    plain = principal_direction(DescriptorStatistics(5).update(rows))
    permuted = principal_direction(DescriptorStatistics(5).update(rows[:, order] * 8))
    torch.testing.assert_close(permuted.vector, plain.vector[order])
    assert permuted.spread == pytest.approx(8 * plain.spread)
    assert permuted.margins == pytest.approx(plain.margins)


def test_margins_are_what_they_say() -> None:
    maps = make_maps()
    direction = principal_direction(DescriptorStatistics(5).update_maps(maps))
    rows = rows_of(maps).double()
    scores = (rows - direction.mean) @ direction.vector
    border = border_cells(4, 6).flatten().repeat(len(maps))
    gap = scores[~border].mean() - scores[border].mean()
    assert direction.margins["border"] == pytest.approx(float(torch.tanh(gap / direction.spread)), rel=1e-9)
    assert direction.margins["norm"] == pytest.approx(pearson(scores.numpy(), rows.norm(dim=1).numpy()), rel=1e-9)
    ordered = direction.vector.sort().values
    assert direction.margins["loading"] == pytest.approx(float((ordered[-1] + ordered[0]) / ordered[-1]))


@pytest.mark.parametrize("rule", SIGN_RULES)
def test_each_rule_has_its_way(rule: SignRule) -> None:
    for purpose in "abcdefgh":
        maps = make_maps(purpose=purpose) * torch.tensor([1, -1, 1, -1, 1]).view(1, 5, 1, 1)
        direction = principal_direction(DescriptorStatistics(5).update_maps(maps), sign_rule=rule)
        assert direction.margins[rule] > 0


def test_rules_can_disagree_and_say_so() -> None:
    maps = -make_maps()
    by_norm = principal_direction(DescriptorStatistics(5).update_maps(maps), sign_rule="norm")
    by_loading = principal_direction(DescriptorStatistics(5).update_maps(maps), sign_rule="loading")
    assert "norm" in by_loading.disagreeing
    assert "loading" in by_norm.disagreeing
    torch.testing.assert_close(by_norm.vector, -by_loading.vector)


def test_loading_margin_never_exceeds_one() -> None:
    line = torch.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
    assert principal_direction(DescriptorStatistics(2).update(line)).margins["loading"] == 1.0


def test_margins_are_zero_where_there_is_nothing_to_tell() -> None:
    circle = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.8, 0.6], [-0.8, -0.6]])
    margins = principal_direction(DescriptorStatistics(2).update(circle)).margins
    assert margins["border"] == 0
    assert margins["norm"] == 0
    assert principal_direction(DescriptorStatistics(5).update_maps(make_maps()[:, :, :2])).margins["border"] == 0


def test_zero_rows_are_descriptors_of_zeros() -> None:
    rows = rows_of(make_maps())
    counted = DescriptorStatistics(5).update(rows).add_zero_rows(3)
    stacked = DescriptorStatistics(5).update(torch.cat([rows, torch.zeros(3, 5)]))
    assert_same(counted, stacked)


@pytest.mark.parametrize("value", [1.0, float("nan"), float("inf")])
def test_descriptors_that_tell_nothing_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="descriptors"):
        principal_direction(DescriptorStatistics(3).update(torch.full((4, 3), value)))


def test_indicator_is_the_projection_of_each_position() -> None:
    maps = make_maps()
    direction = direction_along(DescriptorStatistics(5).update_maps(maps), torch.arange(1.0, 6.0).double())
    actual = indicator_maps(maps, mean=direction.mean, vector=direction.vector)
    position = (maps[2, :, 1, 3].double() - direction.mean) @ direction.vector
    assert actual.shape == (6, 4, 6)
    assert float(actual[2, 1, 3]) == pytest.approx(float(position), rel=1e-5)
    assert float(actual.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(direction.vector.norm()) == pytest.approx(1.0)


def test_border_is_the_outermost_ring() -> None:
    expected = [[True] * 5, [True, False, False, False, True], [True] * 5]
    assert border_cells(3, 5).tolist() == expected
    assert bool(border_cells(2, 9).all())
