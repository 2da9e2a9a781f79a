import asyncio
from collections.abc import Sequence

import pytest

from leadpp.errors import UnansweredError
from leadpp.text.chat import Message, Reply
from leadpp.text.describing import Draft, Wanted, write_description
from leadpp.text.prompts import read_describe_prompt
from tests.descriptions import description

PROMPT = read_describe_prompt(None, domain="birds", parts=(), min_words=50, max_words=75)
WANTED = Wanted(min_words=50, max_words=75, max_tokens=200, attempts=3)
GOOD = description("Wren")


class Scripted:
    """Gives one reply after another and keeps what it was asked."""

    def __init__(self, *replies: str | Reply) -> None:
        self._replies = list(replies)
        self.asked: list[list[Message]] = []

    async def ask(self, messages: Sequence[Message], *, max_tokens: int) -> Reply:
        assert max_tokens == 200
        self.asked.append(list(messages))
        reply = self._replies.pop(0)
        return reply if isinstance(reply, Reply) else Reply(text=reply, tokens_in=10, tokens_out=3)


def write(chat: Scripted, *, earlier: Sequence[str] = (), number: int = 0) -> Draft:
    coming = write_description(
        chat, PROMPT, name="Wren", number=number, earlier=earlier, others=["Wren", "Robin"], wanted=WANTED
    )
    return asyncio.run(coming)


def test_a_good_reply_is_taken_at_once() -> None:
    chat = Scripted(GOOD)
    assert write(chat) == Draft(text=GOOD, reason="", reply=GOOD, attempts=1, tokens_in=10, tokens_out=3)
    assert chat.asked == [PROMPT.messages("Wren", number=0)]


def test_a_bad_reply_is_asked_for_again_with_the_reason() -> None:
    chat = Scripted("I'm sorry, but I can't help with that.", "Too short.", GOOD)
    draft = write(chat)
    assert (draft.text, draft.attempts, draft.tokens_in, draft.tokens_out) == (GOOD, 3, 30, 9)
    first, second, third = chat.asked
    assert second[: len(first)] == first
    assert second[len(first)] == {"role": "assistant", "content": "I'm sorry, but I can't help with that."}
    assert "refus" in str(second[-1]["content"]) or "sorry" in str(second[-1]["content"])
    assert len(third) == len(second)  # only the last bad reply is shown, so that the prompt does not grow
    assert third[-2]["content"] == "Too short."
    assert "50 to 75 are wanted" in str(third[-1]["content"])


def test_a_request_without_an_answer_counts_and_is_not_sent_again() -> None:
    class Falling(Scripted):
        async def ask(self, messages: Sequence[Message], *, max_tokens: int) -> Reply:
            if self.asked:
                raise UnansweredError("it answers nothing")
            return await super().ask(messages, max_tokens=max_tokens)

    draft = write(Falling("A bird."))
    assert (draft.text, draft.reason, draft.reply) == ("", "it answers nothing", "A bird.")
    assert (draft.attempts, draft.tokens_in, draft.tokens_out) == (2, 10, 3)
    assert isinstance(draft.unanswered, UnansweredError)


def test_after_the_last_attempt_there_is_a_reason() -> None:
    chat = Scripted("A bird.", "A bird.", "A small bird.")
    draft = write(chat)
    assert (draft.text, draft.reply, draft.attempts) == ("", "A small bird.", 3)
    assert draft.reason.startswith("it has 3 words")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(text=GOOD, tokens_in=1, tokens_out=1, complete=False), "it was cut off before its end"),
        (Reply(text="", tokens_in=1, tokens_out=1, complete=False), "all of its 200 tokens went into thoughts"),
        (Reply(text="wing " * 4000, tokens_in=1, tokens_out=1, complete=False), "longer than 20,000 characters"),
        (Reply(text=description("Robin"), tokens_in=1, tokens_out=1), "it names another class, 'Robin'"),
        (Reply(text=description("Wren", 1), tokens_in=1, tokens_out=1), "it is the same as an earlier description"),
    ],
)
def test_replies_that_cannot_be_used(reply: Reply, reason: str) -> None:
    draft = write(Scripted(reply, reply, reply), earlier=[description("Wren", 1)], number=1)
    assert draft.text == ""
    assert reason in draft.reason


def test_a_further_description_knows_the_earlier_ones() -> None:
    chat = Scripted(GOOD)
    write(chat, earlier=[description("Wren", 1)], number=1)
    assert description("Wren", 1) in str(chat.asked[0][-1]["content"])
