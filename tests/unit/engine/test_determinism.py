"""Settings within are those asked for, settings after are those of before, whatever they were."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from leadpp.engine.determinism import deterministic_if_asked, fixed_arithmetic
from leadpp.errors import ConfigError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@dataclass(frozen=True)
class Settings:
    deterministic: bool


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Give every test two threads, and put back what a failing one would leave."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def switches() -> dict[str, object]:
    backends = torch.backends
    return {
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "only warn": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": backends.cudnn.deterministic,
        "benchmark": backends.cudnn.benchmark,
        "convolutions": backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        "products": backends.cuda.matmul.fp32_precision,
        "mkldnn": backends.mkldnn.deterministic,
        "threads": torch.get_num_threads(),
        "workspace": os.environ.get(WORKSPACE),
    }


def test_within_all_is_fixed_and_after_it_all_is_as_before() -> None:
    before = switches()
    with fixed_arithmetic():
        assert switches() == {
            "algorithms": True,
            "only warn": False,
            "cudnn": True,
            "benchmark": False,
            "convolutions": "ieee",
            "products": "ieee",
            "mkldnn": True,
            "threads": 1,
            "workspace": before["workspace"],
        }
    assert switches() == before
    assert before["threads"] == 2


def test_other_libraries_add_up_with_one_thread_too() -> None:
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(limits=2):
        with fixed_arithmetic():
            assert {library["num_threads"] for library in threadpool_info()} == {1}
        assert 2 in {library["num_threads"] for library in threadpool_info()}


def test_what_its_user_had_set_is_put_back_also_after_an_error() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    before = switches()
    with pytest.raises(KeyError), fixed_arithmetic():
        raise KeyError
    assert switches() == before
    assert before["only warn"] is True


def test_one_within_another_changes_nothing() -> None:
    with fixed_arithmetic():
        within = switches()
        with fixed_arithmetic():
            assert switches() == within
        assert switches() == within


@pytest.mark.parametrize("own", [None, ":16:8"])
def test_cublas_is_told_where_there_is_a_gpu_and_nobody_has_told_it(
    monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv(WORKSPACE, raising=False)
    if own:
        monkeypatch.setenv(WORKSPACE, own)
    with fixed_arithmetic():
        assert os.environ[WORKSPACE] == (own or ":4096:8")
    assert os.environ.get(WORKSPACE) == own


def stage(*, config: Settings, work: Callable[[], object]) -> object:
    """Do some work."""
    del config
    return work()


def put() -> torch.Tensor:
    """Write to one place twice, in whatever order; the operation has no other form."""
    return torch.zeros(2).put_(torch.tensor([0, 0]), torch.ones(2))


@pytest.mark.parametrize("asked", [True, False])
def test_a_stage_computes_as_its_settings_ask(asked: bool) -> None:
    found = deterministic_if_asked(stage)(config=Settings(asked), work=torch.are_deterministic_algorithms_enabled)
    assert found is asked
    assert deterministic_if_asked(stage).__doc__ == "Do some work."
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operation_without_such_a_form_is_one_clear_line() -> None:
    computed = deterministic_if_asked(stage)
    with pytest.raises(
        ConfigError, match=r"^deterministic is set, and put_ has no .* \(--deterministic no\)$"
    ) as found:
        computed(config=Settings(True), work=put)
    assert "\n" not in str(found.value)
    computed(config=Settings(False), work=put)


@pytest.mark.parametrize("words", ["CUDA error", "CuBLAS failed", "no such form"])
def test_other_errors_stay_what_they_are(words: str) -> None:
    def fail() -> None:
        raise RuntimeError(words)

    with pytest.raises(RuntimeError, match=words):
        deterministic_if_asked(stage)(config=Settings(True), work=fail)


def test_the_hint_of_cublas_is_understood() -> None:
    def fail() -> None:
        raise RuntimeError(
            "Deterministic behavior was enabled with either `torch.use_deterministic_algorithms(True)` or "
            "`at::Context::setDeterministicAlgorithms(true)`, but this operation is not deterministic because it uses "
            "CuBLAS and you have CUDA >= 10.2."
        )

    with pytest.raises(ConfigError, match="and CuBLAS has no deterministic form"):
        deterministic_if_asked(stage)(config=Settings(True), work=fail)


def test_a_sum_comes_out_the_same_with_any_number_of_threads() -> None:
    """Threads share it, and each part is rounded; one thread shares nothing."""
    numbers = torch.randn(1_000_003, generator=torch.Generator().manual_seed(3))
    found: dict[bool, set[object]] = {True: set(), False: set()}
    for threads in (1, 2):
        for asked, sums in found.items():
            torch.set_num_threads(threads)
            sums.add(deterministic_if_asked(stage)(config=Settings(asked), work=lambda: numbers.sum().item()))
    assert [len(sums) for sums in found.values()] == [1, 2]
