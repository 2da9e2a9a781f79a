"""The obvious way's views and ours: the same pictures from the same parameters, and parameters of one law."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.bench.case import Case
from benchmarks.bench.load import draw_photograph, load, load_cached, load_large
from benchmarks.obvious.load import RandomGaussianBlur, load_sample, make_augmentation
from leadpp.data.photo import Box, Photo
from leadpp.data.reading import read_photo
from leadpp.data.records import ImageRecord
from leadpp.data.transforms import Augmentation, apply_augmentation, changes_of
from leadpp.data.views import SampleKey, ViewSet, finish_views
from leadpp.functional.changes import apply_changes
from leadpp.functional.objective import VIEW_NAMES, ViewName

Augment = Callable[[Image.Image], torch.Tensor]

WIDTH, HEIGHT, BOX = 90, 70, (20, 10, 70, 60)
SIZE, DRAWS = 24, 300
SIDE = 36
"""Of a view for which half of the photograph would not do: its pixels are all decoded."""
ROUNDING = 1e-3
"""In levels: the obvious way's come back from normalised floats."""
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def traits(views: list[torch.Tensor]) -> dict[str, float]:
    """Average what an augmentation changes: light, contrast, colour, sharpness and how often there is no colour."""
    pictures = torch.stack(views)
    colour = pictures.amax(dim=1) - pictures.amin(dim=1)
    return {
        "light": pictures.mean().item(),
        "contrast": pictures.std(dim=(1, 2, 3)).mean().item(),
        "colour": colour.mean().item(),
        "sharpness": pictures.diff(dim=-1).abs().mean().item(),
        "grey": (colour.amax(dim=(1, 2)) < 2).float().mean().item(),
    }


def levels_of(view: torch.Tensor) -> torch.Tensor:
    return (view * STD.view(3, 1, 1) + MEAN.view(3, 1, 1)) * 255


