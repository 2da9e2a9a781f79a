"""The obvious probe and ours learn the same from the same views."""

import pytest
import torch

from benchmarks.bench.probe import draw_material, fast_way, obvious_way
from benchmarks.bench.probe import probe as case
from benchmarks.obvious.probe import encode


def test_both_ways_have_the_same_curve_where_every_epoch_has_a_view_of_its_own() -> None:
    material = draw_material(train=16, test=12, epochs=6, size=32)
    curve = obvious_way(material)
    assert len(set(curve)) > 1
    assert fast_way(material, views=6).test_curve == pytest.approx(curve, abs=1e-12)


def test_the_obvious_way_encodes_every_view_anew_and_leaves_the_network_alone() -> None:
    material = draw_material(train=8, test=4, epochs=3, size=32)
    seen = []
    before = {name: value.clone() for name, value in material.backbone.state_dict().items()}
    material.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    obvious_way(material)
    assert sum(seen) == 3 * (8 + 4)
    assert all(torch.equal(before[name], value) for name, value in material.backbone.state_dict().items())
    seen.clear()
    fast_way(material, views=2)
    assert sum(seen) == 3 * 8 + 4
    assert encode(material.backbone, [torch.zeros(3, 32, 32, dtype=torch.uint8)]).norm().item() == pytest.approx(1)


def test_the_quick_case_has_a_target_below_its_bound() -> None:
    assert "bounds the ratio: 4 here" in case(quick=True).protocol
    assert "bounds the ratio: 20 here" in case(quick=False).protocol
    assert (case(quick=True).target, case(quick=False).target) == (3.0, 15.0)
