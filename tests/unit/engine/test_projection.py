"""Maps keep apart what is far apart, and are the same each time."""

import pytest
import torch
from sklearn.metrics import silhouette_score

from leadpp.engine.projection import Method, project


def groups(each: int, *, width: int = 20) -> tuple[torch.Tensor, list[int]]:
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(3, width, generator=rng).repeat_interleave(each, dim=0)
    features = centres + 0.2 * torch.randn(3 * each, width, generator=rng)
    return torch.nn.functional.normalize(features, dim=1), torch.arange(3).repeat_interleave(each).tolist()


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_groups_stay_apart(method: Method) -> None:
    features, labels = groups(15)
    places, used = project(features, method=method, seed=1)
    assert used == method
    assert places.shape == (45, 2)
    assert silhouette_score(places.numpy(), labels) > 0.6


def test_the_same_seed_gives_the_same_map() -> None:
    features, _ = groups(12)
    first, _ = project(features, method="tsne", seed=2**40)
    again, _ = project(features, method="tsne", seed=2**40)
    assert torch.equal(first, again)


def test_few_items_are_left_to_pca_and_equal_its_definition() -> None:
    features, _ = groups(3)
    places, used = project(features, method="tsne", seed=0)
    centred = (features - features.mean(dim=0)).double()
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    expected = centred @ directions[:2].T
    assert used == "pca"
    assert torch.allclose(places.double().abs(), expected.abs(), atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 5), (4, 1)])
def test_less_than_two_directions_leave_the_second_axis_flat(shape: tuple[int, int]) -> None:
    features = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    places, _ = project(features, method="pca", seed=0)
    assert places.shape == (shape[0], 2)
    assert torch.allclose(places[:, 1], torch.zeros(shape[0]), atol=1e-6)
    assert places[:, 0].std() > 0


@pytest.mark.parametrize("count", [8, 40])
def test_a_collapsed_embedding_is_one_place(count: int) -> None:
    places, _ = project(torch.ones(count, 4), method="tsne", seed=0)
    assert places.abs().max() < 1e-6
