"""Naming photographs: which names, how sure, from which pictures; what is written, and what no name can do there."""

import base64
import csv
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from leadpp.config.tree import Config
from leadpp.data.boxes import read_boxes
from leadpp.data.index import write_index
from leadpp.engine.runtime import SilentProgress, T
from leadpp.errors import ArtifactError, DataError, LeadppError, TextError, WeightsError
from leadpp.io.artifacts import read_json, read_table, write_table
from leadpp.stages.embed import embed
from leadpp.stages.evaluate import evaluate
from leadpp.stages.localize import localize
from leadpp.stages.names import name
from leadpp.text.prototypes import Prototypes, read_prototypes, write_prototypes
from tests.unit.stages.evaluation_world import (
    COLOURS,
    TEST,
    World,
    colour_teacher,
    draw_world,
    save_prototypes,
    save_student,
)

HOSTILE = '<script>alert("1")</script>'


@pytest.fixture(scope="module")
def whole_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = draw_world(tmp_path_factory.mktemp("world"))
    save_prototypes(world.run)
    write_index(world.run / "index.parquet", world.index)
    return world


@pytest.fixture
def world(whole_world: World, tmp_path: Path) -> World:
    shutil.copytree(whole_world.run, tmp_path / "run")
    return dataclasses.replace(whole_world, run=tmp_path / "run")


def settings(world: World, **changes: Any) -> Config:  # noqa: ANN401 - fields of any group
    config = world.config
    for key, value in changes.items():
        group, _, field = key.partition("__")
        config = dataclasses.replace(config, **{group: dataclasses.replace(getattr(config, group), **{field: value})})
    return config


def run_stage(world: World, *images: Path, out: Path | None = None, **changes: Any) -> tuple[dict[str, Any], str]:  # noqa: ANN401
    progress = SilentProgress()
    config = settings(world, **changes)
    found = name(images or (world.index.root / "test",), run=world.run, out=out, config=config, progress=progress)
    return found, "\n".join(progress.notes)


def localized(world: World) -> Config:
    """Give the run a localizer and boxes of its own."""
    config = settings(world, localize__backbone=world.config.student.backbone, localize__size=64)
    localize(index=world.index, run=world.run, config=config)
    return config


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


