import dataclasses
import io
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from leadpp.world.attributes import OPTIONS, Species
from leadpp.world.individual import BACKDROPS, POSES, Individual, Pose, draw_individual
from leadpp.world.picture import Picture, draw_picture, picture_of


def species_of(seed: int) -> Species:
    rng = np.random.default_rng(seed)
    return Species(**{name: str(rng.choice(values)) for name, values in OPTIONS.items()})


def calm(*, pose: Pose = "side", scale: float = 0.8, index: int = 0) -> Individual:
    """An individual in plain view under neutral light, drawn sharp."""
    drawn = draw_individual(seed=3, key=7, index=index)
    return dataclasses.replace(
        drawn, pose=pose, scale=scale, pale=0.0, weak=0.0, twigs=0, blur=0.0, noise=0.0, quality=95
    )


def same(first: Picture, second: Picture) -> bool:
    return first.jpeg == second.jpeg and first.box_xyxy == second.box_xyxy and bool((first.mask == second.mask).all())


def test_picture_does_not_depend_on_what_was_drawn_before() -> None:
    first = draw_picture(species_of(1), seed=0, index=5, size=64)
    for index in range(4):
        draw_picture(species_of(2), seed=9, index=index, size=64)
    assert same(first, draw_picture(species_of(1), seed=0, index=5, size=64))


def test_fresh_process_draws_the_same_file() -> None:
    species = species_of(4)
    code = (
        "import sys; from leadpp.world.attributes import Species; from leadpp.world.picture import draw_picture; "
        f"sys.stdout.buffer.write(draw_picture({species!r}, seed=2, index=1, size=48).jpeg)"
    )
    fresh = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout
    assert fresh == draw_picture(species, seed=2, index=1, size=48).jpeg


@pytest.mark.parametrize(("seed", "index"), [(1, 0), (0, 1)])
def test_other_seed_or_index_is_another_picture(seed: int, index: int) -> None:
    first = draw_picture(species_of(0), seed=0, index=0, size=64)
    second = draw_picture(species_of(0), seed=seed, index=index, size=64)
    assert np.abs(first.image.astype(int) - second.image).mean() > 5


def test_colour_of_a_crown_that_does_not_show_changes_nothing() -> None:
    species = dataclasses.replace(species_of(0), crown="plain", crown_colour="red")
    unseen = dataclasses.replace(species, crown_colour="blue")
    assert same(*(draw_picture(s, seed=0, index=0, size=64) for s in (species, unseen)))


def test_image_is_what_the_file_decodes_to() -> None:
    picture = draw_picture(species_of(0), seed=0, index=0, size=96)
    decoded = np.asarray(Image.open(io.BytesIO(picture.jpeg)).convert("RGB"))
    assert picture.image.shape == (96, 96, 3)
    assert picture.image.dtype == np.uint8
    np.testing.assert_array_equal(picture.image, decoded)


@pytest.mark.parametrize("size", [32, 64, 160, 512])
def test_size_changes_only_the_resolution(size: int) -> None:
    for index in range(4):
        picture = draw_picture(species_of(index), seed=0, index=index, size=size)
        reference = draw_picture(species_of(index), seed=0, index=index, size=128)
        box, expected = np.array(picture.box_xyxy) / size, np.array(reference.box_xyxy) / 128
        assert np.abs(box - expected).max() < 1.6 / min(size, 128)
        if size >= 64:
            small, large = (
                Image.fromarray(p.image).resize((32, 32), Image.Resampling.BOX) for p in (picture, reference)
            )
            assert np.abs(np.asarray(small, float) - np.asarray(large, float)).mean() < 6


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("scale", [0.2, 0.5, 0.8])
def test_box_bounds_the_silhouette_and_has_the_scale_that_was_drawn(pose: Pose, scale: float) -> None:
    for index in range(6):
        picture = picture_of(species_of(index), calm(pose=pose, scale=scale, index=index), size=128)
        rows, columns = np.nonzero(picture.mask)
        left, top, right, bottom = picture.box_xyxy
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (left, top, right, bottom)
        assert min(left, top) >= 0
        assert max(right, bottom) <= 128
        assert max(right - left, bottom - top) / 128 == pytest.approx(scale, abs=0.05)


