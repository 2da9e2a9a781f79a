import pytest
import torch
from torch import Tensor

from leadpp.functional.gradcam import AlignmentForm, alignment_loss, attention_pool, grad_cam, scale_map
from leadpp.functional.randomness import generator_for
from tests.oracles import losses as oracle

FORMS: tuple[AlignmentForm, ...] = ("reference", "scaled")


def drawn(*shape: int, place: int) -> Tensor:
    return torch.randn(*shape, generator=generator_for(7, "test", place), dtype=torch.float64)


MAPS, GRADIENT = drawn(3, 4, 2, 5, place=0), drawn(3, 4, place=1)
EVERYWHERE = (GRADIENT / 10)[:, :, None, None].expand_as(MAPS)
"""The gradient of the map that belongs to that of its average over the 2 x 5 positions."""
CAM, ATTENTION = drawn(3, 2, 5, place=2).abs(), drawn(3, 2, 5, place=3).abs()


def close(actual: Tensor, expected: object) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-14)


def test_grad_cam_by_definition() -> None:
    expected = [
        oracle.grad_cam(maps, gradient) for maps, gradient in zip(MAPS.tolist(), EVERYWHERE.tolist(), strict=True)
    ]
    close(grad_cam(MAPS, GRADIENT), expected)
    assert grad_cam(MAPS, GRADIENT).min().item() == 0.0


def test_grad_cam_passes_gradients_to_the_map_alone() -> None:
    maps, gradient = MAPS.clone().requires_grad_(), GRADIENT.clone().requires_grad_()
    torch.autograd.backward(grad_cam(maps, gradient).sum())
    assert gradient.grad is None
    assert maps.grad is not None
    kept = (grad_cam(MAPS, GRADIENT) > 0).unsqueeze(1)
    torch.testing.assert_close(maps.grad, EVERYWHERE * kept)


def test_grad_cam_gradients() -> None:
    assert torch.autograd.gradcheck(lambda maps: grad_cam(maps, GRADIENT), MAPS.clone().requires_grad_())


def test_scaling_per_image() -> None:
    expected = [oracle.scale(raw, min(map(min, raw)), max(map(max, raw))) for raw in CAM.tolist()]
    close(scale_map(CAM, over="image"), expected)


def test_scaling_over_the_batch() -> None:
    low, high = CAM.min().item(), CAM.max().item()
    close(scale_map(CAM, over="batch"), [oracle.scale(raw, low, high) for raw in CAM.tolist()])


def test_scaling_per_image_does_not_see_the_neighbours() -> None:
    together = scale_map(CAM, over="image")
    torch.testing.assert_close(torch.cat([scale_map(one[None], over="image") for one in CAM]), together)
    assert not torch.allclose(scale_map(CAM, over="batch"), together)


def test_a_flat_map_scales_to_zero() -> None:
    for flat in (torch.zeros(2, 3, 3), torch.full((2, 3, 3), 5.0)):
        assert scale_map(flat, over="image").abs().max().item() == 0.0


def test_scaling_gradients() -> None:
    raw = CAM.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda maps: scale_map(maps, over="image"), raw)
    assert torch.autograd.gradcheck(lambda maps: scale_map(maps, over="batch"), raw)


def test_pooling_by_definition() -> None:
    expected = [oracle.attention_pool(maps, seen) for maps, seen in zip(MAPS.tolist(), ATTENTION.tolist(), strict=True)]
    close(attention_pool(MAPS, ATTENTION), expected)
    torch.testing.assert_close(attention_pool(MAPS, 3 * ATTENTION), attention_pool(MAPS, ATTENTION))


def test_pooling_without_attention_is_zero_and_not_nan() -> None:
    assert attention_pool(MAPS, torch.zeros_like(ATTENTION)).abs().max().item() == 0.0


def test_pooling_gradients() -> None:
    assert torch.autograd.gradcheck(attention_pool, (MAPS.clone().requires_grad_(), ATTENTION.clone().requires_grad_()))


def test_alignment_by_definition() -> None:
    pairs = list(zip(CAM.tolist(), ATTENTION.tolist(), strict=True))
    close(alignment_loss(CAM, ATTENTION), [oracle.alignment(cam, seen) for cam, seen in pairs])
    scaled = [oracle.scale(cam, min(map(min, cam)), max(map(max, cam))) for cam, _ in pairs]
    expected = [oracle.alignment(cam, seen) for cam, (_, seen) in zip(scaled, pairs, strict=True)]
    close(alignment_loss(CAM, ATTENTION, form="scaled"), expected)


@pytest.mark.parametrize("form", FORMS)
def test_alignment_gradients(form: AlignmentForm) -> None:
    inputs = (CAM.clone().requires_grad_(), ATTENTION.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda cam, seen: alignment_loss(cam, seen, form=form), inputs)


@pytest.mark.parametrize("form", FORMS)
def test_alignment_laws(form: AlignmentForm) -> None:
    together = alignment_loss(CAM, ATTENTION, form=form)
    assert together.shape == (3,)
    assert together.min().item() > 0
    torch.testing.assert_close(alignment_loss(CAM[[2, 0]], ATTENTION[[2, 0]], form=form), together[[2, 0]])
    same = alignment_loss(CAM, scale_map(CAM, over="image") if form == "scaled" else CAM, form=form)
    assert same.abs().max().item() < 1e-12


def test_scaling_tells_alignment_where_a_faint_grad_cam_looks() -> None:
    """The reference's Grad-CAM is so small that its softmax is flat; scaled first, its size does not matter."""
    faint = 1e-6 * CAM
    flat = torch.zeros_like(CAM)
    torch.testing.assert_close(alignment_loss(faint, ATTENTION), alignment_loss(flat, ATTENTION), rtol=1e-4, atol=0)
    loud, quiet = (alignment_loss(cam, ATTENTION, form="scaled") for cam in (CAM, 1e-2 * CAM))
    torch.testing.assert_close(loud, quiet, rtol=1e-4, atol=1e-5)


def test_shapes_that_would_broadcast() -> None:
    with pytest.raises(ValueError, match="expected a gradient of shape"):
        grad_cam(MAPS, GRADIENT[:1])
    with pytest.raises(ValueError, match="two maps of one shape"):
        alignment_loss(CAM, ATTENTION[:1])
