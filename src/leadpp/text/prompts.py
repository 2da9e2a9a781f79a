"""Prompts: what a language model is asked, from files that one can edit.

A file is plain text in parts; the shipped ones, in ``templates/``, say at their top which parts and fields there are.
Fields are filled in one pass, so that braces in a name stay braces.
"""

import difflib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final, Literal

from leadpp.errors import TextError
from leadpp.text.chat import echo_of
from leadpp.text.encoding import fill_template
from leadpp.text.names import read_words

Message = dict[str, str]
"""One turn of a conversation: ``role`` and ``content``."""

Kind = Literal["describe", "propose"]

_PART: Final = re.compile(r"^\[([a-z]+)\][ \t]*$", re.MULTILINE)
_FIELD: Final = re.compile(r"\{(\w+)\}")
_DIGEST_BYTES: Final = 6

_FIELDS: Final[Mapping[Kind, Mapping[str, tuple[str, ...]]]] = {
    "describe": {
        "system": ("name", "domain", "parts", "words"),
        "user": ("name", "domain", "parts", "words"),
        "variants": ("name", "domain", "parts", "words"),
        "earlier": ("name", "domain", "parts", "words", "earlier"),
        "again": ("domain", "parts", "words", "reason"),
    },
    "propose": {
        "system": ("domain", "count"),
        "user": ("domain", "count"),
        "known": ("domain", "count", "known"),
    },
}
"""The parts of each template, and the fields that each may have."""
_QUESTION: Final = ("system", "user")
"""The parts that an own template does not take from the shipped one: some models refuse a system message."""
_NEEDED: Final[Mapping[Kind, str]] = {"describe": "name", "propose": "count"}
"""The field without which every question would be the same, or the wrong one."""

_ANY_DOMAIN: Final = "things that look much alike"
_ANY_PARTS: Final = "shape and proportions, each part with its colours, and patterns, marks and textures"


@dataclass(frozen=True, kw_only=True, slots=True)
class DescribePrompt:
    """How descriptions are asked for."""

    digest: str
    """Twelve hexadecimal digits over the template and its settings."""
    template: Mapping[str, str]
    """Text of each part."""
    settings: Mapping[str, str]
    """Values of the fields that are the same for all classes."""

    def messages(self, name: str, *, number: int, earlier: Sequence[str] = ()) -> list[Message]:
        """Ask for a description.

        Args:
            name: The class; a numbering in front of it and its underscores are left out.
            number: Which of several descriptions of the class, from 0.
            earlier: Those that are accepted already, to be different from.

        Returns:
            The system message, if the template has one, and the question.
        """
        fields = {**self.settings, "name": fill_template("{}", name)}
        additions = []
        variants = self.template["variants"].splitlines()
        if number > 0 and variants:
            additions.append(_fill(variants[(number - 1) % len(variants)], fields))
        if earlier:
            additions.append(_fill(self.template["earlier"], {**fields, "earlier": "\n\n".join(earlier)}))
        return _question(self.template, fields, additions)

    def again(self, messages: Sequence[Message], reply: str, reason: str) -> list[Message]:
        """Return the same conversation, asking again with the reason why the reply cannot be used.

        Args:
            messages: The conversation so far.
            reply: What came, of which the beginning is shown; if empty, the reason joins the last question, because
                many servers refuse empty turns.
            reason: As :func:`leadpp.text.replies.check_description` gives it.
        """
        request = _fill(self.template["again"], {**self.settings, "reason": reason})
        shown = echo_of(reply)
        if shown:
            return [*messages, {"role": "assistant", "content": shown}, {"role": "user", "content": request}]
        last = messages[-1]
        return [*messages[:-1], {**last, "content": f"{last['content']}\n\n{request}"}]


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposePrompt:
    """How names are asked for."""

    digest: str
    """Twelve hexadecimal digits over the template and its settings."""
    template: Mapping[str, str]
    """Text of each part."""
    settings: Mapping[str, str]
    """Values of the fields that are the same in all rounds."""

    def messages(self, count: int, *, known: Sequence[str] = ()) -> list[Message]:
        """Ask for so many names, other than those that are known."""
        fields = {**self.settings, "count": str(count)}
        additions = [_fill(self.template["known"], {**fields, "known": "\n".join(known)})] if known else []
        return _question(self.template, fields, additions)


