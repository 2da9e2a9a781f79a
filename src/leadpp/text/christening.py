"""A name for what some pictures show, asked of a language model that can see; a proposal, and nothing more."""

from collections.abc import Sequence
from dataclasses import dataclass

from leadpp.text.chat import Chat, Message, echo_of
from leadpp.text.proposals import read_proposals, sort_proposals

_UNKNOWN = "unknown"
_HINTS = 5
_QUESTION = (
    "These pictures show the same kind of {domain}, and none of the names in my list seems to fit it. What is it "
    "called? Answer with its common name and nothing else, or with the one word unknown if you cannot tell.{hint}"
)
_HINT = " Of my list these came nearest: {names}. Answer with one of them only if it is surely right."


@dataclass(frozen=True, kw_only=True, slots=True)
class Christening:
    """What came of asking."""

    name: str
    """The proposed name; empty where there is none."""
    known: bool = False
    """Whether it is in the list already."""
    reason: str = ""
    """Why there is no name."""
    attempts: int = 0
    """How often the model was asked."""


async def ask_name(
    chat: Chat,
    pictures: Sequence[str],
    *,
    domain: str,
    known: Sequence[str],
    near: Sequence[str],
    attempts: int,
    max_tokens: int,
) -> Christening:
    """Ask what pictures show, again with the reason where the answer is no name.

    An answer counts if it is one name by :func:`~leadpp.text.proposals.read_proposals` (at most nine words, no
    sentence, no list, no markup, no refusal), or the word ``unknown``, which is believed.

    Args:
        chat: Who is asked; it must accept pictures.
        pictures: ``data:`` addresses of JPEG pictures.
        domain: What kind of thing they show, such as ``bird species``; empty if nobody knows.
        known: Names that are in the list already.
        near: Of these, those that come nearest, the nearest first.
        attempts: How often to ask in all.
        max_tokens: The most that an answer may have.

    Raises:
        LLMError: The model cannot be reached or used; see :meth:`leadpp.text.chat.Chat.ask`.
    """
    question = _question_text(domain=domain, near=near)
    messages, reason = [_shown(question, pictures)], ""
    for attempt in range(1, attempts + 1):
        reply = await chat.ask(messages, max_tokens=max_tokens)
        names = read_proposals(reply.text, complete=reply.complete)
        if [name.casefold() for name in names] == [_UNKNOWN]:
            return Christening(name="", reason="the model cannot tell", attempts=attempt)
        if len(names) == 1:
            new, _ = sort_proposals(names, known=known)
            return Christening(name=names[0], known=not new, attempts=attempt)
        reason = f"the answer holds {len(names)} names" if names else "the answer is no name"
        messages = _again(question, pictures, said=reply.text, reason=reason)
    return Christening(name="", reason=reason, attempts=attempts)


def _again(question: str, pictures: Sequence[str], *, said: str, reason: str) -> list[Message]:
    """Ask again with the reason; after an empty answer it joins the question, as servers refuse empty turns."""
    request, echo = f"I cannot use that: {reason}. One common name alone, or unknown.", echo_of(said)
    if not echo:
        return [_shown(f"{question}\n\n{request}", pictures)]
    return [
        _shown(question, pictures),
        {"role": "assistant", "content": echo},
        {"role": "user", "content": request},
    ]


def _question_text(*, domain: str, near: Sequence[str]) -> str:
    hint = _HINT.format(names=", ".join(near[:_HINTS])) if near else ""
    return _QUESTION.format(domain=domain or "thing", hint=hint)


def _shown(text: str, pictures: Sequence[str]) -> Message:
    shown = [{"type": "image_url", "image_url": {"url": picture}} for picture in pictures]
    return {"role": "user", "content": [{"type": "text", "text": text}, *shown]}
