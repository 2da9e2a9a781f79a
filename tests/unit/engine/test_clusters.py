"""k-means against scikit-learn and laws; agreement against slow definitions."""

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from leadpp.engine import clusters
from leadpp.engine.clusters import _seeds, cluster_figures, kmeans, refine, refine_all
from leadpp.errors import DataError
from tests.oracles import clusters as slow
from tests.oracles.retrieval import matched_accuracy


def blobs(*, items: int = 240, classes: int = 8, width: int = 6, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    labels = torch.arange(items) % classes
    centres = 3 * torch.randn(classes, width, generator=generator)
    return centres[labels] + spread * torch.randn(items, width, generator=generator) + 50, labels


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def slow_inertia(points: Tensor, assignments: Tensor) -> float:
    total = 0.0
    for cluster in range(int(assignments.max()) + 1):
        members = points[assignments == cluster].double()
        total += (members - members.mean(dim=0)).square().sum().item()
    return total


@pytest.mark.parametrize("spread", [0.5, 2.5])
def test_inertia_is_as_low_as_scikit_learns(spread: float) -> None:
    features, _ = blobs(spread=spread)
    oracle = KMeans(8, n_init=20, random_state=0).fit(features.numpy())
    found = kmeans(features, clusters=8, generator=seeded(), restarts=20)
    assert found.inertia <= 1.01 * oracle.inertia_
    assert found.inertia == pytest.approx(slow_inertia(features, found.assignments), rel=1e-4)


def test_centres_are_the_means_of_their_items() -> None:
    features, _ = blobs()
    found = kmeans(features, clusters=5, generator=seeded())
    means = torch.stack([features[found.assignments == cluster].mean(dim=0) for cluster in range(5)])
    torch.testing.assert_close(found.centres, means, rtol=1e-4, atol=1e-4)


def test_clear_blobs_are_found() -> None:
    features, labels = blobs(spread=0.1)
    assert cluster_figures(kmeans(features, clusters=8, generator=seeded()).assignments, labels) == {
        "cluster_accuracy": 1.0,
        "nmi": pytest.approx(1.0),
        "ari": 1.0,
    }


def test_points_far_from_the_origin_lose_no_digits() -> None:
    features, labels = blobs(spread=0.1)
    found = kmeans(features + 10_000, clusters=8, generator=seeded())
    assert cluster_figures(found.assignments, labels)["ari"] == 1.0


def test_refining_from_the_same_start_ends_where_scikit_learn_ends() -> None:
    features = blobs(spread=2.5)[0] - 50
    start = features[:8]
    oracle = KMeans(8, init=start.numpy(), n_init=1, tol=0).fit(features.numpy())
    found = refine(features, start)
    assert found.assignments.tolist() == oracle.labels_.tolist()
    torch.testing.assert_close(found.centres, torch.from_numpy(oracle.cluster_centers_), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spherical", [False, True])
def test_all_starts_at_once_end_where_each_ends_alone(spherical: bool) -> None:
    features = blobs(spread=3.0)[0] - 50
    points = torch.nn.functional.normalize(features, dim=1) if spherical else features
    picks = torch.stack([torch.randperm(240, generator=seeded(n))[:12] for n in range(4)])
    starts = points[picks]
    starts[2, 5] = 500.0  # a centre without items
    starts[3] = refine(points, starts[0], spherical=spherical).centres  # one that has come to rest already
    together = refine_all(points, starts, spherical=spherical)
    for start, found in zip(starts, together, strict=True):
        alone = refine(points, start, spherical=spherical)
        assert torch.equal(found.assignments, alone.assignments)
        torch.testing.assert_close(found.centres, alone.centres)
        assert found.inertia == pytest.approx(alone.inertia, rel=1e-6)
    assert len({found.inertia for found in together[:3]}) == 3


def test_seeds_are_items_each_start_has_its_own_and_far_ones_are_preferred() -> None:
    points = torch.arange(40.0)[:, None] // 10 * 100 + torch.arange(40.0)[:, None] % 10 / 100  # four far groups of ten
    starts = _seeds(points, clusters=4, restarts=25, generator=seeded(1))[:, :, 0]
    assert set(starts.flatten().tolist()) <= set(points[:, 0].tolist())
    assert starts.div(100).floor().sort(dim=1).values.tolist() == [[0, 1, 2, 3]] * 25
    assert len({tuple(row) for row in starts.tolist()}) == 25


def test_of_two_candidates_the_one_that_lowers_the_inertia_most_is_kept() -> None:
    points = torch.tensor([[0.0]] * 50 + [[10.0]] * 10 + [[14.0]] * 4)
    pairs = _seeds(points, clusters=2, restarts=400, generator=seeded(2))[:, :, 0]
    second = pairs[pairs[:, 0] == 0, 1]
    share = (second == 14).double().mean().item()
    assert share == pytest.approx((784 / 1784) ** 2, abs=0.06)  # only if both draws say so; one draw: 0.44


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, _ = blobs(spread=2.5)
    whole = kmeans(features, clusters=8, generator=seeded(), restarts=3)
    monkeypatch.setattr(clusters, "_BLOCK_SCORES", 100)
    monkeypatch.setattr(clusters, "_BLOCK_ITEMS", 7)
    pieces = kmeans(features, clusters=8, generator=seeded(), restarts=3)
    assert torch.equal(whole.assignments, pieces.assignments)
    assert whole.inertia == pytest.approx(pieces.inertia, rel=1e-6)


def test_more_restarts_are_never_worse() -> None:
    features, _ = blobs(spread=4.0)
    one, many = (kmeans(features, clusters=20, generator=seeded(), restarts=count).inertia for count in (1, 8))
    assert many < one


def test_the_generator_decides() -> None:
    features, _ = blobs(spread=4.0)
    first, again, other = (kmeans(features, clusters=20, generator=seeded(n), restarts=1) for n in (1, 1, 2))
    assert torch.equal(first.assignments, again.assignments)
    assert not torch.equal(first.assignments, other.assignments)


def test_spherical_clusters_do_not_see_length() -> None:
    generator = seeded(4)
    angles = torch.tensor([0.0, 2.0, 4.0]).repeat(20) + 0.1 * torch.randn(60, generator=generator)
    lengths = 0.1 + 100 * torch.rand(60, 1, generator=generator) ** 3
    features = torch.stack([angles.cos(), angles.sin()], dim=1) * lengths
    labels = torch.arange(3).repeat(20)
    found = kmeans(features, clusters=3, generator=seeded(), spherical=True)
    assert cluster_figures(found.assignments, labels)["cluster_accuracy"] == 1.0
    assert cluster_figures(kmeans(features, clusters=3, generator=seeded()).assignments, labels)["ari"] < 0.5
    torch.testing.assert_close(found.centres.norm(dim=1), torch.ones(3))


def test_spherical_inertia_is_twice_the_lost_cosine() -> None:
    features, _ = blobs()
    features -= 50
    found = kmeans(features, clusters=8, generator=seeded(), spherical=True)
    cosines = torch.cosine_similarity(features, found.centres[found.assignments])
    assert found.inertia == pytest.approx(2 * (1 - cosines.double()).sum().item(), rel=1e-4)


def test_a_centre_without_items_moves_to_the_farthest_item() -> None:
    points = torch.tensor([[0.0], [0.1], [0.2], [9.0]])
    found = refine(points, torch.tensor([[0.0], [500.0]]))
    assert found.assignments.tolist() == [0, 0, 0, 1]
    assert found.inertia == pytest.approx(0.02)


@pytest.mark.parametrize("spherical", [False, True])
def test_fewer_distinct_items_than_clusters(spherical: bool) -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(5, 1)
    found = kmeans(features, clusters=4, generator=seeded(), spherical=spherical)
    assert found.inertia == pytest.approx(0, abs=1e-6)
    assert found.centres.isfinite().all()
    assert found.assignments[0] != found.assignments[1]


def test_as_many_clusters_as_items() -> None:
    features, _ = blobs(items=8)
    assert sorted(kmeans(features, clusters=8, generator=seeded()).assignments.tolist()) == list(range(8))


@pytest.mark.parametrize("clusters", [0, 4])
def test_an_impossible_number_of_clusters_is_an_error(clusters: int) -> None:
    with pytest.raises(DataError, match=f"cannot make {clusters} clusters of 3 items"):
        kmeans(torch.eye(3), clusters=clusters, generator=seeded())


def test_figures_equal_their_definitions() -> None:
    generator = seeded(7)
    found, labels = (torch.randint(4, (40,), generator=generator) for _ in range(2))
    found[:20] = labels[:20]
    figures = cluster_figures(found, labels)
    pair = found.tolist(), labels.tolist()
    assert figures["cluster_accuracy"] == pytest.approx(matched_accuracy(*pair))
    assert figures["nmi"] == pytest.approx(slow.mutual_information_share(*pair))
    assert figures["ari"] == pytest.approx(slow.adjusted_pair_agreement(*pair))
