import csv
import hashlib
import json
import signal
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from leadpp.data.building import build_index
from leadpp.data.sources.folder import read_folder
from leadpp.data.truth import add_boxes
from leadpp.errors import ArtifactError, LeadppError, WorldError
from leadpp.stages.world import make_world
from leadpp.text.descriptions import read_descriptions
from leadpp.text.names import match_names, read_names
from leadpp.world import photographs
from leadpp.world.attributes import Species
from leadpp.world.describing import describe
from leadpp.world.families import draw_species

SMALL: dict[str, Any] = {"species": 6, "per_species": 5, "size": 40, "seed": 3}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "birds"
    make_world(out, **SMALL)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_it_is_an_ordinary_folder_without_a_remark(world: Path) -> None:
    index = build_index(add_boxes(read_folder(world), None), seed=0)
    assert index.notes() == []
    assert index.split_origin == "given"
    assert Counter(record.split for record in index.usable()) == {"train": 18, "test": 12}
    assert all((record.width_px, record.height_px) == (40, 40) for record in index.records)
    assert all(record.true_box_xyxy is not None and record.duplicate_of is None for record in index.records)
    assert Counter(record.label for record in index.records) == dict.fromkeys(index.classes, 5)
    texts = read_descriptions(world / "descriptions.csv")
    names = read_names(world / "names.txt")
    assert sorted(match_names(names, index.classes)) == sorted(match_names(list(texts), index.classes)) == [*range(6)]
    assert tuple(texts) == names


def test_masks_lie_in_their_boxes_and_are_of_one_bit(world: Path) -> None:
    boxes = {row.pop("path"): [int(edge) for edge in row.values()] for row in rows(world / "bboxes.csv")}
    masks = {path.relative_to(world / "masks").with_suffix(".jpg").as_posix() for path in world.glob("masks/**/*.png")}
    assert masks == boxes.keys() == {path.relative_to(world).as_posix() for path in world.glob("t*/**/*.jpg")}
    for path, (x0, y0, x1, y1) in boxes.items():
        with Image.open(world / "masks" / Path(path).with_suffix(".png")) as image:
            assert (image.mode, image.size) == ("1", (40, 40))
            mask = np.asarray(image)
        assert mask.any()
        assert mask.sum() == mask[y0:y1, x0:x1].sum()


def test_the_tables_tell_the_species(world: Path) -> None:
    species = draw_species(6, seed=3)
    table = rows(world / "attributes.csv")
    texts = read_descriptions(world / "descriptions.csv")
    for one, row in zip(species, table, strict=True):
        name = row.pop("name")
        assert texts[name] == (describe(one, name=name, seed=3),)
        crown_colour = row.pop("crown_colour")
        assert crown_colour == ("" if one.crown == "plain" else one.crown_colour)
        assert row.items() <= one.values().items()
    facts = json.loads((world / "world.json").read_text())
    assert SMALL.items() <= facts.items()
    assert facts["descriptions"] == 1
    assert "Descriptions of each species: 1," in (world / "README.md").read_text()
    assert facts["describer"] == {"omission": 0.15, "error": 0.03}
    digest = hashlib.blake2b(digest_size=16)
    for row in rows(world / "bboxes.csv"):
        digest.update((world / row["path"]).read_bytes())
    assert facts["digest"] == digest.hexdigest()
    with Image.open(world / "contact-sheet.jpg") as sheet:
        assert sheet.width > 5 * 40
        assert sheet.height > 6 * 40


def test_the_first_description_is_the_same_however_many_there_are(world: Path, tmp_path: Path) -> None:
    made = make_world(tmp_path / "w", **SMALL, descriptions=3)
    texts, usual = read_descriptions(tmp_path / "w" / "descriptions.csv"), read_descriptions(world / "descriptions.csv")
    assert usual == {name: several[:1] for name, several in texts.items()}
    assert {len(set(several)) for several in texts.values()} == {3}
    assert (made["descriptions"], json.loads((tmp_path / "w" / "world.json").read_text())["descriptions"]) == (3, 3)
    assert "Descriptions of each species: 3," in (tmp_path / "w" / "README.md").read_text()
    changed = {name for name, content in contents(world).items() if contents(tmp_path / "w")[name] != content}
    assert changed == {"descriptions.csv", "world.json", "README.md"}


def test_a_description_that_says_the_same_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def repeat(species: Species, *, name: str, seed: int, variant: int) -> str:
        del species, seed
        return f"{name} {variant // 2}"

    monkeypatch.setattr("leadpp.stages.world.describe", repeat)
    make_world(tmp_path / "w", species=2, per_species=1, size=32, seed=0, descriptions=3)
    texts = read_descriptions(tmp_path / "w" / "descriptions.csv")
    assert all(several == (f"{name} 0", f"{name} 1", f"{name} 2") for name, several in texts.items())


@pytest.mark.slow
def test_the_same_world_with_any_number_of_processes(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photographs, "PATIENCE_S", 0.0)
    before = signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    make_world(tmp_path / "pool", **SMALL, workers=2)
    assert (signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, ())) == before
    assert contents(tmp_path / "pool") == contents(world)


