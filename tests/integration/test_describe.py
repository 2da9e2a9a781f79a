"""`leadpp describe` as it is used: killed, interrupted, pointed at the wrong thing, with a key that nobody may see."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from leadpp.io.journal import read_journal
from leadpp.text.descriptions import read_descriptions
from leadpp.text.ledger import journal_path
from tests.descriptions import class_of, describer, description
from tests.integration.conftest import Cli
from tests.integration.test_mistakes import refused
from tests.llm_server import HTML, Asked, LLMServer, Told, failing, too_many

KEY = "sk-Nobody-May-See-This-0123456789"
NAMES = [f"Bird {letter}{number}" for letter in "ABC" for number in range(8)]


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(NAMES))
    return path


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def command_of(server: LLMServer, names: Path, out: Path) -> list[str]:
    words = ["describe", "--names", names, "--out", out, "--llm.base-url", server.url, "--llm.model", "small"]
    return [*map(str, words), "--llm.domain", "birds", "--llm.concurrency", "3"]


def finished_rows(out: Path) -> list[str]:
    return [record["name"] for record in read_journal(journal_path(out)) if "name" in record]


@pytest.mark.slow
def test_killed_at_any_row_nothing_finished_is_lost_and_nothing_asked_twice(tmp_path: Path, names: Path) -> None:
    out = tmp_path / "d.csv"
    with LLMServer(answer=describer, latency_s=0.05) as server:
        command = [sys.executable, "-m", "leadpp", *command_of(server, names, out)]
        for kill_at in (1, 3, 9, 16):
            before = finished_rows(out)
            seen = len(server.asked)
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
                while process.poll() is None and len(finished_rows(out)) < kill_at:
                    time.sleep(0.002)
                process.kill()
            assert process.returncode == -signal.SIGKILL
            after = finished_rows(out)
            assert after[: len(before)] == before
            assert kill_at <= len(after) < len(NAMES)
            assert not {class_of(asked) for asked in server.asked[seen:]} & set(before)
        before, seen = finished_rows(out), len(server.asked)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert {class_of(asked) for asked in server.asked[seen:]} == set(NAMES) - set(before)
    assert Counter(finished_rows(out)) == Counter(NAMES)
    assert read_descriptions(out) == {name: (description(name),) for name in NAMES}
    asked_again = Counter(class_of(asked) for asked in server.asked)
    assert sum(asked_again.values()) - len(NAMES) <= 4 * 3  # of each kill, what was under way


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_write_what_there_is(tmp_path: Path, names: Path, number: int, code: int) -> None:
    out = tmp_path / "d.csv"
    with LLMServer(answer=describer, latency_s=0.1) as server:
        command = [sys.executable, "-m", "leadpp", *command_of(server, names, out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None and len(finished_rows(out)) < 4:
                time.sleep(0.005)
            process.send_signal(number)
            printed, err = process.communicate(timeout=60)
        assert (process.returncode, printed) == (code, ""), err
        assert "Traceback" not in err
        assert "never" not in err
        if number == signal.SIGINT:
            assert err.splitlines()[-1].startswith("leadpp: interrupted; finished descriptions are kept")
    assert 4 <= len(read_descriptions(out)) < len(NAMES)
    assert set(read_descriptions(out)) == set(finished_rows(out))
    assert not list(tmp_path.glob("*.partial"))


def test_two_at_once_on_one_table_are_refused(tmp_path: Path, names: Path, cli: Cli) -> None:
    out = tmp_path / "d.csv"
    with LLMServer(answer=describer) as server:
        from leadpp.text.ledger import Ledger

        with Ledger(out):
            refused(cli(*command_of(server, names, out)), "another leadpp is at work", "d.csv.journal.jsonl")
    assert server.asked == []


@pytest.mark.parametrize("status", [200, 401, 404, 400, 500])
def test_the_key_is_in_no_file_and_no_line(
    tmp_path: Path, names: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    def parrot(asked: Asked) -> str | Told:
        said = f"Authorization: {asked.headers['authorization']}"
        return said if status == 200 else failing(status, said)

    (tmp_path / "out").mkdir()
    given: list[str] = []
    if status in (200, 400):
        (tmp_path / "key.txt").write_text(KEY + "\n")
        given = ["--llm.key-file", str(tmp_path / "key.txt")]
    else:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with LLMServer(answer=parrot, key=KEY) as server:
        out = tmp_path / "out" / "d.csv"
        code, printed, err = cli(*command_of(server, names, out), *given, "--llm.retries", 0, "--llm.attempts", 1)
    assert code == 2
    assert all(asked.headers["authorization"] == f"Bearer {KEY}" for asked in server.asked)
    written = "".join(path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert KEY not in printed + err + written
    assert "[key]" in err + written


def test_mistakes_are_one_line_and_keep_what_is_finished(tmp_path: Path, names: Path, cli: Cli) -> None:
    out = tmp_path / "d.csv"
    with LLMServer(answer=describer, models=("small", "smaller")) as server:
        words = command_of(server, names, out)
        refused(cli(*words, "--llm.model", "huge"), "huge", "does not exist", "its models: small, smaller")
        assert not out.exists()
        server.faults = [HTML]
        refused(cli(*words, "--llm.concurrency", 1), "answers HTML", "/v1")
        server.key = KEY
        refused(cli(*words), "401", "wants a key", "OPENAI_API_KEY")
        server.key = ""
        refused(cli(*words, "--llm.base-url", server.url.removesuffix("/v1")), "404", "/v1")
        refused(cli(*words, "--budget", "1"), "llm.budget", "llm.price_in")
        refused(cli(*words, "--llm.key-file", tmp_path / "none"), "none", "cannot be read")
        refused(cli(*words, "--llm.prompt", tmp_path / "none"), "none", "cannot be read")
        refused(cli(*words, "--out", tmp_path / "d.json"), "ends in .csv")
        assert not out.exists()
        assert cli(*words)[0] == 0
        before = out.read_bytes()
    refused(cli(*words, "--fresh"), "cannot be reached", "is the server running")
    assert (tmp_path / "d.csv.old").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ("one class name a line",)),
        ("Wren\nwren\n", ("'Wren' and 'wren' are the same",)),
        ("Wren\n!!\n", ("neither letters nor digits",)),
    ],
)
def test_names_that_cannot_be(tmp_path: Path, cli: Cli, content: str, words: tuple[str, ...]) -> None:
    path = tmp_path / "names.txt"
    path.write_text(content)
    refused(cli("describe", "--names", path, "--out", tmp_path / "d.csv"), *words)
    assert not (tmp_path / "d.csv").exists()


def test_every_fault_in_one_run(tmp_path: Path, names: Path, cli: Cli) -> None:
    from tests.llm_server import CUT, ENDLESS, MALFORMED, REFUSAL, WRONG_SCHEMA

    faults = [too_many("0"), CUT, MALFORMED, WRONG_SCHEMA, REFUSAL, ENDLESS, Told(delay_s=1.5), Told(text=None)]
    with LLMServer(answer=describer, faults=faults) as server:
        words = command_of(server, names, tmp_path / "d.csv")
        code, _, err = cli(*words, "--llm.timeout-s", "0.5", "--json")
    assert code == 0, err
    assert list(read_descriptions(tmp_path / "d.csv")) == NAMES
    assert len(server.asked) == len(NAMES) + len(faults)


def test_a_dry_run_and_the_prompt_to_edit(tmp_path: Path, names: Path, cli: Cli) -> None:
    out = tmp_path / "d.csv"
    with LLMServer(answer=describer) as server:
        words = [*command_of(server, names, out), "--dry-run", "--llm.price-in", "1", "--llm.price-out", "2"]
        code, printed, _ = cli(*words)
        assert code == 0
        assert "Describe how this looks: Bird A0 (birds)." in printed
        assert "24 descriptions to ask small at" in printed
        assert printed.endswith("Nothing was sent.\n")
        document = json.loads(cli(*words, "--json")[1])
        assert [each["class"] for each in document["prompts"]] == NAMES
        assert server.asked == []
    assert not out.exists()
    code, template, _ = cli("describe", "--print-prompt")
    assert code == 0
    (tmp_path / "prompt.txt").write_text(template.replace("plain English sentences", "PLAIN WORDS"))
    _, printed, _ = cli(*words, "--llm.prompt", tmp_path / "prompt.txt")
    assert "PLAIN WORDS" in printed


def test_descriptions_become_prototypes_that_know_who_wrote_them(tiny_world: Path, tmp_path: Path, cli: Cli) -> None:
    out, run = tmp_path / "d.csv", tmp_path / "run"
    with LLMServer(answer=describer) as server:
        words = ("describe", "--data", tiny_world, "--out", out, "--llm.base-url", server.url, "--llm.model", "small")
        code, _, err = cli(*words, "--llm.domain", "birds")
    assert code == 0, err
    made = ("prototypes", "build", "--data", tiny_world, "--run", run, "--descriptions", out, "--networks", "world")
    code, _, err = cli(*made)
    assert code == 0, err
    from leadpp.text.prototypes import read_prototypes

    assert "written by small (prompt " in read_prototypes(run / "prototypes.safetensors").made