def test_twigs_cover_part_of_the_bird_and_leave_its_box() -> None:
    covered = 0
    for index in range(8):
        free = calm(index=index)
        bare, behind = (picture_of(species_of(0), dataclasses.replace(free, twigs=n), size=96) for n in (0, 3))
        assert behind.box_xyxy == bare.box_xyxy
        assert not (behind.mask & ~bare.mask).any()
        assert behind.mask.sum() > 0.3 * bare.mask.sum()
        covered += bool(behind.mask.sum() < bare.mask.sum())
    assert covered >= 6


PLAIN = Species(
    build="plump",
    bill_length="medium",
    bill_shape="straight",
    bill_colour="orange",
    crown="capped",
    crown_colour="black",
    eye_ring="none",
    throat_colour="plain",
    breast="plain",
    wing_bars="none",
    back="plain",
    upper_colour="olive",
    under_colour="buff",
    tail_length="medium",
    tail_shape="square",
    leg_colour="pink",
)


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("attribute", OPTIONS)
def test_every_value_of_every_attribute_shows(attribute: str, pose: Pose) -> None:
    """At the size at which a network meets it: a bird that fills 60 % of 96 pixels."""
    individual = calm(pose=pose, scale=0.6, index=2)
    pictures = [
        picture_of(dataclasses.replace(PLAIN, **{attribute: value}), individual, size=96)
        for value in OPTIONS[attribute]
    ]
    for place, first in enumerate(pictures):
        for second in pictures[place + 1 :]:
            change = np.abs(first.image.astype(int) - second.image).max(2)
            bird = first.mask | second.mask
            assert (change[bird] > 25).sum() >= 5


def test_attributes_outside_the_change_stay_as_they_are() -> None:
    individual = calm(index=2)
    red, black = (
        picture_of(dataclasses.replace(PLAIN, leg_colour=colour), individual, size=128)
        for colour in ("orange", "black")
    )
    middle = (red.box_xyxy[1] + red.box_xyxy[3]) // 2
    assert np.abs(red.image[:middle].astype(int) - black.image[:middle]).mean() < 1
    assert np.abs(red.image[middle:].astype(int) - black.image[middle:]).mean() > 1


def test_places_are_drawn_without_regard_to_the_species() -> None:
    for key in (1, 2):
        counts = Counter(draw_individual(seed=0, key=key, index=index).backdrop for index in range(500))
        assert set(counts) == set(BACKDROPS)
        # 5 standard deviations of a share of a fifth
        assert all(abs(count - 100) < 5 * (500 * 0.2 * 0.8) ** 0.5 for count in counts.values())


def test_backdrop_that_is_asked_for_keeps_the_bird() -> None:
    pictures = [draw_picture(species_of(0), seed=0, index=0, size=64, backdrop=place) for place in BACKDROPS]
    assert len({picture.box_xyxy for picture in pictures}) == 1
    assert len({picture.jpeg for picture in pictures}) == len(BACKDROPS)


def test_individuals_span_the_range_that_is_promised() -> None:
    drawn = [draw_individual(seed=0, key=0, index=index) for index in range(400)]
    scales = [individual.scale for individual in drawn]
    assert 0.2 <= min(scales) < 0.4
    assert 0.7 < max(scales) <= 0.8
    assert {individual.pose for individual in drawn} == set(POSES)
    assert {individual.facing for individual in drawn} == {-1, 1}
    assert 0.2 < np.mean([individual.twigs > 0 for individual in drawn]) < 0.7
    assert max(max(individual.cast) / min(individual.cast) for individual in drawn) < 1.6
