import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from leadpp.cli import main
from leadpp.config import build_config
from leadpp.engine.runtime import SilentProgress
from leadpp.errors import ArtifactError, BudgetError, ConfigError, LeadppError, LLMError, TextError
from leadpp.stages.propose import LEAST_A_ROUND, MOST_A_ROUND, estimate, propose
from leadpp.text.names import read_names
from leadpp.text.prompts import default_prompt
from tests.llm_server import CUT, MALFORMED, REFUSAL, Asked, LLMServer, Told, failing

LETTERS_ALONE = 2.0
NAMES = [
    f"{kind} {thing}" for thing in ("Wren", "Tern", "Ibis", "Nēnē") for kind in ("Red", "Blue", "Grey", "Pied", "Élan")
]
"""Twenty names that a model knows."""


def knowing(names: Sequence[str]) -> Callable[[Asked], str]:
    """Answer as a model that knows these names, lists the first that it was not told, and repeats one that it was."""

    def answer(asked: Asked) -> str:
        wanted = int(re.findall(r"List (\d+)", asked.words)[0])
        told = set(asked.words.splitlines())
        fresh = [name for name in names if name not in told][: min(wanted, 6)]
        return "\n".join(f"{place}. {name}" for place, name in enumerate([*fresh, names[0].lower()], start=1))

    return answer


def run(
    out: Path,
    server: LLMServer,
    *,
    count: int = 10,
    least_cosine: float = LETTERS_ALONE,
    llm: Mapping[str, str | float] | None = None,
    template: str = "a photo of a {}.",
) -> dict[str, Any]:
    settings = {"base_url": server.url, "model": "small", "domain": "birds", "retries": 0} | dict(llm or {})
    progress = SilentProgress()
    found = propose(
        out=out,
        count=count,
        config=build_config(
            {"llm": settings, "teacher": {"factory": f"{__name__}:Letters"}, "text": {"template": template}}
        ),
        least_cosine=least_cosine,
        progress=progress,
    )
    return found | {"notes": "\n".join(progress.notes)}


