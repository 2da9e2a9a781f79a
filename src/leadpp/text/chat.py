"""What is said to a language model and what comes back; how many tokens that is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Message = Mapping[str, object]
"""One message of the OpenAI protocol: ``role``, and ``content`` that is a string or a list of parts."""

PICTURE_TOKENS = 10_000
"""Taken for the most that a picture costs; a tile of 512 pixels is 8,500 where it is dearest."""

_LETTERS_A_TOKEN = 4
_MOST_ECHOED = 2000
"""Characters of a bad reply that are shown to the model again."""
_TOKENS_A_MESSAGE = 8
"""Marks of role, start and end that a chat template puts around a message."""
_MOST_TOKENS_A_MESSAGE = 64
_MOST_TOKENS_A_CHAT = 256
"""Room for what a template says of its own accord, such as the date."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """The answer to one request."""

    text: str
    """What was said, without what a model thought aloud before it, and at most 20,000 characters of it."""
    tokens_in: int
    """Tokens of the prompt."""
    tokens_out: int
    """Tokens of the answer."""
    estimated: bool = False
    """Whether the server did not count the tokens, so that their number is an estimate."""
    complete: bool = True
    """False if the answer was cut off, by ``max_tokens`` or because it was endless."""
    left_out: tuple[str, ...] = ()
    """Settings that were to be sent along, such as ``seed``, and were not, because the server does not take them."""


class Chat(Protocol):
    """A language model that answers."""

    async def ask(self, messages: Sequence[Message], *, max_tokens: int) -> Reply:
        """Send a conversation and return what comes next in it.

        Args:
            messages: The conversation so far, as the OpenAI protocol has it; a part of a content may be a picture,
                ``{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,..."}}``.
            max_tokens: The most that the answer may have.

        Raises:
            BudgetError: It might cost more than is left, and was not sent.
            UnansweredError: The server works, but gives no usable answer to this request.
            LLMError: The server cannot be reached or used.
        """
        ...


def echo_of(reply: str) -> str:
    """Return as much of a bad reply as is shown to the model again: its beginning.

    Where that is empty no turn may be made of it, because many servers refuse empty turns.

    >>> echo_of(" Too short. "), len(echo_of("x" * 100_000)), echo_of(" ")
    ('Too short.', 2000, '')
    """
    return reply.strip()[:_MOST_ECHOED].rstrip()


def guess_tokens(text: str) -> int:
    """Estimate the tokens of a text, about four letters each.

    >>> guess_tokens("A small brown bird with a white throat.")
    10
    """
    return -(-len(text) // _LETTERS_A_TOKEN)


def prompt_tokens(messages: Sequence[Message]) -> int:
    """Estimate the tokens of a conversation, as they are for English."""
    return sum(_TOKENS_A_MESSAGE + sum(map(_guess, _parts(message))) for message in messages)


def most_prompt_tokens(messages: Sequence[Message]) -> int:
    """Return a number of tokens that a conversation does not exceed: a token is at least a byte."""
    sizes = [_MOST_TOKENS_A_MESSAGE + sum(map(_most, _parts(message))) for message in messages]
    return _MOST_TOKENS_A_CHAT + sum(sizes)


def _parts(message: Message) -> Iterator[str | None]:
    """Yield the texts of a message, and None for each picture."""
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, Sequence):
        for part in content:
            text = part.get("text") if isinstance(part, Mapping) else None
            yield text if isinstance(text, str) else None


def _guess(text: str | None) -> int:
    return PICTURE_TOKENS if text is None else guess_tokens(text)


def _most(text: str | None) -> int:
    return PICTURE_TOKENS if text is None else len(text.encode())