class Page(HTMLParser):
    """What a browser would make of a page: tags, their attributes, and the words of scripts and cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and not self.scripts:
            self.scripts.append(data)
        self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_teacher_names_colours_and_says_how_sure_it_is(world: World) -> None:
    found, _ = run_stage(world, name__by="teacher", name__top=3)
    assert (found["images"], found["bad"], list(found["by"])) == (TEST * len(COLOURS), [], ["teacher"])
    assert found["looked_at"] == "whole photographs, because the run has no localizer"
    prototypes = read_prototypes(world.run / "prototypes.safetensors")
    for row in found["photographs"]:
        pixels = torch.from_numpy(_centre(Path(row["path"]))).permute(2, 0, 1)[None]
        cosines = (colour_teacher().encode_images(pixels) @ prototypes.vectors.T)[0]
        best = cosines.argsort(descending=True)[:3]
        assert [one["name"] for one in row["teacher"]["names"]] == [(prototypes.names or ())[place] for place in best]
        expected = (cosines / world.config.loss.distillation_temperature).softmax(dim=0)[best]
        assert [one["probability"] for one in row["teacher"]["names"]] == pytest.approx(expected.tolist(), abs=2e-3)
        assert row["teacher"]["unsure"] == (row["teacher"]["names"][0]["probability"] < 0.5)
        assert row["box_xyxy"] is None


def _centre(path: Path) -> Any:  # noqa: ANN401 - an array of bytes
    from leadpp.data.images import decode_image
    from leadpp.data.photo import Photo
    from leadpp.data.transforms import fixed_view

    return fixed_view(Photo.of(decode_image(path)), (0, 0, 48, 48), size=32, fit="center-crop").permute(1, 2, 0).numpy()


def test_all_files_say_the_same(world: World) -> None:
    found, _ = run_stage(world, name__by="both", name__top=2, name__unsure=0.4)
    folder = world.run / "names"
    assert sorted(path.name for path in folder.iterdir()) == sorted(found["files"])
    stored = read_json(folder / "names.json", kind="names")
    assert stored == json.loads(json.dumps(found))
    table, about = read_table(folder / "names.parquet", kind="names")
    rows = read_csv(folder / "names.csv")
    assert about["by"] == stored["by"]
    for one, told, row in zip(found["photographs"], table.to_pylist(), rows, strict=True):
        assert one["path"] == told["path"] == row["path"]
        for who in ("student", "teacher"):
            first, second = one[who]["names"]
            assert (told[f"name_{who}"], told[f"name_{who}_2"]) == (first["name"], second["name"])
            assert told[f"probability_{who}"] == pytest.approx(first["probability"])
            assert row[f"name_{who}"] == first["name"]
            assert float(row[f"probability_{who}_2"]) == pytest.approx(second["probability"], abs=1e-4)
            assert (row[f"unsure_{who}"] == "yes") == told[f"unsure_{who}"] == (first["probability"] < 0.4)
    unsure = sum(one["student"]["unsure"] for one in found["photographs"])
    assert found["by"]["student"]["unsure"] == unsure


def test_objects_are_found_by_the_localizer_of_the_run(world: World) -> None:
    config = localized(world)
    progress = SilentProgress()
    found = name([world.index.root / "test"], run=world.run, config=config, progress=progress)
    records = world.index.usable("test")
    expected = read_boxes(world.run / "boxes.parquet", records).object_xyxy.tolist()
    by_path = {row["path"]: row["box_xyxy"] for row in found["photographs"]}
    assert [by_path[str(world.index.root / record.path)] for record in records] == expected
    assert found["looked_at"].startswith("the object")
    page = Page((world.run / "names" / "names.html").read_text())
    assert len([one for one in page.all("rect") if one["class"] == "b-object"]) == len(records)
    whole = name([world.index.root / "test"], run=world.run, config=dataclasses.replace(
        config, name=dataclasses.replace(config.name, set="whole")
    ))  # fmt: skip
    assert whole["looked_at"] == "whole photographs, as name.set says"
    assert whole["photographs"][0]["box_xyxy"] is None


def test_the_temperature_is_fitted_once_and_then_needs_no_teacher(world: World) -> None:
    found, notes = run_stage(world)
    told = found["by"]["student"]
    assert (told["fitted"], told["teachers"], told["images"]) == (True, ("colour",), 16)
    assert told["reached"] == pytest.approx(told["targets"])
    assert "fitting the temperature" in notes
    assert "too sure" in found["promise"]
    again, notes = run_stage(world, teacher__factory="gone.module:teacher")
    assert (again["by"], again["photographs"], notes) == (found["by"], found["photographs"], "")
    assert read_json(world.run / "naming.json", kind="naming")["sets"]["whole"]["temperatures"] == list(
        told["temperatures"]
    )


def test_the_fitted_temperature_is_that_which_evaluation_fits(world: World) -> None:
    found, _ = run_stage(world)
    (world.run / "naming.json").unlink()
    evaluate(index=world.index, run=world.run, config=settings(world, evaluate__sets=("whole",)))
    kept = read_json(world.run / "naming.json", kind="naming")["sets"]["whole"]
    told = found["by"]["student"]
    for key in ("temperatures", "targets", "reached", "teacher_temperatures"):
        assert kept[key] == pytest.approx(told[key], rel=1e-4)
    assert kept["how"] == told["how"]
    again, notes = run_stage(world, teacher__factory="gone.module:teacher")
    assert (list(again["by"]["student"]["temperatures"]), notes) == (kept["temperatures"], "")


def test_another_student_has_its_temperature_fitted_anew(world: World) -> None:
    first, _ = run_stage(world)
    prototypes = read_prototypes(world.run / "prototypes.safetensors")
    write_prototypes(world.run / "prototypes.safetensors", dataclasses.replace(prototypes, vectors=-prototypes.vectors))
    second, notes = run_stage(world)
    assert "fitting the temperature" in notes
    assert first["by"]["student"]["temperatures"] != second["by"]["student"]["temperatures"]


def fewer(world: World) -> dict[str, Any]:
    return {"name__fit_images": 5}


def other_pixels(world: World) -> dict[str, Any]:
    return {"teacher__normalization": "imagenet"}


def other_photographs(world: World) -> dict[str, Any]:
    records = tuple(dataclasses.replace(record, checksum="new") for record in world.index.records)
    write_index(world.run / "index.parquet", dataclasses.replace(world.index, records=records))
    return {}


def other_boxes(world: World) -> dict[str, Any]:
    table, _ = read_table(world.run / "boxes.parquet", kind="boxes")
    write_table(world.run / "boxes.parquet", table.slice(0, len(table) - 1), kind="boxes")
    return {}


def other_teacher(world: World) -> dict[str, Any]:
    prototypes = read_prototypes(world.run / "prototypes.safetensors")
    write_prototypes(world.run / "prototypes.safetensors", dataclasses.replace(prototypes, model="hue"))
    return {}


@pytest.mark.parametrize("change", [fewer, other_pixels, other_photographs, other_boxes, other_teacher])
def test_a_fit_of_something_else_is_not_taken(world: World, change: Callable[[World], dict[str, Any]]) -> None:
    run_stage(world)
    _, notes = run_stage(world)
    assert "fitting the temperature" not in notes
    changes = change(world)
    _, notes = run_stage(world, **changes)
    assert "fitting the temperature" in notes
    _, notes = run_stage(world, **changes)
    assert "fitting the temperature" not in notes


def test_a_note_says_that_another_teacher_made_the_prototypes(world: World) -> None:
    note = "the prototypes were made by hue, but the teacher is colour"
    _, notes = run_stage(world)
    assert "were made by" not in notes
    other_teacher(world)
    _, notes = run_stage(world)
    assert notes.count(note) == 1
    progress = SilentProgress()
    config = settings(world, evaluate__sets=("whole",), evaluate__encoders=("teacher",))
    evaluate(index=world.index, run=world.run, config=config, progress=progress)
    assert [said[: len(note)] for said in progress.notes if "were made by" in said] == [note]
    embed(index=world.index, run=world.run, config=config, progress=progress)
    assert "\n".join(progress.notes).count(note) == 2


def test_other_draws_of_photographs_are_another_fit(world: World) -> None:
    run_stage(world)
    progress = SilentProgress()
    config = dataclasses.replace(settings(world), seed=1 + world.config.seed)
    name([world.index.root / "test"], run=world.run, config=config, progress=progress)
    assert "fitting the temperature" in "\n".join(progress.notes)


@pytest.mark.parametrize("lacking", ["teacher", "photographs"])
def test_where_nothing_can_be_fitted_it_says_so_and_names_all_the_same(world: World, lacking: str) -> None:
    if lacking == "photographs":
        (world.run / "index.parquet").unlink()
    factory = "gone.module:teacher" if lacking == "teacher" else world.config.teacher.factory
    found, notes = run_stage(world, teacher__factory=factory)
    told = found["by"]["student"]
    assert (told["fitted"], told["temperatures"]) == (False, (world.config.loss.distillation_temperature,))
    assert "not calibrated" in notes
    assert "not calibrated" in told["how"]
    assert found["promise"] == ""
    assert not (world.run / "naming.json").exists()


class Watcher(SilentProgress):
    """Remembers what was looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[tuple[str, int]] = []

    def track(self, items: Iterable[T], *, total: int, what: str, unit: str = "images", **others: Any) -> Iterator[T]:  # noqa: ANN401
        self.looks.append((what, total))
        return super().track(items, total=total, what=what, unit=unit, **others)