def provenance(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    return found


class Letters:
    """A teacher whose embedding of a text counts its letters."""

    name, embedding_dim = "letters", 256

    def encode_images(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        counts = [torch.bincount(torch.tensor(list(text.lower().encode())), minlength=256) for text in texts]
        return torch.nn.functional.normalize(torch.stack(counts).float(), dim=1)

    def to(self, device: torch.device) -> "Letters":
        del device
        return self


def test_names_are_asked_for_until_there_are_enough(tmp_path: Path) -> None:
    out = tmp_path / "new" / "names.txt"
    with LLMServer(answer=knowing(NAMES)) as server:
        found = run(out, server)
    assert read_names(out) == tuple(NAMES[:10])
    assert out.read_text(encoding="utf-8") == "".join(f"{name}\n" for name in NAMES[:10])
    assert (found["names"], found["stopped"], found["rounds"]) == (10, "complete", 2)
    assert sorted(path.name for path in out.parent.iterdir()) == ["names.json", "names.rounds.jsonl", "names.txt"]
    first, second = server.asked
    assert "List 10 different birds" in first.words
    assert NAMES[0] not in first.words
    assert set(NAMES[:6]) <= set(second.words.splitlines())


def test_the_provenance_says_how_the_names_came_to_be(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    with LLMServer(answer=knowing(NAMES)) as server:
        run(out, server)
    found = provenance(out)
    assert (found["kind"], found["model"], found["domain"], found["count"]) == ("proposals", "small", "birds", 10)
    assert re.fullmatch("[0-9a-f]{12}", found["prompt"])
    assert [(one["asked"], one["read"], one["new"]) for one in found["rounds"]] == [(10, 7, 6), (10, 7, 6)]
    assert all(one["seed"] == 123 and one["date"].endswith("+00:00") for one in found["rounds"])
    assert found["dropped"] == [
        {"round": number, "name": "red wren", "reason": "the same name", "like": "Red Wren"} for number in (1, 2)
    ]
    assert found["compared"] == {"by": "letters"}
    assert sum(one["tokens_out"] for one in found["rounds"]) == 2 * 21


@pytest.mark.parametrize("at", [0, 2])
def test_a_process_killed_in_any_round_loses_nothing_and_asks_nothing_twice(tmp_path: Path, at: int) -> None:
    out, whole = tmp_path / "names.txt", tmp_path / "whole.txt"
    with LLMServer(answer=knowing(NAMES)) as server:
        run(whole, server, count=20)
        undisturbed = [asked.words for asked in server.asked]
    assert len(undisturbed) == 4

    reached, answer = threading.Event(), knowing(NAMES)

    def stuck(asked: Asked) -> str | Told:
        if len(server.asked) == at + 1 and not reached.is_set():
            reached.set()
            return Told(text=answer(asked), delay_s=20)
        return answer(asked)

    with LLMServer(answer=stuck) as server:
        words = ["--domain", "birds", "--count", "20", "--out", str(out), "--same-above", "2"]
        words += ["--llm.model", "small", "--llm.base-url", server.url]
        with subprocess.Popen(
            [sys.executable, "-m", "leadpp", "propose", *words], stderr=subprocess.DEVNULL
        ) as process:
            assert reached.wait(60)
            os.kill(process.pid, signal.SIGKILL)
        assert not out.exists()
        assert main(["propose", *words]) == 0
        asked = [asked.words for asked in server.asked]
    assert asked == [*undisturbed[: at + 1], *undisturbed[at:]]  # the one that was under way had no answer yet
    assert out.read_bytes() == whole.read_bytes()


def test_a_torn_last_record_is_asked_for_again(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    with LLMServer(answer=knowing(NAMES)) as server:
        run(out, server, count=20)
        kept = out.read_bytes()
        journal = out.with_name("names.rounds.jsonl")
        journal.write_bytes(journal.read_bytes()[:-20])
        before = len(server.asked)
        run(out, server, count=20)
        assert len(server.asked) == before + 1
    assert out.read_bytes() == kept


def test_finished_names_are_not_asked_for_again_and_a_larger_count_tops_up(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    with LLMServer(answer=knowing(NAMES)) as server:
        run(out, server)
        again = run(out, server)
        assert len(server.asked) == 2
        assert "nobody is asked" in again["notes"]
        assert run(out, server, count=15)["names"] == 15
        assert len(server.asked) == 3
        assert run(out, server, count=4)["names"] == 4
        assert len(server.asked) == 3
    assert read_names(out) == tuple(NAMES[:4])


def test_a_model_that_knows_no_more_is_left_after_three_rounds(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    with LLMServer(answer=knowing(NAMES[:8])) as server:
        found = run(out, server, count=30)
        asked = [int(re.findall(r"List (\d+)", one.words)[0]) for one in server.asked]
    assert read_names(out) == tuple(NAMES[:8])
    assert (found["names"], found["stopped"], found["rounds"]) == (8, "nothing new", 5)
    assert "nothing new in 3 rounds: 8 names of 30" in found["notes"]
    assert asked == [30, 24, 22, 32, 42]  # the same question would bring the same


def test_refusals_and_chatter_bring_nothing_and_do_no_harm(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    chatter = Told(text="Sure! I'd be happy to list birds for you.\n\nHere they are:")
    half = Told(text=json.dumps(["Kea", "Kiwi", "Ka"])[:-2], finish="length")
    with LLMServer(answer=knowing(NAMES), faults=[REFUSAL, chatter, half]) as server:
        found = run(out, server, count=8)
    assert read_names(out) == ("Kea", "Kiwi", *NAMES[:6])
    assert found["rounds"] == 4


def test_a_model_that_names_nothing_is_one_clear_line_and_writes_no_names(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    with LLMServer(answer=lambda asked: REFUSAL) as server, pytest.raises(TextError, match="I'm sorry, but I can't"):
        run(out, server)
    assert not out.exists()


def test_names_that_mean_the_same_are_taken_once(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    replies = iter(["Grey Heron\nGray Heron\nHeron Grey\n737-300\n737-400", "Auk\nKau\nTern"])
    with LLMServer(answer=lambda asked: next(replies)) as server:
        found = run(out, server, count=5, least_cosine=0.97)
    assert read_names(out) == ("Grey Heron", "737-300", "737-400", "Auk", "Tern")
    assert found["dropped"] == 3
    made = provenance(out)
    assert made["compared"] == {"by": "meaning", "teacher": "letters", "least_cosine": 0.97}
    assert [(one["name"], one["like"]) for one in made["dropped"]] == [
        ("Gray Heron", "Grey Heron"), ("Heron Grey", "Grey Heron"), ("Kau", "Auk"),
    ]  # fmt: skip
    assert [one["reason"] for one in made["dropped"]][1:] == ["close in meaning, cosine 1.000"] * 2


def test_of_several_sentences_names_are_compared_in_the_first(tmp_path: Path) -> None:
    one, both = "a {}", "a {} | it is a photograph of something that somebody calls a {}"
    found = []
    for number, template in enumerate((one, both)):
        out = tmp_path / f"{number}.txt"
        with LLMServer(answer=lambda asked: "Auk, Kaku, Tern, Ternlet") as server:
            run(out, server, count=2, least_cosine=0.8, template=template)
        found.append(provenance(out))
    assert found[0]["template"] == found[1]["template"] == one
    assert found[0]["dropped"] == found[1]["dropped"] != []


def test_without_a_teacher_on_disk_letters_have_to_do_and_that_is_said(tmp_path: Path) -> None:
    out, progress = tmp_path / "names.txt", SilentProgress()
    with LLMServer(answer=knowing(NAMES)) as server:
        llm = {"base_url": server.url, "model": "small", "domain": "birds"}
        config = build_config({"llm": llm, "teacher": {"factory": "none.such:teacher"}})
        propose(out=out, count=10, config=config, progress=progress)
    assert "compared by letters alone, because the teacher cannot be had" in progress.notes[0]
    assert provenance(out)["compared"]["by"] == "letters"
    assert "none.such" in provenance(out)["compared"]["because"]


def test_names_of_groups_are_kept_and_told(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    with LLMServer(answer=lambda asked: "Kestrel, American Kestrel, Auk") as server:
        found = run(out, server, count=3)
    assert read_names(out) == ("Kestrel", "American Kestrel", "Auk")
    assert "'Kestrel' beside 'American Kestrel'" in found["notes"]
    assert provenance(out)["general"] == {"Kestrel": "American Kestrel"}


def test_a_budget_stops_before_it_is_passed_and_keeps_what_there_is(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    with LLMServer(answer=knowing(NAMES)) as server:
        prices: dict[str, str | float] = {"price_in": 0.0, "price_out": 1e6, "max_tokens": 100}
        with pytest.raises(BudgetError, match=r"names\.txt has 18 names of 20"):
            run(out, server, count=20, llm={"budget": 150.0} | prices)
        assert len(server.asked) == 3  # of 21 tokens each, and 100 at the worst
        assert read_names(out) == tuple(NAMES[:18])
        assert provenance(out)["stopped"] == "budget"
        assert run(out, server, count=20, llm={"budget": 150.0} | prices)["names"] == 20


def test_a_budget_too_small_for_the_first_round_is_told_as_that(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    with LLMServer(answer=knowing(NAMES)) as server, pytest.raises(BudgetError, match="before the first name"):
        run(out, server, llm={"budget": 1.0, "price_out": 1e6, "max_tokens": 100})
    assert not server.asked
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", [MALFORMED, CUT, failing(500)])
def test_a_server_that_fails_keeps_the_rounds_before(tmp_path: Path, fault: Told) -> None:
    out, answer = tmp_path / "names.txt", knowing(NAMES)
    with LLMServer(answer=answer) as server:
        server.answer = lambda asked: answer(asked) if len(server.asked) == 1 else fault
        with pytest.raises(LLMError):
            run(out, server)
        assert not out.exists()
        server.answer = answer
        assert run(out, server)["rounds"] == 2
        assert len(server.asked) == 3


def test_a_seed_that_the_server_does_not_take_is_told_in_the_provenance(tmp_path: Path) -> None:
    out, answer = tmp_path / "names.txt", knowing(NAMES)
    with LLMServer(answer=lambda asked: failing(400, "no seed") if "seed" in asked.body else answer(asked)) as server:
        run(out, server, count=5)
    assert [one["left_out"] for one in provenance(out)["rounds"]] == [["seed"]]


def test_half_a_character_in_a_reply_does_no_harm(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    text = '{"choices": [{"message": {"content": "Wren\\nAu\\ud800k\\nTern"}, "finish_reason": "stop"}]}'
    with LLMServer(answer=knowing(NAMES), faults=[Told(body=text.encode())]) as server:
        run(out, server, count=3)
    assert read_names(out) == ("Wren", "Tern", NAMES[0])


def test_a_file_that_was_edited_or_came_from_elsewhere_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    with LLMServer(answer=knowing(NAMES)) as server:
        run(out, server)
        out.write_text("My own bird\n", encoding="utf-8")
        with pytest.raises(TextError, match="changed since it was written"):
            run(out, server, count=12)
        out.with_suffix(".json").unlink()
        with pytest.raises(TextError, match="not proposed by a language model"):
            run(out, server, count=12)
        assert len(server.asked) == 2
    assert out.read_text(encoding="utf-8") == "My own bird\n"


def test_rounds_of_another_question_are_not_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    with LLMServer(answer=knowing(NAMES), models=("small", "large")) as server:
        run(out, server)
        with pytest.raises(TextError, match="with the domain 'birds', not 'cars'"):
            run(out, server, llm={"domain": "cars"})
        with pytest.raises(TextError, match="with the model 'small', not 'large'"):
            run(out, server, llm={"model": "large"})
        prompt = tmp_path / "prompt.txt"
        prompt.write_text("List {count} {domain}!", encoding="utf-8")
        with pytest.raises(TextError, match="with the prompt '"):
            run(out, server, llm={"prompt": str(prompt)})
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("llm", "count", "name", "message"),
    [
        ({"model": ""}, 10, "names.txt", "--llm.model"),
        ({"domain": " "}, 10, "names.txt", "--domain"),
        ({}, 1, "names.txt", "--count must be at least 2, got 1"),
        ({}, 10, "names.json", "choose another --out"),
        ({}, 10, ".", "choose another --out"),
        ({"prompt": "none.txt"}, 10, "names.txt", "none.txt: cannot be read"),
    ],
)
def test_mistakes_are_one_clear_line_before_anybody_is_asked(
    tmp_path: Path, llm: dict[str, str | float], count: int, name: str, message: str
) -> None:
    with LLMServer() as server:
        with pytest.raises((ConfigError, TextError), match=re.escape(message)):
            run(tmp_path / name, server, count=count, llm=llm)
        assert not server.asked
    assert not list(tmp_path.iterdir())


def test_an_endpoint_that_is_down_leaves_nothing_behind(tmp_path: Path) -> None:
    with LLMServer() as server:
        pass
    with pytest.raises(LeadppError, match="cannot be reached"):
        run(tmp_path / "names.txt", server)
    assert not list(tmp_path.iterdir())


def test_two_processes_do_not_write_the_same_names(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    with LLMServer(answer=knowing(NAMES)) as server:

        def answer(asked: Asked) -> str:
            with pytest.raises(ArtifactError, match="another leadpp is at work"):
                run(out, server)
            return knowing(NAMES)(asked)

        server.answer = answer
        assert run(out, server, count=5)["names"] == 5


def test_a_dry_run_asks_nobody_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "names.txt"
    words = ["propose", "--domain", "birds", "--count", "120", "--out", str(out), "--dry-run", "--llm.model", "small"]
    assert main([*words, "--llm.price-out", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["names"], found["count"], found["rounds"]) == (0, 120, 3)
    assert found["cost"] == pytest.approx(found["tokens_out"] * 2e-6)
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "List 50 different birds" in shown
    assert "rounds 3" in shown
    assert not list(tmp_path.iterdir())


def test_a_dry_run_counts_what_is_there(tmp_path: Path) -> None:
    out = tmp_path / "names.txt"
    with LLMServer(answer=knowing(NAMES)) as server:
        run(out, server)
        config = build_config({"llm": {"base_url": server.url, "model": "small", "domain": "birds"}})
        found = estimate(out=out, count=40, config=config)
        assert len(server.asked) == 2
    assert (found["names"], found["rounds"]) == (12, 1)
    assert NAMES[11] in found["messages"][-1]["content"]


def test_the_command_prints_its_prompt_and_its_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["propose", "--print-prompt"]) == 0
    assert capsys.readouterr().out == default_prompt("propose")
    out = tmp_path / "names.txt"
    with LLMServer(answer=knowing(NAMES)) as server:
        words = ["propose", "--domain", "birds", "--count", "10", "--out", str(out), "--same-above", "2", "--json"]
        assert main([*words, "--llm.model", "small", "--llm.base-url", server.url]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["names"] == 10
    assert "round 2: 7 names read, 6 new; 10 of 10" in captured.err


def test_rounds_are_neither_long_nor_short(tmp_path: Path) -> None:
    many = [f"Bird {letter}{other}" for letter in "ABCDEFGH" for other in "abcdefgh"]
    with LLMServer(answer=lambda asked: "\n".join(many if len(server.asked) > 1 else many[:62])) as server:
        run(tmp_path / "names.txt", server, count=63)
        asked = [int(re.findall(r"List (\d+)", one.words)[0]) for one in server.asked]
    assert asked == [MOST_A_ROUND, LEAST_A_ROUND]
