from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.errors import CheckpointError
from leadpp.functional.randomness import generator_for
from leadpp.models.backbone import create_backbone
from leadpp.models.foreign import ForeignWeights, sort_weights
from leadpp.models.student import AttentionHead
from tests.unit.foreign import KEYS, Momentum, feature_map, foreign_network, normalized, state_of

SOURCE = Path("model_last.pth")
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return foreign_network()


@pytest.fixture(scope="module")
def reference(network: nn.Module) -> Momentum:
    return Momentum(network, dim=16, reference=True)


def pictures() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=generator_for(5, "pictures"))


def map_of(found: ForeignWeights) -> Tensor:
    backbone = create_backbone(found.architecture, pretrained=False)
    backbone.load_state_dict({f"network.{name}": tensor for name, tensor in found.backbone.items()})
    with torch.no_grad():
        seen: Tensor = backbone.eval()(pictures())
    return seen


def embeddings_of(found: ForeignWeights, feature: Tensor) -> Tensor:
    """By the formula of the paper's projector."""
    weight = found.projector
    hidden = (feature @ weight["0.weight"].T + weight["0.bias"]).clamp(min=0)
    return F.normalize(hidden @ weight["2.weight"].T + weight["2.bias"], dim=1)


def check_maps(own: nn.Module, state: State, *, kind: str, architecture: str) -> None:
    found = sort_weights(state, source=SOURCE)
    assert (found.kind, found.architecture, found.remarks) == (kind, f"{architecture}.tv_in1k", ())
    with torch.no_grad():
        expected = feature_map(own, normalized(pictures()))
    torch.testing.assert_close(map_of(found), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_every_layout_gives_the_map_that_torchvision_gives(network: nn.Module, reference: Momentum) -> None:
    check_maps(network, state_of(network, prefix=""), kind="network", architecture="resnet18")
    plain = Momentum(network, dim=8, reference=False)
    check_maps(network, state_of(plain), kind="moco", architecture="resnet18")
    check_maps(network, state_of(reference), kind="reference", architecture="resnet18")


def test_the_references_own_network_gives_the_map_that_torchvision_gives() -> None:
    own = foreign_network("resnet50")
    check_maps(own, state_of(own, prefix=""), kind="network", architecture="resnet50")


def test_the_projector_is_the_references(reference: Momentum) -> None:
    found = sort_weights(state_of(reference), source=SOURCE)
    with torch.no_grad():
        expected = F.normalize(reference.encoder_q(normalized(pictures())), dim=1)
    torch.testing.assert_close(embeddings_of(found, map_of(found).mean(dim=(2, 3))), expected, rtol=1e-5, atol=1e-6)
    assert found.embedding_dim == 16


def test_the_attention_is_the_references(reference: Momentum) -> None:
    found = sort_weights(state_of(reference), source=SOURCE)
    head = AttentionHead(512, 32, generator=generator_for(0, "overwritten"))
    head.load_state_dict(found.attention)
    seen = map_of(found)
    with torch.no_grad():
        expected = reference.bn16(reference.conv16(seen)).relu().amax(dim=1)
        torch.testing.assert_close(head.eval()(seen), expected)
    assert found.attention_channels == 32


def test_a_projector_of_one_layer_gives_the_same_embeddings(network: nn.Module) -> None:
    model = Momentum(network, dim=8, reference=False, layers=1)
    found = sort_weights(state_of(model), source=SOURCE)
    with torch.no_grad():
        expected = F.normalize(model.encoder_q(normalized(pictures())), dim=1)
    torch.testing.assert_close(embeddings_of(found, map_of(found).mean(dim=(2, 3))), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_wrappings_make_no_difference(reference: Momentum, prefix: str) -> None:
    found = sort_weights(state_of(reference, prefix=prefix), source=SOURCE)
    assert found.kind == "reference"
    assert torch.equal(found.projector["2.bias"], reference.state_dict()["encoder_q.fc.2.bias"])


def test_what_is_left_out_is_named(reference: Momentum, network: nn.Module) -> None:
    found = sort_weights(state_of(reference), source=SOURCE)
    assert found.left_out == ("the key encoder", f"queue of {KEYS} keys", f"queue2 of {KEYS} keys")
    found = sort_weights(state_of(network, prefix=""), source=SOURCE)
    assert found.left_out == ("the classifier of 7 classes",)
    assert (found.projector, found.attention, found.embedding_dim, found.attention_channels) == ({}, {}, None, None)


def test_a_stripped_encoder_is_read_alone(reference: Momentum) -> None:
    state = state_of(reference.encoder_q, prefix="")
    found = sort_weights(state, source=SOURCE)
    assert (found.kind, found.embedding_dim, found.left_out) == ("moco", 16, ())
    headless = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    assert sort_weights(headless, source=SOURCE).kind == "network"


def test_relatives_are_read_and_their_further_parts_left_out(reference: Momentum) -> None:
    state = {name: tensor for name, tensor in state_of(reference).items() if "queue" not in name}
    more = {
        "module.queue_max": torch.ones(16, 5),
        "module.queue_ptr_max": torch.tensor([2]),
        "module.qmax.0.weight": torch.ones(2, 2),
        "module.kmax.0.weight": torch.ones(2, 2),
        "module.fc.weight": torch.ones(2, 2),
        "module.conv16_2.weight": torch.ones(1, 32, 1, 1),
        "module.clip.visual.proj": torch.ones(3),
        "module.encoder_q.distill.weight": torch.ones(3),
    }
    found = sort_weights(state | more, source=SOURCE)
    assert found.kind == "lcr"
    assert found.left_out == (
        "the key encoder",
        "queue_max of 5 keys",
        "a distillation head of an early version of the reference (1 tensors)",
        "further layers of LCR's attention (1 tensors)",
        "LCR's second projector (3 tensors)",
        "CLIP itself (1 tensors)",
    )


def test_old_files_without_counts_and_half_precision(network: nn.Module) -> None:
    state = {name: t for name, t in state_of(network, prefix="").items() if not name.endswith("num_batches_tracked")}
    state = {name: tensor.half() for name, tensor in state.items()}
    found = sort_weights(state, source=SOURCE)
    assert found.remarks == (
        "float16 is made float32",
        "20 counts of BatchNorm, which older files do not have, are set to 0",
    )
    assert torch.equal(found.backbone["conv1.weight"], state["conv1.weight"].float())
    assert {tensor.dtype for tensor in found.backbone.values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize(
    "architecture",
    [
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2",
        "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d",
    ],
)  # fmt: skip
def test_every_resnet_of_torchvision_is_known_by_its_shapes(architecture: str) -> None:
    with torch.device("meta"):
        shapes = getattr(torchvision.models, architecture)().state_dict()
    # One number that looks like the whole tensor, so that the largest take no memory.
    state = {name: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for name, tensor in shapes.items()}
    assert sort_weights(state, source=SOURCE).architecture == f"{architecture}.tv_in1k"


def _without(name: str) -> Callable[[State], State]:
    return lambda state: {key: tensor for key, tensor in state.items() if key != name}


def _with(name: str, tensor: Tensor) -> Callable[[State], State]:
    return lambda state: state | {name: tensor}


NAN = torch.full((64,), torch.nan)
HUGE = torch.full((64,), 1e300, dtype=torch.float64)
BIAS = "module.encoder_q.bn1.bias"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("module.encoder_q.layer3.1.bn2.bias"), r"lacks the tensor 'encoder_q.layer3.1.bn2.bias', .*\(256\)"),
        (_without("module.encoder_q.layer1.0.conv2.weight"), "lacks the tensor 'encoder_q.layer1.0.conv2.weight'"),
        (_without("module.encoder_q.fc.2.bias"), "lacks the tensor 'encoder_q.fc.2.bias'"),
        (_without("module.encoder_k.bn1.bias"), "lacks the tensor 'encoder_k.bn1.bias'"),
        (_without("module.bn16.running_var"), "lacks the tensor 'bn16.running_var'"),
        (_without("module.conv16.weight"), "lacks the tensor 'conv16.weight'"),
        (_without("module.queue_ptr2"), "lacks the tensor 'queue_ptr2'"),
        (_without("module.queue"), "lacks the tensor 'queue'"),
        (_with(BIAS, torch.ones(63)), r"'encoder_q.bn1.bias' has shape \(63\), expected \(64\)"),
        (_with("module.encoder_q.fc.0.weight", torch.ones(9, 512)), r"'encoder_q.fc.0.weight' has shape \(9, 512\)"),
        (_with("module.encoder_k.fc.2.weight", torch.ones(9, 512)), "'encoder_k.fc.2.bias' has shape"),
        (_with("module.queue", torch.ones(15, 4)), r"'queue' has shape \(15, 4\), expected \(16, any\)"),
        (_with("module.queue_ptr", torch.tensor([KEYS])), f"'queue_ptr' is {KEYS}, expected less than the {KEYS} keys"),
        (_with("module.queue_ptr", torch.tensor([-1])), "'queue_ptr' holds int64, expected whole numbers from 0"),
        (_with("module.queue_ptr", torch.tensor([1.0])), "'queue_ptr' holds float32, expected whole numbers"),
        (_with(BIAS, NAN), "'encoder_q.bn1.bias' holds NaN or infinite"),
        (_with("module.encoder_k.bn1.bias", NAN), "'encoder_k.bn1.bias' holds NaN or infinite"),
        (_with(BIAS, HUGE), "'encoder_q.bn1.bias' holds NaN or inf"),
        (_with(BIAS, torch.ones(64).int()), "'encoder_q.bn1.bias' holds int32, expected real"),
        (_with(BIAS, torch.ones(64).to_sparse()), "'encoder_q.bn1.bias' holds float32, expected"),
        (_with("module.encoder_q.bn1.extra", torch.ones(1)), "1 tensors have no place .* first 'encoder_q.bn1.extra'"),
        (_with("module.mystery", torch.ones(1)), "1 tensors have no place beside a resnet18, first 'mystery'"),
        (_with("module.encoder_q.layer1.2.bn1.bias", torch.ones(64)), "its stages have 3, 2, 2, 2 blocks"),
        (_without("module.encoder_q.conv1.weight"), "expected a ResNet of torchvision"),
    ],
)  # fmt: skip
def test_a_tensor_too_few_too_many_or_odd_is_named(
    reference: Momentum, change: Callable[[State], State], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        sort_weights(change(state_of(reference)), source=SOURCE)
    assert str(caught.value).startswith(f"{SOURCE}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "state",
    [
        {"cls_token": torch.ones(1, 1, 8), "pos_embed": torch.ones(1, 9, 8)},
        {"module.base_encoder.conv1.weight": torch.ones(64, 3, 7, 7)},
        {"features.0.weight": torch.ones(3)},
    ],
)
def test_other_networks_are_one_line(state: State) -> None:
    with pytest.raises(CheckpointError, match=r"expected a ResNet of torchvision .* other networks cannot be imported"):
        sort_weights(state, source=SOURCE)


def test_another_key_projector_is_refused(reference: Momentum, network: nn.Module) -> None:
    other = Momentum(network, dim=16, reference=False, layers=1).encoder_k
    state = {name: t for name, t in state_of(reference).items() if "encoder_k" not in name}
    state |= {name: t for name, t in state_of(other, prefix="module.encoder_k.").items() if ".fc." not in name}
    with pytest.raises(CheckpointError, match="the key encoder has another projector"):
        sort_weights(state, source=SOURCE)


def test_a_bare_network_with_further_layers_is_refused(network: nn.Module) -> None:
    state = state_of(network, prefix="") | {"neck.weight": torch.ones(3)}
    with pytest.raises(CheckpointError, match=r"1 tensors have no place beside a resnet18, first 'neck.weight'"):
        sort_weights(state, source=SOURCE)
