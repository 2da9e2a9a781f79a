import pytest
import torch

from leadpp.functional.boxes import CropPolicy, box_area, box_iou, policy_boxes, round_boxes
from leadpp.functional.randomness import generator_for
from tests.oracles.localization import counted_iou


def random_boxes(count: int, *, limit: int = 12, purpose: str = "boxes") -> torch.Tensor:
    corners = torch.randint(0, limit + 1, (count, 2, 2), generator=generator_for(3, purpose))
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)


def test_overlap_counts_pixels() -> None:
    first, second = random_boxes(200), random_boxes(200, purpose="others")
    expected = [counted_iou(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    torch.testing.assert_close(box_iou(first, second), torch.tensor(expected, dtype=torch.float64))
    assert any(value == 0 for value in expected)
    assert any(value > 0.3 for value in expected)


def test_overlap_of_a_box_with_itself_is_one_and_of_nothing_with_nothing_is_zero() -> None:
    boxes = torch.tensor([[0.5, 0.5, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0]])
    assert box_iou(boxes, boxes).tolist() == [1.0, 0.0]


def test_overlap_is_of_pairs() -> None:
    with pytest.raises(ValueError, match="in pairs, got 3 and 2"):
        box_iou(random_boxes(3), random_boxes(2))


def test_area_of_inverted_boxes_is_zero() -> None:
    assert box_area(torch.tensor([[0, 0, 3, 2], [3, 0, 0, 2], [3, 2, 0, 0]])).tolist() == [6, 0, 0]


def test_rounded_boxes_hold_a_pixel_of_their_photograph() -> None:
    boxes = torch.tensor([[1.4, 1.6, 3.5, 4.5], [7.9, -2.0, 8.4, 0.2], [3.0, 3.0, 3.2, 3.4]])
    rounded = round_boxes(boxes, height_px=6, width_px=8)
    assert rounded.tolist() == [[1, 2, 4, 4], [7, 0, 8, 1], [3, 3, 4, 4]]
    assert rounded.dtype == torch.int64


@pytest.mark.parametrize(
    ("policy", "box", "expected"),
    [
        ("tight", [10, 20, 30, 30], [10, 20, 30, 30]),
        ("square", [10, 20, 30, 30], [10, 15, 30, 35]),
        ("square", [0, 0, 100, 5], [20, 0, 80, 60]),
        ("car", [10, 20, 30, 30], [9, 18, 31, 31]),
        ("car", [0, 50, 20, 60], [0, 47, 22, 60]),
        ("car", [50, 30, 51, 31], [49, 29, 51, 31]),
        ("car", [50, 30, 50, 30], [49, 29, 51, 31]),
        ("aircraft", [40, 20, 60, 30], [20, 5, 80, 45]),
        ("aircraft", [40, 0, 90, 50], [0, 0, 100, 60]),
    ],
)
def test_policies_on_a_photograph_of_100_by_60(policy: CropPolicy, box: list[int], expected: list[int]) -> None:
    assert policy_boxes(torch.tensor([box]), policy=policy, height_px=60, width_px=100).tolist() == [expected]


@pytest.mark.parametrize("policy", ["square", "car", "aircraft"])
def test_crops_stay_inside_and_shift_with_the_box(policy: CropPolicy) -> None:
    boxes = random_boxes(100, limit=40)
    boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2] + 1)
    crops = policy_boxes(boxes, policy=policy, height_px=41, width_px=53)
    assert bool((crops >= 0).all())
    assert bool((crops[:, 2:] <= torch.tensor([53, 41])).all())
    assert bool((crops[:, 2:] > crops[:, :2]).all())
    far = policy_boxes(boxes + 1000, policy=policy, height_px=5000, width_px=5000)
    farther = policy_boxes(boxes + 1007, policy=policy, height_px=5000, width_px=5000)
    assert torch.equal(far + 7, farther)
    assert bool((far[:, :2] <= boxes[:, :2] + 1000).all())


def test_an_empty_set_of_boxes_stays_empty() -> None:
    assert policy_boxes(torch.zeros(0, 4), policy="square", height_px=5, width_px=5).shape == (0, 4)
