"""Weights that other programs trained: what their tensors are called there, and which part of a student each is here.

Understood is a ResNet of torchvision, alone or as the query encoder of MoCo, of LCR ("common rationale") or of the
LEAD++ reference. torchvision and timm give its tensors the same names, and both put the stride into the 3x3
convolution, as the reference does. Nothing is read from disk here, and nothing is left unlooked at: each tensor is
taken for what it is, is known to be of no use, or is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import Tensor

from leadpp.errors import CheckpointError

ForeignKind = Literal["reference", "lcr", "moco", "network"]

_WRAPPINGS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every name."""
_QUERY, _KEY = "encoder_q.", "encoder_k."
_QUEUES = {"queue": "queue_ptr", "queue2": "queue_ptr2", "queue_max": "queue_ptr_max"}
"""Rings of past keys, and where each is written next."""
_COUNT = "num_batches_tracked"
_REAL = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})

_ARCHITECTURES: dict[tuple[bool, tuple[int, ...], tuple[int, ...]], str] = {
    (False, (2, 2, 2, 2), (64, 64, 3, 3)): "resnet18",
    (False, (3, 4, 6, 3), (64, 64, 3, 3)): "resnet34",
    (True, (3, 4, 6, 3), (64, 64, 3, 3)): "resnet50",
    (True, (3, 4, 23, 3), (64, 64, 3, 3)): "resnet101",
    (True, (3, 8, 36, 3), (64, 64, 3, 3)): "resnet152",
    (True, (3, 4, 6, 3), (128, 128, 3, 3)): "wide_resnet50_2",
    (True, (3, 4, 23, 3), (128, 128, 3, 3)): "wide_resnet101_2",
    (True, (3, 4, 6, 3), (128, 4, 3, 3)): "resnext50_32x4d",
    (True, (3, 4, 23, 3), (256, 8, 3, 3)): "resnext101_32x8d",
    (True, (3, 4, 23, 3), (256, 4, 3, 3)): "resnext101_64x4d",
}
"""torchvision's ResNets by their blocks (with a bottleneck?), blocks in each stage, and the first 3x3 convolution."""

_COMPANIONS = {
    "encoder_q.distill": "a distillation head of an early version of the reference",
    "encoder_k.distill": "a distillation head of an early version of the reference",
    "conv16_2": "further layers of LCR's attention",
    "bn16_2": "further layers of LCR's attention",
    "conv32": "an attention on pixels",
    "qmax": "LCR's second projector",
    "kmax": "LCR's second projector",
    "fc": "LCR's second projector",
    "text_fc": "a projector of attended features to CLIP's texts, which this method has not",
    "clip": "CLIP itself",
}
"""What lies beside the encoders and has no place in a student, by how its names begin."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ForeignWeights:
    """The parts of a student that a checkpoint has, single precision, under the names that they have there."""

    kind: ForeignKind
    """Whose checkpoint it is: the reference's, LCR's, MoCo's, or that of a bare network."""
    architecture: str
    """The network, as timm calls it, with torchvision's normalisation of pictures."""
    backbone: dict[str, Tensor]
    """timm's network without its classifier."""
    projector: dict[str, Tensor]
    """Empty where the checkpoint has none."""
    attention: dict[str, Tensor]
    """Empty where the checkpoint has none."""
    left_out: tuple[str, ...]
    """What else it holds, in words."""
    remarks: tuple[str, ...]
    """What was changed on the way, in words."""

    @property
    def embedding_dim(self) -> int | None:
        """The width D of the embedding, or None without a projector."""
        return len(self.projector["2.weight"]) if self.projector else None

    @property
    def attention_channels(self) -> int | None:
        """Channels of the attention head, or None without one."""
        return len(self.attention["conv.weight"]) if self.attention else None


def sort_weights(state: Mapping[str, Tensor], *, source: Path) -> ForeignWeights:
    """Find the parts of a student among the tensors of another program, and check every tensor.

    A projector of one linear layer becomes one of two whose first is the identity; that changes no embedding, because
    the averaged features of a ResNet are not negative.

    Args:
        state: The tensors by name, with or without ``module.`` before each.
        source: The file that they came from, for messages.

    Raises:
        CheckpointError: It is no ResNet of torchvision, or a tensor is missing, one too many, of another shape, no
            number or not finite; names the first.
    """
    stock = _Stock(_unwrapped(state, source), source)
    prefix = _QUERY if stock.has(_QUERY) else ""
    architecture = _architecture(stock, prefix)
    network = _Network.of(architecture)
    kind = _kind(stock, wrapped=bool(prefix))
    left_out = [] if prefix else _classifier(stock)
    backbone, projector = _encoder(stock, prefix, network)
    attention = _attention(stock, network.width)
    left_out += _key_encoder(stock, network, projector) + _queues(stock, projector)
    left_out += _companions(stock) if prefix else []
    stock.check_empty(architecture)
    return ForeignWeights(
        kind=kind,
        architecture=f"{architecture}.tv_in1k",
        backbone=backbone,
        projector=projector,
        attention=attention,
        left_out=tuple(left_out),
        remarks=stock.remarks(),
    )


