import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leadpp.functional.randomness import generator_for
from leadpp.models.learner import Learner
from leadpp.models.student import KeyEncoder, Student, update_key
from tests.unit.tiny import TinyBackbone


def student_of(**keywords: object) -> Student:
    settings: dict[str, object] = {"embedding_dim": 5, "attention_channels": 4, "generator": generator_for(2, "test")}
    return Student(TinyBackbone(), **(settings | keywords))  # type: ignore[arg-type]


def images(count: int = 4, *, place: int = 0) -> Tensor:
    return torch.rand(count, 3, 11, 11, generator=generator_for(4, "images", place))


def test_output() -> None:
    student = student_of().eval()
    output = student(images())
    assert output.feature_map.shape == (4, 6, 5, 5)
    torch.testing.assert_close(output.feature, output.feature_map.flatten(2).mean(dim=2))
    first, second = student.projector.get_submodule("0"), student.projector.get_submodule("2")
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    hidden = (output.feature @ first.weight.T + first.bias).clamp(min=0)
    projected = hidden @ second.weight.T + second.bias
    torch.testing.assert_close(output.embedding, projected / projected.norm(dim=1, keepdim=True))


def test_a_space_more_is_a_projector_more_and_changes_nothing_else() -> None:
    one, three = student_of().eval(), student_of(further_dims=[7, 3]).eval()
    weights = one.state_dict()
    assert set(three.state_dict()) - set(weights) == {
        f"further.{place}.{layer}.{part}" for place in (0, 1) for layer in (0, 2) for part in ("weight", "bias")
    }
    for name, tensor in weights.items():
        assert torch.equal(three.state_dict()[name], tensor), name
    output = three(images())
    assert torch.equal(output.embedding, one(images()).embedding)
    assert output.embedding is output.embeddings[0]
    assert [tuple(rows.shape) for rows in output.embeddings] == [(4, 5), (4, 7), (4, 3)]
    for projector, rows in zip(three.further, output.embeddings[1:], strict=True):
        torch.testing.assert_close(rows, F.normalize(projector(output.feature), dim=1))


def test_the_key_encoder_follows_in_the_first_space_alone() -> None:
    student = student_of(further_dims=[7])
    key = KeyEncoder(student)
    assert not [name for name in key.state_dict() if "further" in name]
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(1)
    update_key(student, key, momentum=0.5)
    assert key(images()).shape == (4, 5)


def test_attention_by_definition() -> None:
    student = student_of().train()
    feature_map = student(images()).feature_map
    head = student.attention
    responses = torch.einsum("bfhw,cf->bchw", feature_map, head.conv.weight[:, :, 0, 0])
    mean, variance = responses.mean(dim=(0, 2, 3)), responses.var(dim=(0, 2, 3), unbiased=False)
    normed = (responses - mean[:, None, None]) / (variance[:, None, None] + head.norm.eps).sqrt()
    expected = normed.clamp(min=0).amax(dim=1)
    torch.testing.assert_close(head(feature_map), expected)
    attention = student.attention_map(feature_map)
    for seen, raw in zip(attention, expected, strict=True):
        torch.testing.assert_close(seen, (raw - raw.min()) / (1e-7 + raw.max() - raw.min()))
    pooled = torch.stack([(maps * seen).mean(dim=(1, 2)) for maps, seen in zip(feature_map, attention, strict=True)])
    student.eval()
    assert student.attention_feature(feature_map).shape == pooled.shape
    student.train()
    torch.testing.assert_close(student.attention_feature(feature_map), F.normalize(pooled, dim=1))


def test_attention_over_the_batch_is_the_references() -> None:
    alone, together = (student_of(attention_scaling=over).eval() for over in ("image", "batch"))
    feature_map = alone(images()).feature_map
    raw = together.attention(feature_map)
    torch.testing.assert_close(together.attention_map(feature_map), (raw - raw.min()) / (raw.max() - raw.min()))
    assert not torch.allclose(alone.attention_map(feature_map), together.attention_map(feature_map))


def test_heads_are_drawn_from_the_generator_alone() -> None:
    torch.manual_seed(0)
    first = student_of().state_dict()
    torch.manual_seed(1)
    second = student_of().state_dict()
    other = student_of(generator=generator_for(2, "another")).state_dict()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    for name in ("projector.0.weight", "projector.0.bias", "projector.2.weight", "attention.conv.weight"):
        assert not torch.equal(first[name], other[name]), name
        assert first[name].abs().max().item() <= 6**-0.5
        assert first[name].std().item() == pytest.approx(6**-0.5 / 3**0.5, rel=0.6)


def test_half_precision_ends_at_the_feature_map() -> None:
    student = student_of().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = student(images())
        assert student.backbone(images()).dtype == torch.bfloat16
    assert {output.feature_map.dtype, output.feature.dtype, output.embedding.dtype} == {torch.float32}
    projected = student.projector(output.feature)
    torch.testing.assert_close(output.embedding, F.normalize(projected, dim=1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("batchnorm", "moves"), [("train", True), ("eval", False)])
def test_batchnorm_of_the_backbone(batchnorm: str, moves: bool) -> None:
    student = student_of(batchnorm=batchnorm).train()
    key = KeyEncoder(student).train()
    for encoder in (student, key):
        encoder(images())
        backbone = encoder.backbone
        assert isinstance(backbone, TinyBackbone)
        assert backbone.norm.running_mean is not None
        assert bool(backbone.norm.running_mean.any()) is moves
    assert student.attention.norm.training
    assert student.backbone.training
    assert not student.eval().attention.norm.training


def test_the_key_encoder_begins_as_a_copy() -> None:
    student = student_of().eval()
    key = KeyEncoder(student).eval()
    torch.testing.assert_close(key(images()), student(images()).embedding)
    assert not key(images()).requires_grad
    assert not any(weight.requires_grad for weight in key.parameters())
    assert all(weight.requires_grad for weight in student.parameters())


def test_update_moves_all_weights_and_no_statistics() -> None:
    student = student_of().train()
    key = KeyEncoder(student).train()
    key(images())
    before = copy.deepcopy(key.state_dict())
    with torch.no_grad():
        for weight in student.parameters():
            weight.add_(1)
    update_key(student, key, momentum=0.75)
    weights = {name for name, _ in key.named_parameters()}
    assert {"backbone.conv.weight", "backbone.norm.weight", "projector.2.bias"} <= weights
    for name, tensor in key.state_dict().items():
        if name in weights:
            torch.testing.assert_close(tensor, before[name] + 0.25)
        else:
            assert torch.equal(tensor, before[name]), name
    update_key(student, key, momentum=1.0)
    update_key(student, key, momentum=0.0)
    for name, weight in key.named_parameters():
        assert torch.equal(weight, student.get_parameter(name)), name


def test_a_learner_has_the_queues_it_needs() -> None:
    learner = Learner(student_of(), queues=("object",), queue_size=7, generator=generator_for(2, "queues"))
    assert learner.queue("object").snapshot().shape == (7, 5)
    assert list(learner.queues) == ["object"]
    assert learner.device == torch.device("cpu")


def test_two_queues_start_with_different_negatives() -> None:
    learner = Learner(student_of(), queues=("global", "object"), queue_size=7, generator=generator_for(2, "queues"))
    assert not torch.equal(learner.queue("global").snapshot(), learner.queue("object").snapshot())
