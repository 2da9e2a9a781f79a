"""What an answer of an OpenAI-compatible server means: a completion, try again, or give up and say why.

Nothing here reaches the network; :mod:`leadpp.text.endpoint` does.
"""

import contextlib
import email.utils
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from leadpp.errors import LLMError, UnansweredError
from leadpp.text.replies import without_thoughts

LONGEST_TEXT = 20_000
"""Characters of an answer that are kept."""
_WORDS = 240
"""Characters of a server's own words that are shown."""
_NO_JSON = (ValueError, RecursionError)
"""What the parser raises; the second for brackets within brackets without end."""
_PASSING = frozenset({408, 409, 425, 429})


class PassingError(Exception):
    """No answer this time, but perhaps the next.

    Attributes:
        words: What happened.
        wait_s: How long the server wants to be left alone; None if it does not say.
        crowded: Whether it is too many requests that it complains of, so that all others should wait too.
        taken_on: Whether the server may have worked on the request, and charge for it.
        unreachable: Whether no server was there to ask.
    """

    def __init__(
        self,
        words: str,
        *,
        wait_s: float | None = None,
        crowded: bool = False,
        taken_on: bool = False,
        unreachable: bool = False,
    ) -> None:
        super().__init__(words)
        self.words, self.wait_s = words, wait_s
        self.crowded, self.taken_on, self.unreachable = crowded, taken_on, unreachable


class RefusedError(UnansweredError):
    """A request that the server understands and refuses, such as one with a setting that it does not know."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    """With names in lower case."""
    body: bytes

    @property
    def is_html(self) -> bool:
        """Whether it is a page for people."""
        return self.body.lstrip()[:1] == b"<" or "html" in self.headers.get("content-type", "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What the server says comes next in a conversation."""

    text: str
    complete: bool
    tokens_in: int | None
    """None where the server does not count."""
    tokens_out: int | None


def check_answer(answer: Answer, *, where: str, scrub: Callable[[str], str], now: float) -> None:
    """Let a good answer pass.

    Args:
        answer: What came.
        where: The address, for messages.
        scrub: Takes secrets out of a server's words.
        now: The time, in seconds since 1970.

    Raises:
        PassingError: It may be otherwise next time.
        RefusedError: The server refuses this request.
        LLMError: It will not be otherwise.
    """
    status = answer.status
    said = f"{where} answers {status}{_title(status)}{server_words(answer.body, scrub)}"
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
        if b"insufficient_quota" in answer.body:
            raise LLMError(f"{said}; the account has no credit left")
        crowded = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
        raise PassingError(said, wait_s=retry_after(answer.headers.get("retry-after"), now=now), crowded=crowded)
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise LLMError(f"{said}; it wants a key, or another one: set OPENAI_API_KEY or give --llm.key-file")
    if answer.is_html:
        raise LLMError(
            f"{where} answers HTML, not the API; is the base URL right? It usually ends in /v1 (--llm.base-url)"
        )
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        target = scrub(answer.headers.get("location", "somewhere else"))[:_WORDS]
        raise LLMError(f"{where} answers {status} and points to {target}; give that address as --llm.base-url")
    if status == HTTPStatus.NOT_FOUND:
        raise LLMError(f"{said}; no such model, or no such path: a base URL usually ends in /v1 (--llm.base-url)")
    if status >= HTTPStatus.BAD_REQUEST:
        raise RefusedError(said)


def read_completion(answer: Answer, *, where: str, scrub: Callable[[str], str]) -> Completion:
    """Read the body of a good answer.

    Raises:
        PassingError: It is not JSON, or not what the protocol says.
    """
    try:
        content = json.loads(answer.body)
    except _NO_JSON as error:
        raise PassingError(f"{where} answers with malformed JSON", taken_on=True) from error
    choice = _first_choice(content)
    text = _content_text(choice.get("message")) if choice is not None else None
    if choice is None or text is None:
        said = server_words(answer.body, scrub)
        raise PassingError(f"{where} answers with JSON that is no chat completion{said}", taken_on=True)
    whole = text.encode(errors="replace").decode()  # JSON can hold halves of letters, which no file can
    spoken = scrub(without_thoughts(whole).strip())
    usage = content.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Completion(
        text=spoken[:LONGEST_TEXT],
        complete=choice.get("finish_reason") != "length" and len(spoken) <= LONGEST_TEXT,
        tokens_in=_count(usage.get("prompt_tokens")),
        tokens_out=_count(usage.get("completion_tokens")),
    )


def read_model_names(body: bytes) -> list[str]:
    """Read the names of the models that a server has; none if it does not say."""
    try:
        entries = json.loads(body)["data"]
        return [str(entry["id"]) for entry in entries]
    except (*_NO_JSON, KeyError, TypeError):
        return []


def retry_after(value: str | None, *, now: float) -> float | None:
    """Read a ``Retry-After``, which is seconds or a date; None if it says nothing that can be understood.

    >>> retry_after("2.5", now=0), retry_after("Thu, 01 Jan 1970 00:01:00 GMT", now=50), retry_after("soon", now=0)
    (2.5, 10.0, None)
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def server_words(body: bytes, scrub: Callable[[str], str]) -> str:
    """Return the beginning of what a server says of an error, as `` (words)``; empty if it says nothing."""
    text = body.decode(errors="replace")
    with contextlib.suppress(*_NO_JSON):
        text = _message_of(json.loads(text)) or text
    plain = " ".join("".join(letter if letter.isprintable() else " " for letter in scrub(text)).split())
    if not plain or plain.startswith("<"):
        return ""
    return f" ({plain[:_WORDS]}{'…' if len(plain) > _WORDS else ''})"


def _title(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _message_of(content: object) -> str | None:
    """Find the words in the forms that servers give them: ``{"error": {"message": words}}`` and shorter ones."""
    for key in ("error", "message", "detail"):
        if isinstance(content, dict) and key in content:
            content = content[key]
    return content if isinstance(content, str) else None


def _first_choice(content: object) -> dict[str, Any] | None:
    choices = content.get("choices") if isinstance(content, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _content_text(message: object) -> str | None:
    """Return the words of a message; its refusal where it has no words, and None where it is no message."""
    if not isinstance(message, dict):
        return None
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if isinstance(part, dict) and "text" in part)
    if content is None:
        content = message.get("refusal") or ""
    return content if isinstance(content, str) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
