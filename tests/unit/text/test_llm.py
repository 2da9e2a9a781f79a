"""The client, against a real server on loopback that fails in every way it knows."""

import asyncio
import email.utils
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from leadpp.errors import BudgetError, LLMError, UnansweredError
from leadpp.text.chat import Message, Reply
from leadpp.text.llm import Meter, find_key, open_chat
from tests.llm_server import (
    CUT,
    ENDLESS,
    HTML,
    MALFORMED,
    REFUSAL,
    WRONG_SCHEMA,
    Asked,
    LLMServer,
    Told,
    failing,
    too_many,
)

KEY = "sk-Nobody-May-See-This-0123456789"
QUESTION = [{"role": "user", "content": "What does a wren look like?"}]


def ask(
    server: LLMServer | str,
    *conversations: Sequence[Message],
    notes: list[str] | None = None,
    max_tokens: int = 100,
    **settings: Any,  # noqa: ANN401 - of open_chat
) -> list[Reply]:
    """Send conversations, all at once; return the replies in the same order."""

    async def talk() -> list[Reply]:
        url = server if isinstance(server, str) else server.url
        told = [] if notes is None else notes
        usual: dict[str, Any] = {"model": "small", "backoff_s": 0.001, "timeout_s": 20.0}
        async with open_chat(base_url=url, notify=told.append, **usual | settings) as chat:
            waiting = [chat.ask(each, max_tokens=max_tokens) for each in conversations or [QUESTION]]
            return list(await asyncio.gather(*waiting))

    return asyncio.run(talk())


def test_what_is_sent_and_what_comes_back() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA"}}
    talk: list[Message] = [
        {"role": "system", "content": "Describe."},
        {"role": "user", "content": [{"type": "text", "text": "Grünfink 翠鳥"}, picture]},
    ]
    with LLMServer(answer=lambda asked: f"Seen: {asked.words}", key=KEY) as server:
        (reply,) = ask(server, talk, key=KEY, seed=7, temperature=0.25, max_tokens=33)
    (asked,) = server.asked
    assert asked.body == {
        "model": "small", "messages": talk, "max_tokens": 33, "seed": 7, "temperature": 0.25, "stream": False,
    }  # fmt: skip
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert reply == Reply(text="Seen: Describe.\nGrünfink 翠鳥", tokens_in=3, tokens_out=4)


def test_without_a_key_none_is_sent_and_without_a_temperature_the_server_chooses() -> None:
    with LLMServer() as server:
        ask(server)
    assert "authorization" not in server.asked[0].headers
    assert "temperature" not in server.asked[0].body


