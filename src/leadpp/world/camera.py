"""Light on the bird, and what lens, sensor and file do to a picture."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from leadpp.world.individual import Individual

Array = npt.NDArray[np.float32]


def relief(alpha: Array, *, grid: int) -> Array:
    """Return a soft height over a silhouette: its coverage, blurred to ``grid`` cells; (H, W) -> (H, W)."""
    height, width = alpha.shape
    longest = max(height, width)
    small = (max(3, round(width * grid / longest)), max(3, round(height * grid / longest)))
    image = Image.fromarray(alpha).resize(small, Image.Resampling.BOX)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def shade(colours: Array, alpha: Array, *, individual: Individual, rng: np.random.Generator) -> Array:
    """Light a flatly painted bird from one side and give it the grain of feathers; (H, W, 3) in 0..255."""
    height, width = alpha.shape
    longest = max(height, width)
    light = np.zeros_like(alpha)
    for grid, share in ((9, 0.6), (20, 0.4)):
        down, right = np.gradient(relief(alpha, grid=grid))
        slope = (right * -individual.light[0] + down * -individual.light[1]) * (longest / grid)
        light += share * slope
    grain = rng.standard_normal((34, 20), dtype=np.float32)
    feathers = np.asarray(Image.fromarray(grain).resize((width, height), Image.Resampling.BICUBIC))
    gain = 0.98 + np.clip(light, -0.6, 0.5) * 0.9 + 0.045 * feathers
    lit: Array = colours * np.clip(gain, 0.35, 1.5)[..., None]
    return lit


def expose(
    scene: Array, *, individual: Individual, size: int, rng: np.random.Generator
) -> tuple[bytes, npt.NDArray[np.uint8]]:
    """Photograph a scene of (S, S, 3) in 0..255: cast, blur, noise, JPEG; returns the file and what it decodes to."""
    gains = np.float32(individual.cast) * individual.exposure
    image = Image.fromarray(np.clip(scene * gains, 0, 255).astype(np.uint8))
    if individual.blur * size > 0.25:
        image = image.filter(ImageFilter.GaussianBlur(individual.blur * size))
    grain = rng.standard_normal((size, size, 3), dtype=np.float32)
    noisy = np.asarray(image, np.float32) + grain * individual.noise
    file = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=individual.quality)
    jpeg = file.getvalue()
    return jpeg, np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
