"""A photograph-like picture of a bird, with what is true of it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from leadpp.functional.randomness import derive_seed
from leadpp.world.attributes import Species
from leadpp.world.backdrop import paint_backdrop
from leadpp.world.bird import bird_patches
from leadpp.world.camera import Array, expose, shade
from leadpp.world.curves import floats
from leadpp.world.foreground import Layer, paint_perch, paint_twigs
from leadpp.world.individual import Backdrop, Individual, draw_individual
from leadpp.world.patches import bounds, rasterise

_MARGIN = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture and its truth."""

    image: npt.NDArray[np.uint8]
    """Exactly what ``jpeg`` decodes to, shape (S, S, 3)."""
    mask: npt.NDArray[np.bool_]
    """Pixels that show the bird, shape (S, S); what hangs in front of it is left out."""
    box_xyxy: tuple[int, int, int, int]
    """Half-open box of the whole bird, covered parts included."""
    jpeg: bytes
    """The file."""


def draw_picture(species: Species, *, seed: int, index: int, size: int, backdrop: Backdrop | None = None) -> Picture:
    """Draw picture ``index`` of a species.

    Args:
        species: What is seen.
        seed: Of the world.
        index: Of the picture among those of the species.
        size: Side in pixels; it changes the resolution and nothing else.
        backdrop: Where the bird is; drawn without regard to the species unless given.

    Returns:
        The picture; a function of the arguments alone.
    """
    individual = draw_individual(seed=seed, key=species.key(), index=index)
    return picture_of(species, individual, size=size, backdrop=backdrop)


def picture_of(species: Species, individual: Individual, *, size: int, backdrop: Backdrop | None = None) -> Picture:
    """Draw one individual."""
    place = backdrop or individual.backdrop
    rng = np.random.Generator(np.random.PCG64(derive_seed(individual.texture, "world/place")))
    scene = np.array(paint_backdrop(place, size=size, rng=rng), np.float32)
    bird = _paint_bird(species, individual, size=size)
    if individual.pose != "flying":
        _lay(scene, paint_perch(feet=bird.feet, backdrop=place, size=size, rng=rng))
    rows, columns = slice(bird.top, bird.top + bird.alpha.shape[0]), slice(bird.left, bird.left + bird.alpha.shape[1])
    grain = np.random.Generator(np.random.PCG64(derive_seed(individual.texture, "world/feathers")))
    colours = shade(bird.colours, bird.alpha, individual=individual, rng=grain)
    scene[rows, columns] += (colours - scene[rows, columns]) * bird.alpha[..., None]
    silhouette = np.zeros((size, size), np.float32)
    silhouette[rows, columns] = bird.alpha
    whole = silhouette > 0.5
    visible = whole
    if individual.twigs:
        hang = np.random.Generator(np.random.PCG64(derive_seed(individual.texture, "world/twigs")))
        twigs = paint_twigs(individual.twigs, box=bird.box, size=size, rng=hang)
        _lay(scene, twigs)
        visible = whole & (np.asarray(twigs.cover) < 128)
    sensor = np.random.Generator(np.random.PCG64(derive_seed(individual.texture, "world/sensor")))
    jpeg, image = expose(scene, individual=individual, size=size, rng=sensor)
    return Picture(image, visible, _box(whole), jpeg)


@dataclass(frozen=True, slots=True, eq=False)
class _Bird:
    colours: Array
    alpha: Array
    left: int
    top: int
    feet: npt.NDArray[np.float32]
    box: tuple[float, float, float, float]


def _paint_bird(species: Species, individual: Individual, *, size: int) -> _Bird:
    patches = bird_patches(species, individual)
    low, high, stand = bounds(patches)
    extent = high - low
    unit = individual.scale / float(extent.max())
    corner = _MARGIN + floats(individual.place) * (1 - 2 * _MARGIN - extent * unit)
    mirror = individual.facing < 0
    first = floats([high[0] if mirror else low[0], low[1]])
    sign = floats([-1 if mirror else 1, 1])
    shift = corner - sign * first * unit
    far = corner + extent * unit
    start = np.floor(corner * size).astype(int) - 1
    stop = np.ceil(far * size).astype(int) + 1
    start, stop = np.maximum(start, 0), np.minimum(stop, size)
    width, height = (int(side) for side in stop - start)
    fine = 2 if max(width, height) > 52 else 3
    colours, silhouette = rasterise(
        patches,
        scale=unit * size * fine,
        shift=((shift * size - start) * fine).astype(np.float32),
        mirror=mirror,
        shape=(width * fine, height * fine),
    )
    return _Bird(
        colours=_demultiply(colours.reduce(fine), silhouette.reduce(fine)),
        alpha=np.asarray(silhouette.reduce(fine), np.float32) / np.float32(255),
        left=int(start[0]),
        top=int(start[1]),
        feet=floats(stand * sign * unit + shift),
        box=(float(corner[0]), float(corner[1]), float(far[0]), float(far[1])),
    )


def _demultiply(colours: Image.Image, silhouette: Image.Image) -> Array:
    cover = np.maximum(np.asarray(silhouette, np.float32), 1) / np.float32(255)
    return floats(np.asarray(colours, np.float32) / cover[..., None])


def _lay(scene: Array, layer: Layer) -> None:
    cover = np.asarray(layer.cover, np.float32)[..., None] / np.float32(255)
    scene += (np.asarray(layer.colour, np.float32) - scene) * cover


def _box(whole: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