@pytest.mark.parametrize(
    "fault",
    [
        too_many(), too_many("0"), too_many("never"), failing(500), failing(503), failing(408), failing(409), CUT,
        MALFORMED, WRONG_SCHEMA, Told(body=b""), Told(body=b"[" * 100_000), Told(body=b"x" * (1 << 21)),
        Told(body=b'{"error": {"message": "overloaded"}}'), Told(delay_s=2.0), Told(status=502, body=HTML.body),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again(fault: Told) -> None:
    with LLMServer(faults=[fault, fault]) as server:
        (reply,) = ask(server, timeout_s=0.3)
    assert (reply.text, len(server.asked)) == ("All is well.", 3)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (failing(500), "answers 500 Internal Server Error (something broke), 3 times"),
        (MALFORMED, "malformed JSON"),
        (WRONG_SCHEMA, 'no chat completion ({"result": "a bird"})'),
        (CUT, "broke off its answer"),
        (Told(body=b"x" * (1 << 21)), "more than 1 MiB"),
        (Told(delay_s=1.0), "did not answer within 0.2 s"),
    ],
)
def test_what_does_not_pass_is_told_in_a_line(fault: Told, words: str) -> None:
    with LLMServer(answer=lambda asked: fault) as server, pytest.raises(UnansweredError) as caught:
        ask(server, retries=2, timeout_s=0.2)
    assert words in str(caught.value)
    assert server.url in str(caught.value)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (HTML, "answers HTML, not the API; is the base URL right? It usually ends in /v1"),
        (Told(status=404, body=HTML.body), "answers HTML"),
        (failing(401, "no key"), "401 Unauthorized (no key); it wants a key, or another one"),
        (failing(403), "set OPENAI_API_KEY or give --llm.key-file"),
        (failing(404, "no model"), "404 Not Found (no model); no such model, or no such path"),
        (Told(status=307, headers={"Location": "http://elsewhere/v1"}), "points to http://elsewhere/v1"),
        (failing(400, "no such field"), "400 Bad Request (no such field)"),
        (Told(status=429, body=b'{"error": {"message": "pay", "code": "insufficient_quota"}}'), "no credit left"),
        (too_many("86400"), "wants to be left alone for 86,400 s"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(fault: Told, words: str) -> None:
    with LLMServer(faults=[fault]) as server, pytest.raises(LLMError) as caught:
        ask(server)
    assert words in str(caught.value)
    assert len(server.asked) == 1


def test_an_unknown_model_is_told_with_those_there_are() -> None:
    with LLMServer(models=tuple(f"m{number}" for number in range(12))) as server, pytest.raises(LLMError) as caught:
        ask(server, model="gpt")
    assert "The model gpt does not exist" in str(caught.value)
    assert "its models: m0, m1, m2, m3, m4, m5, m6, m7, …" in str(caught.value)


def test_nobody_there_is_told_at_once_and_later_waited_for() -> None:
    with LLMServer() as server:
        url = server.url
    began = time.monotonic()
    with pytest.raises(LLMError, match=r"cannot be reached .*is the server running"):
        ask(url, backoff_s=10.0)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_server_says_how_long_to_wait_and_all_wait(form: str) -> None:
    def told(asked: Asked) -> str | Told:
        if len(server.asked) > 1:
            return "Well."
        return too_many("0.6" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True))

    with LLMServer(answer=told) as server:
        ask(server, *[QUESTION] * 5, concurrency=1)
    gaps = [after.at_s - before.at_s for before, after in zip(server.asked, server.asked[1:], strict=False)]
    assert gaps[0] > 0.59  # a date has whole seconds, so that two may be one
    assert max(gaps[1:]) < 0.5

    if form == "date":
        return
    with LLMServer(answer=told) as server:

        async def talk() -> None:
            async with open_chat(base_url=server.url, model="small", backoff_s=0.001) as chat:
                first = asyncio.create_task(chat.ask(QUESTION, max_tokens=9))
                while not server.asked:
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0.1)  # by now the client knows that the server is crowded
                await asyncio.gather(first, *(chat.ask(QUESTION, max_tokens=9) for _ in range(4)))

        asyncio.run(talk())
    assert server.asked[1].at_s - server.asked[0].at_s > 0.59


@pytest.mark.parametrize("honest", [False, True])
def test_a_server_that_takes_so_many_requests_a_window_answers_all(honest: bool) -> None:
    window_s, most = 0.1, 3
    taken: list[float] = []
    turn = threading.Lock()

    def limited(asked: Asked) -> str | Told:
        with turn:
            now = time.monotonic()
            recent = [at for at in taken if at > now - window_s]
            if len(recent) >= most:
                return too_many(f"{recent[0] + window_s - now:.3f}" if honest else None)
            taken.append(now)
            return "Well."

    notes: list[str] = []
    with LLMServer(answer=limited) as server:
        replies = ask(server, *[QUESTION] * 30, concurrency=8, retries=0, backoff_s=0.02, notes=notes)
    assert [reply.text for reply in replies] == ["Well."] * 30
    assert len(server.asked) < 3 * 30  # where all come again at once, it is some hundreds
    assert len(notes) == 1
    assert "429 Too Many Requests (too many requests); it is asked more slowly" in notes[0]


