"""Light on the bird, and what lens, sensor and file do to a picture."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from leadpp.world.curves import floats
from leadpp.world.individual import Individual

Array = npt.NDArray[np.float32]


def shade(colours: Array, alpha: Array, *, individual: Individual, rng: np.random.Generator) -> Array:
    """Light a flatly painted bird from one side and give it the grain of feathers; (H, W, 3) in 0..255."""
    lit = 0.6 * _slope(alpha, grid=9, light=individual.light) + 0.4 * _slope(alpha, grid=20, light=individual.light)
    feathers = _enlarge(rng.standard_normal((34, 20), dtype=np.float32), alpha)
    barbs = _enlarge(rng.standard_normal((56, 84), dtype=np.float32), alpha)
    gain = 0.98 + np.clip(lit * 1.5, -0.6, 0.45) + 0.04 * feathers + 0.05 * barbs
    shaded: Array = colours * np.clip(gain, 0.35, 1.5)[..., None]
    return shaded


def _slope(alpha: Array, *, grid: int, light: tuple[float, float]) -> Array:
    """Return how far a surface that bulges with its silhouette, blurred to ``grid`` cells, turns to the light."""
    height, width = alpha.shape
    cell = max(height, width) / grid
    cells = (max(3, round(width / cell)), max(3, round(height / cell)))
    bulge = np.asarray(Image.fromarray(np.pad(alpha, int(cell))).resize(cells, Image.Resampling.BOX))
    down, right = np.gradient(bulge)
    padded = np.empty((height + 2 * int(cell), width + 2 * int(cell)), np.float32)
    inner = _enlarge(floats(-light[0] * right - light[1] * down), padded)
    return inner[int(cell) : int(cell) + height, int(cell) : int(cell) + width]


def _enlarge(field: Array, like: Array) -> Array:
    height, width = like.shape
    return np.asarray(Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC))


def expose(
    scene: Array, *, individual: Individual, size: int, rng: np.random.Generator
) -> tuple[bytes, npt.NDArray[np.uint8]]:
    """Photograph a scene of (S, S, 3) in 0..255: cast, blur, noise, JPEG; returns the file and what it decodes to."""
    gains = floats(individual.cast) * individual.exposure
    image = Image.fromarray(np.clip(scene * gains, 0, 255).astype(np.uint8))
    if individual.blur * size > 0.25:
        image = image.filter(ImageFilter.GaussianBlur(individual.blur * size))
    grain = rng.standard_normal((size, size, 1), dtype=np.float32)
    noisy = np.asarray(image, np.float32) + grain * individual.noise
    file = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=individual.quality)
    jpeg = file.getvalue()
    return jpeg, np.asarray(Image.open(io.BytesIO(jpeg), formats=["JPEG"]).convert("RGB"))
