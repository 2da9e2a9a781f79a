import pytest
import torch

from leadpp.data.index import ImageRecord, Split
from leadpp.engine.corloc import measure_boxes
from tests.oracles.localization import counted_iou

Box = tuple[float, float, float, float]


def record(split: Split, box: Box | None, *, width: int = 20, height: int = 10) -> ImageRecord:
    return ImageRecord(
        path=f"{split}/{box}", label=None, split=split, width_px=width, height_px=height, true_box_xyxy=box, checksum=""
    )


RECORDS = [
    record("train", (0, 0, 10, 5)),
    record("train", (5, 5, 20, 10)),
    record("test", (0, 0, 10, 5)),
    record("test", None),
    record("test", (4, 2, 12, 8)),
]
OBJECTS = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 10, 10], [0, 0, 1, 1], [10, 0, 12, 8]])
CROPS = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 10, 5], [0, 0, 1, 1], [0, 0, 20, 10]])


def test_figures_are_those_of_the_test_photographs_with_boxes() -> None:
    figures = measure_boxes(RECORDS, OBJECTS, CROPS)
    overlaps = [0.5, counted_iou((4, 2, 12, 8), (10, 0, 12, 8))]
    assert figures["corloc"] == 0.5
    assert figures["mean_iou"] == pytest.approx(sum(overlaps) / 2)
    assert figures["crop_mean_iou"] == pytest.approx((1 + 48 / 200) / 2)
    assert figures["protocol"]["images"] == 2
    assert figures["protocol"]["measured_on"] == "test photographs with true boxes"


def test_guesses_look_at_nothing_but_the_training_boxes() -> None:
    baselines = measure_boxes(RECORDS, OBJECTS, CROPS)["baselines"]
    assert baselines["whole"]["mean_iou"] == pytest.approx((50 / 200 + 48 / 200) / 2)
    assert baselines["whole"]["corloc"] == 0
    # Mean size of the training boxes: 12.5 of 20 wide and 5 of 10 high, so 3.75..16.25 and 2.5..7.5, rounded.
    centred = [counted_iou((0, 0, 10, 5), (4, 2, 16, 8)), counted_iou((4, 2, 12, 8), (4, 2, 16, 8))]
    assert baselines["centred"]["mean_iou"] == pytest.approx(sum(centred) / 2)
    assert baselines["centred"]["corloc"] == 0.5


def test_mean_size_is_a_share_of_each_photograph() -> None:
    records = [record("train", (0, 0, 10, 5)), record("test", (0, 0, 50, 50), width=100, height=100)]
    whole = torch.tensor([[0, 0, 20, 10], [0, 0, 100, 100]])
    protocol = measure_boxes(records, whole, whole)["protocol"]
    assert "1 true boxes (training photographs): 0.500 of the width, 0.500 of the height" in protocol["centred"]


def test_without_a_test_split_all_boxes_count() -> None:
    figures = measure_boxes(RECORDS[:2], OBJECTS[:2], CROPS[:2])
    assert figures["protocol"]["measured_on"] == "all photographs with true boxes"
    assert figures["protocol"]["images"] == 2


def test_test_boxes_alone_give_the_mean_size_themselves() -> None:
    figures = measure_boxes(RECORDS[2:], OBJECTS[2:], CROPS[2:])
    assert "2 true boxes (all photographs)" in figures["protocol"]["centred"]


def test_without_true_boxes_there_are_no_figures() -> None:
    figures = measure_boxes(RECORDS[3:4], OBJECTS[3:4], CROPS[3:4])
    assert set(figures) == {"protocol"}
    assert figures["protocol"]["measured_on"] == "no photograph has a true box"