@pytest.mark.parametrize("fault", [too_many(), too_many("0.1"), failing(503)])
def test_a_server_that_stays_crowded_is_left_in_the_end(fault: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leadpp.text.llm.LONGEST_WAIT_S", 0.5)
    began = time.monotonic()
    with LLMServer(answer=lambda asked: fault) as server, pytest.raises(UnansweredError, match=r"\), for \d+ s$"):
        ask(server, retries=0, backoff_s=0.01)
    assert 0.3 < time.monotonic() - began < 5
    assert len(server.asked) > 2


def test_waiting_grows_and_is_drawn_from_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = asyncio.sleep

    def waits(seed: int) -> list[float]:
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            await real(0)

        monkeypatch.setattr("leadpp.text.llm.asyncio.sleep", sleep)
        with LLMServer(faults=[failing(500)] * 5) as server:
            ask(server, backoff_s=1.0, seed=seed)
        return slept

    slept = waits(1)
    assert len(slept) == 5
    assert all(0.5 * 2**turn <= wait <= 2**turn for turn, wait in enumerate(slept))
    assert slept == waits(1) != waits(2)


def test_no_more_requests_at_once_than_allowed() -> None:
    with LLMServer(latency_s=0.03) as server:
        ask(server, *[QUESTION] * 12, concurrency=3)
    assert server.most_at_once == 3


def picky(asked: Asked) -> str | Told:
    """Refuse one after another of the settings that newer servers do not take."""
    if "max_tokens" in asked.body:
        return failing(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    odd = next((name for name in ("temperature", "seed") if name in asked.body), None)
    return failing(400, f"{odd} is not supported") if odd else "Well."


def test_settings_that_a_server_does_not_know_are_renamed_or_left_out() -> None:
    notes: list[str] = []
    with LLMServer(answer=picky) as server:
        replies = ask(server, QUESTION, QUESTION, temperature=0.5, concurrency=1, notes=notes)
    assert [reply.text for reply in replies] == ["Well.", "Well."]
    assert [reply.left_out for reply in replies] == [("temperature", "seed")] * 2
    assert len(server.asked) == 5  # the second conversation knows what the first has learnt
    assert server.asked[-1].body.keys() == {"model", "messages", "max_completion_tokens", "stream"}
    assert [note.split(";")[0] for note in notes] == [
        "the server does not take a temperature", "the server does not take a seed",
    ]  # fmt: skip


def test_what_one_request_learns_of_the_settings_holds_for_those_under_way() -> None:
    notes: list[str] = []
    with LLMServer(answer=picky, latency_s=0.05) as server:
        replies = ask(server, *[QUESTION] * 20, temperature=0.5, concurrency=8, notes=notes)
    assert [reply.text for reply in replies] == ["Well."] * 20
    assert len(notes) == 2  # once each, however many were under way


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (REFUSAL, Reply(text="I'm sorry, but I can't help with that.", tokens_in=6, tokens_out=8)),
        (Told(text="<think>A wren?\nYes.</think>\n\nSmall."), Reply(text="Small.", tokens_in=6, tokens_out=4)),
        (Told(text=None), Reply(text="", tokens_in=6, tokens_out=0)),
        (
            Told(text="A bird with", finish="length"),
            Reply(text="A bird with", tokens_in=6, tokens_out=3, complete=False),
        ),
        (
            Told(text="Four letters.", usage=False),
            Reply(text="Four letters.", tokens_in=15, tokens_out=4, estimated=True),
        ),
        (
            Told(body=b'{"choices": [{"message": {"content": null, "refusal": "No."}}]}'),
            Reply(text="No.", tokens_in=15, tokens_out=1, estimated=True),
        ),
        (
            Told(body=b'{"choices": [{"message": {"content": [{"type": "text", "text": "A part."}]}}]}'),
            Reply(text="A part.", tokens_in=15, tokens_out=2, estimated=True),
        ),
    ],
)  # fmt: skip
def test_kinds_of_replies(told: Told, expected: Reply) -> None:
    with LLMServer(answer=lambda asked: told) as server:
        assert ask(server) == [expected]


def test_a_reply_without_end_is_cut() -> None:
    with LLMServer(answer=lambda asked: ENDLESS) as server:
        (reply,) = ask(server)
    assert ENDLESS.text is not None
    assert len(ENDLESS.text) >= 100_000
    assert (len(reply.text), reply.complete) == (20_000, False)
    assert ENDLESS.text.startswith(reply.text)


