"""One description: asked for, checked, and asked for again with the reason while it is bad."""

from collections.abc import Sequence
from dataclasses import dataclass

from leadpp.errors import UnansweredError
from leadpp.text.answers import LONGEST_TEXT
from leadpp.text.chat import Chat, Reply
from leadpp.text.prompts import DescribePrompt
from leadpp.text.replies import check_description


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What every description of a table is held to."""

    min_words: int
    max_words: int
    max_tokens: int
    """Most tokens of a reply."""
    attempts: int
    """How often a description is asked for in all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What came of asking for a description."""

    text: str
    """The description, or nothing."""
    reason: str
    """Why the last reply cannot be used; empty where there is a description."""
    reply: str
    """The last reply, as it came."""
    attempts: int
    """How often it was asked for, the time without an answer included."""
    tokens_in: int
    """Of all attempts together."""
    tokens_out: int
    left_out: tuple[str, ...] = ()
    """Settings that the server does not take; see :class:`~leadpp.text.chat.Reply`."""
    unanswered: UnansweredError | None = None
    """What the last request met with, where it had no answer at all."""


async def write_description(
    chat: Chat,
    prompt: DescribePrompt,
    *,
    name: str,
    number: int,
    earlier: Sequence[str],
    others: Sequence[str],
    wanted: Wanted,
) -> Draft:
    """Have one description written.

    Args:
        chat: Who writes.
        prompt: How it is asked for.
        name: The class.
        number: Which of several descriptions of the class, from 0.
        earlier: Those that are accepted already; a new one must be another.
        others: Names of the other classes.
        wanted: What it is held to.

    Raises:
        LLMError: The server cannot be reached or used, or the budget is used up.
    """
    question = prompt.messages(name, number=number, earlier=earlier)
    messages, text, reason, last = question, "", "", ""
    attempt = tokens_in = tokens_out = 0
    left_out: tuple[str, ...] = ()
    unanswered = None
    while not (text or unanswered) and attempt < wanted.attempts:
        if reason:
            messages = prompt.again(question, last, reason)
        attempt += 1
        try:
            reply = await chat.ask(messages, max_tokens=wanted.max_tokens)
        except UnansweredError as error:
            unanswered, reason = error, str(error)
            continue
        text, reason = _verdict(reply, name=name, earlier=earlier, others=others, wanted=wanted)
        last, left_out = reply.text, reply.left_out
        tokens_in, tokens_out = tokens_in + reply.tokens_in, tokens_out + reply.tokens_out
    return Draft(
        text=text,
        reason=reason,
        reply=last,
        attempts=attempt,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        left_out=left_out,
        unanswered=unanswered,
    )


def _verdict(
    reply: Reply, *, name: str, earlier: Sequence[str], others: Sequence[str], wanted: Wanted
) -> tuple[str, str]:
    if not reply.complete and not reply.text:
        return "", f"all of its {wanted.max_tokens} tokens went into thoughts (llm.max_tokens)"
    if len(reply.text) >= LONGEST_TEXT:
        return "", f"it is longer than {LONGEST_TEXT:,} characters"
    text, reason = check_description(
        reply.text, name=name, others=others, min_words=wanted.min_words, max_words=wanted.max_words
    )
    if text and not reply.complete:
        return "", "it was cut off before its end"
    if text in earlier:
        return "", "it is the same as an earlier description"
    return text, reason
