"""Discovering: a kind that the words are silent about is found, shown, and given a name that nobody uses."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from leadpp.config.tree import Config, LLMConfig
from leadpp.data.index import write_index
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import ArtifactError, ConfigError, DataError, LLMError
from leadpp.io.artifacts import read_json
from leadpp.stages.names import discover
from leadpp.text.prototypes import Prototypes, read_prototypes, write_prototypes
from tests.llm_server import REFUSAL, Asked, LLMServer, Told, failing
from tests.unit.stages.evaluation_world import TEST, TRAIN, World, draw_world, save_prototypes, save_student
from tests.unit.stages.names.test_naming import Page

EVERYTHING = 1e9
HOSTILE = "<script>alert(1)</script>"


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


def settings(world: World, *, below: float = EVERYTHING, clusters: int = 4, url: str = "") -> Config:
    """The names are at a temperature of their own, so that no test waits for a fit."""
    config = world.config
    return dataclasses.replace(
        config,
        name=dataclasses.replace(config.name, temperature=0.1),
        discover=dataclasses.replace(config.discover, below=below, clusters=clusters, typical=3, pictures=2),
        llm=LLMConfig(base_url=url, model="small", domain="colour", attempts=2, retries=0) if url else LLMConfig(),
    )


def run_stage(world: World, *, ask: bool = False, out: Path | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return discover(run=world.run, out=out, ask=ask, config=settings(world, **changes), progress=SilentProgress())


def test_every_photograph_is_in_one_cluster_and_the_least_fitting_come_first(world: World) -> None:
    found = run_stage(world)
    paths = [path for group in found["groups"] for path in group["photographs"]]
    assert sorted(paths) == sorted(record.path for record in world.index.records)
    assert (found["images"], found["clusters"], found["asked"]) == (4 * (TRAIN + TEST), 4, "")
    fits = [group["fit"] for group in found["groups"]]
    assert fits == sorted(fits)
    for group in found["groups"]:
        assert group["nearest"][0]["probability"] == pytest.approx(group["fit"])
        assert sum(one["probability"] for one in group["nearest"]) == pytest.approx(1)


def test_labels_are_not_looked_at(world: World) -> None:
    first = run_stage(world)
    records = tuple(dataclasses.replace(record, label=None) for record in world.index.records)
    index = dataclasses.replace(world.index, classes=(), records=records)
    write_index(world.run / "index.parquet", index)
    assert run_stage(world)["groups"] == first["groups"]


def test_only_what_fits_worse_than_the_others_is_shown(world: World) -> None:
    everything = run_stage(world)["groups"]
    assert run_stage(world, below=0.0)["groups"] == []
    some = run_stage(world, below=1.0)
    assert 0 < some["unnamed"] < 4
    assert some["groups"] == everything[: some["unnamed"]]
    page = Page((world.run / "discovered" / "discovered.html").read_text())
    assert f"{some['unnamed']} of 4 clusters have no name" in page.words
    assert len(page.all("img")) == 3 * some["unnamed"]
    assert not page.all("script")
    run_stage(world, below=0.0)
    assert "Some name fits every cluster." in (world.run / "discovered" / "discovered.html").read_text()


def test_tables_say_what_the_page_says(world: World) -> None:
    found = run_stage(world, below=1.0)
    folder = world.run / "discovered"
    assert read_json(folder / "discovered.json", kind="discovered") == json.loads(json.dumps(found))
    with (folder / "discovered.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [path for group in found["groups"] for path in group["photographs"]]
    assert {row["proposed_name"] for row in rows} == {""}
    (folder / "discovered.json").write_text("{}")
    with pytest.raises(ArtifactError, match="choose another --out"):
        run_stage(world)


def test_a_model_that_sees_proposes_a_name_for_each_cluster(world: World) -> None:
    with LLMServer(answer=lambda asked: "=Vermilion") as server, pytest.raises(LLMError, match="no such path"):
        run_stage(world, ask=True, url=server.url.replace("/v1", "/v2"))
    assert read_json(world.run / "discovered" / "discovered.json", kind="discovered")["asked"] == ""
    before = (world.run / "prototypes.safetensors").read_bytes()
    with LLMServer(answer=lambda asked: "Vermilion") as server:
        found = run_stage(world, ask=True, url=server.url)
    assert found["asked"] == "small"
    assert [group["proposed"] for group in found["groups"]] == ["Vermilion"] * 4
    assert (world.run / "prototypes.safetensors").read_bytes() == before
    assert len(server.asked) == 4
    for asked in server.asked:
        pictures = [part["image_url"]["url"] for part in asked.messages[0]["content"][1:]]
        assert len(pictures) == 2
        assert all(picture.startswith("data:image/jpeg;base64,") for picture in pictures)
        assert "kind of colour" in asked.words
    page = (world.run / "discovered" / "discovered.html").read_text()
    assert page.count("Proposed, and not checked by anybody: <b>Vermilion</b>") == 4


@pytest.mark.parametrize("end", ["refused", "budget"])
def test_answers_that_were_paid_for_outlive_the_end_of_the_asking(world: World, end: str) -> None:
    def answer(asked: Asked) -> str | Told:
        return failing(401) if end == "refused" and len(server.asked) == 3 else "Vermilion"

    with LLMServer(answer=answer, tokens=lambda text: 1000) as server:
        config = settings(world, url=server.url)
        budget = 0.024 if end == "budget" else 0.0  # 0 sets no limit
        llm = dataclasses.replace(config.llm, concurrency=1, price_in=1.0, price_out=1.0, budget=budget)
        with pytest.raises(LLMError, match="budget" if end == "budget" else "401"):
            discover(run=world.run, ask=True, config=dataclasses.replace(config, llm=llm))
    paid = 2 if end == "refused" else len(server.asked)
    assert 0 < paid < 4
    found = read_json(world.run / "discovered" / "discovered.json", kind="discovered")
    proposed = [group["proposed"] for group in found["groups"]]
    assert (found["asked"], sorted(proposed)) == ("small", [""] * (4 - paid) + ["Vermilion"] * paid)
    ended = {group["reason"] for group in found["groups"] if not group["proposed"]}
    assert ended == {"the asking ended before its answer"}
    page = Page((world.run / "discovered" / "discovered.html").read_text())
    assert page.words.count("Vermilion") == paid
    assert (world.run / "discovered" / "discovered.csv").read_text().count("Vermilion") > 0


def test_bad_answers_cost_their_own_cluster_only(world: World) -> None:
    turns: dict[str, Told | str] = {}

    def answer(asked: Asked) -> str | Told:
        key = json.dumps(asked.messages[0]["content"][1:])
        sayings: list[Told | str] = [REFUSAL, "Ochre", "red", "I cannot tell from these pictures."]
        return turns.setdefault(key, sayings[len(turns) % 4])

    with LLMServer(answer=answer) as server:
        found = run_stage(world, ask=True, url=server.url)
    told = sorted((group["proposed"], group["known"], group["reason"]) for group in found["groups"])
    none = ("", False, "the answer is no name")
    assert told == [none, none, ("Ochre", False, ""), ("red", True, "")]
    page = Page((world.run / "discovered" / "discovered.html").read_text())
    assert "which is in the list already" in page.words
    assert page.words.count("No name was proposed: the answer is no name.") == 2


def test_hostile_names_stay_words(world: World) -> None:
    vectors = read_prototypes(world.run / "prototypes.safetensors").vectors
    made = Prototypes(vectors=vectors, names=(HOSTILE, "=1+1", "b", "c"))
    write_prototypes(world.run / "prototypes.safetensors", made)
    run_stage(world)
    page = Page((world.run / "discovered" / "discovered.html").read_text())
    assert HOSTILE in page.words
    assert not page.all("script")
    assert "\n=" not in (world.run / "discovered" / "discovered.csv").read_text()


def test_mistakes_are_one_clear_line(world: World) -> None:
    with pytest.raises(ConfigError, match=r"needs a language model that accepts pictures; name it with --llm\.model"):
        run_stage(world, ask=True)
    save_student(world.run, world.config.student.backbone, class_count=0)
    with pytest.raises(DataError, match="learnt without prototypes"):
        run_stage(world)
    (world.run / "index.parquet").unlink()
    with pytest.raises(ArtifactError, match="no such file; expected a 'index'"):
        run_stage(world)
    assert not (world.run / "discovered").exists()
