"""Checkpoints laid out as other programs lay them out, around torchvision's own networks."""

import copy

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

KEYS = 24


def foreign_network(architecture: str = "resnet18", *, seed: int = 3) -> nn.Module:
    """A network of torchvision with random weights and random statistics, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = getattr(torchvision.models, architecture)(num_classes=7)
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                disturb(part)
    return network.eval()


def disturb(norm: nn.BatchNorm2d) -> None:
    """Give a BatchNorm weights and statistics as if it had learnt."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.normal_(std=0.2)
    norm.running_var.uniform_(0.5, 2)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias, std=0.2)


class Momentum(nn.Module):
    """MoCo's model and, with ``reference``, the reference's: two encoders, one queue or two, and the attention."""

    def __init__(self, network: nn.Module, *, dim: int, reference: bool, layers: int = 2, seed: int = 4) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            classifier = network.get_submodule("fc")
            assert isinstance(classifier, nn.Linear)
            width = classifier.in_features
            self.encoder_q = copy.deepcopy(network)
            last = nn.Linear(width, dim)
            head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), last) if layers == 2 else last
            self.encoder_q.add_module("fc", head)
            self.encoder_k = copy.deepcopy(self.encoder_q)
            names = ("queue", "queue2") if reference else ("queue",)
            for place, name in enumerate(names):
                self.register_buffer(name, F.normalize(torch.randn(dim, KEYS), dim=0))
                self.register_buffer(name.replace("queue", "queue_ptr"), torch.tensor([8 * place]))
            if reference:
                self.conv16 = nn.Conv2d(width, 32, kernel_size=1, bias=False)
                self.bn16 = nn.BatchNorm2d(32)
                disturb(self.bn16)
        self.eval()


def state_of(model: nn.Module, *, prefix: str = "module.") -> dict[str, Tensor]:
    """Its state with something before each name."""
    return {prefix + name: tensor for name, tensor in model.state_dict().items()}


def feature_map(network: nn.Module, pictures: Tensor) -> Tensor:
    """The last map of a ResNet of torchvision, by its own parts; (B, 3, H, W) normalised -> (B, F, h, w)."""
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    for name in names:
        pictures = network.get_submodule(name)(pictures)
    return pictures


def normalized(pictures: Tensor) -> Tensor:
    """Pictures from 0 to 1 by the statistics that all these networks were trained with."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (pictures - mean[:, None, None]) / std[:, None, None]
