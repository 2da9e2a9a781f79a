import pytest
import torch
from torch import Tensor, nn

from leadpp.engine.monitor import NeighbourMonitor, choose_heldout
from leadpp.functional.randomness import generator_for
from leadpp.models.student import Student


class Colours(nn.Module):
    """Hands colours through as features, so that neighbours are pictures of like colour."""

    feature_dim = 3

    def forward(self, images: Tensor) -> Tensor:
        return images.float()


def colour_student() -> Student:
    return Student(Colours(), embedding_dim=2, generator=generator_for(1, "test")).eval()


def pictures(colours: list[int]) -> Tensor:
    """One picture for each channel number, a little darker each time."""
    images = torch.zeros(len(colours), 3, 4, 4, dtype=torch.uint8)
    for place, channel in enumerate(colours):
        images[place, channel] = 200 - place
    return images


def test_figures_of_separable_classes() -> None:
    labels = torch.tensor([0, 1, 2] * 4)
    batches = [{"image": part} for part in torch.split(pictures(labels.tolist()), 5)]
    heldout = torch.arange(12) >= 6
    monitor = NeighbourMonitor(batches, labels=labels, heldout=heldout)
    # Of the five others among the six held-out pictures one is a class-mate, and it comes first.
    assert monitor(colour_student()) == {"knn": 1.0, "purity10": pytest.approx(0.2)}


def test_labels_that_say_nothing_of_the_pictures() -> None:
    colours = [0, 1] * 6
    labels = torch.tensor([1, 0] * 3 + [0, 1] * 3)
    monitor = NeighbourMonitor([{"image": pictures(colours)}], labels=labels, heldout=torch.arange(12) >= 6)
    assert monitor(colour_student())["knn"] == 0.0


def test_purity_needs_class_mates() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    monitor = NeighbourMonitor([{"image": pictures(labels.tolist())}], labels=labels, heldout=torch.arange(6) >= 3)
    assert monitor(colour_student()) == {"knn": 1.0}


def test_holding_out() -> None:
    first, again, other = (choose_heldout(50, share=0.2, generator=generator_for(seed, "test")) for seed in (1, 1, 2))
    assert first.sum().item() == 10
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert choose_heldout(2, share=0.2, generator=generator_for(1, "test")).sum().item() == 1