def read_describe_prompt(
    path: Path | None, *, domain: str, parts: Sequence[str], min_words: int, max_words: int
) -> DescribePrompt:
    """Read how descriptions are asked for.

    Args:
        path: A template; None takes the shipped one.
        domain: What kind of thing the classes are, such as "bird species"; may be empty.
        parts: What is wanted in a description, such as "bill"; may be empty.
        min_words: Fewest words of a description.
        max_words: Most words of a description.

    Raises:
        TextError: The file is missing, empty, not UTF-8, lacks ``[user]`` or ``{name}``, or has an unknown part or
            field.
    """
    template = _read_template(path, "describe")
    words = str(min_words) if min_words == max_words else f"{min_words} to {max_words}"
    settings = {"domain": domain.strip() or _ANY_DOMAIN, "parts": ", ".join(parts) or _ANY_PARTS, "words": words}
    return DescribePrompt(digest=_digest(template, settings), template=template, settings=settings)


def read_propose_prompt(path: Path | None, *, domain: str) -> ProposePrompt:
    """Read how names are asked for.

    Args:
        path: A template; None takes the shipped one.
        domain: What is to be listed, such as "birds of North America".

    Raises:
        TextError: The file is missing, empty, not UTF-8, lacks ``[user]`` or ``{count}``, or has an unknown part or
            field.
    """
    template, settings = _read_template(path, "propose"), {"domain": domain.strip()}
    return ProposePrompt(digest=_digest(template, settings), template=template, settings=settings)


def default_prompt(kind: Kind = "describe") -> str:
    """Return the shipped template, to be edited."""
    return (resources.files("leadpp.text") / "templates" / f"{kind}.txt").read_text(encoding="utf-8")


def _read_template(path: Path | None, kind: Kind) -> dict[str, str]:
    shipped = _parts(default_prompt(kind))
    if path is None:
        return shipped
    words = read_words(path)
    own = _parts(words)
    twice = [name for name, count in Counter(_PART.findall(words)).items() if count > 1]
    if twice:
        raise TextError(f"{path}: the part [{twice[0]}] occurs twice; make one of the two")
    if not any(own.values()):
        raise TextError(f"{path}: the prompt is empty; `leadpp {kind} --print-prompt` prints the shipped one to edit")
    _check(path, own, kind)
    return {name: text for name, text in shipped.items() if name not in _QUESTION} | own


def _parts(words: str) -> dict[str, str]:
    """Divide a template into its parts; one without any is the question whole."""
    pieces = _PART.split(words)
    if len(pieces) == 1:
        return {"user": words.strip()}
    return {name: text.strip() for name, text in zip(pieces[1::2], pieces[2::2], strict=True)}


def _check(path: Path, own: Mapping[str, str], kind: Kind) -> None:
    possible = _FIELDS[kind]
    for name in own:
        if name not in possible:
            raise TextError(f"{path}: unknown part [{name}]; the parts are {', '.join(f'[{one}]' for one in possible)}")
    for name, text in own.items():
        for field in _FIELD.findall(text):
            if field not in possible[name]:
                raise TextError(f"{path}: unknown field {{{field}}} in [{name}]; {_nearest(field, possible[name])}")
    if not own.get("user"):
        raise TextError(f"{path}: expected a part [user] with the question, found none; write it")
    needed = f"{{{_NEEDED[kind]}}}"
    if needed not in own["user"]:
        raise TextError(f"{path}: the question in [user] lacks {needed}; put it where it belongs")


def _nearest(field: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(field.lower(), known, n=1)
    if close:
        return f"did you mean {{{close[0]}}}?"
    return f"the fields are {', '.join(f'{{{one}}}' for one in known)}"


def _question(template: Mapping[str, str], fields: Mapping[str, str], additions: Sequence[str]) -> list[Message]:
    user = "\n\n".join([_fill(template["user"], fields), *filter(None, additions)])
    messages = [{"role": "user", "content": user}]
    if template.get("system"):
        messages.insert(0, {"role": "system", "content": _fill(template["system"], fields)})
    return messages


def _fill(text: str, fields: Mapping[str, str]) -> str:
    """Fill all fields in one pass: what is filled in is not looked at again."""
    return _FIELD.sub(lambda found: fields[found[1]], text)


def _digest(template: Mapping[str, str], settings: Mapping[str, str]) -> str:
    content = json.dumps([dict(template), dict(settings)], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
