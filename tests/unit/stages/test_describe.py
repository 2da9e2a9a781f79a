"""The stage against a real server on loopback; killing and signals are in tests/integration."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from leadpp.config import build_config
from leadpp.config.tree import Config
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import BudgetError, DataError, LLMError, TextError
from leadpp.stages.describe import Words, class_names, describe, preview
from leadpp.text.descriptions import read_descriptions
from leadpp.text.ledger import read_entries
from leadpp.text.provenance import read_provenance
from tests.descriptions import class_of, describer, description
from tests.llm_server import Asked, LLMServer, Told, failing
from tests.progress import WatchedProgress

NAMES = ("Wren", "Robin", "Grünfink", "Kea", "翠鳥", "Jay", "Dunnock", "Twite")


@pytest.fixture
def words(tmp_path: Path) -> Words:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES), encoding="utf-8")
    return Words(names=path)


def config_of(server: LLMServer | None, **llm: Any) -> Config:  # noqa: ANN401 - settings of llm
    given = {"base_url": server.url, "model": "small"} if server else {}
    return build_config({"llm": {**given, "domain": "birds", "retries": 0, "concurrency": 3, **llm}, "seed": 5})


def names_asked(server: LLMServer) -> Counter[str]:
    return Counter(class_of(asked) for asked in server.asked)


def test_every_class_is_described_with_who_wrote_it(tmp_path: Path, words: Words) -> None:
    out = tmp_path / "made" / "d.csv"
    progress = WatchedProgress()
    with LLMServer(answer=describer, latency_s=0.05) as server:
        found = describe(out, words=words, config=config_of(server), progress=progress)
    assert read_descriptions(out) == {name: (description(name),) for name in NAMES}
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    assert {(row["model"], row["seed"]) for row in rows} == {("small", "5")}
    assert len({row["prompt"] for row in rows}) == 1
    assert len(rows[0]["prompt"]) == 12
    assert server.most_at_once == 3
    assert (found["classes"], found["descriptions"], found["asked"]) == (8, 8, 8)
    assert found["tokens_in"] == sum(len(asked.words.split()) for asked in server.asked)
    assert "cost" not in found
    (piece,) = progress.pieces
    assert (piece.what, piece.unit, piece.total, piece.done) == ("describe", "rows", 8, 8)
    assert f"{found['tokens_in']:,} tokens in" in piece.shown[-1]
    assert "written by small" in read_provenance(out)


def test_a_second_time_nobody_is_asked_and_a_new_name_alone_is(tmp_path: Path, words: Words) -> None:
    out = tmp_path / "d.csv"
    with LLMServer(answer=describer) as server:
        describe(out, words=words, config=config_of(server))
        before = out.read_bytes()
        found = describe(out, words=words, config=config_of(server))
        assert (found["asked"], out.read_bytes()) == (0, before)
        assert words.names is not None
        words.names.write_text("\n".join(["Bushtit", *reversed(NAMES[:3])]), encoding="utf-8")
        describe(out, words=words, config=config_of(server))
    assert names_asked(server) == dict.fromkeys([*NAMES, "Bushtit"], 1)
    assert list(read_descriptions(out)) == ["Bushtit", "Grünfink", "Robin", "Wren"]


def test_rows_of_other_names_leave_the_table_not_without_a_word(tmp_path: Path, words: Words) -> None:
    out, progress = tmp_path / "d.csv", SilentProgress()
    with LLMServer(answer=describer) as server:
        describe(out, words=words, config=config_of(server))
        assert words.names is not None
        words.names.write_text("Wren\nKea", encoding="utf-8")
        describe(out, words=words, config=config_of(server), progress=progress)
    assert progress.notes[0] == "6 descriptions of other names or numbers stay in the journal, and are not in the table"


def test_two_classes_in_the_same_words_are_told_of(tmp_path: Path, words: Words) -> None:
    progress = SilentProgress()
    with LLMServer(
        answer=lambda asked: describer(asked) if class_of(asked) == "Jay" else description("bird")
    ) as server:
        describe(tmp_path / "d.csv", words=words, config=config_of(server), progress=progress)
    assert "'Wren' and 'Robin' have the same description, so that nothing tells them apart" in progress.notes


@pytest.mark.parametrize("address", ["http://user:pw@127.0.0.1:9/v1", "ftp://user:pw@h/v1", "http://h/v1?key=pw"])
def test_a_password_in_the_address_is_never_shown(tmp_path: Path, words: Words, address: str) -> None:
    progress = SilentProgress()
    for act in (describe, preview):
        with pytest.raises(LLMError, match="which would be shown") as caught:
            act(tmp_path / "d.csv", words=words, config=config_of(None, base_url=address, model="small"))
        assert "pw" not in "\n".join([str(caught.value), *progress.notes])


def test_several_descriptions_of_a_class_differ_and_can_become_more(tmp_path: Path, words: Words) -> None:
    out = tmp_path / "d.csv"
    with LLMServer(answer=describer) as server:
        describe(out, words=words, config=config_of(server, per_class=2))
        describe(out, words=words, config=config_of(server, per_class=3))
    assert read_descriptions(out) == {name: tuple(description(name, n) for n in range(3)) for name in NAMES}
    assert set(names_asked(server).values()) == {3}


def test_what_is_asked_for_once_more_because_a_line_was_lost_is_counted(tmp_path: Path, words: Words) -> None:
    out, journal = tmp_path / "d.csv", tmp_path / "d.csv.journal.jsonl"
    with LLMServer(answer=describer) as server:
        describe(out, words=words, config=config_of(server, per_class=2))
        lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
        first = next(line for line in lines if '"number": 0' in line or '"number":0' in line)
        journal.write_text("".join(line for line in lines if line != first), encoding="utf-8")
        before = len(server.asked)
        found = describe(out, words=words, config=config_of(server, per_class=2))
    assert found["asked"] == len(server.asked) - before == 2  # the second is to be another than the new first


def test_a_bad_class_is_asked_again_and_then_listed(tmp_path: Path, words: Words) -> None:
    def answer(asked: Asked) -> str | Told:
        name = class_of(asked)
        if name == "Jay":
            return "I'm sorry, but I can't help with that."
        if name == "Kea":
            return failing(400, "the content policy forbids this")
        return "=SUM(A1)" if name == "Wren" and len(asked.messages) < 3 else describer(asked)

    out = tmp_path / "d.csv"
    with LLMServer(answer=answer) as server, pytest.raises(LLMError) as caught:
        describe(out, words=words, config=config_of(server, attempts=2))
    assert names_asked(server) == dict.fromkeys(NAMES, 1) | {"Jay": 2, "Wren": 2}
    said = str(caught.value)
    assert "2 of 8 classes lack a usable description: 'Kea' (" in said
    assert "the content policy forbids this" in said
    assert "6 of 8 descriptions are done" in said
    rejected = tmp_path / "d.csv.rejected.csv"
    assert str(rejected) in said
    rows = list(csv.DictReader(rejected.read_text(encoding="utf-8").splitlines()))
    assert [(row["class name"], row["attempts"]) for row in rows] == [("Kea", "1"), ("Jay", "2")]
    assert rows[1]["reply"] == "I'm sorry, but I can't help with that."
    assert set(read_descriptions(out)) == set(NAMES) - {"Jay", "Kea"}

    with LLMServer(answer=describer) as server:
        describe(out, words=words, config=config_of(server))
    assert names_asked(server) == {"Jay": 1, "Kea": 1}
    assert list(read_descriptions(out)) == list(NAMES)
    assert not rejected.exists()


def test_a_server_that_answers_nobody_is_left(tmp_path: Path, words: Words) -> None:
    def answer(asked: Asked) -> str | Told:
        return describer(asked) if class_of(asked) in NAMES[:2] else Told(body=b"{}")

    assert words.names is not None
    words.names.write_text("\n".join([*NAMES[:2], *(f"Bird {number}" for number in range(18))]), encoding="utf-8")
    with LLMServer(answer=answer) as server, pytest.raises(LLMError, match="no chat completion") as caught:
        describe(tmp_path / "d.csv", words=words, config=config_of(server, concurrency=1))
    assert 2 + 5 <= len(server.asked) <= 2 + 5 + 1  # the next may be on its way when the fifth comes back
    assert "2 of 20 descriptions are done and kept" in str(caught.value)
    assert list(read_descriptions(tmp_path / "d.csv")) == list(NAMES[:2])
    rejected = list(csv.DictReader((tmp_path / "d.csv.rejected.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["attempts"] for row in rejected[:5]] == ["1"] * 5  # the last of them, which ended it, among them


def test_a_server_that_refuses_settings_describes_every_class_all_the_same(tmp_path: Path, words: Words) -> None:
    def picky(asked: Asked) -> str | Told:
        if "max_tokens" in asked.body:
            return failing(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return failing(400, "temperature is not supported") if "temperature" in asked.body else describer(asked)

    assert words.names is not None
    words.names.write_text("\n".join(f"Bird {number}" for number in range(20)))
    with LLMServer(answer=picky, latency_s=0.05) as server:
        describe(tmp_path / "d.csv", words=words, config=config_of(server, concurrency=8))
    assert len(read_descriptions(tmp_path / "d.csv")) == 20
    entries = read_entries(tmp_path / "d.csv").values()
    assert {(entry.author.temperature, entry.author.seed, entry.left_out) for entry in entries} == {
        (0.7, 5, ("temperature",))
    }


def test_a_budget_stops_before_it_is_passed_and_more_goes_on(tmp_path: Path, words: Words) -> None:
    out, money = tmp_path / "d.csv", {"price_in": 1000.0, "price_out": 1000.0, "max_tokens": 300}
    with LLMServer(answer=describer) as server:
        with pytest.raises(BudgetError) as caught:
            describe(out, words=words, config=config_of(server, budget=2.2, **money))
        spent = sum(len(asked.words.split()) + 61 for asked in server.asked) / 1000
        done = len(read_descriptions(out))
        assert 0 < done == len(server.asked) < 8
        assert spent <= 2.2
        assert f"{done} of 8 descriptions are done and kept in {out}: run the same command to go on" in str(
            caught.value
        )
        found = describe(out, words=words, config=config_of(server, **money))
    assert names_asked(server) == dict.fromkeys(NAMES, 1)
    assert found["cost"] == pytest.approx((found["tokens_in"] + found["tokens_out"]) / 1000)


def test_classes_refused_before_the_budget_ends_are_listed_and_old_ones_are_not(tmp_path: Path, words: Words) -> None:
    def answer(asked: Asked) -> str | Told:
        return failing(400, "the content policy forbids this") if class_of(asked) == "Wren" else describer(asked)

    out, rejected = tmp_path / "d.csv", tmp_path / "d.csv.rejected.csv"
    money = {"price_in": 1000.0, "price_out": 1000.0, "max_tokens": 300, "concurrency": 1}
    rejected.write_text("of another day")
    with LLMServer(answer=answer) as server, pytest.raises(BudgetError):
        describe(out, words=words, config=config_of(server, budget=2.2, **money))
    (row,) = csv.DictReader(rejected.read_text(encoding="utf-8").splitlines())
    assert row["class name"] == "Wren"
    with LLMServer(answer=answer) as server, pytest.raises(BudgetError):
        describe(out, words=words, config=config_of(server, budget=0.01, **money))
    assert not rejected.exists()


def test_ctrl_c_at_any_row_loses_nothing(tmp_path: Path, words: Words) -> None:
    out, asked = tmp_path / "d.csv", Counter[str]()
    for stop in range(1, 30):
        progress = WatchedProgress(stop=lambda piece: piece.items >= 2)
        with LLMServer(answer=describer) as server:
            try:
                describe(out, words=words, config=config_of(server, concurrency=1), progress=progress)
                break
            except KeyboardInterrupt:
                pass
        asked += names_asked(server)
        done = set(read_descriptions(out))
        assert len(done) >= min(8, 2 * stop)
    assert list(read_descriptions(out)) == list(NAMES)
    assert all(count <= 2 for count in asked.values())  # what was under way when it was stopped may be asked again


def test_another_prompt_is_not_mixed_in_silence(tmp_path: Path, words: Words) -> None:
    out = tmp_path / "d.csv"
    progress = SilentProgress()
    with LLMServer(answer=describer) as server:
        describe(out, words=words, config=config_of(server))
        with pytest.raises(TextError, match=r"8 of its 8 descriptions are by small .*--keep keeps them"):
            describe(out, words=words, config=config_of(server, parts=["bill"]))
        assert describe(out, words=words, config=config_of(server, parts=["bill"]), keep=True)["asked"] == 0
        assert len(server.asked) == 8
        describe(out, words=words, config=config_of(server, parts=["bill"]), fresh=True, progress=progress)
        assert len(server.asked) == 16
    assert len(list(tmp_path.glob("*.old"))) == 2
    assert sum("what was there before is in" in note for note in progress.notes) == 2


def test_without_a_language_model_names_fill_the_template_and_it_says_so(tmp_path: Path, words: Words) -> None:
    progress, out = SilentProgress(), tmp_path / "d.csv"
    found = describe(out, words=words, config=config_of(None), progress=progress)
    assert found["source"] == "template"
    assert read_descriptions(out) == {name: (f"a photo of a {name}.",) for name in NAMES}
    assert "no language model is named (llm.model)" in progress.notes[-1]
    assert "names in a template" in read_provenance(out)


def test_each_sentence_of_a_template_is_a_row(tmp_path: Path, words: Words) -> None:
    out = tmp_path / "d.csv"
    config = build_config({"text": {"template": "a photo of a {}. | the {} in the wild"}})
    assert describe(out, words=words, config=config)["descriptions"] == 2 * len(NAMES)
    assert read_descriptions(out) == {name: (f"a photo of a {name}.", f"the {name} in the wild") for name in NAMES}


def test_descriptions_of_ones_own_are_checked_copied_and_marked(tmp_path: Path) -> None:
    own, out, progress = tmp_path / "own.json", tmp_path / "d.csv", SilentProgress()
    own.write_text(json.dumps({"Wren": [description("Wren"), description("Wren", 1)], "Jay": "A bird of the woods."}))
    found = describe(out, words=Words(descriptions=own), config=config_of(None), progress=progress)
    assert (found["source"], found["odd"], found["descriptions"]) == ("own", 1, 3)
    assert read_descriptions(out) == read_descriptions(own)
    assert "1 of the 3 descriptions are not what" in progress.notes[-1]
    assert "first that of 'Jay': it has 5 words" in progress.notes[-1]
    assert "one's own" in read_provenance(out)
    mine = tmp_path / "mine.csv"
    mine.write_text("Jay,Mine.\n")
    with pytest.raises(TextError, match="not as leadpp describe left it"):
        describe(mine, words=Words(descriptions=mine), config=config_of(None))
    assert mine.read_text() == "Jay,Mine.\n"


def test_names_of_a_folder(tmp_path: Path) -> None:
    for name in ("001.Wren", "002.Robin"):
        (tmp_path / "photos" / "train" / name).mkdir(parents=True)
        (tmp_path / "photos" / "train" / name / "a.jpg").write_bytes(b"never opened")
    assert class_names(tmp_path / "photos") == ("001.Wren", "002.Robin")
    with LLMServer(answer=describer) as server:
        describe(tmp_path / "d.csv", words=Words(data=tmp_path / "photos"), config=config_of(server))
    assert names_asked(server) == {"Wren": 1, "Robin": 1}
    assert set(read_descriptions(tmp_path / "d.csv")) == {"001.Wren", "002.Robin"}
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.jpg").write_bytes(b"")
    with pytest.raises(TextError, match="not in class folders, so there are no names; give --names"):
        class_names(tmp_path / "flat")
    with pytest.raises(DataError):
        class_names(tmp_path / "none")


def test_a_preview_sends_nothing_and_writes_nothing(tmp_path: Path, words: Words) -> None:
    out = tmp_path / "d.csv"
    with LLMServer(answer=describer) as server:
        config = config_of(server, price_in=1.0, price_out=2.0, per_class=2)
        found = preview(out, words=words, config=config)
        assert server.asked == []
        assert sorted(path.name for path in tmp_path.iterdir()) == ["names.txt"]
        describe(out, words=words, config=config)
        sent = [asked.messages for asked in server.asked]
        assert all(each["messages"] in sent for each in found["prompts"] if each["number"] == 0)
        assert preview(out, words=words, config=config)["descriptions"] == 0
    assert (found["descriptions"], len(found["prompts"]), found["model"]) == (16, 16, "small")
    words_sent = sum(len(asked.words.split()) for asked in server.asked)
    assert words_sent < found["tokens_in"] < 2.5 * words_sent  # the server counts words as tokens
    assert found["cost"] == pytest.approx((found["tokens_in"] + 2 * found["tokens_out"]) / 1e6)


def test_a_preview_tells_what_it_costs_if_every_reply_is_long_and_bad(tmp_path: Path, words: Words) -> None:
    money = {"price_in": 1.0, "price_out": 1.0, "attempts": 3, "max_tokens": 400}
    out = tmp_path / "d.csv"
    with LLMServer(answer=lambda asked: "feathers " * 400) as server:
        found = preview(out, words=words, config=config_of(server, **money))
        with pytest.raises(LLMError, match="8 of 8"):
            describe(out, words=words, config=config_of(server, **money))
    assert len(server.asked) == 3 * len(NAMES)
    sent = sum(len(asked.words.split()) + 400 for asked in server.asked)  # the server counts words as tokens
    assert sent / 1e6 < found["cost_if_repeated"] < 2 * sent / 1e6


def test_a_preview_refuses_what_would_be_refused(tmp_path: Path, words: Words) -> None:
    out = tmp_path / "d.csv"
    with LLMServer(answer=describer) as server:
        describe(out, words=words, config=config_of(server))
        other = config_of(server, parts=["bill"])
        with pytest.raises(TextError, match=r"8 of its 8 descriptions are by small .*--keep keeps them"):
            preview(out, words=words, config=other)
        assert preview(out, words=words, config=other, keep=True)["descriptions"] == 0
        assert preview(out, words=words, config=other, fresh=True)["descriptions"] == 8
        out.write_text("my own work")
        with pytest.raises(TextError, match="not as leadpp describe left it"):
            preview(out, words=words, config=config_of(server))
    assert out.read_text() == "my own work"