def test_both_ways_make_views_of_one_law(photograph: Path) -> None:
    ours = views_of(photograph, size=SIZE)
    augment = make_augmentation(SIZE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        obvious = [load_sample(photograph, BOX, augment) for _ in range(DRAWS)]
    fast = [ours[SampleKey(epoch, 0)] for epoch in range(DRAWS)]
    for part in ("global", "object"):
        names = [name for name in VIEW_NAMES if name.startswith(part)]
        expected = traits([levels_of(one[name]) for one in obvious for name in names])
        found = traits([one[name].float() for one in fast for name in names])
        for trait in ("light", "contrast", "colour", "sharpness"):
            assert found[trait] == pytest.approx(expected[trait], rel=0.1), (part, trait)
        assert found["grey"] == pytest.approx(expected["grey"], abs=0.06), part


STEPS = ("jitter", "grey", "blur", "flip")


def happening(drawn: Augmentation) -> list[str]:
    wanted = (bool(drawn.jitter), drawn.grey, drawn.blur_sigma_px > 0, drawn.flip)
    return [step for step, happens in zip(STEPS, wanted, strict=True) if happens]


def told(drawn: Augmentation, region_xyxy: Box) -> Augment:
    """Return the obvious augmentation with everything that it would draw replaced by what was drawn."""
    x0, y0, x1, y1 = drawn.crop_xyxy
    amounts: dict[str, float] = {name: amount for name, amount in drawn.jitter}  # noqa: C416 - of any names
    kinds = ("brightness", "contrast", "saturation", "hue")
    order = [kinds.index(name) for name, _ in drawn.jitter]
    augment = make_augmentation(SIDE)
    crop, jitter, grey, blur, flip = cast("transforms.Compose", augment).transforms[:5]
    crop.get_params = lambda *_: (y0 - region_xyxy[1], x0 - region_xyxy[0], y1 - y0, x1 - x0)
    jitter.transforms[0].get_params = lambda *_: (order, *(amounts.get(name) for name in kinds))
    blur.transforms = [RandomGaussianBlur((drawn.blur_sigma_px, drawn.blur_sigma_px))]
    for name, step in zip(STEPS, (jitter, grey, blur, flip), strict=True):
        step.p = 2.0 if name in happening(drawn) else -1.0  # whatever number is drawn between 0 and 1
    return augment


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("load") / "a.jpg"
    draw_photograph(WIDTH, HEIGHT, np.random.default_rng(0)).save(path, quality=95)
    return path


def views_of(photograph: Path, *, size: int, finished: bool = True) -> ViewSet:
    record = ImageRecord(path=photograph.name, label=None, split="train", width_px=WIDTH, height_px=HEIGHT, checksum="")
    boxes = torch.tensor([BOX])
    return ViewSet([record], root=photograph.parent, size=size, seed=0, crop_boxes_xyxy=boxes, finished=finished)


def both_ways(photo: Photo, drawn: Augmentation) -> list[torch.Tensor]:
    """Make a view beside the decoder, and on the device."""
    cut = photo.square(drawn.crop_xyxy, side_px=SIDE, snap=True)
    on_device = apply_changes(cut.unsqueeze(0), changes_of(drawn).unsqueeze(0))[0]
    return [apply_augmentation(photo, drawn, size=SIDE), on_device]


AS_LARGE = (25, 20, 25 + SIDE, 20 + SIDE)


# Most and mean levels are those of docs/decisions/0038.
@pytest.mark.parametrize(
    ("drawn", "most", "mean"),
    [
        (Augmentation(crop_xyxy=AS_LARGE), 0, 0),
        (Augmentation(crop_xyxy=AS_LARGE, flip=True), 0, 0),
        (Augmentation(crop_xyxy=(3, 4, 83, 67)), 1, 0.2),
        (Augmentation(crop_xyxy=AS_LARGE, jitter=(("brightness", 0.63),)), 0, 0),
        (Augmentation(crop_xyxy=AS_LARGE, jitter=(("brightness", 1.38),)), 0, 0),
        (Augmentation(crop_xyxy=AS_LARGE, jitter=(("contrast", 0.63),)), 1, 0.016),
        (Augmentation(crop_xyxy=AS_LARGE, jitter=(("contrast", 1.38),)), 1, 0.016),
        (Augmentation(crop_xyxy=AS_LARGE, jitter=(("saturation", 0.63),)), 1, 0.004),
        (Augmentation(crop_xyxy=AS_LARGE, jitter=(("saturation", 1.38),)), 1, 0.004),
        (Augmentation(crop_xyxy=AS_LARGE, jitter=(("hue", -0.09),)), 8, 0.42),
        (Augmentation(crop_xyxy=AS_LARGE, jitter=(("hue", 0.04),)), 8, 0.42),
        (Augmentation(crop_xyxy=AS_LARGE, grey=True), 0, 0),
        (Augmentation(crop_xyxy=AS_LARGE, blur_sigma_px=0.37), 4, 0.47),
        (Augmentation(crop_xyxy=AS_LARGE, blur_sigma_px=1.87), 4, 0.47),
    ],
)
def test_each_operation_alone_makes_the_same_picture(
    photograph: Path, drawn: Augmentation, most: int, mean: float
) -> None:
    whole = (0, 0, WIDTH, HEIGHT)
    with Image.open(photograph) as picture:
        expected = levels_of(told(drawn, whole)(picture.convert("RGB")))
    photo = read_photo(views_of(photograph, size=SIDE).records[0], root=photograph.parent)
    for view in both_ways(photo, drawn):
        apart = (view - expected).abs()
        assert apart.max() <= most + ROUNDING
        assert apart.mean() <= mean + ROUNDING


def one_after_another(augmentations: list[Augment]) -> Augment:
    remaining = iter(augmentations)

    def augment(picture: Image.Image) -> torch.Tensor:
        return next(remaining)(picture)

    return augment


@pytest.mark.parametrize("finished", [True, False])
def test_the_same_draws_make_the_same_samples(photograph: Path, finished: bool) -> None:
    ours = views_of(photograph, size=SIDE, finished=finished)
    regions = {name: BOX if name.startswith("object") else (0, 0, WIDTH, HEIGHT) for name in VIEW_NAMES}
    order: tuple[ViewName, ...] = ("global_1", "global_2", "object_1", "object_2")
    drawn = {epoch: ours.draw(SampleKey(epoch, 0)) for epoch in range(12)}
    assert {step for views in drawn.values() for view in views.values() for step in happening(view)} == set(STEPS)
    for epoch, views in drawn.items():
        expected = load_sample(photograph, BOX, one_after_another([told(views[name], regions[name]) for name in order]))
        batch = {name: values.unsqueeze(0) for name, values in ours[SampleKey(epoch, 0)].items()}
        for name, view in finish_views(batch, VIEW_NAMES, torch.device("cpu")).items():
            apart = (view[0] - levels_of(expected[name])).abs()
            assert apart.max() <= 15 + ROUNDING, (name, views[name])  # the sum over the operations above
            assert apart.mean() <= 1.1 + ROUNDING, (name, views[name])


@pytest.mark.parametrize(("make", "target"), [(load, 2.5), (load_cached, 3.0), (load_large, 6.0)])
def test_cases_ask_for_what_was_promised(make: Callable[..., Case], target: float) -> None:
    for quick in (True, False):
        case = make(quick=quick)
        assert case.name == make.__name__
        assert case.target == target
