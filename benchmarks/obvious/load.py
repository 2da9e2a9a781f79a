"""One training sample, four views of one photograph, as a researcher first writes it.

What is plain about it: the photograph is decoded whole whatever the views need, every view walks through its own chain
of Pillow operations of torchvision, and becomes a normalised float tensor beside the decoder.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms

Views = dict[str, torch.Tensor]
BoxXyxy = tuple[int, int, int, int]

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class RandomGaussianBlur:
    """Pillow's blur with a standard deviation drawn between two limits, as in MoCo v2's code."""

    def __init__(self, sigma_px: tuple[float, float]) -> None:
        self.sigma_px = sigma_px

    def __call__(self, view: Image.Image) -> Image.Image:
        """Return the blurred view."""
        from PIL import ImageFilter

        sigma = torch.empty(()).uniform_(*self.sigma_px).item()
        return view.filter(ImageFilter.GaussianBlur(radius=sigma))


def make_augmentation(size: int) -> Callable[[Image.Image], torch.Tensor]:
    """Return the paper's augmentation; one call makes one view, float32 (3, size, size)."""
    augmentation: Callable[[Image.Image], torch.Tensor] = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.2, 1.0)),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.RandomApply([RandomGaussianBlur((0.1, 2.0))], p=0.5),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(_MEAN, _STD),
        ]
    )
    return augmentation


def load_sample(path: Path, box_xyxy: BoxXyxy, augment: Callable[[Image.Image], torch.Tensor]) -> Views:
    """Read a photograph and make two views of all of it and two of its object box."""
    with path.open("rb") as stream:
        photo = Image.open(stream).convert("RGB")
    item = photo.crop(box_xyxy)
    return {
        "global_1": augment(photo),
        "global_2": augment(photo),
        "object_1": augment(item),
        "object_2": augment(item),
    }