def test_seeds_make_other_worlds_and_sizes_the_same_birds(world: Path, tmp_path: Path) -> None:
    make_world(tmp_path / "other", **{**SMALL, "seed": 4})
    assert read_names(tmp_path / "other" / "names.txt") != read_names(world / "names.txt")
    make_world(tmp_path / "larger", **{**SMALL, "size": 80})
    assert (tmp_path / "larger" / "descriptions.csv").read_text() == (world / "descriptions.csv").read_text()
    pairs = zip(rows(world / "bboxes.csv"), rows(tmp_path / "larger" / "bboxes.csv"), strict=True)
    for small, large in pairs:
        assert small["path"] == large["path"]
        # a thin bill or tail may be lost to one of the sizes
        assert all(abs(2 * int(small[edge]) - int(large[edge])) <= 12 for edge in ("x0", "y0", "x1", "y1"))


@pytest.mark.parametrize(("correlate", "own"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_correlation_is_the_share_of_backdrops_that_tell_the_species(
    correlate: float, own: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[str | None]] = defaultdict(list)

    def note(order: photographs.Order) -> photographs.Photograph:
        asked[str(order.species)].append(order.backdrop)
        return photograph

    photograph = photographs.take(
        photographs.Order(species=draw_species(1, seed=0)[0], seed=0, index=0, size=32, backdrop=None)
    )
    monkeypatch.setattr(photographs, "take", note)
    make_world(tmp_path / "w", species=10, per_species=60, size=32, seed=0, correlate=correlate)
    told = [backdrop for backdrops in asked.values() for backdrop in backdrops if backdrop is not None]
    assert len(told) / 600 == pytest.approx(own, abs=0.07)
    assert all(len(set(backdrops) - {None}) <= 1 for backdrops in asked.values())
    assert len(set(told)) == (5 if correlate else 0)  # look-alikes of a family have backdrops of their own


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"species": 0}, "--species must be at least 1, got 0"),
        ({"per_species": -2}, "--per-species must be at least 1, got -2"),
        ({"size": 31}, "--size must be at least 32, got 31"),
        ({"size": 2049}, "--size must be at most 2048 pixels, got 2049"),
        ({"seed": -1}, "--seed must be 0 or more, got -1"),
        ({"descriptions": 0}, "--descriptions must be at least 1, got 0"),
        ({"correlate": 1.5}, "--correlate must be from 0 to 1"),
        ({"correlate": float("nan")}, "--correlate must be from 0 to 1"),
        ({"species": 10**12}, "at most"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(WorldError, match=said):
        make_world(tmp_path / "w", **{**SMALL, **settings})
    assert not list(tmp_path.iterdir())


def test_only_worlds_are_overwritten_and_only_when_asked(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "w"
    out.mkdir()
    make_world(out, species=1, per_species=1, size=32, seed=0)  # an empty folder is as good as none
    before = contents(out)
    with pytest.raises(WorldError, match="--overwrite"):
        make_world(out, **SMALL)
    assert contents(out) == before
    make_world(out, **SMALL, overwrite=True)
    assert contents(out) == contents(world)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("dear to me")
    for overwrite in (False, True):
        with pytest.raises(WorldError, match="not a world"):
            make_world(other, **SMALL, overwrite=overwrite)
    with pytest.raises(WorldError, match="found a file"):
        make_world(other / "mine.txt", **SMALL, overwrite=True)
    assert contents(other) == {"mine.txt": b"dear to me"}
    with pytest.raises(ArtifactError, match="a file stands"):
        make_world(other / "mine.txt" / "w", **SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "w"]


def test_what_is_not_of_the_world_is_never_removed(tmp_path: Path) -> None:
    out = tmp_path / "w"
    make_world(out, species=1, per_species=1, size=32, seed=0)
    (out / "mine.txt").write_text("dear to me")
    before = contents(out)
    with pytest.raises(WorldError, match=r"holds 'mine\.txt' beside the world"):
        make_world(out, species=1, per_species=2, size=32, seed=0, overwrite=True)
    assert contents(out) == before
    (out / "mine.txt").unlink()
    make_world(out, species=1, per_species=2, size=32, seed=0, overwrite=True)


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failure_leaves_what_was_there(
    failure: BaseException, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "w"
    make_world(out, species=1, per_species=1, size=32, seed=0)
    before = contents(out)
    take = photographs.take
    photographs_left: Iterator[int] = iter(range(7))

    def stop(order: photographs.Order) -> photographs.Photograph:
        if next(photographs_left, None) is None:
            raise failure
        return take(order)

    monkeypatch.setattr(photographs, "take", stop)
    with pytest.raises((KeyboardInterrupt, LeadppError)) as caught:
        make_world(out, **SMALL, overwrite=True)
    assert caught.type is KeyboardInterrupt or "the disk is full" in str(caught.value)
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["w"]