@pytest.mark.parametrize("status", [200, 400, 401, 404, 500, 307])
def test_nobody_sees_the_key(status: int, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("x" * 200 + " ") if status == 500 else ""  # so that what is shown ends within the key

    def parrot(asked: Asked) -> str | Told:
        said = f"{words}You said {asked.headers['authorization']}"
        if status == 200:
            return said
        return Told(status=status, body=said.encode(), headers={"Location": f"http://x/?{KEY}"})

    notes: list[str] = []
    with LLMServer(answer=parrot, models=("small", KEY)) as server:
        try:
            said = ask(server, key=KEY, retries=0, notes=notes)[0].text
        except LLMError as error:
            said = f"{error} {error!r} {error.__cause__!r}"
    captured = capfd.readouterr()
    shown = said + "".join(notes) + captured.out + captured.err
    assert KEY not in shown
    assert KEY[:12] not in shown
    assert status in (500, 307) or "[key]" in shown


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("api.openai.com/v1", "no web address"), ("ftp://x/v1", "no web address"),
        ("http://x:port/v1", "no web address"),
        ("http://me:secret@x/v1", "has a user, a query or a fragment"), ("http://x/v1?key=secret", "a query"),
        ("", "no web address"),
    ],
)  # fmt: skip
def test_addresses_that_cannot_be(url: str, words: str) -> None:
    with pytest.raises(LLMError, match=words) as caught:
        ask(url)
    assert "secret" not in str(caught.value)


def test_a_key_that_travels_in_plain_sight_is_told() -> None:
    notes: list[str] = []

    async def look(url: str) -> None:
        async with open_chat(base_url=url, model="m", key=KEY, notify=notes.append):
            pass

    for url in ("https://x.example/v1", "http://127.0.0.1:1/v1", "http://[::1]:1/v1", "http://localhost/v1"):
        asyncio.run(look(url))
    assert notes == []
    asyncio.run(look("http://x.example/v1/"))
    assert notes == ["the key goes to http://x.example/v1 unencrypted; anybody on the way can read it"]


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with LLMServer() as server:
        assert ask(server)[0].text == "All is well."


def test_where_the_key_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert find_key(None) == ""
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    assert find_key(None) == KEY
    path = tmp_path / "key"
    path.write_text("sk-other\n")
    assert find_key(path) == "sk-other"
    for content in ("", f"{KEY} {KEY}", f"{KEY}\nsecond", "schlüssel"):
        path.write_text(content)
        with pytest.raises(LLMError) as caught:
            find_key(path)
        assert str(path) in str(caught.value)
        assert "sk-" not in str(caught.value)
        assert "schl" not in str(caught.value).removeprefix(str(path))


# Of a budget: 1 a token, each way.


def meter(budget: float) -> Meter:
    return Meter(price_in=1e6, price_out=1e6, budget=budget)


def test_a_budget_is_never_passed_and_used_as_far_as_it_goes() -> None:
    shared = meter(2000)
    sent = [{"role": "user", "content": "x" * 80}]  # 400 tokens at the worst, 1 by the server's count
    with LLMServer(latency_s=0.05, answer=lambda asked: "word " * 59) as server, pytest.raises(BudgetError) as caught:
        ask(server, *[sent] * 50, meter=shared, max_tokens=100, concurrency=20)
    assert 1500 < shared.cost <= 2000
    assert shared.cost == 60 * len(server.asked)
    assert server.most_at_once == 4  # of which the fifth could have passed it
    assert "of the budget of 2000 is used: raise it" in str(caught.value)


def test_what_nobody_could_count_is_taken_at_its_worst() -> None:
    sent = [{"role": "user", "content": "x" * 80}]
    for fault, lost in ((CUT, 500), (MALFORMED, 500), (failing(500), 0), (too_many("0"), 0)):
        shared = meter(10_000)
        with LLMServer(faults=[fault]) as server:
            ask(server, sent, meter=shared)
        assert shared.cost == lost + 4
        assert (shared.tokens_in, shared.tokens_out) == (1, 3)
        assert shared.words() == f"1 tokens in, 3 out, cost {lost + 4:.4f}"


def test_a_price_alone_sets_no_limit_and_no_price_shows_no_cost() -> None:
    with LLMServer() as server:
        ask(server, *[QUESTION] * 3, meter=(shared := meter(0)))
        ask(server, meter=(free := Meter()))
    assert shared.cost == 27
    assert free.words() == "6 tokens in, 3 out"
