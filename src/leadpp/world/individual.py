"""What differs from picture to picture of the same species: bird, place, light and camera."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from leadpp.functional.randomness import derive_seed

Backdrop = Literal["foliage", "water", "sky", "bark", "urban"]
"""Where the bird was met."""
Pose = Literal["side", "turned", "flying"]
"""Seen from the side, turned three quarters towards the camera, or in flight."""

BACKDROPS: Final[tuple[Backdrop, ...]] = get_args(Backdrop)
POSES: Final[tuple[Pose, ...]] = get_args(Pose)


@dataclass(frozen=True, kw_only=True, slots=True)
class Individual:
    """One bird on one occasion; lengths are shares of the frame's side, angles radians."""

    pose: Pose
    facing: int
    """1 to the right, -1 to the left."""
    tilt: float
    """Of the body, positive with the head down."""
    nod: float
    """Of the head against the body."""
    gait: float
    """In [0, 1]: where the legs or the beating wings are in their swing."""
    scale: float
    """Longer side of the bird's box."""
    place: tuple[float, float]
    """Where in the room that the box leaves, each in [0, 1]."""
    pale: float
    """How far the plumage is washed out; 0 in an adult male."""
    weak: float
    """How far the markings fade; 0 in an adult."""
    light: tuple[float, float]
    """Direction to the light, right and down; the length says how one-sided it is."""
    cast: tuple[float, float, float]
    """Gains of red, green and blue."""
    exposure: float
    """Gain of all channels."""
    blur: float
    """Standard deviation of the lens's blur."""
    noise: float
    """Standard deviation of the sensor's noise, in levels of 255."""
    quality: int
    """Of the JPEG file."""
    twigs: int
    """How many twigs hang in front of the bird."""
    backdrop: Backdrop
    texture: int
    """Seed of everything that is grain: feathers, leaves, noise."""


def draw_individual(*, seed: int, key: int, index: int) -> Individual:
    """Draw picture ``index`` of the species whose key is ``key``; a function of its arguments alone."""
    rng = np.random.Generator(np.random.PCG64(derive_seed(seed, "world/individual", key, index)))
    pose = POSES[int(rng.choice(3, p=(0.5, 0.32, 0.18)))]
    angle = rng.uniform(-2.4, -0.7)
    lopsided = rng.uniform(0.4, 1.0)
    warmth, tint = rng.normal(0, 0.045), rng.normal(0, 0.02)
    tilt = rng.normal(-0.12, 0.14) if pose != "flying" else rng.normal(0.30, 0.18)
    return Individual(
        pose=pose,
        facing=1 if rng.random() < 0.5 else -1,
        tilt=float(np.clip(tilt, -0.6, 0.7)),
        nod=float(np.clip(rng.normal(0, 0.16), -0.4, 0.4)),
        gait=float(rng.random()),
        scale=float(0.2 + 0.6 * rng.beta(2.6, 1.3)),
        place=(float(rng.beta(1.6, 1.6)), float(rng.beta(1.6, 1.6))),
        pale=float(rng.choice([0.0, 0.0, 0.1, 0.2])),
        weak=float(rng.choice([0.0, 0.0, 0.0, 0.3])),
        light=(float(np.cos(angle) * lopsided), float(np.sin(angle) * lopsided)),
        cast=(float(np.exp(warmth + tint)), float(np.exp(-tint)), float(np.exp(-warmth + tint))),
        exposure=float(np.exp(rng.normal(-0.02, 0.10))),
        blur=float(0.008 * rng.beta(1.0, 3.0)),
        noise=float(rng.uniform(1.0, 6.0)),
        quality=int(rng.integers(72, 95)),
        twigs=int(rng.choice([0, 0, 0, 1, 2, 3])),
        backdrop=BACKDROPS[int(rng.integers(len(BACKDROPS)))],
        texture=int(rng.integers(2**62)),
    )