def test_no_photograph_is_embedded_for_a_teacher_that_is_gone(world: World) -> None:
    progress = Watcher()
    config = settings(world, teacher__factory="gone.module:teacher")
    name([world.index.root / "test"], run=world.run, config=config, progress=progress)
    assert [look for look in progress.looks if look[0].startswith("student")] == [
        ("student, whole photographs", TEST * len(COLOURS))
    ]


def test_a_temperature_may_be_given(world: World) -> None:
    found, _ = run_stage(world, name__temperature=0.5, teacher__factory="gone.module:teacher")
    assert found["by"]["student"]["temperatures"] == (0.5,)
    assert found["by"]["student"]["how"].startswith("set by name.temperature")


def test_hostile_names_and_files_stay_words(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = (HOSTILE, "=1+1", 'onerror="x"', "{{ 7 * 7 }}")
    vectors = read_prototypes(world.run / "prototypes.safetensors").vectors
    write_prototypes(world.run / "prototypes.safetensors", Prototypes(vectors=vectors, names=names))
    folder = tmp_path / "pictures"
    folder.mkdir()
    files = ["=cmd.png", '"><img src=x onerror=alert(1)>.png', "a\nb.png", "{{ 7 * 7 }}.png"]
    for file in files:
        Image.new("RGB", (40, 30), "red").save(folder / file)
    (folder / "<b>.png").write_text("no picture")
    monkeypatch.chdir(folder)
    found, _ = run_stage(world, *(Path(file) for file in [*files, "<b>.png"]), name__top=4)
    assert {row["path"] for row in found["photographs"]} == set(files)
    page = Page((world.run / "names" / "names.html").read_text(encoding="utf-8"))
    assert len(page.all("script")) == 1
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    assert {one["alt"] for one in page.all("img")} == set(files)
    assert all(str(one["src"]).startswith("data:image/") for one in page.all("img"))
    assert not page.all("b")
    assert all(word in page.words for word in (*names, *files, "<b>.png"))
    rows = read_csv(world.run / "names" / "names.csv")
    cells = [cell for row in rows for cell in row.values()]
    assert "'=cmd.png" in cells
    assert "'=1+1" in cells
    assert not [cell for cell in cells if cell.startswith("=")]


def test_the_page_runs_its_own_script_alone_and_loads_nothing(world: World) -> None:
    run_stage(world)
    page = Page((world.run / "names" / "names.html").read_text())
    (policy,) = [str(one["content"]) for one in page.all("meta") if one.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert policy.endswith(f"script-src 'sha256-{digest}'")
    assert not page.all("link")
    assert "prefers-color-scheme: dark" in page.words


def test_pictures_are_bounded_and_rows_are_not(world: World) -> None:
    run_stage(world, name__thumbnails=3)
    page = Page((world.run / "names" / "names.html").read_text())
    assert (len(page.all("img")), len(page.all("tr"))) == (3, 1 + TEST * len(COLOURS))
    assert "The last 9 photographs are without a picture" in page.words


def test_files_that_cannot_be_read_are_listed_or_refused(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.index.root / "test" / "red", tmp_path / "mixed")
    (tmp_path / "mixed" / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "mixed" / "empty.png").touch()
    found, _ = run_stage(world, tmp_path / "mixed")
    assert found["images"] == 3
    assert [Path(one["path"]).name for one in found["bad"]] == ["empty.png", "torn.jpg"]
    assert found["bad"][0]["reason"] == "empty file"
    with pytest.raises(DataError, match="2 of 5 photographs cannot be read"):
        run_stage(world, tmp_path / "mixed", out=tmp_path / "out", input__bad_images="error")
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match="none of the 1 photographs can be read"):
        run_stage(world, tmp_path / "mixed" / "torn.jpg")


def test_foreign_files_are_not_written_over_and_our_own_are(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_stage(world, world.index.root / "test" / "red", out=out)
    (out / "notes.txt").write_text("mine")
    found, _ = run_stage(world, out=out)
    assert len(read_json(out / "names.json", kind="names")["photographs"]) == found["images"] == 12
    assert (out / "notes.txt").read_text() == "mine"
    (out / "names.json").write_text(json.dumps({"kind": "diary", "schema": 1}))
    before = (out / "names.csv").read_bytes()
    with pytest.raises(ArtifactError, match=r"no names\.json that says they are leadpp's; choose another --out"):
        run_stage(world, out=out)
    assert (out / "names.csv").read_bytes() == before
    with pytest.raises(ArtifactError, match="a file stands where the folder is meant"):
        run_stage(world, out=out / "notes.txt")


class Thief(SilentProgress):
    """Takes a photograph away once it has been embedded."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def track(self, items: Iterable[T], *, total: int, what: str, unit: str = "images", **others: Any) -> Iterator[T]:  # noqa: ANN401
        yield from super().track(items, total=total, what=what, unit=unit, **others)
        if what.startswith("student") and total == 1:
            self.path.unlink()


def test_nothing_is_half_written(world: World, tmp_path: Path) -> None:
    photo = Path(shutil.copy(world.index.root / "test" / "red" / "0.png", tmp_path / "one.png"))
    with pytest.raises(LeadppError, match=r"one\.png: no such file"):
        name([photo], run=world.run, out=tmp_path / "out", config=world.config, progress=Thief(photo))
    assert not list((tmp_path / "out").iterdir())


def no_checkpoint(world: World) -> None:
    shutil.rmtree(world.run / "checkpoints")


def no_prototypes(world: World) -> None:
    (world.run / "prototypes.safetensors").unlink()


def nameless(world: World) -> None:
    save_prototypes(world.run, names=None)


def untaught(world: World) -> None:
    save_student(world.run, world.config.student.backbone, class_count=0)


def wide(world: World) -> None:
    save_student(world.run, world.config.student.backbone, embedding_dim=6)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (no_checkpoint, DataError, "no checkpoint, so there is no student to name with; run train first"),
        (no_prototypes, TextError, "so there are no names to give"),
        (nameless, TextError, "holds no names; give them to"),
        (untaught, DataError, "learnt without prototypes, so it cannot name"),
        (wide, TextError, "student's embedding is 6 wide and the prototypes are 3"),
    ],
)
def test_mistakes_are_one_clear_line(
    world: World, change: Callable[[World], None], kind: type[Exception], message: str
) -> None:
    change(world)
    with pytest.raises(kind, match=message):
        run_stage(world, name__temperature=0.1)
    assert not (world.run / "names").exists()


def test_a_teacher_that_is_gone_cannot_name(world: World) -> None:
    with pytest.raises(WeightsError, match="no module 'gone'"):
        run_stage(world, name__by="teacher", teacher__factory="gone.module:teacher")
