"""Score maps of the reference to parts, candidates, chosen boxes and crops; all exact."""

from functools import cache

import numpy as np
import pytest
import torch

from leadpp.functional.boxes import CropPolicy, policy_boxes
from leadpp.functional.part import CUT_RATES, Part, cut_box, find_part, search_box
from tests.golden.arrays import Arrays, read

POLICIES: dict[str, CropPolicy] = {"bird": "square", "car": "car", "aircraft": "aircraft", "dog": "square"}


@cache
def arrays() -> Arrays:
    return read("localise.npz")


MAPS = range(len(arrays()["P"]))


def part_of(place: int) -> Part:
    return find_part(arrays()["P"][place], threshold=float(arrays()["over_num"][place]))


def sizes_of(place: int) -> dict[str, int]:
    names = {"width_px": "W", "height_px": "H"}
    return {name: int(arrays()[key][place]) for name, key in names.items()}


def test_cut_rates_are_those_of_the_reference() -> None:
    assert tuple(arrays()["cut_rates"].tolist()) == CUT_RATES


@pytest.mark.parametrize("place", MAPS)
def test_part_is_the_reference_s(place: int) -> None:
    np.testing.assert_array_equal(part_of(place).mask, arrays()["mask_cells"][place].astype(bool))


@pytest.mark.parametrize("place", MAPS)
def test_candidates_are_the_reference_s(place: int) -> None:
    size_px = int(arrays()["input_size"])
    boxes = [cut_box(part_of(place), cut_rate=rate, size_px=size_px, **sizes_of(place)) for rate in CUT_RATES]
    np.testing.assert_array_equal(boxes, arrays()["co_locate_boxes"][place])


@pytest.mark.parametrize("place", MAPS)
def test_search_with_the_reference_s_reading_chooses_its_box(place: int) -> None:
    size_px = int(arrays()["input_size"])
    found = search_box(part_of(place), size_px=size_px, reading="reference", **sizes_of(place))
    assert found.box_xyxy == tuple(arrays()["robust_box"][place])
    assert found.cut_rate == arrays()["cut_rate"][place]


@pytest.mark.parametrize(("place", "task"), list(enumerate(POLICIES)))
def test_crops_are_the_reference_s(place: int, task: str) -> None:
    stored = arrays()
    assert stored["tasks"][place] == task
    crops = policy_boxes(
        torch.from_numpy(stored["robust_box"]),
        policy=POLICIES[task],
        height_px=torch.from_numpy(stored["H"]),
        width_px=torch.from_numpy(stored["W"]),
    )
    np.testing.assert_array_equal(crops.numpy(), stored["crop_boxes"][:, place])