def timm_config(architecture: str) -> dict[str, Any]:
    """Return what ``config.json`` beside the weights of a network without classifier says, as timm reads it.

    Args:
        architecture: As :attr:`ForeignWeights.architecture`.
    """
    known = get_pretrained_cfg(architecture)
    assert known is not None  # noqa: S101 - each of _ARCHITECTURES has one
    taken = ("mean", "std", "input_size", "crop_pct", "interpolation", "first_conv")
    return {
        "architecture": architecture.partition(".")[0],
        "num_classes": 0,
        "pretrained_cfg": {name: getattr(known, name) for name in taken} | {"num_classes": 0},
    }


class _Stock:
    """Tensors that nobody has taken yet."""

    def __init__(self, tensors: dict[str, Tensor], source: Path) -> None:
        self.source = source
        self._tensors = dict(tensors)
        self._uncounted = 0
        self._dtypes: set[str] = set()

    def has(self, beginning: str) -> bool:
        """Tell whether there is a tensor of this name, or one whose name begins so where that ends in a dot."""
        return any(name == beginning or (beginning[-1] == "." and name.startswith(beginning)) for name in self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor.

        Raises:
            CheckpointError: It is missing.
        """
        if name not in self._tensors:
            raise self.error(f"it lacks the tensor {name!r}; it is not whole, fetch it again")
        return tuple(self._tensors[name].shape)

    def names(self) -> list[str]:
        """Return the names that are left, in the order of the file."""
        return list(self._tensors)

    def take(self, name: str, shape: tuple[int | None, ...]) -> Tensor:
        """Take a tensor of real numbers in single precision, or of whole ones where a count or place is asked for.

        Args:
            name: Its bare name.
            shape: What it must have; None stands for any length.

        Raises:
            CheckpointError: It is missing or of another shape or kind, or some of it is not finite.
        """
        if name.endswith(_COUNT) and name not in self._tensors:  # files from before torch counted
            self._uncounted += 1
            return torch.zeros((), dtype=torch.int64)
        if name not in self._tensors:
            raise self.error(f"it lacks the tensor {name!r}, of shape {_shown(shape)}; it is not whole, fetch it again")
        tensor = self._tensors.pop(name)
        if len(tensor.shape) != len(shape) or any(
            wanted not in (None, found) for found, wanted in zip(tensor.shape, shape, strict=True)
        ):
            raise self.error(f"{name!r} has shape {_shown(tuple(tensor.shape))}, expected {_shown(shape)}")
        return self._whole(name, tensor) if name.endswith((_COUNT, *_QUEUES.values())) else self._real(name, tensor)

    def drop(self, beginning: str) -> int:
        """Leave out every tensor of this name or below it, and return how many there were."""
        odd = [name for name in self._tensors if name == beginning or name.startswith(f"{beginning}.")]
        for name in odd:
            del self._tensors[name]
        return len(odd)

    def error(self, words: str) -> CheckpointError:
        """Say what is wrong with the file."""
        return CheckpointError(f"{self.source}: {words}")

    def check_empty(self, architecture: str) -> None:
        """Refuse tensors that nobody knew what to do with."""
        if self._tensors:
            raise self.error(
                f"{len(self._tensors)} tensors have no place beside a {architecture}, first "
                f"{next(iter(self._tensors))!r}; it is a checkpoint of another network or method"
            )

    def remarks(self) -> tuple[str, ...]:
        """Say what was changed on the way."""
        found = [f"{dtype} is made float32" for dtype in sorted(self._dtypes)]
        if self._uncounted:
            found.append(f"{self._uncounted} counts of BatchNorm, which older files do not have, are set to 0")
        return tuple(found)

    def _real(self, name: str, tensor: Tensor) -> Tensor:
        if tensor.dtype not in _REAL or tensor.layout != torch.strided:
            raise self.error(f"{name!r} holds {_dtype(tensor)}, expected real numbers")
        if tensor.dtype != torch.float32:
            self._dtypes.add(_dtype(tensor))
        single = tensor.float()
        if not bool(torch.isfinite(single).all()):
            raise self.error(f"{name!r} holds NaN or infinite numbers; the training that made it has failed")
        return single

    def _whole(self, name: str, tensor: Tensor) -> Tensor:
        if tensor.dtype not in (torch.int32, torch.int64) or bool((tensor < 0).any()):
            raise self.error(f"{name!r} holds {_dtype(tensor)}, expected whole numbers from 0")
        return tensor.long()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Network:
    """What a network's tensors must be."""

    shapes: Mapping[str, tuple[int, ...]]
    """Of the network without its classifier."""
    width: int
    """F, channels of its last map."""

    @classmethod
    def of(cls, architecture: str) -> "_Network":
        """Ask timm, without making any weights."""
        with torch.device("meta"):
            network = timm.create_model(architecture, pretrained=False, num_classes=0)
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        return cls(shapes=shapes, width=int(network.num_features))  # type: ignore[arg-type]  # a plain attribute


def _unwrapped(state: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Take off what is put before every name; names that are then the same are refused."""
    found = dict(state)
    while wrapping := next((words for words in _WRAPPINGS if all(name.startswith(words) for name in found)), ""):
        found = {name.removeprefix(wrapping): tensor for name, tensor in found.items()}
    if "" in found:
        raise CheckpointError(f"{source}: a tensor has no name; it is no checkpoint of a network")
    return found


def _architecture(stock: _Stock, prefix: str) -> str:
    names = [name.removeprefix(prefix) for name in stock.names() if name.startswith(prefix)]
    first = f"{prefix}layer1.0.conv2.weight"
    if "conv1.weight" not in names or not any(name.startswith("layer1.0.") for name in names):
        raise stock.error(
            "expected a ResNet of torchvision (conv1.weight, layer1.0.conv1.weight, ..., alone or after encoder_q.), "
            f"found {len(stock.names())} tensors, first {stock.names()[0]!r}; other networks cannot be imported"
        )
    blocks = tuple(_blocks(names, stage) for stage in range(1, 5))
    shape = stock.shape(first)
    kind = ("layer1.0.conv3.weight" in names, blocks, shape)
    if kind not in _ARCHITECTURES:
        raise stock.error(
            f"its stages have {', '.join(map(str, blocks))} blocks and {first!r} has shape {_shown(shape)}, which is "
            "no ResNet of torchvision; it is not whole, or another network"
        )
    return _ARCHITECTURES[kind]


def _blocks(names: list[str], stage: int) -> int:
    numbers = [name.split(".")[1] for name in names if name.startswith(f"layer{stage}.")]
    return max((int(number) + 1 for number in numbers if number.isascii() and number.isdecimal()), default=0)


def _kind(stock: _Stock, *, wrapped: bool) -> ForeignKind:
    if stock.has("conv16."):
        return "reference" if stock.has("queue2") else "lcr"
    return "moco" if wrapped or stock.has("fc.0.") else "network"


def _encoder(stock: _Stock, prefix: str, network: _Network) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    backbone = {name: stock.take(prefix + name, shape) for name, shape in network.shapes.items()}
    return backbone, _projector(stock, f"{prefix}fc.", network.width)


def _projector(stock: _Stock, prefix: str, width: int) -> dict[str, Tensor]:
    if not stock.has(prefix):
        return {}
    if stock.has(f"{prefix}weight"):  # of one layer, as MoCo's first version
        last = stock.take(f"{prefix}weight", (None, width))
        first = {"0.weight": torch.eye(width), "0.bias": torch.zeros(width)}
        return {**first, "2.weight": last, "2.bias": stock.take(f"{prefix}bias", (len(last),))}
    first = {name: stock.take(prefix + name, (width,) * rank) for name, rank in (("0.weight", 2), ("0.bias", 1))}
    last = stock.take(f"{prefix}2.weight", (None, width))
    return {**first, "2.weight": last, "2.bias": stock.take(f"{prefix}2.bias", (len(last),))}


def _attention(stock: _Stock, width: int) -> dict[str, Tensor]:
    if not stock.has("conv16.") and not stock.has("bn16."):
        return {}
    kernel = stock.take("conv16.weight", (None, width, 1, 1))
    names = ("weight", "bias", "running_mean", "running_var")
    norm = {f"norm.{name}": stock.take(f"bn16.{name}", (len(kernel),)) for name in names}
    return {"conv.weight": kernel, **norm, f"norm.{_COUNT}": stock.take(f"bn16.{_COUNT}", ())}


def _classifier(stock: _Stock) -> list[str]:
    """Leave out the classes of a bare network; a projector has its layers numbered."""
    if not stock.has("fc.weight"):
        return []
    classes = len(stock.take("fc.weight", (None, None)))
    stock.take("fc.bias", (classes,))
    return [f"the classifier of {classes} classes"]


def _key_encoder(stock: _Stock, network: _Network, projector: Mapping[str, Tensor]) -> list[str]:
    if not stock.has(_KEY):
        return []
    _, head = _encoder(stock, _KEY, network)
    if {name: tensor.shape for name, tensor in head.items()} != {name: t.shape for name, t in projector.items()}:
        raise stock.error("the key encoder has another projector than the query encoder; it is not whole")
    return ["the key encoder"]


def _queues(stock: _Stock, projector: Mapping[str, Tensor]) -> list[str]:
    found = []
    for name, pointer in _QUEUES.items():
        if not stock.has(name) and not stock.has(pointer):
            continue
        keys = stock.take(name, (len(projector["2.weight"]) if projector else None, None)).shape[1]
        place = int(stock.take(pointer, (1,)))
        if place >= keys:
            raise stock.error(f"{pointer!r} is {place}, expected less than the {keys} keys of {name!r}")
        found.append(f"{name} of {keys} keys")
    return found


def _companions(stock: _Stock) -> list[str]:
    """Leave out what is known to have no place in a student."""
    counts: dict[str, int] = {}
    for beginning, words in _COMPANIONS.items():
        if count := stock.drop(beginning):
            counts[words] = counts.get(words, 0) + count
    return [f"{words} ({count} tensors)" for words, count in counts.items()]


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shown(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if length is None else str(length) for length in shape)})"
