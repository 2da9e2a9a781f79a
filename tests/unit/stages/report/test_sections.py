"""Each section against a run folder whose content is known."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import get_args

import pytest
import torch

from leadpp.config.tree import Config, LossConfig, TrainConfig
from leadpp.data.index import ImageIndex
from leadpp.engine.features import save_features
from leadpp.errors import ArtifactError
from leadpp.functional.objective import TermName
from leadpp.io.artifacts import write_json
from leadpp.stages.report import headline, names, neighbours, objects, setup, teacher, training
from leadpp.stages.report.material import Absent, Material
from leadpp.text.prototypes import Prototypes, write_prototypes
from tests.unit.stages.report.world import CLASSES, CONFIG, EVIL, RUN_HASH, features_of, make_index, write_run

MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ImageIndex:
    return make_index(tmp_path_factory.mktemp("photographs"))


@pytest.fixture
def run(tmp_path: Path, index: ImageIndex) -> Path:
    write_run(tmp_path / "run", index)
    return tmp_path / "run"


@pytest.fixture
def material(run: Path, index: ImageIndex) -> Material:
    return Material(index=index, run=run, config=CONFIG)


def with_config(material: Material, **groups: object) -> Material:
    return dataclasses.replace(material, config=dataclasses.replace(CONFIG, **groups))  # type: ignore[arg-type]


def test_the_table_has_percents_changes_to_frozen_and_the_best_marked(material: Material) -> None:
    table = headline.headline(material)
    assert table["columns"] == ["kNN", "mAP", "naming"]
    whole = table["groups"][0]
    assert [row["title"] for row in whole["rows"]] == ["student · gap", "frozen · gap", "teacher · embedding"]
    cells = [[cell["text"] for cell in row["cells"]] for row in whole["rows"]]
    assert cells == [["87.5", "50.0", "44.4"], ["75.0", "62.5", "–"], ["25.0", "12.5", "33.3"]]
    best = [[cell["best"] for cell in row["cells"]] for row in whole["rows"]]
    assert best == [[True, False, True], [False, True, False], [False, False, False]]
    knn, mean_precision, naming = (cell["change"] for cell in whole["rows"][0]["cells"])
    assert knn == {"text": "+12.5", "direction": "up"}
    assert mean_precision == {"text": f"{MINUS}12.5", "direction": "down"}
    assert naming is None
    assert all(cell["change"] is None for row in whole["rows"][1:] for cell in row["cells"])


def test_a_change_of_nothing_is_neither_up_nor_down(run: Path, material: Material) -> None:
    rows = [{"encoder": e, "feature": "gap", "set": "whole", "knn": 0.5} for e in ("student", "frozen")]
    write_json(run / "evaluation.json", {"rows": rows}, kind="evaluation")
    assert headline.headline(material)["tiles"]["tiles"][0]["change"] == {"text": "+0.0", "direction": "same"}


def test_the_tiles_are_the_first_rows(material: Material) -> None:
    tiles = headline.headline(material)["tiles"]
    assert [(tile["name"], tile["text"]) for tile in tiles["tiles"]] == [("kNN", "87.5"), ("mAP", "50.0")]


def test_tiles_and_bars_are_of_the_same_pictures_and_say_so(run: Path, material: Material) -> None:
    compare(run)
    rows = [
        {"encoder": encoder, "feature": "gap", "set": set_, "knn": knn}
        for encoder, set_, knn in (
            ("student", "whole", 0.5), ("student", "crop", 0.75), ("frozen", "whole", 0.25), ("frozen", "crop", 0.625),
        )
    ]  # fmt: skip
    write_json(run / "evaluation.json", {"rows": rows}, kind="evaluation")
    both = headline.headline(material)
    assert both["tiles"]["of"] == "student · gap, on object crops"
    assert [(tile["text"], tile["change"]["text"]) for tile in both["tiles"]["tiles"]] == [("75.0", "+12.5")]
    assert both["bars"]["on"] == "object crops"
    assert ("lead++", "75.0") in [(bar["name"], bar["text"]) for bar in both["bars"]["figures"][0]["bars"]]
    write_json(run / "evaluation.json", {"rows": [row for row in rows if row["set"] == "whole"]}, kind="evaluation")
    whole = headline.headline(Material(index=material.index, run=run, config=CONFIG))["tiles"]  # beside crops of moco
    assert (whole["of"], whole["tiles"][0]["text"]) == ("student · gap, on whole photographs", "50.0")


def test_the_protocol_is_told_once_where_rows_share_it(material: Material) -> None:
    protocols = headline.headline(material)["protocols"]
    assert protocols["shared"] == {"view": "center-crop", "knn": "k 10"}
    assert protocols["own"][1] == ("student · gap, crop", {"pictures": "crop"})


def test_the_rate_that_a_probe_chose_among_several_is_shown(run: Path, material: Material) -> None:
    assert headline.headline(material)["paces"] == {}
    probe = {"learning_rate": 10.0, "weight_decay": 1e-4, "heldout_epoch": 7, "chosen_on": "9 held-out photographs"}
    row = {"encoder": "student", "feature": "gap", "set": "crop", "knn": 1.0, "protocol": {"probe": probe}}
    write_json(run / "evaluation.json", {"rows": [row]}, kind="evaluation")
    swept = Material(index=material.index, run=run, config=CONFIG)
    words = "learning rate 10, weight decay 0.0001, epoch 7; chosen on 9 held-out photographs"
    assert headline.headline(swept)["paces"] == {"student · gap, crop": words}


def test_figures_say_of_which_runs_they_are(run: Path, material: Material) -> None:
    assert headline.headline(material)["hashes"] == {"lead++": RUN_HASH}
    assert material.run_hash == RUN_HASH
    compare(run)
    beside = headline.headline(Material(index=material.index, run=run, config=CONFIG))["hashes"]
    assert list(beside.items()) == [("lead++", RUN_HASH), ("moco", "f" * 32)]


def test_figures_of_older_versions_say_nothing(run: Path, material: Material) -> None:
    rows = [{key: value for key, value in row.items() if key != "run"} for row in material.rows]
    write_json(run / "evaluation.json", {"rows": rows}, kind="evaluation")
    (run / "stages.json").unlink()
    older = Material(index=material.index, run=run, config=CONFIG)
    assert headline.headline(older)["hashes"] == {}
    assert older.run_hash == ""


def test_figures_without_a_column_are_kept(material: Material) -> None:
    table = headline.headline(material)
    assert table["rest_columns"] == ["knn200"]
    assert table["rest"][0][:2] == ("student · gap", "whole")
    assert table["rest"][0][2][0] == "0.1"


def compare(run: Path) -> None:
    """Put a run beside this one that was better at kNN and worse at mAP."""
    rows = [
        {"encoder": "student", "feature": "gap", "set": set_, "knn": 1.0, "map": 0.25, "protocol": {"view": "squeeze"}}
        for set_ in ("whole", "crop")
    ]
    monitor = [{"event": "monitor", "epoch": 1, "knn": 0.25}, {"event": "monitor", "epoch": 2, "knn": 0.75}]
    runs = [{"row": "moco", "rows": [row | {"run": "f" * 32} for row in rows], "monitor": monitor}]
    write_json(run / "comparison.json", {"note": "Drawn & not real.", "runs": runs}, kind="comparison")


def test_runs_beside_this_one_stand_in_the_table_under_their_names(run: Path, material: Material) -> None:
    assert headline.headline(material)["bars"] is None
    compare(run)
    table = headline.headline(dataclasses.replace(material))
    assert [row["title"] for row in table["groups"][1]["rows"]][-1] == "moco · gap"
    knn, _, naming = table["groups"][1]["rows"][-1]["cells"]
    assert (knn["text"], knn["best"], knn["change"]["text"]) == ("100.0", True, "+25.0")
    assert naming["text"] == "–"
    assert table["tiles"]["of"] == "student · gap, on object crops"
    assert table["note"] == "Drawn & not real."


def test_bars_show_every_network_on_crops_with_this_runs_student_last(run: Path, material: Material) -> None:
    compare(run)
    bars = headline.headline(material)["bars"]
    assert (bars["on"], bars["ours"]) == ("object crops", "lead++")
    shown = {f["name"]: [(bar["name"], bar["text"], bar["best"]) for bar in f["bars"]] for f in bars["figures"]}
    assert shown == {
        "kNN": [
            ("backbone", "75.0", False), ("teacher", "25.0", False), ("moco", "100.0", True), ("lead++", "87.5", False),
        ],
        "mAP": [
            ("backbone", "62.5", True), ("teacher", "12.5", False), ("moco", "25.0", False), ("lead++", "50.0", False),
        ],
        "naming": [("teacher", "33.3", False), ("lead++", "44.4", True)],
    }  # fmt: skip
    assert bars["figures"][0]["bars"][0]["share"] == 75.0


def test_what_watched_both_trainings_is_one_chart_of_two_lines(run: Path, material: Material) -> None:
    compare(run)
    charts = {chart["key"]: chart for chart in training.curves(material)["charts"]}
    assert charts["knn"]["chart"].count("<polyline") + charts["knn"]["chart"].count("<circle") == 2
    assert all(f"</i>{name}</li>" in charts["knn"]["chart"] for name in ("lead++", "moco"))
    assert charts["knn"]["last"] == "0.5"
    assert "<li>" not in charts["loss"]["chart"]


def test_curves_come_from_steps_epochs_and_monitors_without_repetition(material: Material) -> None:
    curves = training.curves(material)
    titles = [chart["title"] for chart in [*curves["charts"], *curves["more"]]]
    assert titles == ["loss", "kNN on held-out labels", "distillation", "learning rate"]
    assert {chart["title"]: chart["last"] for chart in curves["charts"]}["distillation"] == "1.5"


def test_every_term_of_the_loss_has_a_title_in_words(run: Path, material: Material) -> None:
    line: dict[str, object] = {"event": "step", "epoch": 1, "step": 1, "loss": 1.0}
    (run / "metrics.jsonl").write_text(json.dumps(line | dict.fromkeys(get_args(TermName), 0.5)))
    curves = training.curves(material)
    titles = [chart["title"] for chart in [*curves["charts"], *curves["more"]]]
    assert titles == [
        "loss",
        "whole with whole",
        "whole with object",
        "object with object",
        "distillation",
        "attention alignment",
        "structure, what was alike at first",
    ]


def test_a_log_without_figures_is_absent(run: Path, material: Material) -> None:
    (run / "metrics.jsonl").write_text('[1]\n{"event": "epoch", "epoch": 1}\n')
    with pytest.raises(Absent, match=r"no figures yet: train"):
        training.curves(material)


def test_stages_have_results_and_nothing_of_their_course(material: Material) -> None:
    assert training.stages(material)["stages"] == [
        {"name": "localize", "summary": "corloc 0.9 · mean iou 0.7 · crop mean iou 0.6"},
        {"name": "train", "summary": f"epochs 1 · device {EVIL}"},
        {"name": "evaluate", "summary": ""},
    ]


def test_boxes_are_drawn_over_photographs_the_worst_last(material: Material) -> None:
    sheet = objects.boxes(material)
    assert len(sheet["cards"]) == 4
    worst = sheet["cards"][-1]
    assert (worst["iou"], worst["good"], worst["fallback"]) == ("0.00", False, True)
    assert {card["iou"] for card in sheet["cards"][:-1]} == {"1.00"}
    assert worst["photo"].boxes == (
        ("true", (10.0, 5.0, 30.0, 25.0)),
        ("crop", (10.0, 5.0, 30.0, 25.0)),
        ("object", (0.0, 0.0, 10.0, 5.0)),
    )
    assert all(card["map"] is not None for card in sheet["cards"])
    assert sheet["results"] == [("found boxes", ["90.0", "0.700", "0.600"]), ("guess: whole", ["25.0", "0.333", "–"])]
    assert (sheet["fallbacks"], sheet["count"]) == (1, 24)


def test_without_maps_and_true_boxes_boxes_are_shown_all_the_same(run: Path, tmp_path: Path) -> None:
    (run / "indicators.safetensors").unlink()
    (run / "stages.json").unlink()
    (tmp_path / "other").mkdir()
    bare = Material(index=make_index(tmp_path / "other", labelled=False), run=run, config=CONFIG)
    sheet = objects.boxes(bare)
    assert not sheet["has_maps"]
    assert not sheet["has_truth"]
    assert sheet["results"] == []
    assert [card["iou"] for card in sheet["cards"]] == [None] * 4
    assert all(card["caption"].endswith(".png") for card in sheet["cards"])


def test_views_show_training_photographs_with_and_without_boxes(run: Path, material: Material) -> None:
    with_boxes = objects.views(material)
    (run / "boxes.parquet").unlink()
    without = objects.views(Material(index=material.index, run=run, config=CONFIG))
    assert (with_boxes["has_boxes"], without["has_boxes"]) == (True, False)
    for sheet in (with_boxes, without):
        assert len(sheet["cards"]) == 4
        assert [name for name, _, _ in sheet["cards"][0]["views"]] == ["global 1", "global 2", "object 1", "object 2"]
    frames = dict(with_boxes["cards"][0]["photo"].boxes)
    assert list(frames) == ["global-1", "global-2", "object-1", "object-2"]
    x0, y0, x1, y1 = frames["object-1"]
    assert 10 <= x0 < x1 <= 30
    assert 5 <= y0 < y1 <= 25
    assert frames["global-1"] == dict(without["cards"][0]["photo"].boxes)["global-1"]


def test_retrieval_shows_wrong_and_right_queries(material: Material) -> None:
    shown = neighbours.retrieval(material)
    assert shown["of"] == "student, gap, whole"
    assert shown["wrong_share"] == "16.7", "the misplaced ape, and the bee that it sits beside"
    assert len(shown["rows"]) == 3
    *right, wrong = shown["rows"]
    assert all(row["found"][0].right for row in right)
    assert {wrong["caption"], wrong["found"][0].caption} == {"ape", "bee & wasp"}
    for row in shown["rows"]:
        assert len(row["found"]) == 8
        assert all(one.right == (one.caption == row["caption"]) for one in row["found"])
        cosines = [float(one.cosine.replace(MINUS, "-")) for one in row["found"]]
        assert cosines == sorted(cosines, reverse=True)


def test_retrieval_on_crops_shows_crops(run: Path, material: Material) -> None:
    rows = [{"encoder": "student", "feature": "gap", "set": "crop"}]
    write_json(run / "evaluation.json", {"rows": rows}, kind="evaluation")
    picture = neighbours.retrieval(material)["rows"][0]["picture"]
    assert (picture.width_px, picture.height_px) == (20, 20)
    (run / "boxes.parquet").unlink()
    bare = Material(index=material.index, run=run, config=CONFIG)
    assert neighbours.retrieval(bare)["rows"][0]["picture"].width_px == 40


def test_confusion_counts_what_is_taken_for_what(material: Material) -> None:
    table = neighbours.confusion(material)
    assert table["names"] == ["ape", "bee & wasp"]
    ape, bee = table["rows"]
    assert (ape["recall"], [cell["count"] for cell in ape["cells"]], ape["others"]) == ("75.0", [3, 1], 0)
    assert [cell["right"] for cell in ape["cells"]] == [True, False]
    assert (bee["recall"], [cell["count"] for cell in bee["cells"]]) == ("100.0", [0, 4])
    assert (table["classes"], table["perfect"]) == (3, 2)


def test_confusion_needs_the_training_photographs(run: Path, material: Material) -> None:
    (run / "embeddings" / "student-gap-whole-train.npy").unlink()
    with pytest.raises(Absent, match=r"training photographs \(student, gap, whole\): evaluate"):
        neighbours.confusion(material)


def test_the_map_shows_the_network_before_and_after(run: Path, material: Material) -> None:
    both = neighbours.maps(material)
    assert [(one["title"], one["before"]) for one in both["maps"]] == [
        ("student, gap, whole", False),
        ("frozen, gap, whole", True),
    ]
    assert both["maps"][0]["chart"].count("<circle") == both["shown"] == both["of"] == 12
    (run / "embeddings" / "frozen-gap-whole-test.npy").unlink()
    assert len(neighbours.maps(material)["maps"]) == 1


def test_entropy_of_a_sure_teacher_is_low_and_weighs_distillation(run: Path, material: Material) -> None:
    sure = teacher.entropy(material)
    assert (sure["count"], sure["median"], sure["contrast"], sure["distill"]) == (12, "0.00", "0.00", "1.00")
    save_features(run / "embeddings" / "teacher-embedding-whole-test.npy", torch.ones(12, 6))
    unsure = teacher.entropy(material)
    assert (unsure["median"], unsure["contrast"], unsure["distill"]) == ("1.00", "1.00", "0.00")
    assert "<title>0.967 to 1: 12</title>" in unsure["chart"]


def test_entropy_tells_the_weights_of_the_run(material: Material) -> None:
    plain = with_config(material, loss=LossConfig(contrast_weighting="one", distill_weighting="half"))
    shown = teacher.entropy(plain)
    assert (shown["contrast"], shown["distill"], shown["means"]) == ("1.00", "0.50", ("one", "half"))


def test_a_teacher_of_another_width_than_the_prototypes_is_told(run: Path, material: Material) -> None:
    write_prototypes(run / "prototypes.safetensors", Prototypes(vectors=torch.eye(4)[:3]))
    with pytest.raises(Absent, match="embedding is 6 wide and the prototypes are 4: evaluate and"):
        teacher.entropy(material)


def test_words_list_texts_and_the_nearest_prototypes(run: Path, material: Material) -> None:
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), dim=1)
    named = Prototypes(vectors=vectors, names=CLASSES, texts=(("a",), ("b", "d"), ("c",)), model="tiny")
    write_prototypes(run / "prototypes.safetensors", named)
    words = teacher.words(material)
    assert [(row["name"], row["texts"]) for row in words["rows"]] == list(zip(CLASSES, named.texts or (), strict=True))
    assert words["averaged"]
    assert [name for name, _ in words["rows"][0]["near"]] == ["bee & wasp", EVIL]
    assert words["facts"] == {"model": "tiny"}


def test_words_tell_what_was_mixed_and_shortened(run: Path, index: ImageIndex) -> None:
    mixed = Prototypes(vectors=torch.eye(3), names=CLASSES, long_text="summary", template="a {}|{}", names_share=0.25)
    write_prototypes(run / "prototypes.safetensors", mixed)
    facts = teacher.words(Material(index=index, run=run, config=CONFIG))["facts"]
    assert facts == {"sentences around names": "a {}|{}", "share of names": "0.25", "long texts": "summary"}


def test_prototypes_without_names_and_texts_are_numbered(run: Path, index: ImageIndex) -> None:
    write_prototypes(run / "prototypes.safetensors", Prototypes(vectors=torch.eye(3)))
    words = teacher.words(Material(index=index, run=run, config=CONFIG))
    assert [row["name"] for row in words["rows"]] == ["prototype 1", "prototype 2", "prototype 3"]
    assert not words["has_names"]
    assert not words["has_texts"]
    assert not words["averaged"]


def test_settings_mark_what_differs_from_the_defaults(material: Material) -> None:
    changed = with_config(material, train=TrainConfig(epochs=7))
    shown = setup.settings(changed)
    assert shown["plain"] == {"preset": "lead++", "networks": "–", "seed": "123", "deterministic": "no"}
    train = {name: (value, differs) for name, value, differs in shown["groups"]["train"]}
    assert train["epochs"] == ("7", True)
    assert train["batch_size"] == ("64", False)
    assert {name: value for name, value, _ in shown["groups"]["evaluate"]}["sets"] == "whole, crop"
    assert set(shown["groups"]) == {f.name for f in dataclasses.fields(Config)} - {
        "preset",
        "networks",
        "seed",
        "deterministic",
        "llm",
    }


def test_the_environment_is_flat(material: Material) -> None:
    facts = setup.environment(material)["facts"]
    digests = {name: words for name, words in facts.items() if words.startswith("BLAKE2b ")}
    rest = {name: words for name, words in facts.items() if name not in digests}
    assert rest == {"leadpp": "0", "torch": "2", "cuda": "none"}
    assert "evaluation.json" in digests
    for name, words in digests.items():
        expected = hashlib.blake2b((material.run / name).read_bytes(), digest_size=16).hexdigest()
        assert words == f"BLAKE2b {expected}"


def test_embeddings_of_other_photographs_are_refused(run: Path, material: Material) -> None:
    save_features(run / "embeddings" / "student-gap-whole-test.npy", features_of([0, 1]))
    with pytest.raises(ArtifactError, match="not the photographs of the index; run evaluate again"):
        neighbours.maps(material)


def test_draws_are_the_same_each_time_and_differ_by_purpose(material: Material) -> None:
    first = material.pick(5, of=100, purpose="a")
    assert first == material.pick(5, of=100, purpose="a") == sorted(set(first))
    assert first != material.pick(5, of=100, purpose="b")
    assert material.pick(5, of=3, purpose="a") == [0, 1, 2]


def test_unlabelled_photographs_have_no_classes(run: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    bare = Material(index=make_index(tmp_path / "other", labelled=False), run=run, config=CONFIG)
    with pytest.raises(Absent, match="no labels"):
        bare.classes_of(bare.usable)


def test_a_log_is_read_up_to_its_torn_line(material: Material) -> None:
    assert [line["event"] for line in material.metrics] == ["step", "step", "epoch", "monitor"]
    assert json.dumps(material.metrics[1]["distillation"]) == "null"


def test_names_have_their_figures_curves_mistakes_and_what_went_in(material: Material) -> None:
    content = names.names(material)
    assert content["columns"] == ["right", "meaning", "ECE"]
    assert content["rows"] == [("student · object crops", ["50.0", "75.0", "25.0"])]
    assert content["chance"] == "50.0"
    assert content["confusions"]["student · object crops"] == [f"{EVIL} is called ape: 3 of 4"]
    assert content["promise"] == "It says little."
    (charts,) = content["charts"]
    assert charts["on"] == "object crops"
    assert charts["reliability"].count("<polyline") == 2
    assert "as right as sure" in charts["reliability"]
    assert charts["coverage"].count("<polyline") == 1


def test_names_that_nobody_measured_are_absent(material: Material, run: Path) -> None:
    stored = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    del stored["names"]
    (run / "evaluation.json").write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(Absent, match="No names were measured"):
        names.names(material)
