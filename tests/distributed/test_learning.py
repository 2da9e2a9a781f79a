"""Several processes learn from a batch what one process learns from it."""

import copy

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from leadpp.distributed.ranks import ALONE
from leadpp.functional.randomness import generator_for
from leadpp.models.student import update_key
from tests.distributed.learning import BATCH, VARIANTS, learn, learner_of
from tests.distributed.processes import started
from tests.unit.tiny import tiny_views

Found = dict[str, Tensor]


@pytest.fixture(scope="module", params=[2, 4])
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Found]]:
    """What each of several processes holds after all variants."""
    count: int = request.param
    folder = tmp_path_factory.mktemp(f"{count}")
    words = ("-m", "tests.distributed.learning", ",".join(VARIANTS), folder)
    with started(words, count=count) as processes:
        for ended in processes.wait(timeout_s=120):
            assert ended.code == 0, ended.err
    return [{name: load_file(folder / f"{name}-{rank}.safetensors") for name in VARIANTS} for rank in range(count)]


def assert_same(found: Found, expected: Found, *, tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=tolerance, atol=tolerance), name


@pytest.mark.parametrize("name", ["full", "reference", "warmup"])
def test_one_process_or_several(together: list[dict[str, Found]], name: str) -> None:
    alone = learn(VARIANTS[name], ALONE)
    for rank in together:
        assert_same(rank[name], alone, tolerance=1e-5)


@pytest.mark.parametrize("name", ["full", "reference", "warmup"])
def test_every_process_holds_the_same_to_the_last_bit(together: list[dict[str, Found]], name: str) -> None:
    for rank in together[1:]:
        assert_same(rank[name], together[0][name], tolerance=0)


@pytest.mark.parametrize("name", ["shuffle", "local"])
def test_weights_and_queues_are_the_same_where_statistics_are_not(together: list[dict[str, Found]], name: str) -> None:
    first = {key: value for key, value in together[0][name].items() if "norm.running" not in key}
    for rank in together[1:]:
        assert_same({key: rank[name][key] for key in first}, first, tolerance=0)
    running = [rank[name]["learner.student.backbone.norm.running_mean"] for rank in together]
    assert not torch.equal(running[0], running[1])


@pytest.mark.parametrize("name", ["shuffle", "local"])
def test_whose_batch_the_keys_go_by(together: list[dict[str, Found]], name: str) -> None:
    variant, count = VARIANTS[name], len(together)
    learner = learner_of(variant).train()
    views = tiny_views(BATCH, place=0)["global_2"]
    order = torch.arange(BATCH)
    if name == "shuffle":  # view 1 of step 0
        order = torch.randperm(BATCH, generator=generator_for(3, "shuffle", 0, 1))
    update_key(learner.student, learner.key, momentum=0.9)
    shares = [copy.deepcopy(learner.key)(views[rows]) for rows in order.chunk(count)]
    keys = torch.empty(BATCH, learner.student.embedding_dim)
    keys[order] = torch.cat(shares)
    queue = together[0][name]["learner.queues.global.keys"]
    torch.testing.assert_close(queue[:BATCH], keys, rtol=1e-5, atol=1e-6)
